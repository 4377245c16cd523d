"""The bytes that every run folder holds, of an audit and of a training alike."""

import json

import yaml
from safetensors.torch import save as save_tensors
from torch import nn

from cropaudit.audit.config import AuditConfig
from cropaudit.training.dpsgd import Trained
from cropaudit.training.tape_files import tape_bytes

__all__ = ["config_bytes", "training_files", "weights_bytes"]


def config_bytes(config: AuditConfig) -> bytes:
    """Returns a configuration as YAML that `load_config` reads back."""
    return yaml.safe_dump(json.loads(config.model_dump_json()), sort_keys=False).encode()


def weights_bytes(model: nn.Module) -> bytes:
    """Returns the safetensors file of a model's state."""
    state = {name: value.contiguous().cpu() for name, value in model.state_dict().items()}
    data: bytes = save_tensors(state)
    return data


def training_files(trained: Trained) -> dict[str, bytes]:
    """Returns what a run leaves behind for attacks on it, by name."""
    return {
        "model.safetensors": weights_bytes(trained.model),
        "initial.safetensors": save_tensors(trained.initial),
        "tape.npz": tape_bytes(trained.tape),
    }

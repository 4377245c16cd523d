"""The bytes that every run folder holds, of an audit and of a training alike."""

import io
import json

import numpy as np
import yaml
from safetensors.torch import save as save_tensors
from torch import nn

from cropaudit.accounting.inclusion.probability import inclusion_map
from cropaudit.audit.config.audit_config import AuditConfig
from cropaudit.audit.experiment.subject import Subject
from cropaudit.training.dpsgd.loop import Trained
from cropaudit.training.transcript.files import transcript_bytes

__all__ = ["config_bytes", "inclusion_bytes", "training_files", "weights_bytes"]


def config_bytes(config: AuditConfig) -> bytes:
    """Returns a configuration as YAML that `load_config` reads back."""
    return yaml.safe_dump(json.loads(config.model_dump_json()), sort_keys=False).encode()


def inclusion_bytes(subject: Subject) -> bytes:
    """Returns the inclusion map of the worst image, by the patch's top left, as an npz of rho."""
    buffer = io.BytesIO()
    rho = inclusion_map(subject.worst_image, subject.crop, subject.patch)
    np.savez_compressed(buffer, rho=rho)
    return buffer.getvalue()


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
        "tape.npz": transcript_bytes(trained.transcript),
    }

"""The bytes that every run folder holds, of an audit and of a training alike."""

import io
import json
from collections.abc import Iterable, Iterator

import numpy as np
import yaml
from safetensors.torch import save as save_tensors
from torch import nn

from cropaudit.accounting.inclusion.probability import inclusion_map
from cropaudit.audit.config.audit_config import AuditConfig
from cropaudit.audit.experiment.subject import Subject
from cropaudit.audit.scores.tables import ScoreTable
from cropaudit.training.dpsgd.loop import Trained
from cropaudit.training.transcript.files import transcript_bytes

__all__ = [
    "config_bytes",
    "inclusion_bytes",
    "score_csv",
    "scores_csv",
    "training_files",
    "weights_bytes",
]


def config_bytes(config: AuditConfig) -> bytes:
    """Returns a configuration as YAML that `load_config` reads back."""
    return yaml.safe_dump(json.loads(config.model_dump_json()), sort_keys=False).encode()


def inclusion_bytes(subject: Subject) -> bytes:
    """Returns the inclusion map of the worst image, by the patch's top left, as an npz of rho."""
    buffer = io.BytesIO()
    one = inclusion_map(subject.worst_image, subject.crop, subject.patch)
    rho = subject.pipeline.shown(one)
    np.savez_compressed(buffer, rho=rho)
    return buffer.getvalue()


def score_csv(table: ScoreTable) -> bytes:
    """Returns the scores of one attack as a CSV that ``cropaudit estimate`` reads."""
    return _csv("score,member", ((repr(v), str(m)) for v, m in _rows(table)))


def scores_csv(tables: Iterable[ScoreTable]) -> bytes:
    """Returns the scores of several attacks, likewise."""
    rows = ((table.attack, repr(v), str(m)) for table in tables for v, m in _rows(table))
    return _csv("attack,score,member", rows)


def _rows(table: ScoreTable) -> Iterator[tuple[float, int]]:
    return zip(map(float, table.values), map(int, table.member), strict=True)


def _csv(heading: str, rows: Iterable[tuple[str, ...]]) -> bytes:
    return "".join(f"{line}\n" for line in (heading, *map(",".join, rows))).encode()


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

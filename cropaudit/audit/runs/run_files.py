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
from cropaudit.certificate.run_logs import Trial
from cropaudit.certificate.transcript_logs import (
    PatchPlace,
    ResidualNoise,
    inclusion_bytes,
    trials,
)
from cropaudit.training.dpsgd.loop import Trained
from cropaudit.training.sampling.samplers import Poisson
from cropaudit.training.transcript.files import transcript_bytes
from cropaudit.training.transcript.transcript import Transcript

__all__ = ["EVIDENCE", "INCLUSION_NAME", "MAP_NAME", "NOISE_NAME", "config_bytes", "map_bytes"]
__all__ += ["run_trials", "score_csv", "scores_csv", "training_files", "weights_bytes"]

EVIDENCE = ("config.yaml", "model.safetensors", "initial.safetensors", "tape.npz")
NOISE_NAME, INCLUSION_NAME, MAP_NAME = "noise.npy", "inclusion.csv", "inclusion.npz"
_ROWS = 20_000  # of the inclusion log, about


def config_bytes(config: AuditConfig) -> bytes:
    """Returns a configuration as YAML that `load_config` reads back."""
    return yaml.safe_dump(json.loads(config.model_dump_json()), sort_keys=False).encode()


def map_bytes(subject: Subject) -> bytes:
    """Returns the inclusion map of the worst image, by the patch's top left, as an npz of rho."""
    buffer = io.BytesIO()
    rho = inclusion_map(subject.worst_image, subject.crop, subject.patch)
    np.savez_compressed(buffer, rho=subject.pipeline.shown(rho))
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


def training_files(subject: Subject, trained: Trained, noise: ResidualNoise) -> dict[str, bytes]:
    """Returns what a run leaves behind for attacks and certificates, by name.

    Args:
        subject: What was trained on.
        trained: The run.
        noise: What has watched it.
    """
    return {
        "config.yaml": config_bytes(subject.config),
        "model.safetensors": weights_bytes(trained.model),
        "initial.safetensors": save_tensors(trained.initial),
        "tape.npz": transcript_bytes(trained.transcript),
        NOISE_NAME: noise.data(),
        INCLUSION_NAME: inclusion_bytes(run_trials(subject, trained.transcript)),
    }


def run_trials(subject: Subject, transcript: Transcript) -> list[Trial]:
    """Returns the steps of records that were chosen without a look at the run.

    The patch stands in its worst place, in images of the size that the claim rests on; of many
    records and steps some records are taken, spread evenly.
    """
    data, worst = subject.filled, subject.worst_image
    sizes = [data.size(record) for record in range(len(data))]
    fitting = [record for record, size in enumerate(sizes) if size == worst]
    many = isinstance(transcript.facts.sampling, Poisson)
    count = min(len(fitting), max(1, _ROWS // transcript.steps)) if many else 1
    chosen = np.unique(np.linspace(0, len(fitting) - 1, count).astype(int))
    places = [PatchPlace(fitting[i], *subject.bound.worst_position) for i in chosen]
    return trials(transcript, places, sizes, subject.patch)

"""The record of a training run, train.json: the claim, the model, and what is needed to replay."""

import math
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, JsonValue

from cropaudit.audit.results.result import CanaryPicture, Frozen, RunClaim, Utility

__all__ = ["ModeRecord", "StartRecord", "TrainRecord", "TrainedClaim", "TrialRecord"]

Finite = Annotated[
    float | None,
    BeforeValidator(lambda x: None if isinstance(x, float) and not math.isfinite(x) else x),
]
"""A number, or none for what is not finite."""
Count = Annotated[int, BeforeValidator(lambda x: len(x) if isinstance(x, tuple) else x)]
"""A number, or as many as there are."""


class TrainedClaim(RunClaim):
    """What may be said of the model's privacy."""

    noise_multiplier: float = Field(description="That the training ran with")


class TrialRecord(Frozen):
    """What one way of per-sample gradients was measured to do."""

    mode: str
    error: Finite = Field(description="Relative, from autograd's gradients")
    seconds: Finite = Field(default=None, description="Of a step; older records only")
    peak_bytes: int
    note: str


class ModeRecord(Frozen):
    """How per-sample gradients were taken, and why."""

    mode: str
    reason: str
    trials: tuple[TrialRecord, ...]


class StartRecord(Frozen):
    """What the model has from its file of weights."""

    file: str
    sha256: str
    loaded: Count = Field(description="Tensors of the model that came from the file")
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    frozen: Count = Field(description="BatchNorms that are frozen at the file's statistics")


class TrainRecord(Frozen):
    """One training run."""

    kind: Literal["cropaudit training run"] = "cropaudit training run"
    schema_version: Literal["2"] = "2"
    name: str
    seed: int
    created: str = Field(description="UTC, ISO 8601")
    command: str
    claim: TrainedClaim
    utility: Utility
    data: str = Field(description="In words")
    data_digest: str = Field(description="SHA-256 over the images and masks that were trained on")
    model: str
    parameters: int
    weights_digest: str = Field(description="SHA-256 of model.safetensors")
    start: StartRecord | None = Field(description="None if the weights are random")
    grad_sample: ModeRecord
    device: str
    threads: int = Field(description="CPU threads; others may round otherwise")
    processes: int
    seconds: float
    seconds_per_step: float
    loss_first: Finite = Field(description="Mean loss of the first batch; not private")
    loss_last: Finite
    canaries: tuple[CanaryPicture, ...]
    versions: dict[str, str]
    config: dict[str, JsonValue]
    files: dict[str, str] = Field(description="SHA-256 of the files of the run")

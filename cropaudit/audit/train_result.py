"""The record of a training run, train.json: the claim, the model, and what is needed to replay."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from cropaudit.audit.result import CanaryPicture, Shortcut, Utility

__all__ = ["ModeRecord", "StartRecord", "TrainRecord", "TrainedClaim", "TrialRecord"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TrainedClaim(_Frozen):
    """What may be said of the model's privacy."""

    statement: str
    adjacency: str
    epsilon: float
    delta: float
    sampler: str
    noise_multiplier: float
    max_grad_norm: float
    records: int = Field(description="Images and records that canaries add, together")
    canary_records: int = Field(description="Records that canaries add; 0 where they replace")
    canaries: int
    batch: int
    sample_rate: float
    steps: int
    image: str = Field(description="The worst image size, HxW")
    crop: str
    patch: str
    inclusion_probability: float
    epsilon_amplified: float | None = Field(
        description="The configured mechanism, with crops; none where hardly any noise is left"
    )
    epsilon_without_crop: float | None
    epsilon_without_canaries: float | None = Field(
        description="The configured mechanism, with crops, over the images without canaries"
    )
    shortcuts: tuple[Shortcut, ...]


class TrialRecord(_Frozen):
    """What one way of per-sample gradients was measured to do."""

    mode: str
    error: float | None = Field(description="Relative, from autograd's gradients")
    seconds: float | None = Field(description="Of a step")
    peak_bytes: int
    note: str


class ModeRecord(_Frozen):
    """How per-sample gradients were taken, and why."""

    mode: str
    reason: str
    trials: tuple[TrialRecord, ...]


class StartRecord(_Frozen):
    """What the model has from its file of weights."""

    file: str
    sha256: str
    loaded: int = Field(description="Tensors of the model that came from the file")
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    frozen: int = Field(description="BatchNorms that are frozen at the file's statistics")


class TrainRecord(_Frozen):
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
    loss_first: float | None = Field(description="Mean loss of the first batch; not private")
    loss_last: float | None
    canaries: tuple[CanaryPicture, ...]
    versions: dict[str, str]
    config: dict[str, JsonValue]
    files: dict[str, str] = Field(description="SHA-256 of the files of the run")

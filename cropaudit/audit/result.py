"""The audit's result: one frozen document from which every report format is derived.

Every number that bears an epsilon names its delta, confidence, estimator and validity. Upper
bounds (the claim) are rounded up before they get here, lower bounds down.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from cropaudit.accounting.names import SamplerName

__all__ = [
    "Attack",
    "AuditReport",
    "Bound",
    "CanaryPicture",
    "Check",
    "Claim",
    "Conformance",
    "Curve",
    "Delivered",
    "Headline",
    "Identity",
    "Pair",
    "Provenance",
    "Shortcut",
    "Utility",
    "Validity",
    "Verdict",
]

Validity = Literal["exact", "credible", "asymptotic", "model-based"]
Status = Literal["violation", "consistent", "inconclusive"]


class _Frozen(BaseModel):
    """Immutable, closed to unknown keys, and finite: a NaN never reaches a report."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Identity(_Frozen):
    """Which audit of what this is."""

    report_id: str
    tool_version: str
    created: str = Field(description="UTC, ISO 8601")
    data_digest: str = Field(description="SHA-256 over the audited images and masks")
    model_digest: str = Field(description="SHA-256 over the final weights")


class Shortcut(_Frozen):
    """An accounting that is no bound for this mechanism, and the epsilon that it would claim."""

    name: str
    epsilon: float
    why_invalid: str


class Curve(_Frozen):
    """A curve in the (false positive rate, true positive rate) plane, from (0, .) to (1, 1)."""

    fpr: tuple[float, ...]
    tpr: tuple[float, ...]


class Claim(_Frozen):
    """What is claimed, with its native parameters so that others can convert it."""

    kind: Literal["configured", "epsilon", "shortcut", "bare"]
    statement: str = Field(description="The claim in one sentence")
    adjacency: str
    epsilon: float
    delta: float
    sampler: SamplerName
    noise_multiplier: float = Field(description="Of the claimed mechanism, in units of the clip")
    configured_noise_multiplier: float = Field(description="What the audited training ran with")
    max_grad_norm: float
    records: int = Field(description="Images and records that canaries add, together")
    canary_records: int = Field(description="Records that canaries add; 0 where they replace")
    canaries: int = Field(description="Canaries in the data set")
    batch: int
    sample_rate: float
    steps: int
    image: str = Field(description="The worst image size, HxW")
    crop: str
    padding: int
    patch: str
    inclusion_probability: float
    worst_position: tuple[int, int] = Field(description="Row and column of the patch's top left")
    record_rate: float = Field(description="Probability that one step uses the patch")
    epsilon_amplified: float | None = Field(
        description="The configured mechanism, with crops; none where hardly any noise is left"
    )
    epsilon_without_crop: float | None = Field(
        description="The configured mechanism, without crops"
    )
    epsilon_without_canaries: float | None = Field(
        description="The configured mechanism, with crops, over the images without canaries"
    )
    shortcuts: tuple[Shortcut, ...]
    tradeoff: Curve | None = Field(
        description="Highest true positive rate that the claim allows; none for a bare claim"
    )
    profile: tuple[tuple[float, float], ...] = Field(description="(epsilon, delta) pairs")


class Pair(_Frozen):
    """The pair of worlds that the probe plays, and what it costs against the accountant."""

    epsilon: float = Field(description="Of the pair itself, composed over all steps")
    miss_gradient: float = Field(description="Projection of a crop that misses, in units of C")
    accountant_ratio: float = Field(description="Pair epsilon over accountant epsilon")


class Bound(_Frozen):
    """One lower bound on epsilon, or why there is none."""

    estimator: str
    epsilon: float
    delta: float
    confidence: float
    validity: Validity
    assumes: str = Field(description="What must hold for the confidence to be true")
    cap: float | None = Field(
        default=None, description="Largest value possible at this n; none if there is no limit"
    )
    detectable: float | None = Field(
        default=None, description="Smallest true epsilon shown to be above 0 with 90% power"
    )
    note: str = ""


class Attack(_Frozen):
    """One attack's games and what they show."""

    name: str
    title: str
    adversary: str = Field(description="What it sees and knows")
    game: str = Field(description="What was drawn, how often, and what is independent")
    members: int
    nonmembers: int
    auc: float
    tpr_at_fpr: dict[str, float] = Field(description="Observed true positive rate by FPR")
    threshold: float | None = Field(description="Pre-registered; none for rank-based estimators")
    false_positives: int | None
    true_positives: int | None
    roc: Curve
    bounds: tuple[Bound, ...]
    seconds: float


class Check(_Frozen):
    """A control or a check of conformance with its evidence."""

    name: str
    expected: str
    observed: str
    status: Literal["pass", "fail", "differs", "inconclusive", "not measured", "skipped"]


class Delivered(_Frozen):
    """Epsilon recomputed from what was measured of the pipeline, beside the claimed one."""

    epsilon_low: float | None = Field(description="None if no noise at all is left: infinite")
    epsilon_high: float | None = Field(description="None if no noise at all may be left")
    claimed: float
    confidence: float
    limits: tuple[str, ...] = Field(description="Of each measured parameter, in words")


class Conformance(_Frozen):
    """What the battery of checks found on the code that was trained with."""

    level: float = Field(description="Probability, at most, that any check of sound code fails")
    checks: tuple[Check, ...]
    delivered: Delivered | None


class Headline(_Frozen):
    """The largest lower bound after correction for all attacks and estimators."""

    epsilon_lower: float
    delta: float
    confidence: float
    attack: str
    estimator: str
    validity: Validity
    correction: str


class Verdict(_Frozen):
    """The decision, the ground it stands on, and what the audit could have seen."""

    status: Status
    ground: str = Field(description="assumption-free, given the family, or none")
    detail: str
    reasons: tuple[str, ...]
    detectable_epsilon: float | None = Field(
        description="Smallest true epsilon found with 90% power; none if nothing would be found"
    )
    power: float = 0.9
    not_probed: tuple[str, ...] = Field(
        description="Faults for which that power is not claimed: it holds along the noise alone"
    )


class Utility(_Frozen):
    """Mean intersection over union on held-out images."""

    miou: float
    miou_without_noise: float | None = Field(description="Of the same run at no noise")
    miou_without_crop_credit: float | None = Field(
        default=None, description="Of the same run at the noise that the claim takes without crops"
    )
    miou_constant: float = Field(
        description="Of the commonest class everywhere: what takes no learning"
    )
    per_class: dict[str, float | None]
    per_class_without_noise: dict[str, float | None]
    images: int


class CanaryPicture(_Frozen):
    """Pictures of one canary slot, as PNG files in the run folder."""

    slot: int
    name: str
    position: tuple[int, int]
    world: Literal["A", "B"]
    world_a: str = Field(description="File with the image holding content A")
    world_b: str
    crop_hit: str | None = Field(description="File with a crop that meets the patch")
    crop_miss: str | None
    labels_a: str
    labels_b: str
    beside: str | None = Field(
        default=None, description="File with the patch and its surroundings enlarged: A beside B"
    )


class Provenance(_Frozen):
    """What is needed to run it again."""

    config: dict[str, JsonValue]
    config_digest: str
    seed: int
    command: str
    versions: dict[str, str]
    hardware: str
    seconds: float
    files: dict[str, str] = Field(description="SHA-256 of the raw files beside the report")


class AuditReport(_Frozen):
    """The canonical document of one audit."""

    schema_version: Literal["2"] = "2"
    identity: Identity
    claim: Claim
    pair: Pair
    attacks: tuple[Attack, ...]
    controls: tuple[Check, ...]
    conformance: Conformance
    headline: Headline
    verdict: Verdict
    utility: Utility
    canaries: tuple[CanaryPicture, ...]
    not_covered: tuple[str, ...]
    provenance: Provenance

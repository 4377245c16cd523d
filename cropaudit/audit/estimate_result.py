"""What scores of any origin show: one frozen document, printed, plotted or written as JSON."""

from pydantic import BaseModel, ConfigDict, Field

from cropaudit.audit.result import Bound, Curve, Validity

__all__ = ["AttackEstimate", "Estimate", "Inversion", "PositionEstimate", "Summit"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Inversion(_Frozen):
    """The same test read as a limit on one number of the mechanism, the others being as claimed."""

    axis: str = Field(description="Which number of the mechanism")
    claimed: float
    limit: float | None = Field(description="None if no value, or every value, is rejected")
    side: str = Field(description="at most, or at least")
    words: str
    contradicts: bool = Field(description="Whether the claimed value is outside the limit")


class PositionEstimate(_Frozen):
    """What the trials of one position of the patch show."""

    position: str
    members: int
    nonmembers: int
    epsilon: float = Field(description="Lower bound at the stated confidence, for this one alone")
    simultaneous: float = Field(description="Lower bound that holds together with all others")
    p_value: float | None = Field(description="Of the claim at this position, corrected (Holm)")


class AttackEstimate(_Frozen):
    """What one attack's scores show."""

    attack: str
    members: int
    nonmembers: int
    auc: float
    roc: Curve
    bounds: tuple[Bound, ...] = Field(description="Each alone at the stated confidence")
    p_value: float | None = Field(description="Of the claim, this attack alone")
    corrected_p_value: float | None = Field(description="Of the claim, over all attacks (Holm)")
    could_contradict: bool | None = Field(
        description="Whether scores without an error would contradict the claim; none without one"
    )
    trials_needed: int | None = Field(
        description="If not: trials, of both worlds together, that could; none if no number found"
    )
    free_p_value: float | None = Field(
        description="Of the claim, assuming nothing about the mechanism, this attack alone"
    )
    inversions: tuple[Inversion, ...]
    positions: tuple[PositionEstimate, ...]
    skipped: tuple[str, ...] = Field(description="Estimators that do not apply, and why")


class Summit(_Frozen):
    """The largest bound over all attacks, by the estimator named beforehand, corrected."""

    epsilon: float
    attack: str
    estimator: str
    validity: Validity
    correction: str
    position: str | None = Field(description="Of a search over positions, the worst one")


class Estimate(_Frozen):
    """What scores show."""

    delta: float
    confidence: float
    trials: str = Field(description="independent, or one-run")
    seed: int = Field(description="Of the order in which rows were split and paired")
    power_holds: str = Field(description="Of which truths what would be found is said")
    not_probed: tuple[str, ...] = Field(description="What no power is claimed for")
    mechanism: str | None
    claim: float | None = Field(description="Epsilon that the scores are held against")
    claim_words: str
    claimed_roc: Curve | None = Field(description="What the claim allows")
    attacks: tuple[AttackEstimate, ...]
    summit: Summit
    contradicted: bool = Field(description="Whether the claim is, at the stated confidence")
    ground: str = Field(description="Of a contradiction: assumption-free, given the game, or none")

"""What scores of any origin show: one frozen document, printed, plotted or written as JSON."""

from typing import Literal

from pydantic import Field

from cropaudit.audit.results.result import Bound, Curve, Headline
from cropaudit.estimators.bound import Frozen
from cropaudit.estimators.registry import Skipped

__all__ = ["AttackEstimate", "Estimate", "Ground", "ParameterLimit", "PositionEstimate"]

Ground = Literal["none", "assumption-free", "given the game"]


class ParameterLimit(Frozen):
    """The same test read as a limit on one number of the mechanism, the others being as claimed."""

    axis: str = Field(description="Which number of the mechanism")
    claimed: float
    limit: float | None = Field(description="None if no value, or every value, is rejected")
    side: Literal["at most", "at least"]
    outside: bool = Field(description="Whether every value is rejected")
    contradicts: bool = Field(description="Whether the claimed value is outside the limit")


class PositionEstimate(Frozen):
    """What the trials of one position of the patch show."""

    position: str
    members: int
    nonmembers: int
    epsilon: float = Field(description="Lower bound at the stated confidence, for this one alone")
    simultaneous: float = Field(description="Lower bound that holds together with all others")
    p_value: float | None = Field(description="Of the claim at this position, corrected (Holm)")


class AttackEstimate(Frozen):
    """What one attack's scores show."""

    attack: str
    members: int
    nonmembers: int
    auc: float
    roc: Curve
    bounds: tuple[Bound, ...] = Field(
        description="Each alone at the stated confidence; the first one decides"
    )
    corrected: Bound = Field(
        description="The deciding one, corrected for all attacks and positions"
    )
    share: float = Field(description="Of the level, for all trials of this attack together")
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
    free_epsilon: float | None = Field(
        description="Epsilon that the deciding test rejects whatever ran, where it refutes"
    )
    limits: tuple[ParameterLimit, ...]
    positions: tuple[PositionEstimate, ...]
    skipped: tuple[Skipped, ...] = Field(description="Estimators that do not apply, and why")


class Estimate(Frozen):
    """What scores show."""

    delta: float
    confidence: float
    trials: Literal["independent", "one-run"]
    order: str = Field(description="Of the worlds: either, forward, backward or adaptive")
    seed: int = Field(description="Of the order in which rows were split and paired")
    power_holds: str = Field(description="Of which truths what would be found is said")
    not_probed: tuple[str, ...] = Field(description="What no power is claimed for")
    mechanism: str | None
    claim: float | None = Field(description="Epsilon that the scores are held against")
    claim_stated: bool = Field(description="Whether it was stated, not computed of the mechanism")
    game_epsilon: float | None = Field(description="What the mechanism's own game can show of it")
    claimed_roc: Curve | None = Field(description="What the claim allows")
    attacks: tuple[AttackEstimate, ...]
    headline: Headline
    contradicted: bool = Field(description="Whether the claim is, at the stated confidence")
    ground: Ground = Field(description="Of a contradiction")

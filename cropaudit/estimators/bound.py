"""A lower bound on epsilon as every document holds it: with all that it takes to read it."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cropaudit.files.notebook import Tabled

__all__ = ["Bound", "Cut", "Frozen", "Validity"]

Validity = Literal["exact", "credible", "asymptotic", "model-based"]


class Frozen(Tabled, BaseModel):
    """Immutable, closed to unknown keys, and finite: a NaN never reaches a report."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Cut(Frozen):
    """How scores were read, as far as it applies to the kind."""

    kind: Literal["given", "ranks", "split", "roc", "guesses", "pairs"]
    threshold: float | None = None
    rates: tuple[float, ...] = Field(
        default=(), description="False positive rates at ranks, or shares of canaries guessed"
    )
    side: Literal["high", "low", "both"] = "high"
    two_sided: bool = Field(default=False, description="Whether low scores may speak for members")
    share: float | None = Field(default=None, description="Of the scores that are learned on")
    ranks: int | None = None
    right: int | None = None
    guesses: int | None = None
    pairs: int | None = None
    seed: int | None = None


class Bound(Frozen):
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
    axis: str | None = Field(default=None, description="The number that a family varies")
    limit: float | None = Field(default=None, description="Its last value that is rejected")
    outside: bool = Field(
        default=False,
        description="Whether no member of the family explains the scores: then the value is that "
        "of the same test without a family",
    )
    cut: Cut | None = Field(default=None, description="How scores were read")
    few_values: int | None = Field(
        default=None, description="Different scores, where so few make ranks fall into ties"
    )

    @model_validator(mode="before")
    @classmethod
    def _without_note(cls, data: Any) -> Any:
        """Earlier reports held a sentence here, which nothing reads."""
        return {k: v for k, v in data.items() if k != "note"} if isinstance(data, dict) else data

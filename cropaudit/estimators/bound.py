"""A lower bound on epsilon as every document holds it: with all that it takes to read it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Bound", "Frozen", "Validity"]

Validity = Literal["exact", "credible", "asymptotic", "model-based"]


class Frozen(BaseModel):
    """Immutable, closed to unknown keys, and finite: a NaN never reaches a report."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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
    note: str = ""

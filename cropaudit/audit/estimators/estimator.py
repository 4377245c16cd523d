"""What an estimator is: a name, what it assumes, how far its confidence can be trusted, a bound.

There are two kinds, by what they are fed. Each is a small frozen type whose fields are what it is
told beforehand (a family of mechanisms, a prior); `epsilon` is a function of counts alone.
"""

from typing import Protocol

from cropaudit.audit.estimators.evidence import Counts, Found, Guesses
from cropaudit.audit.result import Validity

__all__ = ["CountEstimator", "RunEstimator"]


class CountEstimator(Protocol):
    """Turns one test on independent trials into a lower bound on epsilon."""

    @property
    def name(self) -> str:
        """Name in tables and options."""

    @property
    def validity(self) -> Validity:
        """How far the confidence can be trusted."""

    @property
    def assumes(self) -> str:
        """What must hold for that, in words."""

    def epsilon(self, counts: Counts, delta: float, level: float) -> Found:
        """Returns a number that exceeds the true epsilon with probability at most ``level``."""


class RunEstimator(Protocol):
    """Turns guesses about the canaries of one run into a lower bound on epsilon."""

    @property
    def name(self) -> str:
        """Name in tables and options."""

    @property
    def validity(self) -> Validity:
        """How far the confidence can be trusted."""

    @property
    def assumes(self) -> str:
        """What must hold for that, in words."""

    def epsilon(self, guesses: Guesses, delta: float, level: float) -> Found:
        """Returns a number that exceeds the true epsilon with probability at most ``level``."""

"""What may be true, from quiet to loud, and the smallest truth that a method finds.

A truth is a trade-off curve that the best attack attains. Along a family it is the game of a
member; without a family it is the pair at which an (epsilon, delta) bound is tight.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cropaudit.audit.estimators.family import Family
from cropaudit.audit.estimators.rate_test import TradeOff, approximate_dp

__all__ = ["NOT_PROBED", "ONLY_NOISE", "ApproximateTruth", "FamilyTruth", "Truth", "smallest_found"]

ONLY_NOISE = "if only the noise is less"
"""Of which truths it is said that they would be found: the mechanism at less noise, no other."""
NOT_PROBED = (
    "a leak in few runs or of few records: one run in a thousand that shows all is not found",
    "a sampler, a crop or a number of steps that differs from the claim",
    "what the attack did not look at: other images, patches, outputs or moments of the training",
)
"""What no power is claimed for."""

_GRID = 100  # steps of epsilon 1 where no family gives a grid


class Truth(Protocol):
    """Trade-off curves on a grid of increasing loudness."""

    @property
    def words(self) -> str:
        """Which truths these are, as a condition."""

    @property
    def delta(self) -> float:
        """Delta of the epsilons."""

    @property
    def span(self) -> tuple[int, int]:
        """First and last loudness."""

    def trade_off(self, loudness: int) -> TradeOff:
        """Returns the true positive rates of the best attack by its false positive rates."""

    def orders(self, loudness: int) -> Sequence[tuple[TradeOff, TradeOff]]:
        """Returns, for each order of the worlds that may be true, two curves of the best attack.

        The second one is that of the same game told from the other world.
        """

    def epsilon(self, loudness: int) -> float:
        """Returns the true epsilon."""


@dataclass(frozen=True)
class FamilyTruth:
    """The games of a family's members."""

    family: Family

    @property
    def words(self) -> str:
        """Which truths these are."""
        noisy = self.family.axis == "noise multiplier"
        return ONLY_NOISE if noisy else f"if only the {self.family.axis} is larger"

    @property
    def delta(self) -> float:
        """Delta of the family."""
        return self.family.delta

    @property
    def span(self) -> tuple[int, int]:
        """The family's own span."""
        return self.family.span

    def trade_off(self, loudness: int) -> TradeOff:
        """Returns the curve of a member's game."""
        return self.family.curve(loudness).parts[0].highest_tpr

    def orders(self, loudness: int) -> Sequence[tuple[TradeOff, TradeOff]]:
        """Returns the curves of a member's game in the orders of the family."""
        if self.family.order == "claimed":  # a claim holds in either order
            return [(curve, curve) for curve in self.family.played(loudness)]
        forward, backward = self.family.curve(loudness).trade_offs()
        told = [(forward, backward), (backward, forward)]
        return {"forward": told[:1], "backward": told[1:]}.get(self.family.order, told)

    def epsilon(self, loudness: int) -> float:
        """Returns the epsilon of a member's game."""
        return self.family.epsilon(loudness)


@dataclass(frozen=True)
class ApproximateTruth:
    """Randomised response that shows the bit outright with probability delta."""

    delta: float

    @property
    def words(self) -> str:
        """Which truths these are."""
        return "if every run leaks as much as its epsilon and delta allow"

    @property
    def span(self) -> tuple[int, int]:
        """Epsilon from 0 to 20."""
        return 0, 20 * _GRID

    def trade_off(self, loudness: int) -> TradeOff:
        """Returns what (epsilon, delta)-DP allows."""
        return approximate_dp(loudness / _GRID, self.delta)

    def orders(self, loudness: int) -> Sequence[tuple[TradeOff, TradeOff]]:
        """Returns the curve twice: the region is the same from either world."""
        return [(self.trade_off(loudness), self.trade_off(loudness))]

    def epsilon(self, loudness: int) -> float:
        """Returns the epsilon of a grid point."""
        return loudness / _GRID


def smallest_found(truth: Truth, found: Callable[[int], bool]) -> int | None:
    """Returns the loudness of the quietest truth that is found; none if not even the loudest is.

    Args:
        truth: What may be true.
        found: Whether a loudness is found; what finds one finds all that are louder.
    """
    low, high = truth.span
    if found(low):
        return low
    centre, step = max(low, min(0, high)), 64
    while not found(centre):
        if centre >= high:
            return None
        low, centre, step = centre, min(high, centre + step), 2 * step
    high = centre
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high

"""The whole ROC against a trade-off curve: hits above many ranks at once, weighted and summed.

One threshold sees one point of the ROC. Let G_1 < ... < G_K be the false positive rates at K ranks
among the nonmembers, fixed beforehand, and X_i the members above the i-th. G is distributed as an
ordered sample of uniforms whatever the scores are, and if no test beats the curve F, members lie
above each rank with probability at most F(G_i): stochastically below members drawn from F itself.
So sum w_i X_i with w >= 0 is stochastically largest under F, where its law holds nothing unknown.
Its p-value is found by simulation. The simulated games are the same for every file, so their own
chance does not average out over files: what counts is the exact upper limit of the tail, missed
with a probability of 3e-5, and more games are played where that limit and the lower one do not
agree. No seed can be chosen.

The weights are those of the best linear test between the claimed member of the family and its
neighbour, made non-negative; they are planned from the family and the number of trials alone.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from cropaudit.audit.estimators.evidence import upper_limit
from cropaudit.audit.estimators.family import Family, Rejected
from cropaudit.audit.estimators.joint_test import largest_epsilon
from cropaudit.audit.estimators.rate_test import TradeOff, approximate_dp
from cropaudit.audit.result import Validity
from cropaudit.errors import require

__all__ = ["RankSum"]

Array = NDArray[np.float64]

_RATES = np.concatenate([np.geomspace(1e-4, 0.02, 10)[:-1], np.linspace(0.02, 0.96, 24)])
_QUIETER = 40  # steps of the family between the two members that the weights tell apart
_DRAWS = 1999
_GROWTH, _MOST = (1, 4, 16), 200_000  # of the draws, until the limits of the tail agree
_MISS = 3e-5  # chance that a limit of the tail is on the wrong side of it
_SEED = 0x5EED  # of the simulated games: fixed before any score was seen, and no option


@dataclass(frozen=True, eq=False)
class RankSum:
    """The loudest member of a family that the weighted hits of a whole ROC reject.

    Attributes:
        family: Its claimed member gives the weights.
        members: Trials of world A.
        nonmembers: Trials of world B.
    """

    family: Family
    members: int
    nonmembers: int
    _laws: dict[int, Array] = field(default_factory=dict, repr=False)

    name: ClassVar[str] = "rank-sum-f-dp"
    validity: ClassVar[Validity] = "model-based"
    assumes: ClassVar[str] = (
        "independent trials; and, for the value of epsilon, that the delivered mechanism is the "
        "claimed one at another value of the named number, world A being the odd one out"
    )

    def __post_init__(self) -> None:
        require(self.members >= 1, "members", "at least 1", self.members)
        require(self.nonmembers >= 1, "nonmembers", "at least 1", self.nonmembers)

    @cached_property
    def ranks(self) -> NDArray[np.int64]:
        """Ranks among the nonmembers, from the highest score down."""
        found = np.round(_RATES * self.nonmembers).astype(np.int64)
        return np.unique(np.clip(found, 1, self.nonmembers))

    @cached_property
    def weights(self) -> Array:
        """Weights of the hits above each rank, not negative, the largest one 1."""
        n, m = self.members, self.nonmembers
        rates = self.ranks / (m + 1)
        loud = self._curve(0)(rates)
        gain = loud - self._curve(-_QUIETER)(rates)
        near = 1e-3 * np.minimum(rates, 1 - rates)
        curve = self._curve(0)
        slope = (curve(rates + near) - curve(rates - near)) / (2 * near)
        spread = np.minimum.outer(loud, loud) - np.outer(loud, loud)
        spread = spread / n + np.outer(slope, slope) / m * (
            np.minimum.outer(rates, rates) - np.outer(rates, rates)
        )
        # Where all members lie above all ranks there is no spread at all.
        least = 1e-9 * np.trace(spread) + 1e-12
        root = np.linalg.cholesky(spread + least * np.eye(len(rates)))
        found, _ = nnls(root.T, np.linalg.solve(root, gain))
        return np.asarray(found / found.max()) if found.max() > 0 else np.ones(len(rates))

    def statistic(self, hits: NDArray[np.int64]) -> float:
        """Returns the weighted hits above `ranks`."""
        return float(self.weights @ hits)

    def p_value(self, statistic: float, allowed: TradeOff, level: float = 0.05) -> float:
        """Returns the p-value of the curve, rounded up by what the simulation may be wrong by.

        Args:
            statistic: Weighted hits above `ranks`.
            allowed: The curve.
            level: What it will be compared with; above that, few simulated games are enough.
        """
        smallest = 1.0
        for low, high in self._limits(statistic, allowed, level):
            smallest = min(smallest, high)
            if low > level:
                break
        return smallest

    def rejects(self, statistic: float, allowed: TradeOff, level: float) -> bool:
        """Whether the p-value is at most ``level``, with no more simulated games than it takes."""
        for low, high in self._limits(statistic, allowed, level):
            if high <= level:
                return True
            if low > level:
                return False
        return False

    def likely_rejects(self, statistic: float, allowed: TradeOff, level: float) -> bool:
        """Whether `rejects` is likely to: for plans, not for bounds; quick."""
        drawn = self.draws(allowed, self._count(level))
        return float(np.mean(drawn >= statistic - 1e-9)) <= level

    def _limits(
        self, statistic: float, allowed: TradeOff, level: float
    ) -> Iterator[tuple[float, float]]:
        """Yields lower and upper limits of the chance of so large a statistic, ever closer."""
        first = self._count(level)
        for count in dict.fromkeys(min(_MOST, first * growth) for growth in _GROWTH):
            above = int(np.count_nonzero(self.draws(allowed, count) >= statistic - 1e-9))
            low = 1 - upper_limit(count - above, count, _MISS)
            yield low, upper_limit(above, count, _MISS)

    def draws(self, allowed: TradeOff, count: int) -> Array:
        """Returns the statistic in games whose members follow a curve exactly, shape (count,)."""
        rng = np.random.default_rng([_SEED, 1])
        bins = np.diff(allowed(self._rates(count)), prepend=0.0, append=1.0, axis=1)
        bins = np.maximum(bins, 0.0)
        bins /= bins.sum(axis=1, keepdims=True)
        inside = rng.multinomial(self.members, bins)
        return np.asarray(np.cumsum(inside, axis=1)[:, :-1] @ self.weights)

    def loudest_rejected(self, statistic: float, level: float) -> Rejected:
        """Returns the loudest member of the family that the statistic rejects at ``level``."""
        return self.family.loudest_rejected(lambda allowed: self.rejects(statistic, allowed, level))

    def largest_epsilon(self, statistic: float, delta: float, level: float) -> float:
        """Returns the largest epsilon whose (epsilon, delta) region is rejected, at least 0.

        That assumes nothing about the mechanism.
        """
        return largest_epsilon(
            lambda epsilon: self.rejects(statistic, approximate_dp(epsilon, delta), level),
            tolerance=1e-3,
        )

    def likely(self, truth: TradeOff, power: float = 0.9) -> float:
        """Returns a statistic that is reached with probability ``power`` under a true curve."""
        return float(np.quantile(self.draws(truth, _DRAWS), 1 - power, method="lower"))

    def _curve(self, index: int) -> TradeOff:
        return self.family.curve(index).parts[0].highest_tpr

    def _count(self, level: float) -> int:
        return max(_DRAWS, min(_MOST, math.ceil(20 / level) - 1))

    def _rates(self, count: int) -> Array:
        """Returns false positive rates at the ranks, one row for each simulated game."""
        if count not in self._laws:
            rng = np.random.default_rng([_SEED, 0])
            gaps = np.diff(self.ranks, prepend=0, append=self.nonmembers + 1)
            parts = rng.standard_gamma(gaps.astype(float), size=(count, len(gaps)))
            self._laws[count] = np.cumsum(parts, axis=1)[:, :-1] / parts.sum(axis=1, keepdims=True)
        return self._laws[count]

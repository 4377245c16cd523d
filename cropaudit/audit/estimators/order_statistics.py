"""Estimator 7: the exact test of one run in a product channel (Xiang et al., 2509.08704).

Each of n canaries has its own fair coin, and what the run shows about one coin is independent of
the others (orthogonal canaries). r coins are guessed, and u guesses are wrong. Where the pair of
worlds has log-likelihood ratio L, the better guess is wrong with probability 1 / (1 + e^|L|): the
larger |L|, the surer. Of n sorted uniforms the r highest are what the r surest guesses have as
quantiles of sureness; given T, one minus the highest of the others, T ~ Beta(r + 1, n - r), they
are independent and uniform above 1 - T, so that each is wrong with probability g(T), the mean error
over the surest share T. Hence

    P[at most u wrong] = E[BinCDF(u; r, g(T))],                     T = 1 where all are guessed.

No way to guess does better. Given all that is seen, the coins are independent, so the number of
wrong guesses is a sum of independent events; it is stochastically smallest where each has the
smallest probability, which is guessing the likelier world for the r surest. A pair with a lower
trade-off curve is a garbling of this one (Blackwell): whoever plays the louder channel can garble
it first, so cannot do worse there. So the p-value holds for every channel under the curve, and
every policy. The order of the worlds does not matter: a fair coin makes sureness symmetric.

Every sum is an upper bound on the p-value: cells of T count at their surer end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

from cropaudit.audit.estimators.evidence import Found, Guesses
from cropaudit.audit.estimators.family import Family
from cropaudit.audit.estimators.rate_test import TradeOff
from cropaudit.audit.estimators.run_fdp import (
    Against,
    family_bound,
    outer_polygon,
    table_of,
)
from cropaudit.audit.result import Validity

__all__ = [
    "SHARES",
    "OrderStatistics",
    "Sureness",
    "likely_right",
    "p_value",
    "planned_share",
]

Array = NDArray[np.float64]

SHARES = (0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0)
_ABOUT = 0.997  # of the best promise: simulated games prefer the larger of such shares
_CELLS = np.concatenate(  # of the law of T, in deviations from its mean
    [np.linspace(-7, -3, 100), np.linspace(-3, 3, 1000)[1:-1], np.linspace(3, 7, 100)]
)


@dataclass(frozen=True, eq=False)
class Sureness:
    """How sure the better guess is in one channel, from the surest part on.

    Attributes:
        shares: Shares of the surest, increasing from 0 to 1, shape (k,).
        errors: Chance to be among them and wrong: convex, from 0, shape (k,).
    """

    shares: Array
    errors: Array

    @classmethod
    def of_masses(cls, p: Array, q: Array) -> "Sureness":
        """Builds it from the probabilities of what is seen in either world, shape (k,) each."""
        seen = p + q > 0
        p, q = p[seen], q[seen]
        order = np.argsort(np.minimum(p, q) / (p + q), kind="stable")
        shares = np.cumsum((p + q)[order]) / 2
        errors = np.cumsum(np.minimum(p, q)[order]) / 2
        return cls(np.append(0.0, shares), np.append(0.0, errors))

    @classmethod
    def above(cls, allowed: TradeOff) -> "Sureness":
        """Builds one that is at least as sure as a concave curve, for p-values."""
        x, y = outer_polygon(allowed)
        return cls.of_masses(np.diff(y), np.diff(x))

    @classmethod
    def below(cls, allowed: TradeOff) -> "Sureness":
        """Builds one that is at most as sure as a concave curve, for power: its chords."""
        x, y = table_of(allowed)
        return cls.of_masses(np.append(y[0], np.diff(y)), np.append(0.0, np.diff(x)))

    def error(self, share: Array) -> Array:
        """Returns the mean error of the surest ``share``, in [0, 1], any shape."""
        least = self.errors[1] / self.shares[1]
        with np.errstate(invalid="ignore"):
            mean = np.interp(share, self.shares, self.errors) / share
        return np.asarray(np.where(share > 0, np.minimum(mean, 0.5), least))


def p_value(guesses: Guesses, sureness: Sureness) -> float:
    """Returns the probability, at most, of so many right guesses in a product channel.

    Args:
        guesses: How many canaries, guesses and right ones.
        sureness: Of the hypothesised channel, or a surer one.

    >>> fair = Sureness.of_masses(np.ones(1), np.ones(1))
    >>> round(p_value(Guesses(100, 10, 9), fair), 6)
    0.010742
    """
    shares, masses = _share_law(guesses.canaries, guesses.guesses)
    wrong = guesses.guesses - guesses.right
    return min(1.0, float(masses @ _at_most(wrong, guesses.guesses, sureness.error(shares[:-1]))))


def likely_right(canaries: int, guesses: int, truth: TradeOff, power: float = 0.9) -> int:
    """Returns so many right guesses as the best guesser reaches with probability ``power``.

    Args:
        canaries: In the run, independent of each other.
        guesses: How many are guessed, the surest.
        truth: The true positive rates that the attack really has: a concave curve.
        power: Wanted probability.
    """
    sureness = Sureness.below(truth)
    shares, masses = _share_law(canaries, guesses)
    errors = sureness.error(shares[1:])  # less sure ends: the power must be reached
    low, high = -1, guesses
    while high - low > 1:
        middle = (low + high) // 2
        reached = float(masses @ _at_most(middle, guesses, errors)) >= power
        low, high = (low, middle) if reached else (middle, high)
    return guesses - high


@dataclass(frozen=True)
class OrderStatistics:
    """One run of independent canaries held against the games of a mechanism's own family.

    Attributes:
        family: Where the loudest member is sought that the guesses contradict.
    """

    family: Family

    name: ClassVar[str] = "one-run-order-statistics"
    validity: ClassVar[Validity] = "model-based"
    assumes: ClassVar[str] = (
        "every canary's world was drawn by its own fair coin, number of guesses fixed beforehand; "
        "what the run shows of one canary is independent of the others (orthogonal canaries); "
        "and, for the value of epsilon, that the delivered mechanism is in the family"
    )

    def epsilon(self, guesses: Guesses, delta: float, level: float) -> Found:
        """Returns epsilon of the loudest member that the guesses contradict, a lower bound.

        Raises:
            InputError: If delta is not the family's, or level not in (0, 1).
        """
        return family_bound(self.family, self.against, guesses, delta, level)

    def against(self, allowed: TradeOff) -> Against:
        """Returns whether guesses contradict a curve at a level, the canaries being independent."""
        sureness = Sureness.above(allowed)
        return lambda guesses, level: p_value(guesses, sureness) <= level


def planned_share(
    canaries: int, family: Family, level: float, shares: Sequence[float] = SHARES
) -> float:
    """Returns the share to guess that promises the largest bound, before scores are seen.

    It promises the bound that the configured member's best guesser reaches in half of all runs.

    Args:
        canaries: In the run.
        family: Its configured member is taken to be true.
        level: Of the bound.
        shares: What to choose from, increasing; of those that promise about as much, the last.
    """
    estimator, truth = OrderStatistics(family), family.played(0)[0]

    def promised(share: float) -> float:
        made = min(canaries, max(1, round(share * canaries)))
        right = likely_right(canaries, made, truth, 0.5)
        return estimator.epsilon(Guesses(canaries, made, right), family.delta, level).epsilon

    values = [promised(share) for share in shares]
    return max(s for s, value in zip(shares, values, strict=True) if value >= _ABOUT * max(values))


@lru_cache(maxsize=64)
def _share_law(canaries: int, guesses: int) -> tuple[Array, Array]:
    """Returns ends and masses of cells of T ~ Beta(r + 1, n - r), the ends from 0 to 1."""
    if guesses == canaries:
        return np.ones(2), np.ones(1)
    a, b = guesses + 1, canaries - guesses
    mean = a / (a + b)
    inner = mean + _CELLS * np.sqrt(mean * (1 - mean) / (a + b + 1))
    inner = np.clip(inner, 0.0, 1.0)
    skewed = np.linspace(0.0, inner[0], 50)  # the lower tail of few canaries is heavier
    ends = np.unique(np.concatenate([skewed, inner, [1.0]]))
    return ends, np.diff(betainc(a, b, ends))


def _at_most(wrong: int, guesses: int, error: Array) -> Array:
    """Returns P[Bin(guesses, error) <= wrong]."""
    if wrong >= guesses:
        return np.ones_like(error)
    return np.asarray(betainc(guesses - wrong, wrong + 1, 1 - error))

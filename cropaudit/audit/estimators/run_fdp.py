"""Estimator 6: f-differential privacy from one training run (Mahloujifar et al., 2410.22235).

Of m canaries, each in world A or B by its own fair coin, c' are guessed and c guesses are right.
Let p_j be the probability of exactly j right guesses, and for any i

    R_i = sum_{j >= i} (j / m) p_j,        H_i = sum_{j >= i} ((c' - j) / m) p_j.

R_i is the chance, over canaries, of "guessed right, and i or more right in all". Turning that
canary's coin makes it "guessed wrong, and i - 1 or more right in all", of chance H_{i-1}. If no
test beats the trade-off curve f, then H_{i-1} >= F(R_i), F being the inverse of the blow-up 1 - f:
the smallest false positive rate at which a true positive rate is reached. From the hypothesis that
c or more are right with probability tau, this recursion (algorithm 3 there) bounds R_0 + H_0, which
is c' / m, from below; where that comes out larger, the hypothesis contradicts the curve.

Which inverse: a right guess may be "A" or "B", so the curve must hold in both directions; and R_i
and H_i are means over canaries and the other coins, so F must be convex (Jensen). For an asymmetric
pair the larger of both directions is not concave and its inverse not convex: `blow_up_inverse`
takes the concave hull. Canaries may depend on each other through the run in any way.
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from cropaudit.audit.estimators.evidence import Found, Guesses
from cropaudit.audit.estimators.family import Family
from cropaudit.audit.estimators.gaussian_mu import gdp_epsilon
from cropaudit.audit.estimators.rate_test import TradeOff
from cropaudit.audit.estimators.steinke import Steinke
from cropaudit.audit.result import Validity
from cropaudit.errors import require

__all__ = [
    "Against",
    "RunFdp",
    "blow_up_inverse",
    "family_bound",
    "gaussian_blow_up_inverse",
    "gaussian_run_epsilon",
    "outer_polygon",
    "rejected",
    "table_of",
]

Array = NDArray[np.float64]
Inverse = Callable[[float], float]
Against = Callable[[Guesses, float], bool]
"""Whether guesses contradict a curve at a level."""

_FAR = np.geomspace(1e-18, 1e-6, 150, endpoint=False)  # of a table: rates that hardly matter
_NEAR = np.geomspace(1e-6, 0.5, 700)  # and those that do
_ROUNDING = 1e-15  # of a rate, absolute
_GUARD = 1e-9  # far more than the rounding of the sums


def rejected(guesses: Guesses, blow_up_inverse: Inverse, level: float) -> bool:
    """Whether so many right guesses contradict a trade-off curve at ``level``; exact.

    Args:
        guesses: How many canaries, guesses and right ones.
        blow_up_inverse: Smallest false positive rate, in either direction, at which a true positive
            rate is reached; convex, and never too large.
        level: Probability, at most, of a rejection where the curve holds.
    """
    canaries, made, right = guesses.canaries, guesses.guesses, guesses.right
    most = made / canaries * (1 + _GUARD)
    r, h = level * right / canaries, level * (made - right) / canaries
    for i in range(right - 1, -1, -1):
        following = blow_up_inverse(r)
        if following <= h:  # neither r nor h changes any more
            return False
        r, h = r + i / (made - i) * (following - h), following
        if r + h > most:
            return True
    return False


def outer_polygon(allowed: TradeOff) -> tuple[Array, Array]:
    """Returns vertices of a concave polygon nowhere below a trade-off curve, and close to it.

    Between two points of a table a concave curve lies below the chords of both neighbouring cells,
    prolonged; the polygon is made of those.

    Args:
        allowed: Largest true positive rates at an array of false positive rates: concave, that is
            in one order of the worlds.

    Returns:
        False and true positive rates from (0, .) to (1, 1), both increasing.
    """
    x, y = table_of(allowed)
    width = np.diff(x)
    slope = np.diff(y) / width
    before, after = np.append(np.inf, slope[:-1]), np.append(slope[1:], 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.where(before > after, (slope - after) / (before - after), 0.0)
    part = np.clip(part, 0.0, 1.0)  # slopes that differ by rounding alone give any part
    top = y[1:] - after * width * (1 - part)  # where the later chord meets the earlier one
    top = np.maximum(top, y[:-1]) + _ROUNDING
    u = np.concatenate([[0.0], x[:-1] + width * part, [1.0]])
    v = np.maximum.accumulate(np.minimum(np.concatenate([[0.0], top, [1.0]]), 1.0))
    return u, v


def table_of(allowed: TradeOff) -> tuple[Array, Array]:
    """Returns points of a trade-off curve, dense towards both ends."""
    beside_1 = np.append(_FAR[_FAR > 1e-10], _NEAR[:-1])
    x = np.concatenate([[0.0], _FAR, _NEAR, 1 - beside_1[::-1], [1.0]])
    y = np.maximum.accumulate(allowed(x))
    y[-1] = 1.0
    return x, y


def blow_up_inverse(allowed: TradeOff) -> Inverse:
    """Returns the inverse for a pair of worlds in either order: convex and never too large.

    Args:
        allowed: Largest true positive rates at an array of false positive rates, in one order of
            the worlds; the other's curve is its mirror image.
    """
    x, y = outer_polygon(allowed)
    fpr = np.append(x, np.maximum(1 - y - _ROUNDING, 0.0))
    tpr = np.append(y, 1 - x)
    order = np.lexsort((tpr, fpr))
    rates, hits = _hull(fpr[order].tolist(), tpr[order].tolist())

    def inverse(rate: float) -> float:
        after = bisect_right(hits, rate)
        if after == 0:
            return 0.0
        if after == len(hits):
            return 1.0
        u, v = rates[after - 1], hits[after - 1]
        return u + (rate - v) * (rates[after] - u) / (hits[after] - v)

    return inverse


def gaussian_blow_up_inverse(mu: float) -> Inverse:
    """Returns the inverse for N(0, 1) against N(mu, 1): Phi(Phi^-1(x) - mu)."""
    return lambda rate: float(ndtr(ndtri(rate) - mu))


def gaussian_run_epsilon(guesses: Guesses, delta: float, level: float) -> Found:
    """Returns the bound where the curve is that of a Gaussian of unknown mu, rounded down.

    It is what assuming a Gaussian mechanism gives; a subsampled one has another curve, so that for
    such it may exceed the truth.
    """
    require(0 < delta < 1, "delta", "in (0, 1)", delta)
    require(0 < level < 1, "level", "in (0, 1)", level)
    low, high = 0.0, 1.0
    if not rejected(guesses, gaussian_blow_up_inverse(low), level):
        return Found(0.0)
    while rejected(guesses, gaussian_blow_up_inverse(high), level):
        low, high = high, 2 * high
    while high - low > 1e-8 * high:
        middle = (low + high) / 2
        against = rejected(guesses, gaussian_blow_up_inverse(middle), level)
        low, high = (middle, high) if against else (low, middle)
    return Found(gdp_epsilon(low, delta), f"mu at least {low:.4g}")


@dataclass(frozen=True)
class RunFdp:
    """One run held against the curves of a mechanism's own family.

    Attributes:
        family: Where the loudest member is sought that the guesses contradict.
    """

    family: Family

    name: ClassVar[str] = "one-run-f-dp"
    validity: ClassVar[Validity] = "model-based"
    assumes: ClassVar[str] = (
        "every canary's world was drawn by its own fair coin, number of guesses fixed beforehand; "
        "and, for the value of epsilon, that the delivered mechanism is in the family"
    )

    def epsilon(self, guesses: Guesses, delta: float, level: float) -> Found:
        """Returns epsilon of the loudest member that the guesses contradict, a lower bound.

        Raises:
            InputError: If delta is not the family's, or level not in (0, 1).
        """
        return family_bound(self.family, self.against, guesses, delta, level)

    def against(self, allowed: TradeOff) -> Against:
        """Returns whether guesses contradict a curve at a level, whatever the mechanism."""
        inverse = blow_up_inverse(allowed)
        return lambda guesses, level: rejected(guesses, inverse, level)


def family_bound(
    family: Family,
    against: Callable[[TradeOff], Against],
    guesses: Guesses,
    delta: float,
    level: float,
) -> Found:
    """Returns epsilon of the loudest member that guesses contradict, a lower bound.

    Args:
        family: Where it is sought.
        against: Returns whether guesses contradict a curve at a level.
        guesses: What was guessed; the bound of one-run stands in where every member is rejected.
        delta: The family's own.
        level: Of the bound.

    Raises:
        InputError: If delta is not the family's, or level not in (0, 1).
    """
    require(delta == family.delta, "delta", f"the family's {family.delta}", delta)
    require(0 < level < 1, "level", "in (0, 1)", level)
    found = family.loudest_rejected(lambda allowed: against(allowed)(guesses, level))
    if found.outside:
        note = "every member is rejected: not of this family; the bound of one-run instead"
        return Found(Steinke().epsilon(guesses, delta, level).epsilon, note)
    if found.value is None:
        return Found(0.0, "no member is rejected")
    return Found(found.epsilon, f"{family.axis} {found.value:.4g} is rejected")


def _hull(x: list[float], y: list[float]) -> tuple[list[float], list[float]]:
    """Returns the vertices of the concave hull of increasing points, strictly increasing."""
    xs, ys = [x[0]], [y[0]]
    for u, v in zip(x[1:], y[1:], strict=True):
        if v <= ys[-1]:
            continue
        while len(xs) > 1 and (ys[-1] - ys[-2]) * (u - xs[-2]) <= (v - ys[-2]) * (xs[-1] - xs[-2]):
            xs.pop()
            ys.pop()
        xs.append(u)
        ys.append(v)
    return xs, ys

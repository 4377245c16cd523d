"""Several ranks of one game tested together, by the joint law of the hits above them.

The hits above nested ranks go together, so that Bonferroni's correction pays for tests that are
hardly new. Their joint law is known. Let G_1 < ... < G_K be the false positive rates at the ranks,
an ordered sample of uniforms, and V_1 <= ... <= V_K those of the c_1-th, .., c_K-th highest member
of a game whose members follow the curve F, written in the uniforms that F makes of them. There are
c_i or more members above the i-th rank exactly where V_i <= F(G_i). G and V are independent Markov
chains, so the chance of "c_i or more at some rank" takes one pass over the ranks. Under any game
whose rates lie below F it is smaller, as for one rank.

    P[some rank] = sum_i P[rank i] - sum_i P[rank i, and an earlier one],

the first sum as in `rate_test`, rounded up, and the second one on a grid that moves G down and V
up, which both make it smaller (both chains rise with their start): an upper bound on the p-value,
whatever the grid, and never above Bonferroni's.

Which counts are as extreme as those seen must not depend on the curve, or a search among curves
could reject a louder one and not a quieter one (see `yardstick`). They are ordered by Bonferroni's
own bound: c_i is what each rank needs at that bound (Buehler 1957). So the joint bound is never
below Bonferroni's either.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincinv, ndtr

from cropaudit.audit.estimators.evidence import Counts
from cropaudit.audit.estimators.rate_test import TradeOff, p_value

__all__ = ["extreme", "joint_p_value"]

Array = NDArray[np.float64]

_CELLS = 120  # of the law of one rank's rate, and of one member's place
_FAR = 5.5  # deviations that the cells reach


def extreme(tests: Sequence[Counts], curve: TradeOff, level: float) -> tuple[Counts, ...]:
    """Returns the fewest hits at each rank that are as extreme as those seen.

    Args:
        tests: Ranked tests of one game, one for each rank.
        curve: The loudest that Bonferroni's correction rejects, or the quietest of all.
        level: Of all tests together.

    Returns:
        Counts by rank, those left out that cannot be reached, or only with a later one. What was
        seen reaches at least one of them.
    """
    ordered = sorted(tests, key=lambda test: test.alarms)
    seen = min(p_value(test, curve, level) for test in ordered)
    allowed = max(seen, level / len(ordered))
    kept: list[Counts] = []
    for test in reversed(ordered):
        found = _fewest(test, curve, allowed)
        if found is not None and (not kept or found.hits < kept[-1].hits):
            kept.append(found)
    return tuple(reversed(kept))


def joint_p_value(needed: Sequence[Counts], curve: TradeOff) -> float:
    """Returns the chance, at most, that some rank has the needed hits if no test beats the curve.

    Args:
        needed: As `extreme` returns them.
        curve: Largest true positive rates by false positive rates.
    """
    alone = [p_value(test, curve) for test in needed]
    # Some rank is reached at least as often as any one of them, whatever rounding says.
    together = sum(alone) - _repeated(needed, curve)
    return min(1.0, max(together, *alone, 0.0))


def _fewest(test: Counts, curve: TradeOff, allowed: float) -> Counts | None:
    """Returns the test with the fewest hits whose p-value is allowed; none if none is."""
    low, high = 0, test.members + 1
    while high - low > 1:
        middle = (low + high) // 2
        reached = p_value(replace(test, hits=middle), curve) <= allowed
        low, high = (low, middle) if reached else (middle, high)
    return replace(test, hits=high) if high <= test.members else None


def _repeated(needed: Sequence[Counts], curve: TradeOff) -> float:
    """Returns sum_i P[rank i, and an earlier one], rounded down."""
    total, before = 0.0, None
    fresh: Array = np.ones((1, 1))  # mass by cells of V and of G, no earlier rank reached
    hit: Array = np.zeros((1, 1))  # the same, an earlier one reached
    for test in needed:
        places, rates = _steps(before, test)
        (v, from_v), (g, from_g) = places, rates
        fresh, hit = (from_v.T @ mass @ from_g for mass in (fresh, hit))
        reached = v[:, None] <= curve(g)[None, :]
        total += float(hit[reached].sum())
        hit = hit + np.where(reached, fresh, 0.0)
        fresh = np.where(reached, 0.0, fresh)
        before = test
    return total


def _steps(before: Counts | None, test: Counts) -> tuple[tuple[Array, Array], ...]:
    """Returns, for members and for rates, the cells and the chances to come there from the last."""
    n, m = test.members, test.nonmembers
    if before is None:
        return _step(0, test.hits, n, up=True), _step(0, test.alarms + 1, m, up=False)
    places = _step(before.hits, test.hits, n, up=True)
    return places, _step(before.alarms + 1, test.alarms + 1, m, up=False)


@lru_cache(maxsize=256)
def _step(last: int, order: int, trials: int, *, up: bool) -> tuple[Array, Array]:
    """Returns the grid of an ordered uniform, and its law by each point of the last one's grid.

    Args:
        last: Order of the uniform before it, from the lowest; 0 for none, which stands at 0.
        order: Its own order, above that.
        trials: Uniforms in all.
        up: Whether cells count at their upper end, else at their lower one.
    """
    ends = _ends(order, trials)
    points = ends[1:] if up else ends[:-1]
    if last == 0:
        starts = np.zeros(1)
    else:
        before = _ends(last, trials)
        starts = before[1:] if up else before[:-1]
    room = np.maximum(1 - starts[:, None], 1e-300)
    inside = np.clip((ends[None, 1:-1] - starts[:, None]) / room, 0.0, 1.0)
    below = betainc(order - last, trials - order + 1, inside)
    return points, np.diff(below, axis=1, prepend=0.0, append=1.0)


@lru_cache(maxsize=256)
def _ends(order: int, trials: int) -> Array:
    """Returns ends of cells, from 0 to 1, of the law of an ordered uniform."""
    steps = ndtr(np.linspace(-_FAR, _FAR, _CELLS - 1))
    inner = betaincinv(order, trials - order + 1, steps)
    return np.concatenate([[0.0], inner, [1.0]])

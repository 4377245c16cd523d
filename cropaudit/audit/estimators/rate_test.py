"""One exact test of a whole trade-off curve, on both error rates of an attack together.

Null hypothesis: whatever the true false positive rate b of the test is, its true positive rate is
at most F(b). Clopper-Pearson limits ask that a *box* of both rates lies outside; that pays for two
separate limits. Here the two counts are held against the curve at once, which is worth about
twice the trials.

- Ranked threshold (a score of world B whose rank was fixed beforehand): b follows
  Beta(alarms + 1, nonmembers - alarms), whatever the scores are, and given b the hits are binomial.
  P[hits >= x] is therefore one integral, with nothing unknown in it.
- Fixed threshold: alarms are binomial with unknown b. The p-value is the largest over b in a
  confidence interval, plus the chance of missing that interval (Berger and Boos 1994); `yardstick`
  says which counts are as extreme as those that were seen.

Every sum here is an upper bound on the p-value: grids are used at their unfavourable ends.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrc, betaincinv, ndtr

from cropaudit.audit.estimators.evidence import Counts, upper_limit
from cropaudit.audit.estimators.yardstick import (
    TradeOff,
    Yardstick,
    alarm_blocks,
    distance,
    extreme_hits,
)

__all__ = ["TradeOff", "approximate_dp", "likely_hits", "loudest_of", "p_value", "rejects"]

Array = NDArray[np.float64]

_CELLS = 960  # of the law of a ranked threshold's rate
_NODES = 120  # of the interval in which the rate of a fixed threshold lies
_MISS = 0.01  # share of the level that the interval may cost


def approximate_dp(epsilon: float, delta: float) -> TradeOff:
    """Returns what (epsilon, delta)-DP allows: min(e^eps b + delta, 1 - e^-eps (1 - delta - b)).

    Wasserman and Zhou 2010 (0811.2501); Kairouz, Oh and Viswanath 2015 (1311.0776).
    """

    def allowed(fpr: Array) -> Array:
        with np.errstate(over="ignore"):
            steep = np.exp(epsilon + np.log(np.maximum(fpr, 1e-300))) + delta
        flat = 1 - np.exp(-epsilon) * np.maximum(1 - delta - fpr, 0.0)
        return np.asarray(np.minimum(np.minimum(steep, flat), 1.0))

    return allowed


def rejects(counts: Counts, allowed: TradeOff, level: float) -> bool:
    """Whether the counts contradict the curve at ``level``."""
    return p_value(counts, allowed, level) <= level


def p_value(
    counts: Counts, allowed: TradeOff, level: float = 0.05, order: Yardstick | None = None
) -> float:
    """Returns a probability, at most, of counts so extreme if no test beats the curve.

    Args:
        counts: What the test counted.
        allowed: The curve.
        level: The level it will be compared with; for a fixed threshold a hundredth of it goes to
            the interval of the false positive rate.
        order: What counts as extreme at a fixed threshold; the distance from this very curve unless
            given. Under one order p-values rise with the curve, as a search needs it.
    """
    if counts.hits == 0:
        return 1.0
    if counts.ranked:
        return _ranked(counts, allowed)
    if order is None:
        order = Yardstick(allowed, distance(counts, allowed))
    return _fixed(counts, allowed, level, order)


def loudest_of(
    tests: Sequence[Counts],
    curves: Callable[[int], Sequence[TradeOff]],
    span: tuple[int, int],
    level: float,
) -> tuple[int, int]:
    """Returns which of several tests rejects the loudest curve, and that curve's index.

    For plans and for learning a threshold, not for bounds: tests count as ranked, which is quick.

    Args:
        tests: Tests to choose from.
        curves: What is to be rejected at an index: all of its curves, louder as the index grows.
        span: First and last index.
        level: Of the rejection.
    """
    quick = [replace(t, alarms=min(t.alarms, t.nonmembers - 1), ranked=True) for t in tests]
    best = max(range(len(quick)), key=lambda i: _advantage(quick[i]))

    def heard(index: int) -> bool:
        nonlocal best
        held = curves(index)
        values = [max(p_value(test, curve, level) for curve in held) for test in quick]
        if min(values) <= level:
            best = values.index(min(values))
        return min(values) <= level

    quiet, loud = span
    probe, step = min(max(0, quiet), loud), 64
    while quiet < probe < loud:  # outwards from 0: curves far away cost more
        if heard(probe):
            quiet, probe = probe, probe + step
        else:
            loud, probe = probe, probe - step
        step *= 2
    while loud - quiet > 1:
        middle = (quiet + loud) // 2
        quiet, loud = (middle, loud) if heard(middle) else (quiet, middle)
    return best, quiet


def _advantage(test: Counts) -> float:
    return test.hits / test.members - test.alarms / test.nonmembers


def likely_hits(counts: Counts, truth: TradeOff, power: float = 0.9) -> Counts:
    """Returns a ranked test with a number of hits that it reaches with probability ``power``.

    Args:
        counts: A planned test; its hits do not matter.
        truth: The true positive rates that the attack really has.
        power: Wanted probability.
    """
    ends, masses = _rate_law(counts.alarms, counts.nonmembers)
    rates = truth(np.append(0.0, ends[:-1]))  # low ends: the power must be reached
    low, high = 0, counts.members + 1
    while high - low > 1:
        middle = (low + high) // 2
        reached = float(masses @ _at_least(middle, counts.members, rates)) >= power
        low, high = (middle, high) if reached else (low, middle)
    return replace(counts, hits=low)


def _ranked(counts: Counts, allowed: TradeOff) -> float:
    ends, masses = _rate_law(counts.alarms, counts.nonmembers)
    tails = _at_least(counts.hits, counts.members, allowed(ends))
    return min(1.0, float(masses @ tails))


@lru_cache(maxsize=256)
def _rate_law(alarms: int, nonmembers: int) -> tuple[Array, Array]:
    """Returns upper ends and masses of cells of Beta(alarms + 1, nonmembers - alarms)."""
    steps = ndtr(np.linspace(-7, 7, _CELLS))
    ends = betaincinv(alarms + 1, nonmembers - alarms, steps)
    return np.append(ends, 1.0), np.diff(np.concatenate([[0.0], steps, [1.0]]))


def _fixed(counts: Counts, allowed: TradeOff, level: float, order: Yardstick) -> float:
    miss = level * _MISS
    rates, blocks, below, masses = _alarm_laws(counts.alarms, counts.nonmembers, miss)
    cuts = extreme_hits(counts, order, blocks)
    # More alarms ask for more hits, so in each cell of rates the alarms count at its low end and
    # the hits at its high end. Alarms below the blocks count in full, those above like the last.
    tails = _at_least(cuts, counts.members, allowed(rates[1:])[:, None])
    worst = float((below + (masses * tails).sum(axis=1)).max())
    return min(1.0, worst + miss)


@lru_cache(maxsize=8)
def _alarm_laws(alarms: int, nonmembers: int, miss: float) -> tuple[Array, Array, Array, Array]:
    """Returns the laws of alarms in a confidence interval of their rate.

    Args:
        alarms: Alarms seen.
        nonmembers: Trials.
        miss: Probability that the interval misses the rate.

    Returns:
        Ends of cells of the interval; first alarms of blocks; and at the low end of each cell the
        probability of alarms before all blocks, and of each block, shape (cells, blocks).
    """
    m, blocks = nonmembers, alarm_blocks(nonmembers)
    low, high = 1 - upper_limit(m - alarms, m, miss / 2), upper_limit(alarms, m, miss / 2)
    rates = np.linspace(low, high, _NODES + 1)
    first, last = np.searchsorted(blocks, [_far(m, low, -9.0), _far(m, high, 9.0)], side="right")
    blocks = blocks[max(first - 1, 0) : last]
    below = np.where(blocks > 0, bdtr(np.maximum(blocks - 1, 0), m, rates[:-1, None]), 0.0)
    return rates, blocks, below[:, 0], np.diff(below, axis=1, append=1.0)


def _far(trials: int, rate: float, deviations: float) -> float:
    return trials * rate + deviations * math.sqrt(trials * rate * (1 - rate) + 9)


def _at_least(hits: Array | int, trials: int, rate: Array) -> Array:
    """Returns P[Bin(trials, rate) >= hits]."""
    hits = np.asarray(hits, dtype=np.float64)
    inside = bdtrc(np.clip(hits - 1, 0, trials), trials, np.clip(rate, 0.0, 1.0))
    return np.asarray(np.where(hits <= 0, 1.0, np.where(hits > trials, 0.0, inside)))

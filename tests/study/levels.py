"""Levels by enumeration: the share of files that a true epsilon is rejected for, law by law.

Scores of two or three values are the files that ties decide about. The worst such law at a true
(epsilon, 0) has its points on the curve F that the epsilon allows: a member scores in the top group
with probability F(b) where a nonmember does with b, and in the two top groups with F(b') and b'.
The chance of every file is then a product of binomial or multinomial ones, and the chance of a
rejection is summed over all files, exactly, at each law of a grid. No draw is made anywhere.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from cropaudit.audit.estimators.clopper_pearson import ClopperPearson
from cropaudit.audit.estimators.evidence import Counts, Guesses
from cropaudit.audit.estimators.guessing import Ends
from cropaudit.audit.estimators.ladder import extreme, joint_p_value
from cropaudit.audit.estimators.rate_test import approximate_dp
from cropaudit.audit.estimators.steinke import p_value as steinke_p_value
from cropaudit.audit.estimators.thresholds import LADDER

__all__ = [
    "EPSILONS",
    "box_needs",
    "ladder_level",
    "ladder_needs",
    "level_table",
    "one_run_level",
    "three_valued_level",
]

Array = NDArray[np.float64]
Needs = tuple[tuple[int, int], ...]
"""Ranks, rising, and the hits above each from which on the epsilon is rejected, at any of them."""

EPSILONS = (0.0, 1.0, 2.5)
LEVEL = 0.05
_RATES = np.concatenate([np.geomspace(1e-3, 0.05, 12), np.linspace(0.06, 0.97, 36)])
_COARSE = _RATES[::8]
_HALVINGS = 12
_SHARES = (1.0, 0.2, 0.04)


@cache
def _ranks(nonmembers: int) -> tuple[int, ...]:
    """The ranks of the default ladder, restated."""
    return tuple(sorted({min(nonmembers, max(1, round(r * nonmembers))) for r in LADDER}))


def ladder_needs(members: int, nonmembers: int, epsilon: float, level: float = LEVEL) -> Needs:
    """Returns what `JointTest.ladder_epsilon` needs to exceed ``epsilon`` at delta 0.

    All files are ordered by Bonferroni's bound, see `ladder`: the bound exceeds epsilon from one
    place in that order on, which is found by bisection.
    """
    tests = [Counts(members, nonmembers, 0, k - 1, ranked=True) for k in _ranks(nonmembers)]
    allowed, known = approximate_dp(epsilon, 0.0), {}

    def needs(bound: float, looser: float) -> tuple[Counts, ...]:
        # Hits of all members make any p-value allowed that is at most the level's share.
        every = [replace(test, hits=members) for test in tests]
        return extreme(every, approximate_dp(bound, 0.0), looser * level)

    def rejected(found: tuple[Counts, ...]) -> bool:
        if found not in known:
            known[found] = bool(found) and joint_p_value(found, allowed) <= level
        return known[found]

    if not rejected(needs(epsilon, 1.0)):
        return ()
    # From Bonferroni's own place downwards; at a bound of 0 files are told apart by p-values.
    quiet, loud = max(0.0, epsilon - 1.5), epsilon
    if rejected(needs(quiet, 1.0)):
        return _needed(needs, rejected, lambda part: (quiet, len(tests) ** part))
    return _needed(needs, rejected, lambda part: (loud + part * (quiet - loud), 1.0))


def _needed(
    needs: Callable[[float, float], tuple[Counts, ...]],
    rejected: Callable[[tuple[Counts, ...]], bool],
    place: Callable[[float], tuple[float, float]],
) -> Needs:
    """Returns the last needs that are rejected, on a way from 0 to 1, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if rejected(needs(*place(middle))) else (low, middle)
    return tuple((test.alarms + 1, test.hits) for test in needs(*place(low)))


def box_needs(members: int, nonmembers: int, epsilon: float, level: float = LEVEL) -> Needs:
    """Returns what the Clopper-Pearson estimator needs at any rank to exceed ``epsilon``."""
    ranks = _ranks(nonmembers)
    found = []
    for rank in ranks:
        low, high = 0, members + 1
        while high - low > 1:
            hits = (low + high) // 2
            counts = Counts(members, nonmembers, hits, rank - 1, ranked=True)
            above = ClopperPearson().epsilon(counts, 0.0, level / len(ranks)).epsilon > epsilon
            low, high = (low, hits) if above else (hits, high)
        if high <= members:
            found.append((rank, high))
    return tuple(found)


def ladder_level(needs: Needs, members: int, nonmembers: int, epsilon: float) -> float:
    """Returns the largest level over two-valued laws: P[hits of the ranks below the tie suffice].

    With y nonmembers in the top group, ranks above y have all top members as hits, others none.
    """
    if not needs:
        return 0.0
    b = _RATES
    p = approximate_dp(epsilon, 0.0)(b)
    total, before = np.zeros(len(b)), np.zeros(len(b))
    least = _suffix_least([hits for _, hits in needs])
    # Classes of y: below the first rank, between the first and the second, ..
    for (rank, _), fewest in zip(needs, least, strict=True):
        upto = binom.cdf(rank - 1, nonmembers, b)
        total += (upto - before) * binom.sf(fewest - 1, members, p)
        before = upto
    return float(total.max())


def three_valued_level(needs: Needs, members: int, nonmembers: int, epsilon: float) -> float:
    """Returns the largest level over three-valued laws, on a coarser grid."""
    if not needs:
        return 0.0
    curve = approximate_dp(epsilon, 0.0)
    return max(
        _three_valued(needs, members, nonmembers, (b, c), curve(np.array([b, c])))
        for i, b in enumerate(_COARSE)
        for c in _COARSE[i + 1 :]
    )


def _three_valued(needs: Needs, n: int, m: int, rates: tuple[float, float], hits: Array) -> float:
    """Sums over the group in which each rank lies: none, the top one, the middle one."""
    ranks = [rank for rank, _ in needs]
    edges = [0, *ranks, m + 1]
    total = 0.0
    for i in range(len(ranks) + 1):  # ranks before the i-th stand in the top group
        for j in range(i, len(ranks) + 1):  # those before the j-th in the two top groups
            chance = _both_between(m, rates, edges[i : i + 2], edges[j : j + 2])
            if chance <= 0:
                continue
            top = min((need for _, need in needs[i:j]), default=n + 1)
            both = min((need for _, need in needs[j:]), default=n + 1)
            total += chance * _either(n, hits, top, both)
    return total


def _both_between(
    m: int, rates: tuple[float, float], one: Sequence[int], two: Sequence[int]
) -> float:
    """Returns P[one[0] <= Y2 < one[1], two[0] <= Y2 + Y1 < two[1]] of nonmembers."""
    y = np.arange(one[0], min(one[1], m + 1))
    if not len(y):
        return 0.0
    rest = (rates[1] - rates[0]) / (1 - rates[0])
    inside = binom.cdf(two[1] - 1 - y, m - y, rest) - binom.cdf(two[0] - 1 - y, m - y, rest)
    return float(binom.pmf(y, m, rates[0]) @ inside)


def _either(n: int, hits: Array, top: int, both: int) -> float:
    """Returns P[X2 >= top or X2 + X1 >= both] of members."""
    x = np.arange(min(top, n + 1))
    rest = min(1.0, max(0.0, (hits[1] - hits[0]) / (1 - hits[0]))) if hits[0] < 1 else 0.0
    missed = binom.pmf(x, n, hits[0]) @ binom.cdf(both - 1 - x, n - x, rest)
    return float(1 - missed)


def _suffix_least(values: Sequence[int]) -> list[int]:
    return [min(values[i:]) for i in range(len(values))]


def one_run_level(canaries: int, epsilon: float, level: float = LEVEL) -> float:
    """Returns the level of `Steinke` with its three shares of guesses, over randomised responses.

    Every coin, every response: (members, top members, top nonmembers) are summed over.
    """
    needed = []
    for share in _SHARES:
        made = Ends(share).number(canaries)
        right = [
            v
            for v in range(made + 1)
            if steinke_p_value(Guesses(canaries, made, v), epsilon, 0.0) <= level / len(_SHARES)
        ]
        needed.append((made, min(right, default=made + 1)))
    truth = 1 / (1 + np.exp(-epsilon))
    total = 0.0
    for a in range(1, canaries):
        x, y = np.arange(a + 1)[:, None], np.arange(canaries - a + 1)[None, :]
        reached = np.zeros((a + 1, canaries - a + 1), dtype=bool)
        for made, fewest in needed:
            reached |= least_right(canaries, made, a, x, y) >= fewest
        mass = binom.pmf(x, a, truth) * binom.pmf(y, canaries - a, 1 - truth)
        total += float(binom.pmf(a, canaries, 0.5) * mass[reached].sum())
    return total


def least_right(canaries: int, made: int, members: int, x: Array, y: Array) -> Array:
    """Returns right guesses of `Ends` for two-valued scores, x members and y others in the top."""
    upper, lower = made - made // 2, made // 2
    top, bottom = x + y, canaries - x - y
    out, inn = canaries - members - y, members - x  # nonmembers and members in the bottom group
    # Above: all of the top and some of the bottom, or some of the top.
    from_top, from_bottom = np.minimum(upper, top), np.maximum(upper - top, 0)
    right_top = np.where(upper >= top, x, np.maximum(0, from_top - y))
    right_more = np.maximum(0, from_bottom - out)
    # Below, from what is left: all of the bottom and some of the top, or some of the bottom.
    left_out, left_inn = out - (from_bottom - right_more), inn - right_more
    low_bottom, low_top = np.minimum(lower, bottom - from_bottom), 0
    low_top = lower - low_bottom
    right_low = np.where(
        low_bottom == left_out + left_inn, left_out, np.maximum(0, low_bottom - left_inn)
    )
    # The top's tie is met from both ends: members left there are wrong guesses.
    left_top_y, left_top_x = y - (from_top - right_top), x - right_top
    right_last = np.where(
        low_top == left_top_x + left_top_y, left_top_y, np.maximum(0, low_top - left_top_x)
    )
    return np.asarray(right_top + right_more + right_low + right_last)


def _pairs(sizes: int, stride: int) -> Iterator[tuple[int, int]]:
    pairs = [(n, m) for n in range(1, sizes + 1) for m in range(1, sizes + 1)]
    yield from (pairs[i] for i in np.random.default_rng(0).permutation(len(pairs))[::stride])


def level_table(sizes: int, stride: int, tick: Callable[[str], None]) -> str:
    """Returns the largest levels found, as a Markdown table.

    Args:
        sizes: Every pair of sizes up to so many members and nonmembers.
        stride: Of the pairs, in random order, one in so many.
        tick: Called with a title.
    """
    lines = [
        "| estimator | scores | true epsilon | pairs of sizes | largest level | at |",
        "|---|---|---|---|---|---|",
    ]
    ways = {"joint-test": ladder_needs, "clopper-pearson": box_needs}
    for name, needs_of in ways.items():
        for epsilon in EPSILONS:
            worst = {"two-valued": (0.0, (0, 0)), "three-valued": (0.0, (0, 0))}
            count = 0
            for n, m in _pairs(sizes, stride):
                needs = needs_of(n, m, epsilon)
                levels = {
                    "two-valued": ladder_level(needs, n, m, epsilon),
                    "three-valued": three_valued_level(needs, n, m, epsilon),
                }
                worst = {k: max(worst[k], (levels[k], (n, m))) for k in worst}
                count += 1
                tick(f"{name}, epsilon {epsilon:g}: {count} pairs")
            lines += [
                f"| {name} | {kind} | {epsilon:g} | {count:,} | {100 * level:.2f}% | {n} + {m} |"
                for kind, (level, (n, m)) in worst.items()
            ]
    for epsilon in EPSILONS:
        found = [
            (one_run_level(n, epsilon), n) for n in range(2, 2 * sizes + 1, max(1, stride // 100))
        ]
        tick(f"one-run, epsilon {epsilon:g}")
        level, at = max(found)
        lines.append(
            f"| one-run | two-valued | {epsilon:g} | {len(found)} numbers of canaries "
            f"| {100 * level:.2f}% | {at} |"
        )
    return "\n".join(lines)

"""Estimator 5: epsilon from one training run with many canaries (Steinke et al., 2305.08846).

Each of m canaries enters world A or B by its own fair coin. An attack ranks them by score and
guesses "A" for the r/2 highest and "B" for the r/2 lowest. Under (epsilon, delta)-DP the number v
of right guesses has P[V >= v] <= f(v) + 2 m delta max_i (f(v - i) - f(v)) / i with
f(v) = P[Bin(r, e^epsilon / (1 + e^epsilon)) >= v] (theorem 5.2). Canaries may depend on each
other through the run in any way; only the coins must be fair and independent.
"""

import numpy as np
from scipy.special import bdtrc, betainc, expit

from cropaudit.audit.estimators.limits import round_down
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.result import Bound
from cropaudit.errors import require

__all__ = ["NAME", "coin_p_value", "one_run", "one_run_epsilon", "one_run_p_value", "right_guesses"]

NAME = "one-run"
ASSUMES = "every canary's world was drawn by its own fair coin, number of guesses fixed beforehand"
FRACTIONS = (1.0, 1 / 3, 1 / 10)  # of the canaries that are guessed; Bonferroni over them


def one_run_p_value(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Returns the probability, at most, of so many right guesses under (epsilon, delta)-DP.

    Args:
        canaries: m, all canaries in the run.
        guesses: r, canaries that were guessed.
        right: v, right guesses.
        epsilon: Hypothesised epsilon.
        delta: Hypothesised delta.
    """
    if right <= 0:
        return 1.0
    q = float(expit(epsilon))
    at_least = np.asarray(
        betainc(np.arange(right, 0, -1), guesses - np.arange(right, 0, -1) + 1, q)
    )
    tail = float(at_least[0])
    if delta == 0:
        return min(1.0, tail)
    fewer = np.append(at_least[1:], 1.0)  # f(v - i) for i = 1..v
    slope = float(np.max((fewer - tail) / np.arange(1, right + 1)))
    return min(1.0, tail + 2 * canaries * delta * slope)


def one_run_epsilon(canaries: int, guesses: int, right: int, delta: float, level: float) -> float:
    """Returns the largest epsilon rejected at ``level``, by bisection from below; at least 0.

    >>> round(one_run_epsilon(1000, 100, 75, 1e-4, 0.05), 3)
    0.673
    """
    legal = 1 <= guesses <= canaries and 0 <= right <= guesses
    require(legal, "guesses", f"between the right ones and the {canaries} canaries", guesses)
    require(0 < level < 1, "level", "in (0, 1)", level)
    require(0 <= delta <= 1, "delta", "in [0, 1]", delta)
    if one_run_p_value(canaries, guesses, right, 0.0, delta) > level:
        return 0.0
    low, high = 0.0, 1.0
    while one_run_p_value(canaries, guesses, right, high, delta) <= level:
        low, high = high, 2 * high
        if high > 64:
            break
    for _ in range(40):
        middle = (low + high) / 2
        rejected = one_run_p_value(canaries, guesses, right, middle, delta) <= level
        low, high = (middle, high) if rejected else (low, middle)
    return low


def right_guesses(scores: Scores, guesses: int, seed: int) -> int:
    """Counts right guesses: the highest half is guessed A, the lowest half B.

    Ties are broken at random, never by the order in which scores came: it may know the bits.
    """
    values = np.concatenate([scores.member, scores.nonmember])
    bits = np.concatenate([np.ones(len(scores.member)), np.zeros(len(scores.nonmember))])
    shuffle = np.random.default_rng(seed).permutation(len(values))
    order = shuffle[np.argsort(values[shuffle], kind="stable")]
    low, high = order[: guesses // 2], order[len(order) - (guesses - guesses // 2) :]
    return int(bits[high].sum() + (1 - bits[low]).sum())


def one_run(scores: Scores, delta: float, level: float, seed: int) -> Bound:
    """Returns the best bound over three numbers of guesses, corrected for the choice."""
    canaries = len(scores.member) + len(scores.nonmember)
    sizes = sorted({max(2, round(f * canaries)) for f in FRACTIONS if canaries >= 2})
    share = level / max(len(sizes), 1)
    best, used, most = 0.0, 0, 0.0
    for guesses in sizes:
        right = right_guesses(scores, guesses, seed)
        found = one_run_epsilon(canaries, guesses, right, delta, share)
        most = max(most, one_run_epsilon(canaries, guesses, guesses, delta, share))
        if found > best:
            best, used = found, guesses
    note = f"best of r in {sizes}, Bonferroni" + (f"; r = {used}" if used else "")
    return Bound(
        estimator=NAME,
        epsilon=round_down(best),
        delta=delta,
        confidence=1 - level,
        validity="exact",
        assumes=ASSUMES,
        cap=most,
        note=note,
    )


def coin_p_value(members: int, nonmembers: int) -> float:
    """Returns the two-sided probability of a split at least so uneven under fair coins."""
    n, k = members + nonmembers, max(members, nonmembers)
    return min(1.0, 2 * float(bdtrc(k - 1, n, 0.5)))

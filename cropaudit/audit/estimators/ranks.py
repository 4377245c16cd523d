"""Thresholds by rank: the k-th highest score of world B, k fixed before any score is seen.

Its false positive rate follows Beta(k, nonmembers - k + 1) for every law of the scores, so nothing
need be known about their scale, and nothing is spent on learning a threshold. Ties are broken by
fair uniform draws, as if every score had a second coordinate: that keeps the law exact, also where
scores are few different values, and the order in which scores came never matters.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cropaudit.audit.estimators.evidence import Counts
from cropaudit.audit.estimators.scores import Scores
from cropaudit.errors import require

__all__ = ["flipped", "hits_at_ranks", "ranked_counts", "telling_hits"]

Array = NDArray[np.float64]


def hits_at_ranks(scores: Scores, ranks: Sequence[int], seed: int) -> NDArray[np.int64]:
    """Returns how many members lie above each of the k-th highest nonmembers.

    Args:
        scores: Scores of both worlds.
        ranks: Numbers from 1 (the highest nonmember) to the number of nonmembers, any order.
        seed: Of the draws that break ties.

    Raises:
        InputError: If a rank is out of range.
    """
    m = len(scores.nonmember)
    wanted = np.asarray(ranks, dtype=np.int64)
    legal = wanted.size > 0 and wanted.min() >= 1 and wanted.max() <= m
    require(bool(legal), "ranks", f"between 1 and the {m} nonmembers", list(ranks))
    member, nonmember = np.sort(scores.member), np.sort(scores.nonmember)
    cuts = nonmember[m - wanted]
    hits = len(member) - np.searchsorted(member, cuts, side="right")
    tied = len(member) - hits - np.searchsorted(member, cuts, side="left")
    rng = np.random.default_rng([seed, 2])  # `seed` alone is [seed, 0], drawn from in `rank_sum`
    for value in np.unique(cuts[tied > 0]):
        at = np.flatnonzero(cuts == value)
        above = m - int(np.searchsorted(nonmember, value, side="right"))
        others = m - above - int(np.searchsorted(nonmember, value, side="left"))
        drawn = rng.permutation(np.repeat([True, False], [tied[at[0]], others]))
        hits[at] += np.cumsum(drawn)[~drawn][wanted[at] - above - 1]
    return np.asarray(hits)


def telling_hits(scores: Scores, ranks: Sequence[int], seed: int) -> NDArray[np.int64]:
    """Returns `hits_at_ranks`, but for scores that are all alike what is expected of nothing.

    Fair draws would make a finding of them for one seed in twenty: within the level, but absurd.
    Never to reject where all scores are alike keeps every test valid.
    """
    if scores.alike:
        wanted = np.asarray(ranks, dtype=np.int64)
        return np.asarray(len(scores.member) * wanted // (len(scores.nonmember) + 1))
    return hits_at_ranks(scores, ranks, seed)


def ranked_counts(scores: Scores, ranks: Sequence[int], seed: int) -> tuple[Counts, ...]:
    """Returns one test for each rank; they share their trials and must be corrected for."""
    n, m = len(scores.member), len(scores.nonmember)
    hits = telling_hits(scores, ranks, seed)
    return tuple(
        Counts(n, m, int(hit), rank - 1, ranked=True) for hit, rank in zip(hits, ranks, strict=True)
    )


def flipped(scores: Scores) -> Scores:
    """Returns the same game told from the other world: low scores speak for it."""
    return Scores(-scores.nonmember, -scores.member)

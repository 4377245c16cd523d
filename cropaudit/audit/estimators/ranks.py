"""Thresholds by rank: the k-th highest score of world B, k fixed before any score is seen.

Its false positive rate follows Beta(k, nonmembers - k + 1) for every law of the scores, so nothing
need be known about their scale, and nothing is spent on learning a threshold. A member that ties
with the threshold is not above it: fair draws would put some of the tied ones above, never fewer,
so hits counted like this are at most those of the draws game by game, and every test that rejects
for many hits keeps its level for every law of the scores, with nothing drawn. The order in which
scores came never matters.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cropaudit.audit.estimators.evidence import Counts
from cropaudit.audit.estimators.scores import Scores
from cropaudit.errors import require

__all__ = ["flipped", "hits_at_ranks", "ranked_counts"]


def hits_at_ranks(scores: Scores, ranks: Sequence[int]) -> NDArray[np.int64]:
    """Returns how many members lie above each of the k-th highest nonmembers, ties not counted.

    Args:
        scores: Scores of both worlds.
        ranks: Numbers from 1 (the highest nonmember) to the number of nonmembers, any order.

    Raises:
        InputError: If a rank is out of range.

    >>> hits_at_ranks(Scores.of([3.0, 1.0, 1.0], [2.0, 1.0]), [1, 2]).tolist()
    [1, 1]
    """
    m = len(scores.nonmember)
    wanted = np.asarray(ranks, dtype=np.int64)
    legal = wanted.size > 0 and wanted.min() >= 1 and wanted.max() <= m
    require(bool(legal), "ranks", f"between 1 and the {m} nonmembers", list(ranks))
    cuts = np.sort(scores.nonmember)[m - wanted]
    hits = len(scores.member) - np.searchsorted(np.sort(scores.member), cuts, side="right")
    return np.asarray(hits, dtype=np.int64)


def ranked_counts(scores: Scores, ranks: Sequence[int]) -> tuple[Counts, ...]:
    """Returns one test for each rank; they share their trials and must be corrected for."""
    n, m = len(scores.member), len(scores.nonmember)
    hits = hits_at_ranks(scores, ranks)
    return tuple(
        Counts(n, m, int(hit), rank - 1, ranked=True) for hit, rank in zip(hits, ranks, strict=True)
    )


def flipped(scores: Scores) -> Scores:
    """Returns the same game told from the other world: low scores speak for it."""
    return Scores(-scores.nonmember, -scores.member)

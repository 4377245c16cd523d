"""Scores of an attack, parted by the world they were drawn in, and what is read off them directly.

Higher means "member" (world A). Scores may be infinite or tied; NaN is refused.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cropaudit.errors import InputError

__all__ = ["Scores"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores by world.

    Attributes:
        member: Scores drawn in world A, shape (n,).
        nonmember: Scores drawn in world B, shape (m,).
    """

    member: Array
    nonmember: Array

    @classmethod
    def of(cls, member: ArrayLike, nonmember: ArrayLike) -> "Scores":
        """Checks and wraps two score lists.

        Raises:
            InputError: If a list is empty, not one-dimensional or holds NaN.
        """
        return cls(_checked(member, "member scores"), _checked(nonmember, "nonmember scores"))

    @classmethod
    def labelled(cls, scores: ArrayLike, member: ArrayLike) -> "Scores":
        """Parts scores by a membership bit of the same length.

        Raises:
            InputError: If the lengths differ, a bit is neither 0 nor 1, or a world has no score.
        """
        given, values = _numbers(member, "member"), _numbers(scores, "score")
        if given.shape != values.shape:
            raise InputError(f"member must be as long as score ({values.size}), got {given.size}")
        bits = given == 1
        other = np.flatnonzero(~bits & (given != 0))
        if other.size:
            raise InputError(f"member must be 0 or 1, got {given.flat[other[0]]}")
        return cls.of(values[bits], values[~bits])

    @property
    def alike(self) -> bool:
        """Whether all scores are one value, so that they tell nothing."""
        first = self.member[0]
        return bool((self.member == first).all() and (self.nonmember == first).all())

    def auc(self) -> float:
        """Returns the probability that a member scores above a nonmember, ties counted half."""
        ordered = np.sort(self.nonmember)
        below = np.searchsorted(ordered, self.member, side="left")
        upto = np.searchsorted(ordered, self.member, side="right")
        return float((below + upto).sum() / (2 * len(self.member) * len(self.nonmember)))

    def auc_deviation(self) -> float:
        """Returns the standard deviation of the AUC where both worlds are alike."""
        n, m = len(self.member), len(self.nonmember)
        return float(np.sqrt((n + m + 1) / (12 * n * m)))

    def counts(self, threshold: float) -> tuple[int, int]:
        """Returns (true positives, false positives) of "score >= threshold"."""
        return int((self.member >= threshold).sum()), int((self.nonmember >= threshold).sum())

    def roc(self) -> tuple[Array, Array]:
        """Returns false and true positive rates over all thresholds, from (0, 0) to (1, 1)."""
        cuts = np.unique(np.concatenate([self.member, self.nonmember]))[::-1]
        fpr = 1 - np.searchsorted(np.sort(self.nonmember), cuts, side="left") / len(self.nonmember)
        tpr = 1 - np.searchsorted(np.sort(self.member), cuts, side="left") / len(self.member)
        return np.concatenate([[0.0], fpr]), np.concatenate([[0.0], tpr])

    def tpr_at(self, fpr: float) -> float:
        """Returns the observed true positive rate at a false positive rate of at most ``fpr``."""
        rates, hits = self.roc()
        return float(hits[rates <= fpr].max())


def _checked(values: ArrayLike, name: str) -> Array:
    array = _numbers(values, name)
    if array.ndim != 1 or array.size == 0:
        raise InputError(f"{name} must be a non-empty list of numbers, got shape {array.shape}")
    if np.isnan(array).any():
        where = int(np.flatnonzero(np.isnan(array))[0])
        raise InputError(f"{name} must be free of NaN, got NaN at entry {where}")
    return array


def _numbers(values: ArrayLike, name: str) -> Array:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be numbers, got {type(values).__name__}") from None

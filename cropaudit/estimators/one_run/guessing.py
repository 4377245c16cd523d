"""Which canaries of one run are guessed: world A at the highest scores, world B at the lowest.

The number of guesses is fixed before scores are seen: it follows from the count of canaries and the
share alone. Where only some of several tied canaries are guessed, they are those that make the
fewest guesses right: any draw among them would make as many right or more, so that every test keeps
its level for every law of the scores, with nothing drawn. Nothing depends on the order in which
scores came, which may know the coins.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropaudit.errors import require
from cropaudit.estimators.evidence import Guesses
from cropaudit.estimators.scores import Scores

__all__ = ["Ends"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Ends:
    """Guesses at both ends of the scores, half of them at each.

    Attributes:
        share: Of all canaries, both ends together; at least two are guessed, and of an odd number
            one more at the upper end.

    Raises:
        InputError: If the share is not in (0, 1], or, in `guesses`, if there is but one canary.

    >>> Ends(1.0).guesses(Scores.of([3.0, 1.0], [2.0, 0.0]))
    Guesses(canaries=4, guesses=4, right=2)
    """

    share: float

    def __post_init__(self) -> None:
        require(0 < self.share <= 1, "share of canaries to guess", "in (0, 1]", self.share)

    def number(self, canaries: int) -> int:
        """Returns how many of so many canaries are guessed."""
        require(canaries >= 2, "canaries", "at least 2", canaries)
        return min(canaries, max(2, round(self.share * canaries)))

    def guesses(self, scores: Scores) -> Guesses:
        """Returns what guessing brings, at the least of all ways to break ties."""
        canaries = len(scores.member) + len(scores.nonmember)
        count = self.number(canaries)
        upper = _top(scores.member, scores.nonmember, count - count // 2)
        lower = _top(-scores.nonmember, -scores.member, count // 2)
        if -lower.threshold == upper.threshold:  # the ends meet in one tie: what is left of it
            # The fewest members above leave the fewest nonmembers below: both are least together.
            lower = lower.without(upper.drawn - upper.chosen, upper.chosen)
        return Guesses(canaries, count, upper.least + lower.least)


@dataclass(frozen=True)
class _Top:
    """The highest of two lists together: right ones that are surely in, and a tie for the rest."""

    threshold: float
    sure: int
    tied_right: int
    tied_wrong: int
    drawn: int

    def without(self, right: int, wrong: int) -> "_Top":
        """Returns the same after some of the tied ones were taken by the other end."""
        left = self.tied_right - right, self.tied_wrong - wrong
        return _Top(self.threshold, self.sure, *left, self.drawn)

    @property
    def chosen(self) -> int:
        """Right ones of the tie, if its wrong ones are taken first."""
        return max(0, self.drawn - self.tied_wrong)

    @property
    def least(self) -> int:
        """All right ones, if the wrong ones of the tie are taken first."""
        return self.sure + self.chosen


def _top(right: Array, wrong: Array, count: int) -> _Top:
    values = np.concatenate([right, wrong])
    threshold = float(np.partition(values, len(values) - count)[len(values) - count])
    sure, others = int((right > threshold).sum()), int((wrong > threshold).sum())
    tied = int((right == threshold).sum()), int((wrong == threshold).sum())
    return _Top(threshold, sure, *tied, count - sure - others)

"""Which canaries of one run are guessed, and how: from scores to right guesses.

A policy and its number of guesses are fixed before scores are seen: the number follows from the
count of canaries and the share alone. Where only some of several tied canaries are guessed, they
are those that make the fewest guesses right: any draw among them would make as many right or more,
so that every test keeps its level for every law of the scores, with nothing drawn. Nothing depends
on the order in which scores came, which may know the coins.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cropaudit.audit.estimators.evidence import Guesses
from cropaudit.audit.estimators.scores import Scores
from cropaudit.errors import require

__all__ = ["Ends", "Guessing", "Highest", "Surest"]

Array = NDArray[np.float64]


class Guessing(Protocol):
    """A way to guess, fixed beforehand."""

    @property
    def words(self) -> str:
        """What is guessed, for tables."""

    def number(self, canaries: int) -> int:
        """Returns how many of so many canaries are guessed."""

    def guesses(self, scores: Scores) -> Guesses:
        """Returns what guessing brings, at the least of all ways to break ties."""


@dataclass(frozen=True)
class Highest:
    """Guesses world A for the highest scores.

    Attributes:
        share: Of all canaries; at least one is guessed.

    Raises:
        InputError: If the share is not in (0, 1].

    >>> Highest(0.5).guesses(Scores.of([3.0, 1.0], [2.0, 0.0]))
    Guesses(canaries=4, guesses=2, right=1)
    """

    share: float

    def __post_init__(self) -> None:
        _check_share(self.share)

    @property
    def words(self) -> str:
        """What is guessed, for tables."""
        return f"the highest {100 * self.share:.3g}%"

    def number(self, canaries: int) -> int:
        """Returns how many of so many canaries are guessed."""
        return _number(self.share, canaries, 1)

    def guesses(self, scores: Scores) -> Guesses:
        """Returns what guessing brings, at the least of all ways to break ties."""
        canaries = _canaries(scores)
        count = self.number(canaries)
        return Guesses(canaries, count, _top(scores.member, scores.nonmember, count).least)


@dataclass(frozen=True)
class Ends:
    """Guesses world A for the highest scores and world B for the lowest, half of each.

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
        _check_share(self.share)

    @property
    def words(self) -> str:
        """What is guessed, for tables."""
        return f"both ends, {100 * self.share:.3g}%"

    def number(self, canaries: int) -> int:
        """Returns how many of so many canaries are guessed."""
        return _number(self.share, canaries, 2)

    def guesses(self, scores: Scores) -> Guesses:
        """Returns what guessing brings, at the least of all ways to break ties."""
        canaries = _canaries(scores)
        count = self.number(canaries)
        upper = _top(scores.member, scores.nonmember, count - count // 2)
        lower = _top(-scores.nonmember, -scores.member, count // 2)
        if -lower.threshold == upper.threshold:  # the ends meet in one tie: what is left of it
            # The fewest members above leave the fewest nonmembers below: both are least together.
            members = upper.least - upper.sure
            lower = lower.without(upper.drawn - members, members)
        return Guesses(canaries, count, upper.least + lower.least)


@dataclass(frozen=True)
class Surest:
    """Guesses where the score is farthest from zero: world A if it is positive, else world B.

    It takes scores that are calibrated: log-likelihood ratios of the worlds.

    Attributes:
        share: Of all canaries; at least one is guessed.

    Raises:
        InputError: If the share is not in (0, 1].

    >>> Surest(0.5).guesses(Scores.of([3.0, -0.5], [1.0, -2.0]))
    Guesses(canaries=4, guesses=2, right=2)
    """

    share: float

    def __post_init__(self) -> None:
        _check_share(self.share)

    @property
    def words(self) -> str:
        """What is guessed, for tables."""
        return f"the surest {100 * self.share:.3g}%"

    def number(self, canaries: int) -> int:
        """Returns how many of so many canaries are guessed."""
        return _number(self.share, canaries, 1)

    def guesses(self, scores: Scores) -> Guesses:
        """Returns what guessing brings, at the least of all ways to break ties."""
        canaries = _canaries(scores)
        count = self.number(canaries)
        called, uncalled = scores.member > 0, scores.nonmember > 0
        right = np.concatenate([scores.member[called], scores.nonmember[~uncalled]])
        wrong = np.concatenate([scores.member[~called], scores.nonmember[uncalled]])
        return Guesses(canaries, count, _top(np.abs(right), np.abs(wrong), count).least)


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
    def least(self) -> int:
        """The number of right ones if the wrong ones of the tie are taken first."""
        return self.sure + max(0, self.drawn - self.tied_wrong)


def _top(right: Array, wrong: Array, count: int) -> _Top:
    values = np.concatenate([right, wrong])
    threshold = float(np.partition(values, len(values) - count)[len(values) - count])
    sure, others = int((right > threshold).sum()), int((wrong > threshold).sum())
    tied = int((right == threshold).sum()), int((wrong == threshold).sum())
    return _Top(threshold, sure, *tied, count - sure - others)


def _check_share(share: float) -> None:
    require(0 < share <= 1, "share of canaries to guess", "in (0, 1]", share)


def _canaries(scores: Scores) -> int:
    return len(scores.member) + len(scores.nonmember)


def _number(share: float, canaries: int, least: int) -> int:
    require(canaries >= least, "canaries", f"at least {least}", canaries)
    return min(canaries, max(least, round(share * canaries)))

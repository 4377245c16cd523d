"""Where a threshold comes from: the policies that keep a confidence what it says.

A threshold chosen on the scores that it is then tested on breaks the level. Each policy is a small
type that returns the tests to make; a method gives each of them its share of the level
(Bonferroni).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cropaudit.audit.estimators.evidence import Counts
from cropaudit.audit.estimators.ranks import flipped, ranked_counts
from cropaudit.audit.estimators.scores import Scores
from cropaudit.errors import InputError, require

__all__ = ["LADDER", "Best", "Given", "Policy", "Ranks", "Sides", "Split"]

Best = Callable[[Sequence[Counts]], int]
"""Picks the most promising of several tests."""
Sides = Literal["high", "low", "both"]

LADDER = (0.3, 0.1, 0.03, 0.01, 0.001)
"""False positive rates tried where nothing is known about the scores."""
_CANDIDATES = 60  # thresholds tried when one is learned


@dataclass(frozen=True)
class Given:
    """A threshold whose value was fixed before the scores were drawn: "score >= threshold".

    Attributes:
        threshold: Its value.
        two_sided: Whether "score < threshold" is tried as well, for attacks of unknown sign.
    """

    threshold: float
    two_sided: bool = False

    def __post_init__(self) -> None:
        require(math.isfinite(self.threshold), "threshold", "finite", self.threshold)

    @property
    def words(self) -> str:
        """The policy in a few words."""
        return f"given: {self.threshold:.6g}" + (", both sides" if self.two_sided else "")

    def counts(self, scores: Scores, best: Best, seed: int) -> tuple[Counts, ...]:
        """Returns the tests to make; ``best`` and ``seed`` are not needed."""
        del best, seed
        n, m = len(scores.member), len(scores.nonmember)
        hits, alarms = scores.counts(self.threshold)
        above = Counts(n, m, hits, alarms)
        return (above, Counts(n, m, n - hits, m - alarms)) if self.two_sided else (above,)


@dataclass(frozen=True)
class Ranks:
    """Thresholds at ranks among the scores of one world, fixed beforehand as rates.

    Attributes:
        rates: Rates of false positives at which to cut, each in (0, 1); corrected for.
        sides: "high": the rate is of false positives. "low": of false negatives, for low scores
            speak for nonmembers. "both": both, corrected for.
        either_sign: Whether low scores may speak for members instead, corrected for.
    """

    rates: tuple[float, ...] = LADDER
    sides: Sides = "high"
    either_sign: bool = False

    def __post_init__(self) -> None:
        legal = bool(self.rates) and all(0 < rate < 1 for rate in self.rates)
        require(legal, "rates", "in (0, 1), at least one", self.rates)

    @property
    def words(self) -> str:
        """The policy in a few words."""
        rates = ", ".join(f"{rate:.3g}" for rate in self.rates)
        many = len(self.rates) > 1 or self.sides == "both" or self.either_sign
        sign = ", either sign" if self.either_sign else ""
        corrected = ", corrected for" if many else ""
        return f"fixed rank at rates {rates}, side {self.sides}{sign}{corrected}"

    def counts(self, scores: Scores, best: Best, seed: int) -> tuple[Counts, ...]:
        """Returns one test for each different rank, side and sign; nothing else is needed."""
        del best, seed
        return tuple(test for ladder in self.ladders(scores) for test in ladder)

    def ladders(self, scores: Scores) -> tuple[tuple[Counts, ...], ...]:
        """Returns the tests of each side and sign, all ranks among the same scores together."""
        negated = Scores(-scores.member, -scores.nonmember)
        signs = (scores, negated) if self.either_sign else (scores,)
        return tuple(
            ranked_counts(side, self._ranks(len(side.nonmember)))
            for signed in signs
            for side in self._told(signed)
        )

    def _told(self, scores: Scores) -> tuple[Scores, ...]:
        told = {"high": (scores,), "low": (flipped(scores),), "both": (scores, flipped(scores))}
        return told[self.sides]

    def _ranks(self, trials: int) -> list[int]:
        return sorted({min(trials, max(1, round(rate * trials))) for rate in self.rates})


@dataclass(frozen=True)
class Split:
    """A threshold learned on one part of the scores and tested on the rest.

    Attributes:
        share: Of the scores of each world that are learned on.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        require(0 < self.share < 1, "share", "in (0, 1)", self.share)

    @property
    def words(self) -> str:
        """The policy in a few words."""
        return f"learned on {self.share:.0%} of the scores, tested on the rest"

    def counts(self, scores: Scores, best: Best, seed: int) -> tuple[Counts, ...]:
        """Returns the one test of the learned threshold on the scores it was not learned on.

        Raises:
            InputError: If a world has fewer than two scores.
        """
        generator = np.random.default_rng(seed)
        learn, rest = zip(
            *(self._parted(world, generator) for world in (scores.member, scores.nonmember)),
            strict=True,
        )
        tuning, tested = Scores(*learn), Scores(*rest)
        found = np.unique(np.concatenate([tuning.member, tuning.nonmember]))
        found = found[np.unique(np.linspace(0, len(found) - 1, _CANDIDATES).astype(int))]
        n, m = len(tuning.member), len(tuning.nonmember)
        cut = float(found[best([Counts(n, m, *tuning.counts(float(c))) for c in found])])
        return (Counts(len(tested.member), len(tested.nonmember), *tested.counts(cut)),)

    def _parted(
        self, world: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        if len(world) < 2:
            raise InputError(
                f"scores must be at least 2 of each world to learn a threshold, got {len(world)}"
            )
        order = generator.permutation(len(world))
        middle = min(len(world) - 1, max(1, round(self.share * len(world))))
        return world[order[:middle]], world[order[middle:]]


Policy = Given | Ranks | Split

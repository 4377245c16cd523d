"""Tests of canaries of one run, and of games in the order in which they were played."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import bdtrc

from cropaudit.estimators.bound import Bound, Cut
from cropaudit.estimators.evidence import Found, Guesses
from cropaudit.estimators.null import Null
from cropaudit.estimators.one_run.guess_plan import likely_guesses
from cropaudit.estimators.one_run.guessing import Ends
from cropaudit.estimators.one_run.steinke import Against
from cropaudit.estimators.policies.methods import Applied, Named, bound_of
from cropaudit.estimators.scores import Scores
from cropaudit.estimators.sequential.e_process import EProcess
from cropaudit.estimators.trials.power import Truth, found_epsilon

__all__ = ["RunMethod", "StreamMethod", "coin_p_value"]

_ORDER = 3  # of the streams drawn from a seed
_HALVINGS = 14  # of a p-value's logarithm


class RunEstimator(Named, Protocol):
    """Turns guesses about the canaries of one run into a bound."""

    def epsilon(self, guesses: Guesses, delta: float, level: float) -> Found:
        """Returns a number that exceeds the true epsilon with probability at most ``level``."""

    def held(self, null: Null) -> tuple[Against, ...]:
        """Returns whether guesses contradict each part of a null, all of which must be."""

    def cap(self, guesses: Guesses, delta: float, level: float) -> float | None:
        """Returns a limit of the bound of so many guesses; none if there is no limit."""


@dataclass(frozen=True)
class RunMethod(Applied):
    """Guesses about the canaries of one run.

    Attributes:
        estimator: What turns guesses into a bound.
        policies: Ways to guess, fixed beforehand; they share the level.
    """

    estimator: RunEstimator
    policies: tuple[Ends, ...]

    def bound(self, scores: Scores, delta: float, level: float, seed: int) -> Bound:
        """Returns the largest bound over the policies, each at its share of the level."""
        del seed
        share, made = level / len(self.policies), self._made(scores)
        found = [self.estimator.epsilon(item, delta, share) for item in made]
        caps = [self.estimator.cap(item, delta, share) for item in made]
        best = max(range(len(found)), key=lambda i: found[i].epsilon)
        cut = Cut(
            kind="guesses",
            rates=tuple(policy.share for policy in self.policies),
            right=made[best].right,
            guesses=made[best].guesses,
        )
        known = [cap for cap in caps if cap is not None]
        cap = max(known) if len(known) == len(caps) else None
        return bound_of(self.estimator, found[best], cap, delta, level, cut)

    def p_value(self, scores: Scores, null: Null, level: float, seed: int) -> float | None:
        """Returns the p-value of a null, corrected for the policies."""
        del level, seed
        if not null.curves:
            return 1.0
        made, held = self._made(scores), self.estimator.held(null)
        return _smallest_level(
            lambda tried: all(
                any(rejects(item, tried / len(made)) for item in made) for rejects in held
            )
        )

    def _made(self, scores: Scores) -> Sequence[Guesses]:
        return [policy.guesses(scores) for policy in self.policies]

    def detectable(self, trials: tuple[int, int], truth: Truth, level: float) -> float | None:
        """Returns the smallest true epsilon whose bound exceeds 0 with 90% power.

        The best guesser's, who guesses the surest canaries.
        """
        canaries, share = sum(trials), level / len(self.policies)
        shares = [policy.share for policy in self.policies]

        def heard(loudness: int) -> bool:
            seen = likely_guesses(canaries, shares, truth.trade_off(loudness), 0.9)
            found = (self.estimator.epsilon(item, truth.delta, share) for item in seen.values())
            return any(item.epsilon > 0 for item in found)

        return found_epsilon(truth, heard)


@dataclass(frozen=True)
class StreamMethod(Applied):
    """Independent games in an order drawn from the seed.

    A file need not hold its rows in the order in which they were played, and an order that knows
    the scores would void the confidence.

    Attributes:
        estimator: The e-process.
    """

    estimator: EProcess

    def ordered(self, scores: Scores, seed: int) -> Scores:
        """Returns each world's scores in the order in which they are paired."""
        rng = np.random.default_rng([seed, _ORDER])
        return Scores(rng.permutation(scores.member), rng.permutation(scores.nonmember))

    def bound(self, scores: Scores, delta: float, level: float, seed: int) -> Bound:
        """Returns the bound after all games."""
        pairs = min(len(scores.member), len(scores.nonmember))
        found = self.estimator.bound(self.ordered(scores, seed), delta, level)
        # Scores without an error, each nonmember below all before it: no bet can win more.
        parted = Scores(np.full(pairs, np.inf), -np.arange(pairs, dtype=np.float64))
        cap = self.estimator.bound(parted, delta, level).epsilon
        cut = Cut(kind="pairs", pairs=pairs, seed=seed)
        return bound_of(self.estimator, found, cap, delta, level, cut)

    def p_value(self, scores: Scores, null: Null, level: float, seed: int) -> float | None:
        """Returns the inverse of the largest wealth ever against a null."""
        del level
        if not null.curves:
            return 1.0
        wager = self.estimator.wager(self.estimator.against(null))
        ordered = self.ordered(scores, seed)
        pairs = min(len(scores.member), len(scores.nonmember))
        wager.play(ordered.member[:pairs], ordered.nonmember[:pairs])
        return math.exp(-float(wager.highest.min()))

    def detectable(self, trials: tuple[int, int], truth: Truth, level: float) -> float | None:
        """Returns the smallest true epsilon whose bound exceeds 0 with 90% power."""
        if truth.delta == 0:  # what is expected is a Gaussian game, which has no pure epsilon
            return None
        return self.estimator.detectable_epsilon(min(trials), truth.delta, level)


def _smallest_level(rejects: Callable[[float], bool]) -> float:
    """Returns the smallest level that rejects, at most 1.004 times too large; 1 if none does."""
    low, high = 1e-9, 1.0
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if rejects(middle) else (middle, high)
    return high


def coin_p_value(members: int, nonmembers: int) -> float:
    """Returns the two-sided probability of a split at least so uneven under fair coins.

    >>> round(coin_p_value(60, 40), 4)
    0.0569
    """
    trials, larger = members + nonmembers, max(members, nonmembers)
    return min(1.0, 2 * float(bdtrc(larger - 1, trials, 0.5)))

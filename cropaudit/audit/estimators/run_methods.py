"""Methods for canaries of one run and for games in the order in which they were played."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.special import bdtrc

from cropaudit.audit.estimators.e_process import EProcess
from cropaudit.audit.estimators.estimator import RunEstimator
from cropaudit.audit.estimators.evidence import Guesses
from cropaudit.audit.estimators.family import Family
from cropaudit.audit.estimators.guess_plan import likely_guesses
from cropaudit.audit.estimators.guessing import Ends
from cropaudit.audit.estimators.methods import bound_of, found_epsilon
from cropaudit.audit.estimators.power import Truth
from cropaudit.audit.estimators.rate_test import TradeOff
from cropaudit.audit.estimators.run_fdp import Against
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.result import Bound, Validity

__all__ = ["RunMethod", "StreamMethod", "coin_p_value"]

_ORDER = 3  # of the streams drawn from a seed
_HALVINGS = 14  # of a p-value's logarithm


@runtime_checkable
class CurveEstimator(Protocol):
    """Holds guesses against single curves of a family."""

    @property
    def family(self) -> Family:
        """Where the loudest member is sought that the guesses contradict."""

    def against(self, allowed: TradeOff) -> Against:
        """Returns whether guesses contradict a curve at a level."""


@dataclass(frozen=True)
class RunMethod:
    """Guesses about the canaries of one run.

    Attributes:
        estimator: What turns guesses into a bound.
        policies: Ways to guess, fixed beforehand; they share the level.
    """

    estimator: RunEstimator
    policies: tuple[Ends, ...]

    @property
    def name(self) -> str:
        """Name of the estimator."""
        return self.estimator.name

    @property
    def validity(self) -> Validity:
        """Class of the estimator."""
        return self.estimator.validity

    def bound(self, scores: Scores, delta: float, level: float, seed: int) -> Bound:
        """Returns the largest bound over the policies, each at its share of the level."""
        del seed
        share = level / len(self.policies)
        made = self._made(scores)
        found = [self.estimator.epsilon(item, delta, share) for item in made]
        cap = self._cap(made, delta, share)
        best = max(range(len(found)), key=lambda i: found[i].epsilon)
        seen = f"{made[best].right} of {made[best].guesses} right"
        words = ", ".join(policy.words for policy in self.policies)
        corrected = ", corrected for" if len(self.policies) > 1 else ""
        return bound_of(
            self.estimator.name,
            self.estimator.validity,
            self.estimator.assumes,
            found[best],
            cap,
            delta,
            level,
            f"{seen}; guessed {words}{corrected}",
        )

    def _made(self, scores: Scores) -> list[Guesses]:
        return [policy.guesses(scores) for policy in self.policies]

    def _cap(self, made: Sequence[Guesses], delta: float, level: float) -> float | None:
        """Returns a limit of the bound that so many guesses can give; none if there is no limit."""
        perfect = [Guesses(item.canaries, item.guesses, item.guesses) for item in made]
        held = self._held
        if held is None:
            return max(self.estimator.epsilon(item, delta, level).epsilon for item in perfect)
        limits = [
            held.family.quietest_standing(lambda curve, i=item: held.against(curve)(i, level))  # type: ignore[misc]
            for item in perfect
        ]
        return None if None in limits else max(limit for limit in limits if limit is not None)

    @property
    def _held(self) -> CurveEstimator | None:
        """The estimator, if it holds guesses against curves of a family."""
        return self.estimator if isinstance(self.estimator, CurveEstimator) else None

    def p_value(
        self, scores: Scores, claim: float, delta: float, level: float, seed: int
    ) -> float | None:
        """Returns the p-value of "epsilon is at most ``claim``".

        Given a family it is that of the member whose epsilon is the claim, or a quieter one.
        """
        held = self._held
        if held is not None:
            index = held.family.index_of(claim)
            if index is None:
                return 1.0
            return self.curve_p_value(scores, held.family.played(index), delta, level, seed)
        made = self._made(scores)
        return _smallest_level(
            lambda share: any(
                self.estimator.epsilon(item, delta, share / len(made)).epsilon > claim
                for item in made
            )
        )

    def curve_p_value(
        self, scores: Scores, curves: Sequence[TradeOff], delta: float, level: float, seed: int
    ) -> float | None:
        """Returns the p-value of "one of these curves is true"; none if it holds no curves."""
        del delta, level, seed
        held = self._held
        if held is None:
            return None
        made, against = self._made(scores), [held.against(curve) for curve in curves]
        return _smallest_level(
            lambda level: all(
                any(rejects(item, level / len(made)) for item in made) for rejects in against
            )
        )

    def detectable(
        self, trials: tuple[int, int], truth: Truth, claim: float, level: float
    ) -> float | None:
        """Returns the smallest true epsilon whose bound exceeds ``claim`` with 90% power.

        The best guesser's, who guesses the surest canaries.
        """
        canaries, share = sum(trials), level / len(self.policies)
        shares = [policy.share for policy in self.policies]

        def heard(loudness: int) -> bool:
            seen = likely_guesses(canaries, shares, truth.trade_off(loudness), 0.9)
            found = (self.estimator.epsilon(item, truth.delta, share) for item in seen.values())
            return any(item.epsilon > claim for item in found)

        return found_epsilon(truth, heard)


@dataclass(frozen=True)
class StreamMethod:
    """Independent games in the order in which they were played.

    Attributes:
        estimator: The e-process.
    """

    estimator: EProcess

    @property
    def name(self) -> str:
        """Name of the estimator."""
        return self.estimator.name

    @property
    def validity(self) -> Validity:
        """Class of the estimator."""
        return self.estimator.validity

    def bound(self, scores: Scores, delta: float, level: float, seed: int) -> Bound:
        """Returns the bound after all games, which a file need not hold in their order.

        Each world's scores are put into an order drawn from ``seed``, so that the order of the
        rows, which may know the scores, says nothing.
        """
        rng = np.random.default_rng([seed, _ORDER])
        shuffled = Scores(rng.permutation(scores.member), rng.permutation(scores.nonmember))
        pairs = min(len(scores.member), len(scores.nonmember))
        return bound_of(
            self.estimator.name,
            self.estimator.validity,
            self.estimator.assumes,
            self.estimator.bound(shuffled, delta, level),
            self.estimator.bound(_parted(pairs), delta, level).epsilon,
            delta,
            level,
            f"rows in an order drawn from seed {seed}",
        )

    def p_value(
        self, scores: Scores, claim: float, delta: float, level: float, seed: int
    ) -> float | None:
        """Returns none: the stream itself holds the claim's wealth."""
        del scores, claim, delta, level, seed
        return None

    def curve_p_value(
        self, scores: Scores, curves: Sequence[TradeOff], delta: float, level: float, seed: int
    ) -> float | None:
        """Returns none: no such p-value is computed."""
        del scores, curves, delta, level, seed
        return None

    def detectable(
        self, trials: tuple[int, int], truth: Truth, claim: float, level: float
    ) -> float | None:
        """Returns the smallest true epsilon whose bound exceeds ``claim`` with 90% power."""
        if truth.delta == 0:  # what is expected is a Gaussian game, which has no pure epsilon
            return None
        claims = self.estimator.claim(claim, truth.delta)
        return self.estimator.detectable_epsilon(claims, min(trials), truth.delta, level)


def _smallest_level(rejects: Callable[[float], bool]) -> float:
    """Returns the smallest level that rejects, rounded up by at most a factor of 1.004; 1 if none.

    Args:
        rejects: Whether a level does; larger ones do where smaller ones do.
    """
    low, high = 1e-9, 1.0
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if rejects(middle) else (middle, high)
    return high


def _parted(pairs: int) -> Scores:
    """Returns scores without an error, each nonmember below all before it: no bet can win more."""
    return Scores(np.full(pairs, np.inf), -np.arange(pairs, dtype=np.float64))


def coin_p_value(members: int, nonmembers: int) -> float:
    """Returns the two-sided probability of a split at least so uneven under fair coins.

    >>> round(coin_p_value(60, 40), 4)
    0.0569
    """
    trials, larger = members + nonmembers, max(members, nonmembers)
    return min(1.0, 2 * float(bdtrc(larger - 1, trials, 0.5)))

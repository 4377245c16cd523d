"""Methods for canaries of one run and for games in the order in which they were played."""

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import bdtrc

from cropaudit.audit.estimators.e_process import EProcess
from cropaudit.audit.estimators.estimator import RunEstimator
from cropaudit.audit.estimators.evidence import Guesses
from cropaudit.audit.estimators.guessing import Guessing
from cropaudit.audit.estimators.methods import bound_of, found_epsilon
from cropaudit.audit.estimators.order_statistics import likely_right
from cropaudit.audit.estimators.power import Truth
from cropaudit.audit.estimators.rate_test import TradeOff
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.result import Bound, Validity

__all__ = ["RunMethod", "StreamMethod", "coin_p_value"]

_HALVINGS = 14  # of a p-value's logarithm


@dataclass(frozen=True)
class RunMethod:
    """Guesses about the canaries of one run.

    Attributes:
        estimator: What turns guesses into a bound.
        policies: Ways to guess, fixed beforehand; they share the level.
    """

    estimator: RunEstimator
    policies: tuple[Guessing, ...]

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
        share = level / len(self.policies)
        made = self._made(scores, seed)
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

    def _made(self, scores: Scores, seed: int) -> list[Guesses]:
        """Returns the guesses; where all scores are alike no draw of ties may make a finding."""
        made = [policy.guesses(scores, seed) for policy in self.policies]
        if scores.alike:
            return [Guesses(item.canaries, item.guesses, item.guesses // 2) for item in made]
        return made

    def _cap(self, made: Sequence[Guesses], delta: float, level: float) -> float | None:
        """Returns the largest bound that so many guesses can give; none if a family sets no limit.

        A family's is not computed: it belongs to members with hardly any noise, whose curves take
        long, and its limit hardly says anything.
        """
        if self.estimator.validity != "exact":
            return None
        perfect = [Guesses(item.canaries, item.guesses, item.guesses) for item in made]
        return max(self.estimator.epsilon(item, delta, level).epsilon for item in perfect)

    def p_value(
        self, scores: Scores, claim: float, delta: float, level: float, seed: int
    ) -> float | None:
        """Returns the p-value of "epsilon is at most ``claim``".

        It is the smallest level whose bound exceeds the claim, rounded up by at most a factor 1.1.
        """
        del level
        made = self._made(scores, seed)
        low, high = 1e-9, 1.0
        for _ in range(_HALVINGS):
            middle = (low * high) ** 0.5
            share = middle / len(made)
            if any(self.estimator.epsilon(item, delta, share).epsilon > claim for item in made):
                high = middle
            else:
                low = middle
        return high

    def curve_p_value(
        self, scores: Scores, curves: Sequence[TradeOff], delta: float, level: float, seed: int
    ) -> float | None:
        """Returns none: no such p-value is computed."""
        del scores, curves, delta, level, seed
        return None

    def detectable(
        self, trials: tuple[int, int], truth: Truth, claim: float, level: float
    ) -> float | None:
        """Returns the smallest true epsilon whose bound exceeds ``claim`` with 90% power.

        The best guesser's, who guesses the surest canaries.
        """
        canaries, share = sum(trials), level / len(self.policies)
        sizes = [policy.number(canaries) for policy in self.policies]

        def heard(loudness: int) -> bool:
            curve = truth.trade_off(loudness)
            seen = [Guesses(canaries, r, likely_right(canaries, r, curve)) for r in sizes]
            found = [self.estimator.epsilon(item, truth.delta, share) for item in seen]
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
        """Returns the bound after all games."""
        del seed
        pairs = min(len(scores.member), len(scores.nonmember))
        return bound_of(
            self.estimator.name,
            self.estimator.validity,
            self.estimator.assumes,
            self.estimator.bound(scores, delta, level),
            None,
            delta,
            level,
            f"valid at any stopping time, {pairs} pairs",
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


def coin_p_value(members: int, nonmembers: int) -> float:
    """Returns the two-sided probability of a split at least so uneven under fair coins.

    >>> round(coin_p_value(60, 40), 4)
    0.0569
    """
    trials, larger = members + nonmembers, max(members, nonmembers)
    return min(1.0, 2 * float(bdtrc(larger - 1, trials, 0.5)))

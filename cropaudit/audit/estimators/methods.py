"""From scores to a bound: an estimator with the policy that feeds it, corrected and rounded.

Every method answers three questions: the bound that scores give; the largest bound that so many
trials could give (its cap); and the smallest true epsilon that it finds with 90% power.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import ClassVar, Protocol

import numpy as np

from cropaudit.audit.estimators.estimator import CountEstimator
from cropaudit.audit.estimators.evidence import Counts, Found
from cropaudit.audit.estimators.family import Family
from cropaudit.audit.estimators.joint_test import best_for_epsilon
from cropaudit.audit.estimators.ladder import extreme, joint_p_value
from cropaudit.audit.estimators.mechanism_fdp import (
    OUTSIDE,
    MechanismFdp,
    claim_p_value,
    family_note,
)
from cropaudit.audit.estimators.power import FamilyTruth, Truth, smallest_found
from cropaudit.audit.estimators.rank_sum import RankSum
from cropaudit.audit.estimators.ranks import hits_at_ranks
from cropaudit.audit.estimators.rate_test import TradeOff, likely_hits, p_value
from cropaudit.audit.estimators.rounding import round_down
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.estimators.thresholds import LADDER, Given, Policy, Ranks, Split
from cropaudit.audit.result import Bound, Validity
from cropaudit.errors import require

__all__ = ["Method", "RankSumMethod", "ThresholdMethod", "bound_of", "planned_rate"]


Best = Callable[[Sequence[Counts], float, float], int]
ClaimTest = Callable[[Counts, float, float, float], float]
LadderTest = Callable[[Sequence[Counts], float, float, float], float]
LadderBound = Callable[[Sequence[Counts], float, float], Found]


class Method(Protocol):
    """An estimator ready to be applied to scores."""

    @property
    def name(self) -> str:
        """Name of the estimator."""

    @property
    def validity(self) -> Validity:
        """Class of the estimator."""

    def bound(self, scores: Scores, delta: float, level: float, seed: int) -> Bound:
        """Returns the bound that scores give, at confidence 1 - ``level``."""

    def p_value(
        self, scores: Scores, claim: float, delta: float, level: float, seed: int
    ) -> float | None:
        """Returns the p-value of "epsilon is at most ``claim``"; none if the estimator has none."""

    def curve_p_value(
        self, scores: Scores, curves: Sequence[TradeOff], delta: float, level: float, seed: int
    ) -> float | None:
        """Returns the p-value of "one of these curves is true"; none if the estimator has none.

        It assumes nothing about the mechanism.
        """

    def detectable(
        self, trials: tuple[int, int], truth: Truth, claim: float, level: float
    ) -> float | None:
        """Returns the smallest true epsilon whose bound exceeds ``claim`` with 90% power."""


@dataclass(frozen=True)
class ThresholdMethod:
    """Tests of "score above a threshold" in independent trials.

    Attributes:
        estimator: What turns one test into a bound.
        policy: Which tests are made; several share the level.

    Raises:
        InputError: If the policy tells the game from the other world as well, but the estimator
            knows the order of the worlds.
    """

    estimator: CountEstimator
    policy: Policy

    def __post_init__(self) -> None:
        family: Family | None = getattr(self.estimator, "family", None)
        turned = isinstance(self.policy, Ranks) and self.policy.sides != "high"
        if turned and family is not None:
            require(family.order == "either", "order", "either for ranks of lows", family.order)

    @property
    def name(self) -> str:
        """Name of the estimator."""
        return self.estimator.name

    @property
    def validity(self) -> Validity:
        """Class of the estimator."""
        return self.estimator.validity

    def tests(self, scores: Scores, delta: float, level: float, seed: int) -> tuple[Counts, ...]:
        """Returns the tests that the policy makes; they share the level."""
        return self.policy.counts(scores, lambda some: self._best(some, delta, level), seed)

    def bound(self, scores: Scores, delta: float, level: float, seed: int) -> Bound:
        """Returns the largest bound of all tests, each at its share of the level."""
        ladders = self._ladders(scores, delta, level, seed)
        share = level / len(ladders)
        found = [self._found(ladder, delta, share) for ladder in ladders]
        cap = self._cap(ladders, delta, share)
        return bound_of(
            self.estimator.name,
            self.estimator.validity,
            self.estimator.assumes,
            max(found, key=lambda item: item.epsilon),
            cap,
            delta,
            level,
            self.policy.words,
        )

    def p_value(
        self, scores: Scores, claim: float, delta: float, level: float, seed: int
    ) -> float | None:
        """Returns the p-value of "epsilon is at most ``claim``"; none if the estimator has none."""
        of_counts: ClaimTest | None = getattr(self.estimator, "claim_p_value", None)
        of_ladder: LadderTest | None = getattr(self.estimator, "ladder_p_value", None)
        if of_counts is None or of_ladder is None:
            return None
        ladders = self._ladders(scores, delta, level, seed)
        share = level / len(ladders)
        values = [
            of_counts(tests[0], claim, delta, share)
            if len(tests) == 1
            else of_ladder(tests, claim, delta, share)
            for tests in ladders
        ]
        return min(1.0, len(ladders) * min(values))

    def curve_p_value(
        self, scores: Scores, curves: Sequence[TradeOff], delta: float, level: float, seed: int
    ) -> float | None:
        """Returns the p-value of "one of these curves is true"."""
        ladders = self._ladders(scores, delta, level, seed)
        share = level / len(ladders)
        values = [
            max(_curve_p_value(ladder, curve, share) for curve in curves) for ladder in ladders
        ]
        return min(1.0, len(ladders) * min(values))

    def detectable(
        self, trials: tuple[int, int], truth: Truth, claim: float, level: float
    ) -> float | None:
        """Returns the smallest true epsilon whose bound exceeds ``claim`` with 90% power."""
        straight, turned, made = self._planned(trials)
        # A learned threshold comes near the best one, not on it: two of them must be heard.
        wanted = 2 if isinstance(self.policy, Split) else 1

        def heard(own: TradeOff, other: TradeOff) -> bool:
            seen = chain(
                (likely_hits(test, own) for test in straight),
                (likely_hits(test, other) for test in turned),
            )
            bounds = (self.estimator.epsilon(t, truth.delta, level / made).epsilon for t in seen)
            return len(list(islice((b for b in bounds if b > claim), wanted))) == wanted

        return found_epsilon(
            truth, lambda loudness: all(heard(*curves) for curves in truth.orders(loudness))
        )

    def _best(self, tests: Sequence[Counts], delta: float, level: float) -> int:
        own: Best | None = getattr(self.estimator, "best", None)
        return (own or best_for_epsilon)(tests, delta, level)

    def _ladders(
        self, scores: Scores, delta: float, level: float, seed: int
    ) -> tuple[tuple[Counts, ...], ...]:
        """Returns the tests; those of one part stand on each other and are corrected together.

        That takes an estimator that knows their joint law; the others correct by Bonferroni.
        """
        if isinstance(self.policy, Ranks) and hasattr(self.estimator, "ladder_epsilon"):
            return self.policy.ladders(scores)
        return tuple((test,) for test in self.tests(scores, delta, level, seed))

    def _found(self, ladder: tuple[Counts, ...], delta: float, level: float) -> Found:
        if len(ladder) == 1:
            return self.estimator.epsilon(ladder[0], delta, level)
        together: LadderBound = getattr(self.estimator, "ladder_epsilon")  # noqa: B009
        return together(ladder, delta, level)

    def _cap(
        self, ladders: Sequence[tuple[Counts, ...]], delta: float, level: float
    ) -> float | None:
        """Returns the largest bound that so many trials can give; none if there is no limit.

        A family has no limit where scores without an error are beyond its loudest member: short of
        that it may be any member.
        """
        most = [
            self._found(case, delta, level)
            for ladder in ladders
            for case in zip(*(_perfect(test) for test in ladder), strict=True)
        ]
        if any(item.note == OUTSIDE for item in most):
            return None
        return max(item.epsilon for item in most)

    def _planned(self, trials: tuple[int, int]) -> tuple[list[Counts], list[Counts], int]:
        """Returns tests that may be made, hits not yet filled in.

        A given value is taken for a rank; a learned one may be any of the ladder's.

        Returns:
            Those of the game, those of the game told from the other world, and how many will share
            the level.
        """
        n, m = trials
        match self.policy:
            case Ranks(rates, sides, either_sign):
                straight = [] if sides == "low" else planned_tests(n, m, rates)
                turned = [] if sides == "high" else planned_tests(m, n, rates)
                signs = 2 if either_sign else 1
                return straight, turned, signs * (len(straight) + len(turned))
            case Split(share):
                n, m = (max(1, count - round(share * count)) for count in trials)
                return planned_tests(n, m, LADDER), [], 1
            case Given(_, two_sided):
                return planned_tests(n, m, (0.3,)), [], 2 if two_sided else 1


@dataclass(frozen=True)
class RankSumMethod:
    """The whole ROC against a family; see `RankSum`.

    Attributes:
        family: What the delivered mechanism is assumed to be in.
    """

    family: Family

    name: ClassVar[str] = RankSum.name
    validity: ClassVar[Validity] = RankSum.validity

    def seen(self, scores: Scores) -> tuple[RankSum, float]:
        """Returns the test for so many trials, and its statistic."""
        test = RankSum(self.family, len(scores.member), len(scores.nonmember))
        return test, test.statistic(hits_at_ranks(scores, test.ranks.tolist()))

    def bound(self, scores: Scores, delta: float, level: float, seed: int) -> Bound:
        """Returns the bound; the joint test's on the lowest ranks where no member fits."""
        del seed
        test, statistic = self.seen(scores)
        rejected = test.loudest_rejected(statistic, level)
        found = Found(rejected.epsilon, family_note(self.family, rejected))
        if rejected.outside:
            found = Found(test.largest_epsilon(statistic, delta, level), OUTSIDE)
        count = len(test.ranks)
        perfect = test.statistic(np.full(count, test.members))
        most = test.loudest_rejected(perfect, level)
        cap = None if most.outside else most.epsilon
        words = f"hits above {count} fixed ranks, weighted"
        return bound_of(self.name, test.validity, test.assumes, found, cap, delta, level, words)

    def p_value(
        self, scores: Scores, claim: float, delta: float, level: float, seed: int
    ) -> float | None:
        """Returns the p-value of the member whose epsilon is ``claim``, or a quieter one."""
        del delta, seed
        test, seen = self.seen(scores)
        return claim_p_value(self.family, claim, lambda curve: test.p_value(seen, curve, level))

    def curve_p_value(
        self, scores: Scores, curves: Sequence[TradeOff], delta: float, level: float, seed: int
    ) -> float | None:
        """Returns the p-value of "one of these curves is true"."""
        del delta, seed
        test, seen = self.seen(scores)
        return max(test.p_value(seen, curve, level) for curve in curves)

    def detectable(
        self, trials: tuple[int, int], truth: Truth, claim: float, level: float
    ) -> float | None:
        """Returns the smallest true epsilon whose bound exceeds ``claim`` with 90% power."""
        test = RankSum(self.family, *trials)
        index = self.family.index_of(claim)
        if index is None:
            return None

        def found(loudness: int) -> bool:
            seen = test.likely(truth.trade_off(loudness))
            return self.family.rejected(
                index, lambda curve: test.likely_rejects(seen, curve, level)
            )

        return found_epsilon(truth, found)


def planned_rate(
    family: Family, trials: tuple[int, int], level: float, *, exact: bool = False
) -> float:
    """Returns the rate of false positives at which the claimed game is heard best.

    It depends on the family's claimed member and on the numbers of trials alone.

    Args:
        family: Its claimed member is taken to be true.
        trials: Numbers of members and of nonmembers.
        level: Of the test.
        exact: Whether the bound will be the joint test's, which knows no family.
    """
    n, m = trials
    rates = np.unique(np.clip(np.geomspace(0.5, 1 / m, 24), 1 / m, 0.5))
    truth = FamilyTruth(family).trade_off(0)
    tests = [likely_hits(test, truth, 0.5) for test in planned_tests(n, m, rates)]
    best = best_for_epsilon if exact else MechanismFdp(family).best
    return float(rates[best(tests, family.delta, level)])


def found_epsilon(truth: Truth, found: Callable[[int], bool]) -> float | None:
    """Returns the epsilon of the quietest truth that is found; none if none is."""
    loudness = smallest_found(truth, found)
    return None if loudness is None else truth.epsilon(loudness)


def planned_tests(members: int, nonmembers: int, rates: Iterable[float]) -> list[Counts]:
    """Returns ranked tests at these rates, hits not yet filled in."""
    ranks = [min(nonmembers, max(1, round(float(rate) * nonmembers))) for rate in rates]
    return [Counts(members, nonmembers, 0, rank - 1, ranked=True) for rank in ranks]


def bound_of(
    name: str,
    validity: Validity,
    assumes: str,
    found: Found,
    cap: float | None,
    delta: float,
    level: float,
    words: str,
) -> Bound:
    """Returns a bound for the report, rounded down."""
    note = "; ".join(text for text in (found.note, words) if text)
    return Bound(
        estimator=name,
        epsilon=round_down(found.epsilon),
        delta=delta,
        confidence=1 - level,
        validity=validity,
        assumes=assumes,
        cap=cap,
        note=note,
    )


def _curve_p_value(ladder: Sequence[Counts], curve: TradeOff, level: float) -> float:
    """Returns the p-value of one curve, by one test or by several ranks together."""
    if len(ladder) == 1:
        return p_value(ladder[0], curve, level)
    return joint_p_value(extreme(ladder, curve, 0.0), curve)


def _perfect(test: Counts) -> tuple[Counts, ...]:
    """Returns the test without an error, or nearly so: some estimators need an error to be seen."""
    if test.ranked:
        return tuple(replace(test, hits=max(test.members - miss, 0)) for miss in (0, 1))
    n, m = test.members, test.nonmembers
    return tuple(
        Counts(n, m, max(n - miss, 0), min(alarm, m)) for miss in (0, 1) for alarm in (0, 1)
    )

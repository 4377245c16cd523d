"""From scores to a bound and to a p-value: one interface for every hypothesis test.

A test answers: the bound that scores give, with the largest that so many trials could give (its
cap); the p-value of a null hypothesis; and the smallest true epsilon that it finds with 90% power.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, islice
from typing import ClassVar, Protocol

import numpy as np

from cropaudit.errors import require
from cropaudit.estimators.bound import Bound, Cut, Validity
from cropaudit.estimators.evidence import Counts, Found
from cropaudit.estimators.null import Null, TradeOff
from cropaudit.estimators.rounding import round_down
from cropaudit.estimators.scores import Scores
from cropaudit.estimators.trials.family import Family, Rejected, family_found
from cropaudit.estimators.trials.joint_test import Regions
from cropaudit.estimators.trials.mechanism_fdp import MechanismFdp
from cropaudit.estimators.trials.power import FamilyTruth, Truth, found_epsilon
from cropaudit.estimators.trials.rank_sum import RankSum
from cropaudit.estimators.trials.ranks import hits_at_ranks
from cropaudit.estimators.trials.rate_test import likely_hits
from cropaudit.estimators.trials.thresholds import LADDER, Given, Policy, Ranks, Split

__all__ = [
    "Applied",
    "CountEstimator",
    "HypothesisTest",
    "Named",
    "RankSumMethod",
    "ThresholdMethod",
    "bound_of",
    "planned_rate",
]


_rank_sum = lru_cache(maxsize=8)(RankSum)  # whose simulated games take time


class Named(Protocol):
    """What a bound says of its estimator: its name, its class, and what must hold for that."""

    @property
    def name(self) -> str:
        """Name in tables."""

    @property
    def validity(self) -> Validity:
        """How far the confidence can be trusted."""

    @property
    def assumes(self) -> str:
        """What must hold for that."""


class HypothesisTest(Protocol):
    """An estimator ready to be applied to scores."""

    @property
    def name(self) -> str:
        """Name in tables."""

    @property
    def validity(self) -> Validity:
        """How far the confidence can be trusted."""

    def bound(self, scores: Scores, delta: float, level: float, seed: int) -> Bound:
        """Returns the bound that scores give, at confidence 1 - ``level``."""

    def p_value(self, scores: Scores, null: Null, level: float, seed: int) -> float | None:
        """Returns the p-value of a null hypothesis, to be compared with ``level``.

        None if the estimator has none.
        """

    def detectable(self, trials: tuple[int, int], truth: Truth, level: float) -> float | None:
        """Returns the smallest true epsilon whose bound exceeds 0 with 90% power."""


class Applied:
    """A test that goes by the name and the class of its estimator."""

    estimator: Named

    @property
    def name(self) -> str:
        """Name of the estimator."""
        return self.estimator.name

    @property
    def validity(self) -> Validity:
        """Class of the estimator."""
        return self.estimator.validity


class CountEstimator(Named, Protocol):
    """Turns counts of tests into a bound."""

    @property
    def together(self) -> bool:
        """Whether several ranks of one game are tested by their joint law; else Bonferroni."""

    def found(self, tests: Sequence[Counts], delta: float, level: float) -> Found:
        """Returns a number that exceeds the true epsilon with probability at most ``level``."""

    def p_value(self, tests: Sequence[Counts], null: Null, level: float) -> float | None:
        """Returns the p-value of a null hypothesis; none if there is none."""

    def best(self, tests: Sequence[Counts], delta: float, level: float) -> int:
        """Returns which of several tests promises most."""


@dataclass(frozen=True)
class ThresholdMethod(Applied):
    """Tests of "score above a threshold" in independent trials.

    Attributes:
        estimator: What turns counts into a bound.
        policy: Which tests are made; several share the level.

    Raises:
        InputError: If the policy tells the game from the other world as well, but the estimator
            knows the order of the worlds.
    """

    estimator: CountEstimator
    policy: Policy

    def __post_init__(self) -> None:
        turned = isinstance(self.policy, Ranks) and self.policy.sides != "high"
        if turned and isinstance(self.estimator, MechanismFdp):
            order = self.estimator.family.order
            require(order in ("either", "adaptive"), "order", "either for ranks of lows", order)

    def bound(self, scores: Scores, delta: float, level: float, seed: int) -> Bound:
        """Returns the largest bound of all tests, each at its share of the level."""
        ladders = self._ladders(scores, delta, level, seed)
        share = level / len(ladders)
        found = [self.estimator.found(ladder, delta, share) for ladder in ladders]
        best, cap = max(found, key=lambda item: item.epsilon), self._cap(ladders, delta, share)
        return bound_of(self.estimator, best, cap, delta, level, self.policy.cut)

    def p_value(self, scores: Scores, null: Null, level: float, seed: int) -> float | None:
        """Returns the p-value of a null, corrected for the tests that share the level."""
        if not null.curves:
            return 1.0
        ladders = self._ladders(scores, null.delta, level, seed)
        share = level / len(ladders)
        found = [self.estimator.p_value(ladder, null, share) for ladder in ladders]
        known = [value for value in found if value is not None]
        return min(1.0, len(known) * min(known)) if known else None

    def rejected(self, scores: Scores, family: Family, level: float, seed: int) -> Rejected:
        """Returns the loudest member of a family that the tests reject."""
        held = ThresholdMethod(MechanismFdp(family), self.policy)
        tests = held._tests(scores, family.delta, level, seed)
        found = [MechanismFdp(family).rejected([t], level / len(tests)) for t in tests]
        return max(found, key=lambda item: (item.outside, item.epsilon))

    def detectable(self, trials: tuple[int, int], truth: Truth, level: float) -> float | None:
        """Returns the smallest true epsilon whose bound exceeds 0 with 90% power."""
        straight, turned, made = self._planned(trials)
        # A learned threshold comes near the best one, not on it: two of them must be heard.
        wanted = 2 if isinstance(self.policy, Split) else 1

        def heard(own: TradeOff, other: TradeOff) -> bool:
            seen = chain(
                (likely_hits(test, own) for test in straight),
                (likely_hits(test, other) for test in turned),
            )
            each = level / made
            shown = (t for t in seen if self.estimator.found([t], truth.delta, each).epsilon > 0)
            return len(list(islice(shown, wanted))) == wanted

        return found_epsilon(
            truth, lambda loudness: all(heard(*curves) for curves in truth.orders(loudness))
        )

    def _tests(self, scores: Scores, delta: float, level: float, seed: int) -> tuple[Counts, ...]:
        best = lambda some: self.estimator.best(some, delta, level)  # noqa: E731
        return self.policy.counts(scores, best, seed)

    def _ladders(
        self, scores: Scores, delta: float, level: float, seed: int
    ) -> tuple[tuple[Counts, ...], ...]:
        """Returns the tests; those of one part stand on each other and are corrected together."""
        if isinstance(self.policy, Ranks) and self.estimator.together:
            return self.policy.ladders(scores)
        return tuple((test,) for test in self._tests(scores, delta, level, seed))

    def _cap(
        self, ladders: Sequence[tuple[Counts, ...]], delta: float, level: float
    ) -> float | None:
        """Returns the largest bound that so many trials can give; none if there is no limit.

        A family has no limit where scores without an error are beyond its loudest member: short of
        that it may be any member.
        """
        most = [
            self.estimator.found(case, delta, level)
            for ladder in ladders
            for case in zip(*(_perfect(test) for test in ladder), strict=True)
        ]
        if any(item.outside for item in most):
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
                straight = [] if sides == "low" else _planned_tests(n, m, rates)
                turned = [] if sides == "high" else _planned_tests(m, n, rates)
                signs = 2 if either_sign else 1
                return straight, turned, signs * (len(straight) + len(turned))
            case Split(share):
                n, m = (max(1, count - round(share * count)) for count in trials)
                return _planned_tests(n, m, LADDER), [], 1
            case Given(_, two_sided):
                return _planned_tests(n, m, (0.3,)), [], 2 if two_sided else 1


@dataclass(frozen=True)
class RankSumMethod:
    """The whole ROC against a family; see `RankSum`.

    Attributes:
        family: What the delivered mechanism is assumed to be in.
    """

    family: Family

    name: ClassVar[str] = RankSum.name
    validity: ClassVar[Validity] = RankSum.validity

    def _seen(self, scores: Scores) -> tuple[RankSum, float]:
        test = _rank_sum(self.family, len(scores.member), len(scores.nonmember))
        return test, test.statistic(hits_at_ranks(scores, test.ranks.tolist()))

    def bound(self, scores: Scores, delta: float, level: float, seed: int) -> Bound:
        """Returns the bound; the one of no family where no member fits."""
        del seed
        test, statistic = self._seen(scores)
        rejected = test.loudest_rejected(statistic, level)
        found = family_found(self.family, rejected)
        if rejected.outside:
            found = Found(test.largest_epsilon(statistic, delta, level), outside=True)
        most = test.loudest_rejected(test.perfect, level)
        cap = None if most.outside else most.epsilon
        cut = Cut(kind="roc", ranks=len(test.ranks))
        return bound_of(test, found, cap, delta, level, cut)

    def p_value(self, scores: Scores, null: Null, level: float, seed: int) -> float | None:
        """Returns the p-value of a null."""
        del seed
        test, seen = self._seen(scores)
        return max((test.p_value(seen, curve, level) for curve in null.curves), default=1.0)

    def rejected(self, scores: Scores, family: Family, level: float, seed: int) -> Rejected:
        """Returns the loudest member of a family that the ROC rejects.

        One statistic serves all families: weights by their own would make several tests of it.
        """
        del seed
        test, statistic = self._seen(scores)
        return family.loudest_rejected(lambda curve: test.rejects(statistic, curve, level))

    def detectable(self, trials: tuple[int, int], truth: Truth, level: float) -> float | None:
        """Returns the smallest true epsilon whose bound exceeds 0 with 90% power."""
        test = _rank_sum(self.family, *trials)
        quietest = self.family.span[0]

        def found(loudness: int) -> bool:
            seen = test.likely(truth.trade_off(loudness))
            return self.family.rejected(
                quietest, lambda curve: test.likely_rejects(seen, curve, level)
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
    tests = [likely_hits(test, truth, 0.5) for test in _planned_tests(n, m, rates.tolist())]
    if exact:
        return float(rates[Regions(family.delta).best(tests, level)])
    return float(rates[MechanismFdp(family).best(tests, family.delta, level)])


def _planned_tests(members: int, nonmembers: int, rates: Sequence[float]) -> list[Counts]:
    """Returns ranked tests at these rates, hits not yet filled in."""
    ranks = [min(nonmembers, max(1, round(rate * nonmembers))) for rate in rates]
    return [Counts(members, nonmembers, 0, rank - 1, ranked=True) for rank in ranks]


def bound_of(
    estimator: Named, found: Found, cap: float | None, delta: float, level: float, cut: Cut
) -> Bound:
    """Returns a bound for the report, rounded down."""
    return Bound(
        estimator=estimator.name,
        epsilon=round_down(found.epsilon),
        delta=delta,
        confidence=1 - level,
        validity=estimator.validity,
        assumes=estimator.assumes,
        cap=cap,
        axis=found.axis,
        limit=found.limit,
        outside=found.outside,
        cut=cut,
    )


def _perfect(test: Counts) -> tuple[Counts, ...]:
    """Returns the test without an error, or nearly so: some estimators need an error to be seen."""
    if test.ranked:
        return tuple(replace(test, hits=max(test.members - miss, 0)) for miss in (0, 1))
    n, m = test.members, test.nonmembers
    return tuple(
        Counts(n, m, max(n - miss, 0), min(alarm, m)) for miss in (0, 1) for alarm in (0, 1)
    )

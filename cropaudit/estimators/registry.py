"""All estimators, each with what it needs, and the plan: which fit, and which one decides.

An estimator is one file and one line here. The order is that of tables; the first one that fits
decides. Which those are follows from the hypothesis and the numbers of trials alone, before any
score is seen.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from cropaudit.errors import require
from cropaudit.estimators.bound import Frozen
from cropaudit.estimators.hypothesis import Hypothesis, Trials
from cropaudit.estimators.one_run.guess_plan import contradicting_share, planned_shares
from cropaudit.estimators.one_run.guessing import Ends
from cropaudit.estimators.one_run.order_statistics import OrderStatistics, planned_share
from cropaudit.estimators.one_run.run_fdp import RunFdp
from cropaudit.estimators.one_run.steinke import Steinke, p_value
from cropaudit.estimators.policies.methods import (
    HypothesisTest,
    RankSumMethod,
    ThresholdMethod,
    planned_rate,
)
from cropaudit.estimators.policies.run_methods import RunMethod, StreamMethod, coin_p_value
from cropaudit.estimators.trials.clopper_pearson import ClopperPearson
from cropaudit.estimators.trials.family import Family
from cropaudit.estimators.trials.joint_test import JointTest
from cropaudit.estimators.trials.mechanism_fdp import MechanismFdp
from cropaudit.estimators.trials.power import ApproximateTruth
from cropaudit.estimators.trials.thresholds import LADDER, Policy, Ranks, Sides

__all__ = ["ESTIMATORS", "Estimator", "Plan", "Skipped", "plan", "register"]

_SHARES = (1.0, 0.2, 0.04)  # of the canaries: all for pure epsilon, few for a composed curve
_UNFAIR = 1e-6  # a split of the worlds less likely than this was no fair coin
_ONE_SIDED = "adaptive", "forward"  # orders of the worlds in which high scores alone speak

Sizes = tuple[int, int]


class Skipped(Frozen):
    """An estimator that does not apply."""

    estimator: str
    needs: str


@dataclass(frozen=True)
class Estimator:
    """One line of the registry.

    Attributes:
        name: In tables.
        trials: Of which kind of trials.
        words: What it does with scores.
        make: Returns the test, planned for so many members and nonmembers, or what it needs.
        audited: Whether an audit's report shows it; others are weaker there, or made for following.
    """

    name: str
    trials: Trials
    words: str
    make: Callable[[Hypothesis, Sizes], HypothesisTest | str]
    audited: bool = True


@dataclass(frozen=True)
class Plan:
    """Estimators for one attack, fixed before its scores are seen.

    Attributes:
        tests: All that fit, the deciding one first.
        skipped: The others, each with what it needs.
        audited: Those that an audit's report shows, the deciding one first.
    """

    tests: tuple[HypothesisTest, ...]
    skipped: tuple[Skipped, ...]
    audited: tuple[HypothesisTest, ...]

    @property
    def deciding(self) -> HypothesisTest:
        """The one that decides."""
        return self.tests[0]


@lru_cache(maxsize=64)
def plan(hypothesis: Hypothesis, sizes: Sizes) -> Plan:
    """Returns the estimators that fit; kept, for plans take time and are asked for again.

    Args:
        hypothesis: What is held against scores. Its share of the level makes no difference.
        sizes: Numbers of members and of nonmembers.

    Raises:
        InputError: If the worlds of one run were drawn by no fair coins.
    """
    if hypothesis.trials == "one-run":
        fair = coin_p_value(*sizes)
        legal = f"drawn by fair coins in one run (p = {fair:.1g})"
        require(fair >= _UNFAIR, "worlds", legal, f"{sizes[0]} and {sizes[1]}")
    tests: list[HypothesisTest] = []
    audited: list[HypothesisTest] = []
    skipped = []
    for item in ESTIMATORS:
        if item.trials == hypothesis.trials:
            made = item.make(hypothesis, sizes)
            if isinstance(made, str):
                skipped.append(Skipped(estimator=item.name, needs=made))
            else:
                if item.audited or not tests:
                    audited.append(made)
                tests.append(made)
    return Plan(tuple(tests), tuple(skipped), tuple(audited))


def register(item: Estimator) -> Estimator:
    """Adds an estimator behind the others of its kind; it is shown beside the deciding one."""
    ESTIMATORS.append(item)
    return item


def _rank_sum(hypothesis: Hypothesis, sizes: Sizes) -> HypothesisTest | str:
    del sizes
    if hypothesis.family is None:
        return _MECHANISM
    if hypothesis.order not in _ONE_SIDED or hypothesis.policy or hypothesis.two_sided:
        return "needs --order forward, planned ranks and one sign"
    return RankSumMethod(hypothesis.family)


def _of_canaries(hypothesis: Hypothesis, sizes: Sizes) -> HypothesisTest | str:
    """Canaries that do not interact are independent trials."""
    if hypothesis.family is None:
        return _MECHANISM
    own = hypothesis.order == "forward"
    return RankSumMethod(hypothesis.family) if own else "needs --order forward"


def _mechanism(hypothesis: Hypothesis, sizes: Sizes) -> HypothesisTest | str:
    family = hypothesis.family
    if family is None:
        return _MECHANISM
    policy = hypothesis.policy or _planned(hypothesis, family, sizes, exact=False)
    return ThresholdMethod(MechanismFdp(family), policy)


def _plain(hypothesis: Hypothesis, sizes: Sizes) -> Policy:
    """Returns where the estimators that know no mechanism cut."""
    if hypothesis.policy is not None:
        return hypothesis.policy
    if hypothesis.family is None:
        return Ranks(LADDER, "high", hypothesis.two_sided)
    return _planned(hypothesis, hypothesis.family, sizes, exact=True)


def _planned(hypothesis: Hypothesis, family: Family, sizes: Sizes, *, exact: bool) -> Policy:
    """Which end of the scores is heard best depends on the order of the worlds."""
    sides: Sides = "both" if hypothesis.order == "either" else "high"
    rate = planned_rate(family, sizes, hypothesis.level, exact=exact)
    return Ranks((rate,), sides, hypothesis.two_sided)


def _run_fdp(hypothesis: Hypothesis, sizes: Sizes) -> HypothesisTest | str:
    family = hypothesis.family
    if family is None:
        return _MECHANISM
    shares = planned_shares(sum(sizes), family, hypothesis.level)
    return RunMethod(RunFdp(family), tuple(Ends(share) for share in shares))


def _order_statistics(hypothesis: Hypothesis, sizes: Sizes) -> HypothesisTest | str:
    family = hypothesis.family
    if family is None:
        return _MECHANISM
    share = planned_share(sum(sizes), family, hypothesis.level)
    return RunMethod(OrderStatistics(family), (Ends(share),))


def _steinke(hypothesis: Hypothesis, sizes: Sizes) -> HypothesisTest:
    """Guesses are planned where one epsilon is claimed, and no mechanism."""
    claim = hypothesis.claim
    if claim is None or hypothesis.family is not None:
        return RunMethod(Steinke(), tuple(Ends(share) for share in _SHARES))
    delta, level = hypothesis.delta, hypothesis.level
    share = contradicting_share(
        sum(sizes),
        ApproximateTruth(delta),
        lambda guesses: p_value(guesses, claim, delta) <= level,
    )
    return RunMethod(Steinke(), (Ends(share),))


_MECHANISM = "needs --mechanism"
ESTIMATORS = [
    Estimator("rank-sum-f-dp", "independent", "the whole ROC against the family", _rank_sum),
    Estimator(
        "mechanism-f-dp", "independent", "one threshold against the family", _mechanism, False
    ),
    Estimator(
        "joint-test",
        "independent",
        "one exact test of both error rates against the (epsilon, delta) region",
        lambda asked, sizes: ThresholdMethod(JointTest(), _plain(asked, sizes)),
    ),
    Estimator(
        "clopper-pearson",
        "independent",
        "separate exact limits of both error rates",
        lambda asked, sizes: ThresholdMethod(ClopperPearson(), _plain(asked, sizes)),
        audited=False,
    ),
    Estimator(
        "e-process",
        "independent",
        "bets on each pair of games; may be stopped at any time",
        lambda asked, sizes: StreamMethod(asked.process),
        audited=False,
    ),
    Estimator("one-run-f-dp", "one-run", "right guesses against the family's curves", _run_fdp),
    Estimator(
        "one-run-order-statistics",
        "one-run",
        "the surest guesses of independent canaries against the family",
        _order_statistics,
    ),
    Estimator("rank-sum-f-dp", "one-run", "the whole ROC of canaries as trials", _of_canaries),
    Estimator("one-run", "one-run", "right guesses under (epsilon, delta)-DP", _steinke),
]
"""In the order of tables: the first one that fits decides."""

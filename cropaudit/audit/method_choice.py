"""Which estimators fit a question, which of them decides, and which are left out, and why."""

from dataclasses import dataclass
from functools import lru_cache

from cropaudit.audit.estimators.clopper_pearson import ClopperPearson
from cropaudit.audit.estimators.e_process import EProcess
from cropaudit.audit.estimators.gaussian_mu import GaussianMu
from cropaudit.audit.estimators.guess_plan import contradicting_share, planned_shares
from cropaudit.audit.estimators.guessing import Ends
from cropaudit.audit.estimators.joint_beta import JointBeta
from cropaudit.audit.estimators.joint_test import JointTest
from cropaudit.audit.estimators.katz import KatzLogRatio
from cropaudit.audit.estimators.mechanism_fdp import MechanismFdp
from cropaudit.audit.estimators.methods import (
    Method,
    RankSumMethod,
    ThresholdMethod,
    planned_rate,
)
from cropaudit.audit.estimators.order_statistics import OrderStatistics, planned_share
from cropaudit.audit.estimators.power import ApproximateTruth
from cropaudit.audit.estimators.run_fdp import RunFdp
from cropaudit.audit.estimators.run_methods import RunMethod, StreamMethod, coin_p_value
from cropaudit.audit.estimators.steinke import Steinke, p_value
from cropaudit.audit.estimators.thresholds import LADDER, Policy, Ranks, Sides
from cropaudit.audit.question import Question
from cropaudit.errors import require

__all__ = ["Choice", "choose_methods"]

_SHARES = (1.0, 0.2, 0.04)  # of the canaries: all for pure epsilon, few for a composed curve
_UNFAIR = 1e-6  # a split of the worlds less likely than this was no fair coin
_NEEDS = "needs --mechanism"


@dataclass(frozen=True)
class Choice:
    """Estimators for one attack.

    Attributes:
        methods: All that fit, the deciding one first.
        skipped: Names of others, each with the reason.
    """

    methods: tuple[Method, ...]
    skipped: tuple[str, ...]

    @property
    def primary(self) -> Method:
        """The one that decides, fixed before scores are seen."""
        return self.methods[0]


@lru_cache(maxsize=64)
def choose_methods(question: Question, trials: tuple[int, int]) -> Choice:
    """Returns the estimators that fit, from the question and the numbers of trials alone.

    Kept, for plans take time and are made again for each position and each correction.

    Args:
        question: What is asked.
        trials: Numbers of members and of nonmembers.
    """
    if question.trials == "one-run":
        return _one_run(question, trials)
    family, policy = question.family, _policy(question, trials)
    plain = _plain_policy(question, trials)
    counted = [ThresholdMethod(JointTest(), plain), ThresholdMethod(ClopperPearson(), plain)]
    counted += [ThresholdMethod(JointBeta(), plain), ThresholdMethod(KatzLogRatio(), plain)]
    if question.delta > 0:
        counted.append(ThresholdMethod(GaussianMu(), policy))
    methods: list[Method] = [*counted, StreamMethod(EProcess(family))]
    skipped = [] if question.delta > 0 else ["gaussian-mu: needs delta above 0"]
    if family is None:
        names = (MechanismFdp.name, RankSumMethod.name)
        return Choice(tuple(methods), (*skipped, *(f"{name}: {_NEEDS}" for name in names)))
    own: list[Method] = [ThresholdMethod(MechanismFdp(family), policy)]
    if question.order == "forward" and question.policy is None and not question.two_sided:
        own.insert(0, RankSumMethod(family))
    else:
        why = "needs --order forward, planned ranks and one sign"
        skipped.append(f"{RankSumMethod.name}: {why}")
    return Choice((*own, *methods), tuple(skipped))


def _plain_policy(question: Question, trials: tuple[int, int]) -> Policy:
    """Returns where the estimators that know no mechanism cut."""
    if question.policy is not None or question.family is None:
        return _policy(question, trials)
    rate = planned_rate(question.family, trials, question.level, exact=True)
    return Ranks((rate,), _sides(question), question.two_sided)


def _policy(question: Question, trials: tuple[int, int]) -> Policy:
    if question.policy is not None:
        return question.policy
    if question.family is None:
        return Ranks(LADDER, "high", question.two_sided)
    rate = planned_rate(question.family, trials, question.level)
    return Ranks((rate,), _sides(question), question.two_sided)


def _sides(question: Question) -> Sides:
    """Which end of the scores is heard best depends on the order of the worlds."""
    return "both" if question.order == "either" else "high"


def _one_run(question: Question, trials: tuple[int, int]) -> Choice:
    fair, canaries = coin_p_value(*trials), sum(trials)
    legal = f"drawn by fair coins in one run (p = {fair:.1g})"
    require(fair >= _UNFAIR, "worlds", legal, f"{trials[0]} and {trials[1]}")
    family = question.family
    steinke = RunMethod(Steinke(), _plain_guesses(question, canaries))
    if family is None:
        names = (RunFdp.name, OrderStatistics.name)
        return Choice((steinke,), tuple(f"{name}: {_NEEDS}" for name in names))
    share = planned_share(canaries, family, question.level)
    shares = planned_shares(canaries, family, question.level)
    own = RunMethod(RunFdp(family), tuple(Ends(share) for share in shares))
    methods: list[Method] = [own, RunMethod(OrderStatistics(family), (Ends(share),)), steinke]
    if question.order == "forward":  # canaries that do not interact are independent trials
        methods.insert(2, RankSumMethod(family))
        return Choice(tuple(methods), ())
    return Choice(tuple(methods), (f"{RankSumMethod.name}: needs --order forward",))


def _plain_guesses(question: Question, canaries: int) -> tuple[Ends, ...]:
    """Returns how those guess who know no mechanism: planned where one epsilon is claimed."""
    claim = question.claim
    if claim is None or question.family is not None:
        return tuple(Ends(share) for share in _SHARES)
    delta, level = question.delta, question.level
    share = contradicting_share(
        canaries,
        ApproximateTruth(delta),
        lambda guesses: p_value(guesses, claim, delta) <= level,
    )
    return (Ends(share),)

"""Which estimators are chosen, from the question and the numbers of trials alone."""

import inspect
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.stats import binom

from cropaudit.accounting.mechanisms import FixedSizePatch, PatchMechanism, PoissonPatch
from cropaudit.audit.estimators.family import Axis
from cropaudit.audit.estimators.guessing import Ends
from cropaudit.audit.estimators.mechanism_fdp import MechanismFdp
from cropaudit.audit.estimators.methods import RankSumMethod, ThresholdMethod
from cropaudit.audit.estimators.rate_test import p_value
from cropaudit.audit.estimators.run_methods import RunMethod, coin_p_value
from cropaudit.audit.estimators.thresholds import LADDER, Given, Ranks, Split
from cropaudit.audit.method_choice import Choice, choose_methods
from cropaudit.audit.question import Question
from cropaudit.audit.simulated import pair_scores
from cropaudit.errors import InputError

POISSON = PoissonPatch(1.0, 0.1, 0.3, 20)
FIXED = FixedSizePatch(0.5, 0.1, 0.3, 10)
TRIALS = (200, 180)


def policies(choice: Choice) -> dict[str, object]:
    return {m.name: m.policy for m in choice.methods if isinstance(m, ThresholdMethod)}


def names(choice: Choice) -> list[str]:
    return [method.name for method in choice.methods]


def test_without_a_mechanism_the_joint_test_decides() -> None:
    choice = choose_methods(Question(), TRIALS)
    assert choice.primary.name == "joint-test"
    assert names(choice) == [
        "joint-test",
        "clopper-pearson",
        "joint-beta",
        "katz",
        "gaussian-mu",
        "e-process",
    ]
    assert choice.skipped == (
        "mechanism-f-dp: needs --mechanism",
        "rank-sum-f-dp: needs --mechanism",
    )
    assert policies(choice)["joint-test"] == Ranks(LADDER, "high")


def test_the_mechanisms_own_estimator_decides_where_there_is_one() -> None:
    either = choose_methods(Question(mechanism=POISSON), TRIALS)
    assert either.primary.name == "mechanism-f-dp"
    (left_out,) = either.skipped
    assert left_out.startswith("rank-sum-f-dp: needs --order forward")
    forward = choose_methods(Question(mechanism=POISSON, order="forward"), TRIALS)
    assert names(forward)[:2] == ["rank-sum-f-dp", "mechanism-f-dp"]
    assert isinstance(forward.primary, RankSumMethod)
    assert forward.skipped == ()
    one_run = choose_methods(Question(mechanism=POISSON, trials="one-run"), TRIALS)
    assert names(one_run) == ["one-run-f-dp", "one-run-order-statistics", "one-run"]


def test_without_delta_what_needs_one_is_left_out() -> None:
    choice = choose_methods(Question(delta=0.0), TRIALS)
    assert "gaussian-mu" not in names(choice)
    assert "gaussian-mu: needs delta above 0" in choice.skipped


def test_every_method_is_used_or_said_to_be_left_out() -> None:
    for question in (Question(), Question(mechanism=POISSON), Question(delta=0.0)):
        choice = choose_methods(question, TRIALS)
        said = names(choice) + [text.split(":")[0] for text in choice.skipped]
        assert len(set(said)) == len(said) == 8


def test_choice_depends_on_question_and_numbers_only() -> None:
    """No scores go in: the estimator and its ranks cannot be chosen by them."""
    assert set(inspect.signature(inspect.unwrap(choose_methods)).parameters) == {
        "question",
        "trials",
    }
    first, again = (
        inspect.unwrap(choose_methods)(Question(mechanism=POISSON), TRIALS) for _ in range(2)
    )
    assert policies(first) == policies(again)
    assert names(first) == names(again)


@pytest.mark.parametrize("policy", [Given(0.5), Split(), Ranks((0.2,))], ids=str)
def test_a_given_policy_is_used_by_all(policy: Given | Split | Ranks) -> None:
    for mechanism in (None, POISSON):
        question = Question(mechanism=mechanism, policy=policy, order="forward")
        choice = choose_methods(question, TRIALS)
        assert set(policies(choice).values()) == {policy}
        assert not isinstance(choice.primary, RankSumMethod), "which would not use it"


def test_sides_follow_what_is_known_of_the_worlds() -> None:
    """High ranks where the order is known, both ends where not; either sign only if asked for."""

    def planned(**changes: object) -> tuple[str, bool]:
        question = replace(Question(mechanism=POISSON), **changes)  # type: ignore[arg-type]
        policy = policies(choose_methods(question, TRIALS))["joint-test"]
        assert isinstance(policy, Ranks)
        return policy.sides, policy.either_sign

    assert planned(order="forward") == ("high", False)
    assert planned(order="forward", two_sided=True) == ("high", True)
    assert planned(order="either") == ("both", False)
    assert planned(order="either", two_sided=True) == ("both", True)
    found = policies(choose_methods(Question(two_sided=True), TRIALS))
    assert found["joint-test"] == Ranks(LADDER, "high", either_sign=True)


@pytest.mark.parametrize(
    ("trials", "order"), [((1, 1), "forward"), ((1, 30), "either"), ((30, 1), "forward")], ids=str
)
def test_a_handful_of_trials_has_a_plan(trials: tuple[int, int], order: str) -> None:
    question = Question(mechanism=POISSON, order=order)  # type: ignore[arg-type]
    for method in choose_methods(question, trials).methods:
        bound = method.bound(pair_scores(POISSON, trials, np.random.default_rng(0)), 1e-5, 0.05, 0)
        assert bound.epsilon >= 0


# Ranks among the lowest scores tell the game from the other world.


def test_null_low_ranks_do_not_accuse_where_the_order_is_known() -> None:
    """30 honest games of 300 trials a world; false-failure rate 1e-4.

    Held to the first order alone they accuse nearly always: told from world B the odd one out is
    the nonmember. So an estimator of that family is refused.
    """
    question = Question(mechanism=FIXED, order="forward", policy=Ranks((0.7,), "low"))
    (method,) = [
        m for m in choose_methods(question, (300, 300)).methods if m.name == "mechanism-f-dp"
    ]
    assert isinstance(method, ThresholdMethod)
    assert isinstance(method.estimator, MechanismFdp)
    held, rng = method.estimator.family, np.random.default_rng(5)
    curves = held.played(0)
    rejected = np.zeros(2)
    for seed in range(30):
        scores = pair_scores(FIXED, (300, 300), rng)
        (test,) = method.tests(scores, held.delta, 0.05, seed)
        values = [p_value(test, curve, 0.05) for curve in curves]
        rejected += max(values) <= 0.05, values[0] <= 0.05
    assert rejected[0] <= binom.isf(1e-4, 30, 0.05)
    assert rejected[1] > 20
    with pytest.raises(InputError, match="order must be either for ranks of lows, got forward"):
        ThresholdMethod(MechanismFdp(replace(held, order="forward")), Ranks((0.7,), "low"))


@pytest.mark.parametrize("policy", [None, Given(0.5), Split(), Ranks((0.2,))], ids=str)
def test_high_ranks_keep_the_known_order(policy: Given | Split | Ranks | None) -> None:
    axes: tuple[Axis, ...] = ("noise multiplier", "inclusion probability", "sampling rate")
    for axis in axes:
        question = Question(mechanism=FIXED, order="forward", policy=policy)
        family = question.along(axis)
        assert family is not None
        assert family.order == "forward"
        low = replace(question, policy=Ranks((0.2,), "low")).along(axis)
        assert low is not None
        assert low.order == "either"


# One run.


@pytest.mark.parametrize("mechanism", [None, POISSON])
def test_unfair_splits_are_refused_in_one_run_and_nowhere_else(
    mechanism: PatchMechanism | None,
) -> None:
    choose = partial(choose_methods, Question(mechanism=mechanism, trials="one-run"))
    for trials in ((200, 100), (100, 200), (21, 0), (0, 21)):
        assert coin_p_value(*trials) < 1e-6
        with pytest.raises(
            InputError, match=r"worlds must be drawn by fair coins in one run \(p ="
        ):
            choose(trials)
    assert choose((120, 100)).methods
    assert choose_methods(Question(mechanism=mechanism), (300, 30)).methods


@pytest.mark.parametrize("trials", [(1, 1), (10, 12), (5000, 5100)], ids=str)
def test_one_run_guesses_both_ends(trials: tuple[int, int]) -> None:
    for mechanism in (None, POISSON):
        question = Question(mechanism=mechanism, trials="one-run")
        for method in choose_methods(question, trials).methods:
            assert isinstance(method, RunMethod)
            for policy in method.policies:
                assert isinstance(policy, Ends)
                assert 2 <= policy.number(sum(trials)) <= sum(trials)

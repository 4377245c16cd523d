"""Plans that can hear something, and what is said of those that cannot."""

from dataclasses import replace

import numpy as np
import pytest

from cropaudit.accounting.mechanisms import PoissonPatch
from cropaudit.audit.estimate import estimate
from cropaudit.audit.estimators.family import Family
from cropaudit.audit.estimators.guess_plan import likely_guesses, planned_shares
from cropaudit.audit.estimators.guessing import Ends
from cropaudit.audit.estimators.run_fdp import RunFdp
from cropaudit.audit.estimators.run_methods import RunMethod
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.method_choice import choose_methods
from cropaudit.audit.question import Question
from cropaudit.audit.reach import could_contradict, trials_needed
from cropaudit.audit.score_tables import ScoreTable
from cropaudit.audit.simulated import pair_scores
from cropaudit.reports.estimate_summary import summary_lines

POISSON = PoissonPatch(1.0, 0.1, 0.3, 100)
ONE_RUN = Question(mechanism=POISSON, trials="one-run")


def perfect(canaries: int, seed: int) -> Scores:
    """Scores of an attack that is always right, with the coins of `perfect_scores.py`'s kind."""
    bits = np.random.default_rng(seed).random(canaries) < 0.5
    values = np.where(bits, 10, -10) + np.random.default_rng(seed + 1).normal(size=canaries)
    return Scores.labelled(values, bits)


@pytest.mark.parametrize("canaries", [40, 64, 200])
def test_perfect_scores_of_one_run_contradict_the_claim(canaries: int) -> None:
    """Guesses of 5% and 2% of them never could; 3 right of 3 say nothing."""
    method = choose_methods(ONE_RUN, (canaries // 2, canaries // 2)).primary
    assert isinstance(method, RunMethod)
    assert method.name == "one-run-f-dp"
    for seed in range(3):
        value = method.p_value(perfect(canaries, seed), ONE_RUN.null or 0.0, 1e-5, 0.05, 0)
        assert value is not None
        assert value <= 0.05
        bound = method.bound(perfect(canaries, seed), 1e-5, 0.05, 0)
        assert bound.epsilon > (ONE_RUN.null or 0.0)
        assert bound.cap is None or bound.cap >= bound.epsilon


def test_a_stated_epsilon_is_contradicted_by_64_perfect_scores() -> None:
    asked = Question(claim=2.5, trials="one-run")
    method = choose_methods(asked, (32, 32)).primary
    values = [method.p_value(perfect(64, seed), 2.5, 1e-5, 0.05, 0) for seed in range(5)]
    assert all(value is not None and value <= 0.05 for value in values)


def test_plans_look_at_numbers_and_the_claim_alone() -> None:
    family = Family(POISSON, 1e-5)
    for canaries in (10, 300):
        shares = planned_shares(canaries, family, 0.05)
        assert shares == planned_shares(canaries, Family(POISSON, 1e-5), 0.05)
        assert all(0 < share <= 1 for share in shares)
        assert len(shares) in (1, 2)


def test_uneven_coins_are_reckoned_with() -> None:
    """Nine splits of ten leave at least 25 of 64 canaries in the smaller world."""
    found = likely_guesses(64, (0.5, 1.0), lambda fpr: np.ones_like(fpr), 0.9)
    assert found[0.5].right == found[0.5].guesses == 32
    assert found[1.0].right == 64 - (32 - 25)


def test_null_planned_guesses_keep_the_level() -> None:
    """60 runs of 64 independent canaries of the claimed pair at level .1; false-failure 1e-5."""
    from scipy.stats import binom

    asked = replace(ONE_RUN, confidence=0.9)
    method = choose_methods(asked, (32, 32)).primary
    rng, above = np.random.default_rng(3), 0
    for _ in range(60):
        members = int(rng.binomial(64, 0.5))
        scores = pair_scores(POISSON, (members, 64 - members), rng)
        value = method.p_value(scores, asked.null or 0.0, 1e-5, 0.1, 0)
        above += value is not None and value <= 0.1
    assert above <= binom.isf(1e-5, 60, 0.1)


def test_too_few_canaries_say_so_and_how_many_would_do() -> None:
    assert could_contradict(ONE_RUN, (4, 4), 0.05) is False
    needed = trials_needed(ONE_RUN, 8, 0.05)
    assert needed is not None
    assert 8 < needed <= 40
    assert could_contradict(ONE_RUN, (needed // 2, needed // 2), 0.05)
    assert could_contradict(Question(), (4, 4), 0.05) is None
    scores = perfect(8, 1)
    bits = np.r_[np.ones(len(scores.member), bool), np.zeros(len(scores.nonmember), bool)]
    table = ScoreTable("", np.r_[scores.member, scores.nonmember], bits)
    found = estimate([table], ONE_RUN)
    (attack,) = found.attacks
    assert (attack.could_contradict, attack.trials_needed) == (False, needed)
    assert attack.bounds[0].cap is not None
    told = "\n".join(summary_lines(found))
    assert "claim not contradicted, and it could not have been: 8 canaries could not" in told
    assert f"contradict 2.95 by this test even without an error; {needed} would" in told
    assert "show nothing" not in told


@pytest.mark.parametrize(("claim", "could"), [(0.5, True), (3.0, False)])
def test_few_independent_trials_say_so(claim: float, could: bool) -> None:
    """Ten of each world: no error shows 1.0 or so at 95%, by the joint test."""
    asked = Question(claim=claim)
    assert could_contradict(asked, (10, 10), 0.05) is could
    if not could:
        needed = trials_needed(asked, 20, 0.05)
        assert needed is not None
        assert could_contradict(asked, (needed // 2, needed // 2), 0.05)


def test_caps_of_a_family_are_not_exceeded_and_are_near() -> None:
    family = Family(POISSON, 1e-5)
    method = RunMethod(RunFdp(family), (Ends(0.5),))
    best = Scores(np.arange(32) + 100.0, -np.arange(32.0))
    bound = method.bound(best, 1e-5, 0.05, 0)
    assert bound.cap is not None
    assert bound.epsilon <= bound.cap <= 1.1 * bound.epsilon


def test_backward_is_forward_told_from_the_nonmembers() -> None:
    """An identity, estimator by estimator; what is said of the power has its condition."""
    few = PoissonPatch(1.0, 0.1, 0.3, 10)
    scores = pair_scores(few, (60, 50), np.random.default_rng(5))
    bits = np.r_[np.ones(60, bool), np.zeros(50, bool)]
    forward = ScoreTable("", np.r_[scores.member, scores.nonmember], bits)
    backward = ScoreTable("", -forward.values, ~bits)
    asked = Question(mechanism=few, order="forward", seed=1)
    one = estimate([forward], asked)
    other = estimate([backward], replace(asked, order="backward"))
    (told,), (turned,) = one.attacks, other.attacks
    assert told.bounds == turned.bounds
    assert told.bounds[0].estimator == "rank-sum-f-dp"
    assert told.p_value == turned.p_value
    assert told.free_p_value == turned.free_p_value
    assert told.inversions == turned.inversions
    assert one.summit == other.summit
    assert (turned.members, turned.nonmembers) == (50, 60)
    assert turned.auc == pytest.approx(told.auc)
    assert one.power_holds == "if only the noise is less"
    words = "\n".join(summary_lines(one))
    assert "found with 90% power if only the noise is less; not probed: a leak in few runs" in words

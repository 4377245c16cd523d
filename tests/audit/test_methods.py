"""From scores to bounds: levels, caps, promised power, and scores that are hardly any."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from cropaudit.accounting.mechanisms import PoissonPatch
from cropaudit.audit.estimators.clopper_pearson import ClopperPearson
from cropaudit.audit.estimators.evidence import Counts, Found
from cropaudit.audit.estimators.family import Family
from cropaudit.audit.estimators.gaussian_mu import GaussianMu
from cropaudit.audit.estimators.joint_beta import JointBeta
from cropaudit.audit.estimators.joint_test import JointTest
from cropaudit.audit.estimators.katz import KatzLogRatio
from cropaudit.audit.estimators.mechanism_fdp import OUTSIDE, MechanismFdp
from cropaudit.audit.estimators.methods import (
    Method,
    RankSumMethod,
    ThresholdMethod,
    bound_of,
    planned_rate,
)
from cropaudit.audit.estimators.power import ApproximateTruth, FamilyTruth, Truth
from cropaudit.audit.estimators.rate_test import approximate_dp, likely_hits
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.estimators.thresholds import Given, Policy, Ranks, Split
from cropaudit.errors import InputError
from tests.score_law import curve_scores

DELTA = 1e-5
MECHANISM = PoissonPatch(1.0, 0.1, 0.3, 30)
FORWARD = Family(MECHANISM, DELTA, order="forward")
EITHER = Family(MECHANISM, DELTA)
COUNTED = [JointTest(), ClopperPearson(), JointBeta(), KatzLogRatio(), GaussianMu()]
HIGH: list[Policy] = [Ranks((0.1,)), Ranks(either_sign=True), Given(0.5, True), Split()]
METHODS: list[Method] = [
    *(ThresholdMethod(estimator, Ranks()) for estimator in COUNTED),
    *(ThresholdMethod(JointTest(), policy) for policy in HIGH),
    *(ThresholdMethod(MechanismFdp(FORWARD), policy) for policy in HIGH),
    ThresholdMethod(MechanismFdp(EITHER), Ranks((0.1,), "both")),
    RankSumMethod(FORWARD),
]


def above_claim(
    method: Method, scores: Scores, claim: float, delta: float, level: float, seed: int
) -> bool:
    """Whether the bound exceeds a claim: by its p-value where there is one, which is quicker."""
    found = method.p_value(scores, claim, delta, level, seed)
    if found is not None:
        return found <= level
    return method.bound(scores, delta, level, seed).epsilon > claim


def name(item: object) -> str:
    if isinstance(item, ThresholdMethod):
        return f"{item.name}, {item.policy.words}"
    return str(getattr(item, "name", item))


@pytest.mark.parametrize(
    ("method", "games"),
    [
        *(
            (ThresholdMethod(JointTest(), policy), 150)
            for policy in (Ranks(), Ranks((0.2,), "both"))
        ),
        (ThresholdMethod(JointTest(), Given(-0.3)), 40),
        (ThresholdMethod(JointTest(), Split()), 20),
        (ThresholdMethod(ClopperPearson(), Ranks((0.2,), either_sign=True)), 300),
    ],
    ids=name,
)
def test_bounds_exceed_a_known_epsilon_at_most_at_their_level(method: Method, games: int) -> None:
    """Randomised response at epsilon 1, delta .05. False-failure rate 1e-5 a case (binomial)."""
    rng, level, above = np.random.default_rng(0), 0.2, 0
    for game in range(games):
        scores = curve_scores(approximate_dp(1.0, 0.05), (60, 40), rng)
        above += above_claim(method, scores, 1.0, 0.05, level, game)
    assert above <= binom.isf(1e-5, games, level)


@pytest.mark.parametrize(
    ("method", "games"),
    [
        (ThresholdMethod(MechanismFdp(FORWARD), Ranks((0.1,))), 60),
        (ThresholdMethod(MechanismFdp(FORWARD), Ranks(either_sign=True)), 30),
        (ThresholdMethod(MechanismFdp(EITHER), Ranks((0.1,), "both")), 30),
        (ThresholdMethod(MechanismFdp(FORWARD), Split()), 8),
        (RankSumMethod(FORWARD), 30),
    ],
    ids=name,
)
def test_bounds_exceed_the_games_epsilon_at_most_at_their_level(method: Method, games: int) -> None:
    """The pair's own game, 80 trials a world. False-failure rate 1e-5 a case (binomial).

    Where the order of the worlds is unknown, every other game is played the other way round.
    """
    rng, level, above = np.random.default_rng(1), 0.3, 0
    curves = [FORWARD.played(0)[0]]
    if getattr(getattr(method, "estimator", None), "family", FORWARD) is EITHER:
        curves.append(EITHER.played(0)[1])
    for game in range(games):
        scores = curve_scores(curves[game % len(curves)], (80, 80), rng)
        above += above_claim(method, scores, FORWARD.epsilon(1), DELTA, level, game)
    assert above <= binom.isf(1e-5, games, level)


@pytest.mark.parametrize(
    "method",
    [
        ThresholdMethod(JointTest(), Ranks()),
        ThresholdMethod(JointTest(), Given(0.6, True)),
        ThresholdMethod(MechanismFdp(FORWARD), Ranks((0.1, 0.3))),
        ThresholdMethod(MechanismFdp(EITHER), Given(0.6)),
        RankSumMethod(FORWARD),
    ],
    ids=name,
)
def test_claims_are_contradicted_where_the_bound_lies_above(method: Method) -> None:
    rng, level = np.random.default_rng(2), 0.05
    scores = Scores.of(rng.normal(size=150) + 1, rng.normal(size=150))
    bound = method.bound(scores, DELTA, level, 3)
    assert bound.epsilon > 0.1
    for claim, contradicted in (
        (0.0, True),
        (0.97 * bound.epsilon, True),
        (1.03 * bound.epsilon, False),
    ):
        found = method.p_value(scores, claim, DELTA, level, 3)
        assert found is not None
        assert (found <= level) is contradicted
    assert method.p_value(scores, 1e6, DELTA, level, 3) == 1.0
    assert method.bound(scores, DELTA, level, 3) == bound


def test_estimators_without_a_p_value_give_none() -> None:
    scores = Scores.of([1.0, 2.0], [0.0, 1.0])
    for estimator in (ClopperPearson(), KatzLogRatio()):
        method = ThresholdMethod(estimator, Ranks())
        assert method.p_value(scores, 1.0, DELTA, 0.05, 0) is None


@pytest.mark.parametrize("method", [METHODS[1], *METHODS[5:8], *METHODS[13:]], ids=name)
def test_p_values_of_curves_hold_at_their_level(method: Method) -> None:
    """Either of two curves may be true: the larger p-value. 40 games; false-failure rate 1e-5."""
    rng, level, rejected = np.random.default_rng(3), 0.2, 0
    curves = [approximate_dp(0.5, 0.1), approximate_dp(0.0, 0.0)]
    for game in range(40):
        scores = curve_scores(curves[game % 2], (30, 30), rng)
        found = method.curve_p_value(scores, curves, DELTA, level, game)
        assert found is not None
        alone = [method.curve_p_value(scores, [curve], DELTA, level, game) for curve in curves]
        assert found >= max(value for value in alone if value is not None) - 1e-12
        rejected += found <= level
    assert rejected <= binom.isf(1e-5, 40, level)


FEW = st.sampled_from([-np.inf, -1.0, 0.0, 0.3, 0.7, 1.0, np.inf])


@pytest.mark.parametrize("method", METHODS, ids=name)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_caps_are_never_exceeded(method: Method, data: st.DataObject) -> None:
    n, m = (data.draw(st.sampled_from([2, 3, 10, 60])) for _ in range(2))
    share = data.draw(st.sampled_from([0.0, 0.5, 1.0]))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    member = np.where(rng.random(n) < share, 1.0, rng.normal(size=n))
    nonmember = np.where(rng.random(m) < share, 0.0, rng.normal(size=m))
    bound = method.bound(Scores.of(member, nonmember), DELTA, 0.1, 0)
    assert bound.epsilon >= 0
    assert bound.cap is None or bound.epsilon <= bound.cap + 1e-9


@pytest.mark.parametrize("estimator", [JointTest(), ClopperPearson()], ids=name)
@pytest.mark.parametrize("policy", [Ranks((0.02,)), Ranks(), Given(0.5), Split()], ids=name)
def test_perfect_scores_reach_their_cap(estimator, policy: Policy) -> None:
    perfect = Scores.of([np.inf] * 100, [-np.inf] * 100)
    bound = ThresholdMethod(estimator, policy).bound(perfect, DELTA, 0.05, 0)
    assert bound.cap is not None
    assert bound.cap * (1 - 1e-4) <= bound.epsilon <= bound.cap
    assert bound.epsilon > 1


def test_a_family_has_no_cap_where_perfect_scores_are_beyond_it() -> None:
    """Bounds of 60 and of 4 are both possible at 300 trials; the smaller one is no cap."""
    method = ThresholdMethod(MechanismFdp(FORWARD), Ranks((0.02,)))
    scores = Scores.of([1.0] * 150 + [-1.0] * 150, np.zeros(300) - 0.5)
    loud, perfect = (
        method.bound(item, DELTA, 0.05, 0) for item in (scores, Scores.of([1.0] * 300, [0.0] * 300))
    )
    assert perfect.note.startswith(OUTSIDE)
    assert loud.epsilon > perfect.epsilon
    assert loud.cap is None
    assert perfect.cap is None


@pytest.mark.parametrize(
    "scores",
    [
        Scores.of([0.0], [0.0]),
        Scores.of([1.0], [0.0]),
        Scores.of([1.0, 1.0], [0.0, 0.0]),
        Scores.of([0.5] * 10, [0.5] * 10),
        Scores.of([np.inf] * 10, [np.inf] * 10),
        Scores.of([np.inf] * 10, [-np.inf] * 10),
        Scores.of([-np.inf] * 10, [np.inf] * 10),
        Scores.of(np.arange(10.0), np.arange(10.0)),
        Scores.of([1.0], np.zeros(200)),
        Scores.of(np.ones(200), [0.0]),
    ],
    ids=lambda s: f"{len(s.member)} {s.member[0]}, {len(s.nonmember)} {s.nonmember[0]}",
)
@pytest.mark.parametrize("method", METHODS, ids=name)
def test_scores_that_are_hardly_any(method: Method, scores: Scores) -> None:
    smallest = min(len(scores.member), len(scores.nonmember))
    if smallest < 2 and isinstance(getattr(method, "policy", None), Split):
        with pytest.raises(InputError, match="at least 2 of each world"):
            method.bound(scores, DELTA, 0.05, 0)
        return
    bound = method.bound(scores, DELTA, 0.05, 0)
    assert math.isfinite(bound.epsilon)
    if bound.validity == "exact":
        assert bound.epsilon <= math.log(len(scores.member) + len(scores.nonmember))
    if sorted(scores.member) == sorted(scores.nonmember):
        assert bound.epsilon == 0 or bound.validity == "credible"  # a posterior always says some
    value = method.p_value(scores, 1.0, DELTA, 0.05, 0)
    assert value is None or 0 < value <= 1


CASES: list[tuple[Method, Truth, tuple[int, int], int]] = [
    (ThresholdMethod(JointTest(), Ranks((0.1,))), ApproximateTruth(0.01), (200, 300), 120),
    (ThresholdMethod(JointTest(), Ranks((0.2,), "low")), ApproximateTruth(0.01), (100, 150), 120),
    (
        ThresholdMethod(ClopperPearson(), Ranks(either_sign=True)),
        ApproximateTruth(0.01),
        (90, 90),
        200,
    ),
    (ThresholdMethod(JointTest(), Given(-0.3, True)), ApproximateTruth(0.01), (60, 60), 60),
    (ThresholdMethod(JointTest(), Split()), ApproximateTruth(0.01), (100, 100), 20),
    (ThresholdMethod(MechanismFdp(FORWARD), Ranks((0.1,))), FamilyTruth(FORWARD), (300, 300), 60),
    (
        ThresholdMethod(MechanismFdp(EITHER), Ranks((0.1,), "both")),
        FamilyTruth(EITHER),
        (300, 100),
        60,
    ),
    (RankSumMethod(FORWARD), FamilyTruth(FORWARD), (200, 200), 40),
]


@pytest.mark.parametrize(("method", "truth", "trials", "games"), CASES, ids=name)
def test_detectable_epsilons_are_found_as_often_as_promised(
    method: Method, truth: Truth, trials: tuple[int, int], games: int
) -> None:
    """A claim of 0.4 contradicted in 90% of games, or nearly; in every order that may be true.

    False-failure rate 1e-5 a case (binomial, at a power of .9).
    """
    rng, claim, level = np.random.default_rng(4), 0.4, 0.05
    epsilon = method.detectable(trials, truth, claim, level)
    assert epsilon is not None
    low, high = truth.span
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if truth.epsilon(middle) >= epsilon else (middle, high)
    for own, _ in truth.orders(high):
        found = 0
        for game in range(games):
            scores = curve_scores(own, trials, rng)
            found += above_claim(method, scores, claim, truth.delta, level, game)
        assert found >= binom.ppf(1e-5, games, 0.9)


def test_more_is_needed_to_exceed_more_and_less_with_more_trials() -> None:
    method, truth = ThresholdMethod(JointTest(), Ranks((0.2,), "both")), ApproximateTruth(0.01)
    plain = method.detectable((100, 150), truth, 0.4, 0.05)
    others = [
        method.detectable((100, 150), truth, 0.8, 0.05),
        method.detectable((100, 150), truth, 0.4, 0.002),
        method.detectable((60, 90), truth, 0.4, 0.05),
    ]
    assert plain is not None
    assert all(other is not None and other > plain for other in others)


def test_hardly_any_trials_detect_nothing() -> None:
    for method in (METHODS[0], ThresholdMethod(MechanismFdp(FORWARD), Ranks((0.1,)))):
        assert method.detectable((1, 1), ApproximateTruth(0.0), 1.0, 0.05) is None
    assert RankSumMethod(FORWARD).detectable((2, 2), FamilyTruth(FORWARD), 1.0, 0.05) is None
    assert RankSumMethod(FORWARD).detectable((20, 20), FamilyTruth(FORWARD), 1e9, 0.05) is None


@pytest.mark.parametrize("sides", ["low", "both"])
def test_ranks_of_lows_need_a_family_of_either_order(sides) -> None:
    """Told from the other world, scores may lie above the curve of a known order."""
    with pytest.raises(InputError, match="order must be either for ranks of lows, got forward"):
        ThresholdMethod(MechanismFdp(FORWARD), Ranks((0.1,), sides))
    assert ThresholdMethod(MechanismFdp(EITHER), Ranks((0.1,), sides)).name == "mechanism-f-dp"


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (30, 30), (100, 3000)])
def test_planned_rate_is_a_rank_and_depends_on_the_plan_alone(n: int, m: int, exact: bool) -> None:
    rate = planned_rate(FORWARD, (n, m), 0.05, exact=exact)
    assert 1 / m <= max(rate, 1 / m) <= 1.0
    assert 1 <= max(1, round(rate * m)) <= m
    assert (
        planned_rate(Family(MECHANISM, DELTA, order="forward"), (n, m), 0.05, exact=exact) == rate
    )


def test_planned_rate_is_better_than_its_neighbours() -> None:
    """At the median bound, by a scan over ranks: within 3% of the best."""
    n, truth, estimator = 1000, FORWARD.played(0)[0], MechanismFdp(FORWARD)

    def median(rank: int) -> float:
        seen = likely_hits(Counts(n, n, 0, rank - 1, ranked=True), truth, 0.5)
        return estimator.epsilon(seen, DELTA, 0.05).epsilon

    planned = median(round(planned_rate(FORWARD, (n, n), 0.05) * n))
    assert planned >= 0.97 * max(median(rank) for rank in (1, 5, 20, 60, 120, 200, 300, 450))


def test_bound_of_rounds_down_and_says_all() -> None:
    bound = bound_of(
        "x", "exact", "much", Found(1.23456789, "seen"), 2.0, DELTA, 0.1, "cut at noon"
    )
    assert (bound.epsilon, bound.cap, bound.delta) == (1.23456, 2.0, DELTA)
    assert (bound.confidence, bound.note) == (pytest.approx(0.9), "seen; cut at noon")
    assert bound_of("x", "exact", "", Found(0.0), None, 0.0, 0.1, "").note == ""


def test_several_ranks_are_no_worse_than_the_best_at_its_share() -> None:
    rng = np.random.default_rng(5)
    scores = Scores.of(rng.normal(size=80) + 1.5, rng.normal(size=80))
    rates = (0.3, 0.1, 0.02)
    together = ThresholdMethod(JointTest(), Ranks(rates)).bound(scores, DELTA, 0.06, 0)
    alone = [
        ThresholdMethod(JointTest(), Ranks((rate,))).bound(scores, DELTA, 0.02, 0).epsilon
        for rate in rates
    ]
    assert together.epsilon >= max(alone) > 0.5
    found = ThresholdMethod(JointTest(), Ranks(rates)).p_value(scores, 0.5, DELTA, 0.06, 0)
    assert found is not None
    assert found <= 0.06
    # Two signs stand on no common law: Bonferroni between them, the best one reported.
    signs = Ranks((0.3,), either_sign=True)
    both = ThresholdMethod(JointTest(), signs).bound(scores, DELTA, 0.06, 0)
    one = ThresholdMethod(JointTest(), Ranks((0.3,))).bound(scores, DELTA, 0.03, 0)
    assert both.epsilon == one.epsilon

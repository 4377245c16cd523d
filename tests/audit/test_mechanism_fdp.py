"""Estimator 8: coverage at the true mechanism by exact sums; the inversion against truths; pins."""

import itertools
import math

import numpy as np
import pytest
from scipy.special import log_ndtr

from cropaudit.accounting.accountant import pair_curve
from cropaudit.accounting.mechanisms import (
    FixedSizePatch,
    PatchMechanism,
    PoissonPatch,
    ShufflePatch,
)
from cropaudit.audit.estimators.evidence import Counts
from cropaudit.audit.estimators.family import Axis, Family
from cropaudit.audit.estimators.joint_test import largest_rejected
from cropaudit.audit.estimators.mechanism_fdp import OUTSIDE, MechanismFdp, claim_p_value
from cropaudit.audit.estimators.methods import planned_rate
from cropaudit.audit.estimators.rate_test import TradeOff, likely_hits
from cropaudit.audit.score_law import score_rates
from tests.score_law import fixed_chance, ranked_chance

DELTA = 1e-5
POISSON = PoissonPatch(1.0, 0.1, 0.3, 100)
FIXED = FixedSizePatch(1.0, 0.1, 0.3, 30)
SHUFFLE = ShufflePatch(1.0, 0.1, 0.3, 100)
MECHANISMS = [POISSON, FIXED, SHUFFLE]
FAMILIES = {
    (mechanism, order): Family(mechanism, DELTA, order=order)
    for mechanism, order in itertools.product(MECHANISMS, ("either", "forward"))
}


def attained(mechanism: PatchMechanism, *, exchanged: bool = False) -> TradeOff:
    """The rates that the likelihood ratio really attains: a lattice convolution, no upper bound."""
    pair = mechanism.pair()
    _, tpr, fpr = score_rates(pair, pair, mechanism.compositions)
    x, y = (1 - tpr, 1 - fpr) if exchanged else (fpr, tpr)
    order = np.argsort(x, kind="stable")
    return lambda at: np.interp(at, x[order], y[order])


def fewest_above(estimator: MechanismFdp, counts: Counts, claim: float, level: float) -> int:
    """The fewest hits that contradict a claim of a little more than the truth.

    Those are the hits whose bound exceeds the truth: see the test of claims below.
    """
    low, high = 0, counts.members + 1
    while high - low > 1:
        middle = (low + high) // 2
        seen = Counts(counts.members, counts.nonmembers, middle, counts.alarms, counts.ranked)
        above = estimator.claim_p_value(seen, claim, DELTA, level) <= level
        low, high = (low, middle) if above else (middle, high)
    return high


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=str)
def test_coverage_of_a_ranked_threshold_is_exact(mechanism: PatchMechanism) -> None:
    """P[bound > the game's epsilon] by quadrature, at the rates that the best attack attains."""
    family = FAMILIES[mechanism, "forward"]
    curve, estimator = attained(mechanism), MechanismFdp(family)
    for (n, m, alarms), level in itertools.product(
        [(60, 40, 3), (1000, 1000, 9), (1000, 1000, 200)], (0.2, 0.05)
    ):
        counts = Counts(n, m, 0, alarms, ranked=True)
        least = fewest_above(estimator, counts, family.epsilon(1), level)
        chance = ranked_chance(least, curve, n, alarms + 1, m) if least <= n else 0.0
        assert chance <= level
        assert chance >= 0.7 * level or n < 1000, "the level is used"


@pytest.mark.parametrize("exchanged", [False, True])
def test_coverage_where_the_order_of_the_worlds_is_unknown(exchanged: bool) -> None:
    family = FAMILIES[POISSON, "either"]
    curve, estimator = attained(POISSON, exchanged=exchanged), MechanismFdp(family)
    for alarms, level in itertools.product((5, 60), (0.2, 0.05)):
        counts = Counts(300, 300, 0, alarms, ranked=True)
        least = fewest_above(estimator, counts, family.epsilon(1), level)
        assert ranked_chance(least, curve, 300, alarms + 1, 300) <= level


def test_the_wrong_order_is_no_bound() -> None:
    """Told from the other world, scores hold against the other curve only: what a view is for."""
    level, forward = 0.05, FAMILIES[POISSON, "forward"]
    counts = Counts(2000, 2000, 0, 1499, ranked=True)
    curve = attained(POISSON, exchanged=True)
    wrong = fewest_above(MechanismFdp(forward), counts, forward.epsilon(1), level)
    assert ranked_chance(wrong, curve, 2000, 1500, 2000) > 2 * level
    _, backward = FAMILIES[POISSON, "either"].in_one_order()
    right = fewest_above(MechanismFdp(backward), counts, forward.epsilon(1), level)
    assert ranked_chance(right, curve, 2000, 1500, 2000) <= level


@pytest.mark.parametrize(
    ("n", "m", "level", "order"), [(9, 7, 0.2, "either"), (9, 12, 0.05, "forward")]
)
def test_coverage_of_a_fixed_threshold_is_exact(n: int, m: int, level: float, order: str) -> None:
    """P[bound > truth] summed over all counts, at every threshold of the best attack."""
    family = FAMILIES[POISSON, order]
    estimator, alarms = MechanismFdp(family), range(m + 1)
    least = [fewest_above(estimator, Counts(n, m, 0, a), family.epsilon(1), level) for a in alarms]
    above = np.arange(n + 1)[:, None] >= np.array(least)
    assert above.any()
    rates = np.concatenate([np.geomspace(1e-4, 0.1, 50), np.linspace(0.1, 1, 60)])
    assert fixed_chance(above, attained(POISSON)(rates), rates).max() <= level
    if order == "either":
        turned = attained(POISSON, exchanged=True)(rates)
        assert fixed_chance(above, turned, rates).max() <= level


@pytest.mark.parametrize("rate", [0.01, 0.3, 0.9])
def test_alike_worlds_give_a_positive_bound_at_most_at_the_level(rate: float) -> None:
    """Null, exact: whatever the threshold."""
    estimator, n, level = MechanismFdp(FAMILIES[POISSON, "either"]), 30, 0.1
    alarms = round(rate * n)
    least = fewest_above(estimator, Counts(n, n, 0, alarms, ranked=True), 1e-9, level)
    assert ranked_chance(least, lambda b: b, n, alarms + 1, n) <= level


@pytest.mark.parametrize(
    ("mechanism", "axis", "factor"),
    [
        (POISSON, "noise multiplier", 0.7),
        (FIXED, "noise multiplier", 1.4),
        (SHUFFLE, "noise multiplier", 1.0),
        (POISSON, "inclusion probability", 2.0),
        (FIXED, "sampling rate", 0.6),
    ],
    ids=str,
)
def test_true_rates_give_back_the_true_member(
    mechanism: PatchMechanism, axis: Axis, factor: float
) -> None:
    """Hits as expected, at a hundred thousand trials: the number to 8%, from the honest side."""
    family = Family(mechanism, DELTA, axis, order="forward")
    sign = -1 if axis == "noise multiplier" else 1
    index = round(sign * math.log(factor) / 1e-3)
    truth, n = family.value(index), 100_000
    counts = Counts(n, n, 0, n // 10 - 1, ranked=True)
    seen = likely_hits(counts, family.played(index)[0], 0.5)
    found = MechanismFdp(family).rejected(seen, 0.05)
    assert found.value is not None
    assert 0 <= sign * (truth - found.value) / truth <= 0.08
    assert 0.9 * family.epsilon(index) <= found.epsilon <= family.epsilon(index)


@pytest.mark.parametrize(
    ("mechanism", "trials", "wanted"),
    [
        (POISSON, 1000, 0.60),
        (POISSON, 10_000, 0.85),
        (FixedSizePatch(1.0, 0.1, 0.3, 1000), 10_000, 0.94),
    ],
    ids=str,
)
def test_pins_of_the_median_ratio(mechanism: PatchMechanism, trials: int, wanted: float) -> None:
    """Bound over the pair's epsilon at expected counts, at the planned rank, 95% confidence."""
    family = Family(mechanism, DELTA, order="forward")
    rate = planned_rate(family, (trials, trials), 0.05)
    counts = Counts(trials, trials, 0, round(rate * trials) - 1, ranked=True)
    seen = likely_hits(counts, attained(mechanism), 0.5)
    assert wanted <= MechanismFdp(family).rejected(seen, 0.05).epsilon / family.epsilon(0) <= 1


def test_power_in_nearly_all_games() -> None:
    """5,000 trials a world find over half of epsilon in 99.99% of games. A quadrature."""
    family = FAMILIES[POISSON, "forward"]
    seen = likely_hits(Counts(5000, 5000, 0, 499, True), attained(POISSON), 0.9999)
    bound = MechanismFdp(family).epsilon(seen, DELTA, 0.05).epsilon
    assert 0.5 * family.epsilon(0) <= bound <= family.epsilon(0)


@pytest.mark.parametrize("ranked", [True, False])
def test_bounds_rise_with_hits_until_no_member_fits(ranked: bool) -> None:
    estimator = MechanismFdp(FAMILIES[FIXED, "either"])
    hits = (0, 12, 25, 40, 200)
    found = [estimator.epsilon(Counts(200, 200, h, 4, ranked), DELTA, 0.05) for h in hits]
    inside = [item.epsilon for item in found if item.note != OUTSIDE]
    assert inside == sorted(inside)
    assert found[0].epsilon == 0
    assert found[0].note == "no member is rejected"
    assert found[-1].note == OUTSIDE
    assert found[-1].epsilon == largest_rejected(Counts(200, 200, 200, 4, ranked), DELTA, 0.05)


@pytest.mark.parametrize(
    ("mechanism", "axis"),
    [
        (FixedSizePatch(1.0, 0.01, 0.01, 100), "noise multiplier"),
        (FIXED, "noise multiplier"),
        (PoissonPatch(1.0, 0.05, 0.1, 20), "inclusion probability"),
        (PoissonPatch(1.0, 0.3, 0.1, 1), "sampling rate"),
    ],
)
@pytest.mark.parametrize("ranked", [True, False])
def test_rates_that_no_member_allows_fall_back_on_the_joint_test(
    mechanism: PatchMechanism, axis: Axis, ranked: bool
) -> None:
    """A wrong crop or sampler: the family's epsilon would be thousands, of no meaning."""
    estimator = MechanismFdp(Family(mechanism, DELTA, axis))
    seen = Counts(500, 500, 500, 0, ranked)
    found = estimator.epsilon(seen, DELTA, 0.05)
    assert found.note == OUTSIDE
    assert found.epsilon == largest_rejected(seen, DELTA, 0.05)
    assert estimator.rejected(seen, 0.05).outside


@pytest.mark.parametrize("ranked", [True, False])
@pytest.mark.parametrize("order", ["either", "forward"])
def test_claims_are_contradicted_where_the_bound_lies_above_them(order: str, ranked: bool) -> None:
    family = FAMILIES[POISSON, order]
    estimator = MechanismFdp(family)
    seen = Counts(500, 400, 210, 39, ranked)
    found = estimator.rejected(seen, 0.05)
    assert found.index is not None
    at, beyond = (family.epsilon(found.index + step) for step in (0, 1))
    assert estimator.claim_p_value(seen, at, DELTA, 0.05) <= 0.05
    assert estimator.claim_p_value(seen, beyond, DELTA, 0.05) > 0.05
    assert estimator.claim_p_value(seen, 1e9, DELTA, 0.05) == 1.0
    assert estimator.claim_p_value(seen, 0.0, DELTA, 0.05) <= 0.05
    values = [estimator.claim_p_value(seen, claim, DELTA, 0.05) for claim in (1, 3, 6, 12)]
    assert values == sorted(values)


def test_a_claim_is_held_against_every_order_and_the_member_above_it() -> None:
    family = FAMILIES[POISSON, "either"]
    heights = []

    def p_of(curve: TradeOff) -> float:
        heights.append(float(curve(np.array([0.1]))[0]))
        return heights[-1]

    epsilon = family.epsilon(37)
    assert claim_p_value(family, epsilon, p_of) == max(heights)
    assert heights == [float(curve(np.array([0.1]))[0]) for curve in family.played(37)]


@pytest.mark.parametrize("ranked", [True, False])
def test_one_trial_and_no_hit_say_nothing(ranked: bool) -> None:
    estimator = MechanismFdp(FAMILIES[POISSON, "either"])
    for counts in (Counts(1, 1, 1, 0, ranked), Counts(1, 1, 0, 0, ranked)):
        assert estimator.epsilon(counts, DELTA, 0.05).epsilon == 0
    assert estimator.epsilon(Counts(900, 900, 0, 3, ranked), DELTA, 0.05).epsilon == 0


def test_best_is_the_test_that_rejects_the_loudest_member() -> None:
    estimator = MechanismFdp(FAMILIES[POISSON, "forward"])
    seen = (60, 1), (160, 39), (300, 240)
    tests = [Counts(400, 400, hits, alarms, True) for hits, alarms in seen]
    found = [estimator.rejected(test, 0.05).epsilon for test in tests]
    assert estimator.best(tests, DELTA, 0.05) == int(np.argmax(found))


@pytest.mark.parametrize("sigma", [0.1, 0.05, 0.03, 0.02])
def test_epsilon_of_the_loudest_members_is_right(sigma: float) -> None:
    """Losses beyond 745, where e^-epsilon vanishes: Balle and Wang (2018), theorem 8, in logs."""
    loudest = pair_curve(ShufflePatch(sigma, 1.0, 1.0, 1).pair(), 1, DELTA)
    epsilon = loudest.epsilon(DELTA)
    heads = log_ndtr(1 / sigma - epsilon * sigma / 2)
    tails = epsilon + log_ndtr(-1 / sigma - epsilon * sigma / 2)
    assert math.exp(heads) - math.exp(tails) == pytest.approx(DELTA, rel=0.05)


def test_what_it_says_of_itself() -> None:
    estimator = MechanismFdp(FAMILIES[POISSON, "forward"])
    assert (estimator.name, estimator.validity) == ("mechanism-f-dp", "model-based")
    assert "at another value" in estimator.assumes
    seen = Counts(1000, 1000, 300, 99, ranked=True)
    noisy = estimator.epsilon(seen, DELTA, 0.05)
    assert noisy.note.startswith("noise multiplier at most ")
    crop = MechanismFdp(Family(POISSON, DELTA, "inclusion probability"))
    assert crop.epsilon(seen, DELTA, 0.05).note.startswith("inclusion probability at least 0.")

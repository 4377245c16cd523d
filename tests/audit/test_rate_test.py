"""The exact test of a curve: its level by sums over all counts, and against a slow oracle."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri

from cropaudit.accounting.mechanisms import FixedSizePatch, PoissonPatch
from cropaudit.audit.estimators.evidence import Counts, upper_limit
from cropaudit.audit.estimators.family import Family
from cropaudit.audit.estimators.rate_test import (
    TradeOff,
    approximate_dp,
    likely_hits,
    loudest_of,
    p_value,
    rejects,
)
from cropaudit.audit.estimators.yardstick import Yardstick, distance, extreme_hits
from tests.score_law import fixed_chance, ranked_chance

POISSON = Family(PoissonPatch(1.0, 0.1, 0.3, 100), 1e-5).played(0)
FIXED = Family(FixedSizePatch(1.0, 0.1, 0.3, 30), 1e-5).played(0)
CURVES: dict[str, TradeOff] = {
    "blind": lambda b: np.asarray(b),
    "epsilon 1": approximate_dp(1.0, 0.0),
    "epsilon 3, delta .1": approximate_dp(3.0, 0.1),
    "delta .2": approximate_dp(0.0, 0.2),
    "gaussian": lambda b: ndtr(ndtri(b) + 1.0),
    "poisson": POISSON[0],
    "poisson, exchanged": POISSON[1],
    "fixed-size": FIXED[0],
    "kinks": lambda b: np.minimum(np.minimum(0.05 + 6 * b, 0.3 + 1.5 * b), 0.6 + 0.4 * b),
}
RATES = np.unique(np.concatenate([np.linspace(0, 1, 301), np.geomspace(1e-5, 0.1, 100)]))


def fewest(curve: TradeOff, n: int, m: int, alarms: int, level: float, *, ranked: bool) -> int:
    """The fewest hits that reject; n + 1 if none do. p-values fall with hits, as tested below."""
    low, high = 0, n + 1
    while high - low > 1:
        middle = (low + high) // 2
        rejected = rejects(Counts(n, m, middle, alarms, ranked), curve, level)
        low, high = (low, middle) if rejected else (middle, high)
    return high


def rejections(curve: TradeOff, n: int, m: int, level: float) -> np.ndarray:
    least = [fewest(curve, n, m, alarms, level, ranked=False) for alarms in range(m + 1)]
    return np.arange(n + 1)[:, None] >= np.array(least)


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (10, 40), (1000, 30), (3000, 3000)])
def test_ranked_p_value_is_the_integral_and_never_below(name: str, n: int, m: int) -> None:
    """Above it by 2% at most where tests are decided, by 5% down to 1e-8."""
    curve = CURVES[name]
    for alarms in {0, m // 20, m // 3}:
        mean = float(curve(np.array((alarms + 1) / (m + 1))))
        for share in (0, 0.03, 0.1, 0.3):
            hits = min(n, math.ceil(n * (mean + share * (1 - mean))))
            exact = ranked_chance(hits, curve, n, alarms + 1, m)
            found = p_value(Counts(n, m, hits, alarms, ranked=True), curve)
            assert found >= exact * (1 - 1e-6)
            if exact > 1e-8:
                assert found <= exact * (1.02 if exact > 0.01 else 1.05)


@pytest.mark.parametrize("name", CURVES)
def test_ranked_null_holds_its_level_and_uses_it(name: str) -> None:
    """P[p <= level] under the curve itself, the worst case: a quadrature, no randomness."""
    curve = CURVES[name]
    for n, m, alarms in [(1, 1, 0), (7, 30, 0), (40, 13, 2), (300, 300, 20), (5000, 5000, 1500)]:
        for level in (0.01, 0.05, 0.2):
            least = fewest(curve, n, m, alarms, level, ranked=True)
            chance = ranked_chance(least, curve, n, alarms + 1, m) if least <= n else 0.0
            assert chance <= level
            if n == 5000:
                assert chance >= 0.9 * level


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize(
    "counts",
    [Counts(9, 7, 8, 1), Counts(40, 30, 25, 5), Counts(30, 60, 20, 17), Counts(25, 25, 24, 0)],
)
def test_fixed_p_value_is_the_largest_over_the_interval_and_never_below(
    name: str, counts: Counts
) -> None:
    """Slow oracle: 4,000 rates in the interval, every count summed; above it by 12% at most."""
    curve, n, m, level = CURVES[name], counts.members, counts.nonmembers, 0.05
    low, high = 1 - upper_limit(m - counts.alarms, m, 0.00025), counts.fpr_upper(0.00025)
    rates = np.linspace(low, high, 4001)
    order = Yardstick(curve, distance(counts, curve))
    table = np.arange(n + 1)[:, None] >= extreme_hits(counts, order, np.arange(m + 1.0))
    exact = float(fixed_chance(table, curve(rates), rates).max()) + 0.0005
    found = p_value(counts, curve, level)
    assert min(exact, 1.0) * (1 - 1e-9) <= found <= min(1.12 * exact, 1.0) + 1e-12


SIZES = [(1, 1, 0.2), (2, 9, 0.2), (9, 2, 0.2), (12, 12, 0.01), (13, 40, 0.05), (40, 13, 0.05)]


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize(("n", "m", "level"), [*SIZES, (40, 40, 0.2)])
def test_fixed_null_holds_its_level_at_every_rate(name: str, n: int, m: int, level: float) -> None:
    """P[p <= level] summed over all counts, at every false positive rate of a grid."""
    curve = CURVES[name]
    chances = fixed_chance(rejections(curve, n, m, level), curve(RATES), RATES)
    assert chances.max() <= level
    if min(n, m) >= 40:
        assert chances.max() >= 0.7 * level, "the level is used"


@st.composite
def concave_curves(draw: st.DrawFn) -> TradeOff:
    """Up to four straight pieces, from 0 or above to 1: the lower envelope of lines."""
    lines = [(draw(st.floats(0, 0.5)), draw(st.floats(1, 30)))]
    lines += [
        (1 - slope * (1 - draw(st.floats(0, 0.6))), slope)
        for slope in draw(st.lists(st.floats(0, 1), max_size=3))
    ]

    def curve(b: np.ndarray) -> np.ndarray:
        found = np.min([height + slope * np.asarray(b) for height, slope in lines], axis=0)
        return np.maximum(np.minimum(found, 1.0), b)

    return curve


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 24), st.integers(1, 24), concave_curves(), st.sampled_from([0.01, 0.05, 0.3]))
def test_fixed_null_holds_for_curves_with_kinks(n, m, curve, level) -> None:
    chances = fixed_chance(rejections(curve, n, m, level), curve(RATES), RATES)
    assert chances.max() <= level


def test_fixed_null_holds_where_alarms_are_taken_in_blocks() -> None:
    """900 alarms or so: blocks hold up to two. Summed over alarms within 4 deviations."""
    n, m, level, curve, rate = 30, 1300, 0.05, approximate_dp(0.5, 0.0), 0.75
    reach = 4 * math.sqrt(m * rate * (1 - rate))
    alarms = np.arange(int(m * rate - reach), int(m * rate + reach))
    least = [fewest(curve, n, m, int(alarms[0]), level, ranked=False)]
    for count in alarms[1:].tolist():
        at = least[-1] - 1  # it rises slowly: from a little below what the last one needed
        while rejects(Counts(n, m, at, count), curve, level):
            at -= 1
        while not rejects(Counts(n, m, at + 1, count), curve, level):
            at += 1
        least.append(at + 1)
    table = np.zeros((n + 1, m + 1), bool)
    table[:, alarms] = np.arange(n + 1)[:, None] >= np.array(least)
    rates = np.linspace(rate - 0.005, rate + 0.005, 21)
    assert 0.6 * level <= fixed_chance(table, curve(rates), rates).max() <= level


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), concave_curves(), st.booleans(), st.data())
def test_p_values_fall_with_hits_and_rise_with_the_curve_of_a_ranked_test(
    n: int, m: int, curve: TradeOff, ranked: bool, data: st.DataObject
) -> None:
    alarms = data.draw(st.integers(0, m - 1))
    tests = [Counts(n, m, hits, alarms, ranked) for hits in range(n + 1)]
    values = [p_value(test, curve) for test in tests]
    assert values[0] == 1.0
    assert np.all(np.diff(values) <= 1e-12)
    if ranked:
        louder = [p_value(test, lambda b: np.minimum(curve(b) + 0.05, 1.0)) for test in tests]
        assert np.all(np.array(louder) >= np.array(values) - 1e-12)


def test_attacks_below_the_curve_are_rejected_less_often() -> None:
    curve, n, m, level = CURVES["gaussian"], 30, 20, 0.1
    table = rejections(curve, n, m, level)
    top = fixed_chance(table, curve(RATES), RATES)
    weaker = fixed_chance(table, (curve(RATES) + RATES) / 2, RATES)
    assert np.all(weaker <= top + 1e-12)


@pytest.mark.parametrize("name", ["epsilon 1", "gaussian", "poisson", "kinks"])
def test_a_fixed_threshold_costs_little_beside_a_ranked_one(name: str) -> None:
    """Power: with 2000 trials a world, p-values of the same counts differ by half at most."""
    n, curve = 2000, CURVES[name]
    for alarms in (20, 400, 1000):
        mean = float(curve(np.array((alarms + 1) / (n + 1))))
        counts = Counts(n, n, min(n - 3, round(n * mean + 2.2 * math.sqrt(n * mean))), alarms)
        fixed = p_value(counts, curve)
        ranked = p_value(Counts(n, n, counts.hits, alarms, ranked=True), curve)
        assert fixed <= 1.5 * ranked + 0.001


@pytest.mark.parametrize("alarms", [3, 6, 7, 8])
def test_a_kink_does_not_blind_a_fixed_threshold(alarms: int) -> None:
    """299 of 300 at 7 of 30 contradicts epsilon 1 and even 2, though the kink of 1 is near."""
    seen = Counts(300, 30, 299, alarms)
    assert p_value(seen, approximate_dp(1.0, 0.0)) < 0.002
    assert p_value(seen, approximate_dp(2.0, 0.0)) < 0.05


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 2.0, 8.0, 800.0])
@pytest.mark.parametrize("delta", [0.0, 1e-5, 0.2, 0.999])
def test_region_is_the_one_of_approximate_dp(epsilon: float, delta: float) -> None:
    """On its edge one of both inequalities is tight and none is broken; worlds may be swapped."""
    fpr = np.concatenate([[0.0], np.geomspace(1e-6, 1, 200)])
    tpr = approximate_dp(epsilon, delta)(fpr)
    with np.errstate(over="ignore", invalid="ignore"):
        steep = np.exp(epsilon) * fpr + delta - tpr
        flat = np.where(fpr < 1 - delta, np.exp(epsilon) * (1 - tpr) + delta - (1 - fpr), 0.0)
    if epsilon < 700:
        assert np.all(steep >= -1e-9)
        assert np.all(flat >= -1e-9 * np.exp(epsilon))
        tight = np.minimum(np.abs(steep), np.abs(flat) * np.exp(-epsilon))
        assert np.all(np.minimum(tight, 1 - tpr) <= 1e-9)
        swapped = approximate_dp(epsilon, delta)(1 - tpr)  # (1 - tpr, 1 - fpr) is on it as well
        inside = (tpr < 1 - 1e-12) & (fpr > 0)
        assert swapped[inside] == pytest.approx(1 - fpr[inside], abs=1e-9)
    assert np.all(np.diff(tpr) >= -1e-15)
    assert tpr[0] == pytest.approx(delta, abs=1e-12) or epsilon > 600
    assert tpr[-1] == 1


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("power", [0.5, 0.9])
def test_likely_hits_are_reached_as_often_as_promised_and_no_more(name: str, power: float) -> None:
    curve = CURVES[name]
    for n, m, alarms in [(1, 1, 0), (30, 200, 3), (1000, 1000, 99)]:
        found = likely_hits(Counts(n, m, 0, alarms, ranked=True), curve, power)
        assert (found.members, found.nonmembers, found.alarms) == (n, m, alarms)
        assert ranked_chance(found.hits, curve, n, alarms + 1, m) >= power - 1e-9
        if found.hits < n:
            assert ranked_chance(found.hits + 2, curve, n, alarms + 1, m) < power


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=5))
def test_loudest_of_is_a_linear_scan(seen: list[tuple[int, int]]) -> None:
    tests = [Counts(40, 40, hits, alarms) for hits, alarms in seen]
    span = -1, 300
    ranked = [Counts(40, 40, t.hits, min(t.alarms, 39), ranked=True) for t in tests]
    best, index = loudest_of(tests, lambda i: [approximate_dp(i / 100, 0.01)], span, 0.1)
    loud = {
        i: [p_value(t, approximate_dp(i / 100, 0.01)) <= 0.1 for t in ranked]
        for i in (index, index + 1)
    }
    assert index == -1 or loud[index][best]
    assert index + 1 == span[1] or not any(loud[index + 1])


def test_degenerate_counts() -> None:
    for name, ranked in itertools.product(CURVES, (True, False)):
        curve = CURVES[name]
        assert p_value(Counts(1, 1, 0, 0, ranked), curve) == 1.0
        assert 0 < p_value(Counts(1, 1, 1, 0, ranked), curve) <= 1.0
        assert p_value(Counts(50, 50, 50, 49, ranked), curve) > 0.2
    assert p_value(Counts(50, 50, 50, 50), CURVES["blind"]) == 1.0
    # A curve that allows everything is never contradicted, however many trials.
    for ranked in (True, False):
        everything = Counts(10**5, 10**5, 10**5, 0, ranked)
        assert p_value(everything, lambda b: np.ones_like(b)) == 1.0
        assert p_value(everything, CURVES["blind"]) <= 0.0006


def test_the_share_for_the_interval_belongs_to_the_level() -> None:
    sure = Counts(2000, 2000, 1900, 10)
    for level in (0.2, 0.05, 1e-4):
        assert p_value(sure, CURVES["epsilon 1"], level) == pytest.approx(0.01 * level, rel=1e-3)

"""Clopper-Pearson limits: identities and exact coverage, summed and not simulated."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from cropaudit.audit.estimators.limits import measured_box, round_down, upper_limit
from cropaudit.audit.estimators.scores import Scores
from cropaudit.errors import InputError

LEVELS = st.floats(1e-6, 0.6)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3000), st.floats(0, 0.999), LEVELS)
def test_so_few_events_have_probability_level_at_the_limit(
    trials: int, share: float, level: float
) -> None:
    count = int(share * trials)
    limit = upper_limit(count, trials, level)
    assert 0 < limit < 1
    assert binom.cdf(count, trials, limit) == pytest.approx(level, rel=1e-6)


@pytest.mark.parametrize("trials", [1, 7, 100, 10**6])
@pytest.mark.parametrize("level", [0.05, 1e-4])
def test_no_event_has_a_closed_form(trials: int, level: float) -> None:
    closed = -math.expm1(math.log(level) / trials)
    assert upper_limit(0, trials, level) == pytest.approx(closed, rel=1e-9)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 500), st.floats(0, 1), st.floats(0, 1), LEVELS, LEVELS)
def test_limit_grows_with_the_count_and_falls_with_the_level(
    trials: int, one: float, other: float, level: float, looser: float
) -> None:
    low, high = sorted((one * trials, other * trials))
    assert upper_limit(low, trials, level) <= upper_limit(high, trials, level) + 1e-12
    strict, loose = sorted((level, looser))
    assert upper_limit(low, trials, strict) >= upper_limit(low, trials, loose) - 1e-12
    assert upper_limit(low, trials, level) >= low / trials or level > 0.5


@pytest.mark.parametrize("trials", [0, 1, 5])
def test_all_events_give_no_limit(trials: int) -> None:
    assert upper_limit(trials, trials, 0.05) == 1.0


@pytest.mark.parametrize("trials", [1, 2, 10, 57])
@pytest.mark.parametrize("level", [0.5, 0.05, 0.001])
def test_coverage_is_exact(trials: int, level: float) -> None:
    """The probability that the true rate exceeds the limit, summed over all counts."""
    counts = np.arange(trials + 1)
    limits = np.array([upper_limit(k, trials, level) for k in counts])
    for rate in np.concatenate([np.linspace(0, 1, 101), np.minimum(limits + 1e-9, 1)]):
        exceeded = binom.pmf(counts, trials, rate)[limits < rate].sum()
        assert exceeded <= level + 1e-9


@pytest.mark.parametrize(("fpr", "tpr"), [(0.1, 0.1), (0.02, 0.7), (0.0, 1.0), (0.5, 0.5)])
def test_both_rates_of_a_box_hold_jointly(fpr: float, tpr: float) -> None:
    """Exact: P[some true rate exceeds its limit] <= level, worlds being independent."""
    level, n, m = 0.1, 40, 25
    misses, alarms = np.arange(n + 1), np.arange(m + 1)
    fnr_limit = np.array([upper_limit(k, n, level / 2) for k in misses])
    fpr_limit = np.array([upper_limit(k, m, level / 2) for k in alarms])
    fnr_holds = binom.pmf(misses, n, 1 - tpr)[fnr_limit >= 1 - tpr].sum()
    fpr_holds = binom.pmf(alarms, m, fpr)[fpr_limit >= fpr].sum()
    assert fnr_holds * fpr_holds >= 1 - level


def test_box_counts_at_or_above_the_threshold() -> None:
    scores = Scores.of([np.inf, 2.0, 1.0, -np.inf], [2.0, 0.0, -np.inf])
    box = measured_box(scores, 2.0, 0.05)
    assert (box.members, box.nonmembers) == (4, 3)
    assert (box.true_positives, box.false_positives) == (2, 1)
    assert box.fpr_upper == upper_limit(1, 3, 0.025)
    assert box.fnr_upper == upper_limit(2, 4, 0.025)
    assert box.level == 0.05


@pytest.mark.parametrize(
    ("threshold", "expected"), [(np.inf, (1, 0)), (-np.inf, (2, 2)), (np.nan, (0, 0))]
)
def test_box_of_an_extreme_threshold(threshold: float, expected: tuple[int, int]) -> None:
    box = measured_box(Scores.of([np.inf, 0.0], [-np.inf, 0.0]), threshold, 0.05)
    assert (box.true_positives, box.false_positives) == expected
    assert max(box.fpr_upper, box.fnr_upper) <= 1


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 2.0, math.nan])
def test_illegal_level_is_refused(level: float) -> None:
    with pytest.raises(InputError, match=r"level must be in \(0, 1\)"):
        measured_box(Scores.of([1.0], [0.0]), 0.5, level)


@settings(max_examples=300, deadline=None)
@given(st.floats(1e-290, 1e290), st.integers(1, 12))
def test_rounding_goes_down_and_not_far(value: float, digits: int) -> None:
    rounded = round_down(value, digits)
    assert rounded <= value
    assert rounded >= value * (1 - 10.0 ** (1 - digits)) * (1 - 1e-12)


@settings(max_examples=100, deadline=None)
@given(st.floats(1e-6, 1e6))
def test_rounding_keeps_a_rounded_value_within_a_digit(value: float) -> None:
    once = round_down(value)
    assert round_down(once) == pytest.approx(once, rel=1.1e-5)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, 0.0),
        (-3.0, 0.0),
        (-math.inf, 0.0),
        (math.nan, 0.0),
        (math.inf, math.inf),
        (5e-324, 0.0),
        (1e-310, 0.0),
    ],
)
def test_rounding_of_the_extremes(value: float, expected: float) -> None:
    assert round_down(value) == expected

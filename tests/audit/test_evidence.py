"""Counts and their exact limits: identities and coverage, summed and not simulated; rounding."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom

from cropaudit.audit.estimators.evidence import Counts, Guesses, upper_limit
from cropaudit.audit.estimators.rounding import round_down
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
def test_both_rates_of_a_test_hold_jointly(fpr: float, tpr: float) -> None:
    """Exact: P[some true rate exceeds its limit] <= level, worlds being independent."""
    level, n, m = 0.1, 40, 25
    fnr_limit = np.array([Counts(n, m, n - k, 0).fnr_upper(level / 2) for k in range(n + 1)])
    fpr_limit = np.array([Counts(n, m, 0, k).fpr_upper(level / 2) for k in range(m + 1)])
    fnr_holds = binom.pmf(np.arange(n + 1), n, 1 - tpr)[fnr_limit >= 1 - tpr].sum()
    fpr_holds = binom.pmf(np.arange(m + 1), m, fpr)[fpr_limit >= fpr].sum()
    assert fnr_holds * fpr_holds >= 1 - level


@pytest.mark.parametrize(("alarms", "nonmembers"), [(0, 1), (0, 40), (3, 40), (39, 40)])
@pytest.mark.parametrize("level", [0.3, 0.05, 1e-4])
def test_a_ranked_rate_exceeds_its_limit_exactly_at_the_level(
    alarms: int, nonmembers: int, level: float
) -> None:
    limit = Counts(5, nonmembers, 2, alarms, ranked=True).fpr_upper(level)
    law = beta(alarms + 1, nonmembers - alarms)
    assert law.sf(limit) == pytest.approx(level, rel=1e-9)
    assert limit == Counts(5, nonmembers, 2, alarms).fpr_upper(level)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.data())
def test_swapped_twice_is_the_same_test(n: int, m: int, data: st.DataObject) -> None:
    counts = Counts(n, m, data.draw(st.integers(0, n)), data.draw(st.integers(0, m)))
    other = counts.swapped()
    assert other.swapped() == counts
    # What was not alarmed are the hits of the other world; errors stay errors.
    assert (other.members, other.nonmembers) == (m, n)
    assert other.fpr_upper(0.05) == counts.fnr_upper(0.05)
    assert other.fnr_upper(0.05) == counts.fpr_upper(0.05)


def test_a_ranked_test_is_not_swapped() -> None:
    with pytest.raises(InputError, match="counts must be of a fixed threshold to be swapped"):
        Counts(3, 4, 1, 1, ranked=True).swapped()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 1, 0, 0), "members must be at least 1, got 0"),
        ((1, 0, 0, 0), "nonmembers must be at least 1, got 0"),
        ((3, 4, 4, 0), "hits must be 0 to 3, got 4"),
        ((3, 4, -1, 0), "hits must be 0 to 3, got -1"),
        ((3, 4, 3, 5), "alarms must be 0 to 4, got 5"),
        ((3, 4, 3, -1), "alarms must be 0 to 4, got -1"),
        ((3, 4, 3, 4, True), "alarms must be 0 to 3, got 4"),
    ],
)
def test_impossible_counts_are_refused(values: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Counts(*values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 0, 0), "canaries must be at least 1"),
        ((4, 0, 0), "guesses must be 1 to 4, got 0"),
        ((4, 5, 0), "guesses must be 1 to 4, got 5"),
        ((4, 3, 4), "right guesses must be 0 to 3, got 4"),
        ((4, 3, -1), "right guesses must be 0 to 3, got -1"),
    ],
)
def test_impossible_guesses_are_refused(values: tuple[int, int, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Guesses(*values)


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
        (1.7976931348623157e308, 1.79769e308),
    ],
)
def test_rounding_of_the_extremes(value: float, expected: float) -> None:
    assert round_down(value) == expected

"""Estimator 3: the interval by hand, exact coverage, and the overclaim that the module states."""

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta as beta_law
from scipy.stats import binom, norm

from cropaudit.audit.estimators.evidence import Counts
from cropaudit.audit.estimators.katz import KatzLogRatio
from cropaudit.errors import InputError

LEVEL = 0.05


def katz_1978(hits: int, n: int, alarms: int, m: int, level: float) -> float:
    """The lower limit of the log-ratio of two rates, as in textbooks."""
    deviation = math.sqrt(1 / hits - 1 / n + 1 / alarms - 1 / m)
    return math.log(hits / n / (alarms / m)) - norm.isf(level) * deviation


rates = st.floats(0.01, 0.99)


@settings(max_examples=150, deadline=None)
@given(st.integers(2, 5000), st.integers(2, 5000), rates, rates)
def test_without_delta_it_is_the_published_interval(n: int, m: int, tpr: float, fpr: float) -> None:
    hits, alarms = min(max(round(n * tpr), 1), n - 1), min(max(round(m * fpr), 1), m - 1)
    both = (
        katz_1978(hits, n, alarms, m, LEVEL / 2),
        katz_1978(m - alarms, m, n - hits, n, LEVEL / 2),
    )
    found = KatzLogRatio().epsilon(Counts(n, m, hits, alarms), 0.0, LEVEL)
    assert found.epsilon == pytest.approx(max(0.0, *both), abs=1e-12)
    assert found.note == ""


@pytest.mark.parametrize("delta", [0.0, 1e-5, 0.05, 0.3])
def test_deviation_with_delta_is_the_delta_methods(delta: float) -> None:
    """The slow oracle: slopes of the log-ratio by differences. Many trials, so one ratio leads."""
    n, m, hits, alarms = 40_000, 30_000, 28_000, 1_500

    def log_ratio(tpr: float, fpr: float) -> float:
        return math.log((tpr - delta) / fpr)

    p, q, h = hits / n, alarms / m, 1e-6
    slopes = (
        (log_ratio(p + h, q) - log_ratio(p - h, q)) / (2 * h),
        (log_ratio(p, q + h) - log_ratio(p, q - h)) / (2 * h),
    )
    deviation = math.sqrt(slopes[0] ** 2 * p * (1 - p) / n + slopes[1] ** 2 * q * (1 - q) / m)
    expected = log_ratio(p, q) - norm.isf(LEVEL / 2) * deviation
    found = KatzLogRatio().epsilon(Counts(n, m, hits, alarms), delta, LEVEL)
    assert found.epsilon == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(("alarms", "trials"), [(20, 1000), (300, 1000), (5, 10_000)])
def test_a_ranked_test_has_the_deviation_of_its_own_law(alarms: int, trials: int) -> None:
    """With a sure true positive rate the limit is a lower quantile of -ln FPR, all but.

    The log of a rate is normal up to one over the alarms, and so is the agreement.
    """
    counts = Counts(10**12, trials, 10**12, alarms, ranked=True)
    found = KatzLogRatio().epsilon(counts, 0.0, LEVEL).epsilon
    law = beta_law(alarms + 1, trials - alarms)
    assert found == pytest.approx(-math.log(law.isf(LEVEL / 2)), abs=1 / (alarms + 1))
    plain = KatzLogRatio().epsilon(Counts(10**12, trials, 10**12, alarms), 0.0, LEVEL).epsilon
    assert found < plain


@cache
def bounds(n: int, m: int, delta: float) -> np.ndarray:
    """The bound of every pair of counts."""
    return np.array(
        [
            [KatzLogRatio().epsilon(Counts(n, m, h, a), delta, LEVEL).epsilon for a in range(m + 1)]
            for h in range(n + 1)
        ]
    )


def overclaims(n: int, m: int, tpr: float, fpr: float, delta: float) -> float:
    """Exact probability that the bound exceeds the epsilon of the rates themselves."""
    ratios = [(tpr - delta) / fpr, (1 - fpr - delta) / (1 - tpr)]
    truth = max(0.0, *(math.log(ratio) for ratio in ratios if ratio > 0))
    laws = binom.pmf(range(n + 1), n, tpr), binom.pmf(range(m + 1), m, fpr)
    return float(laws[0] @ (bounds(n, m, delta) > truth + 1e-12) @ laws[1])


GRID = np.unique(np.concatenate([np.linspace(0.005, 0.995, 34), [0.001, 0.002, 0.998, 0.999]]))


@pytest.mark.parametrize("delta", [0.0, 0.01])
def test_null_false_alarms_exactly(delta: float) -> None:
    """Equal worlds and equal trials: no rate brings more than the level."""
    assert max(overclaims(100, 100, rate, rate, delta) for rate in GRID) <= LEVEL


@pytest.mark.parametrize("delta", [0.0, 0.01])
def test_coverage_at_known_epsilons_exactly(delta: float) -> None:
    """All pairs of rates, each with its own epsilon: at most 3.2%, as the module states."""
    pairs = [(tpr, fpr) for fpr in GRID for tpr in GRID[::2] if tpr >= fpr]
    assert 0.025 < max(overclaims(100, 100, *pair, delta) for pair in pairs) <= 0.032


def test_stated_overclaim_where_trials_differ() -> None:
    assert overclaims(100, 1000, 0.994, 0.994, 0.0) == pytest.approx(0.465, abs=2e-3)


def test_power() -> None:
    """Randomised response at epsilon 3, 1,000 trials a world: above 2.4 in 99.9% of games.

    No randomness: hits and alarms at the quantile that is worse with probability 5e-4.
    """
    corner = 1 / (1 + math.exp(3.0))
    worse = int(binom.isf(5e-4, 1000, corner))
    found = KatzLogRatio().epsilon(Counts(1000, 1000, 1000 - worse, worse), 1e-5, LEVEL)
    assert 2.2 < found.epsilon < 3


@pytest.mark.parametrize(
    ("counts", "epsilon", "note"),
    [
        (
            Counts(1000, 1000, 1000, 0),
            0.0,
            "no interval: false positives and false negatives were not seen",
        ),
        (Counts(1, 1, 1, 0), 0.0, "no interval: false positives and false negatives were not seen"),
        (Counts(1, 1, 0, 1), 0.0, ""),
        (Counts(1, 1, 1, 1), 0.0, "no interval of one ratio: false negatives were not seen"),
        (Counts(100, 100, 0, 100), 0.0, ""),
        (Counts(100, 100, 0, 0), 0.0, "no interval of one ratio: false positives were not seen"),
        (Counts(100, 100, 50, 50), 0.0, ""),
    ],
)
def test_zero_counts_claim_nothing_and_say_so(counts: Counts, epsilon: float, note: str) -> None:
    for delta in (0.0, 1e-5):
        found = KatzLogRatio().epsilon(counts, delta, LEVEL)
        assert (found.epsilon, found.note) == (epsilon, note)


def test_the_ratio_that_is_left_still_counts() -> None:
    found = KatzLogRatio().epsilon(Counts(1000, 1000, 900, 0), 0.0, LEVEL)
    expected = katz_1978(1000, 1000, 100, 1000, LEVEL / 2)
    assert found.epsilon == pytest.approx(expected, abs=1e-12)
    assert found.note == "no interval of one ratio: false positives were not seen"


def test_a_huge_delta_explains_everything() -> None:
    for delta in (0.9, 1.0):
        assert KatzLogRatio().epsilon(Counts(100, 100, 80, 10), delta, LEVEL).epsilon == 0


@pytest.mark.parametrize(
    ("delta", "level", "message"),
    [
        (0.0, 0.0, r"level must be in \(0, 1\), got 0.0"),
        (0.0, 1.0, r"level must be in \(0, 1\), got 1.0"),
        (-1e-5, 0.05, r"delta must be in \[0, 1\], got -1e-05"),
        (math.nan, 0.05, r"delta must be in \[0, 1\], got nan"),
    ],
)
def test_illegal_values_are_refused(delta: float, level: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        KatzLogRatio().epsilon(Counts(10, 10, 5, 5), delta, level)


def test_it_says_what_it_is() -> None:
    assert (KatzLogRatio.name, KatzLogRatio.validity) == ("katz", "asymptotic")
    assert "overclaims at small counts" in KatzLogRatio().assumes

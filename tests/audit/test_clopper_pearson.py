"""Estimator 1: identities, and coverage by exact sums for fixed and for ranked thresholds."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from cropaudit.accounting.accountant import pair_curve
from cropaudit.accounting.mechanisms import PoissonPatch
from cropaudit.audit.estimators.clopper_pearson import ClopperPearson, box_epsilon
from cropaudit.audit.estimators.evidence import Counts
from cropaudit.audit.estimators.rate_test import approximate_dp, likely_hits
from tests.score_law import fixed_chance, ranked_chance

ESTIMATOR = ClopperPearson()
MECHANISM = PoissonPatch(1.0, 0.1, 0.3, 100)


def chance_above(
    truth: float, delta: float, n: int, level: float, fpr: np.ndarray, tpr: np.ndarray
) -> np.ndarray:
    """The exact probability that the bound of n trials a world exceeds ``truth``."""
    counts = [[Counts(n, n, h, a) for a in range(n + 1)] for h in range(n + 1)]
    found = [[ESTIMATOR.epsilon(item, delta, level).epsilon for item in row] for row in counts]
    return fixed_chance(np.array(found) > truth, tpr, fpr)


@settings(max_examples=150, deadline=None)
@given(st.floats(1e-6, 1), st.floats(1e-6, 1), st.sampled_from([0.0, 1e-5, 0.1, 0.9]))
def test_epsilon_is_the_largest_that_the_rates_contradict(
    fpr: float, fnr: float, delta: float
) -> None:
    """Slow oracle: a grid over epsilon, each held against both inequalities."""
    grid = np.linspace(0, 16, 3201)
    contradicted = (1 - fnr > np.exp(grid) * fpr + delta) | (1 - fpr > np.exp(grid) * fnr + delta)
    best = float(grid[contradicted].max()) if contradicted.any() else 0.0
    assert box_epsilon(fpr, fnr, delta) == pytest.approx(best, abs=0.0051)
    assert box_epsilon(fpr, fnr, delta) == box_epsilon(fnr, fpr, delta)


@pytest.mark.parametrize("level", [0.2, 0.05])
@pytest.mark.parametrize("delta", [0.0, 1e-2, 0.2])
@pytest.mark.parametrize("epsilon", [0.0, 0.2, 1.0, 3.0])
def test_coverage_is_exact(epsilon: float, delta: float, level: float) -> None:
    """At every attack on the edge of the region. Epsilon 0 at delta 0 is the null."""
    fpr = np.linspace(0, 1, 101)
    tpr = approximate_dp(epsilon, delta)(fpr)
    assert chance_above(epsilon, delta, 45, level, fpr, tpr).max() <= level


@pytest.mark.parametrize("epsilon", [0.0, 1.0, 3.0])
@pytest.mark.parametrize(("n", "m", "alarms"), [(1, 1, 0), (60, 40, 3), (500, 500, 50)])
def test_coverage_of_a_ranked_threshold_is_exact(
    n: int, m: int, alarms: int, epsilon: float
) -> None:
    delta, level = 1e-2, 0.1
    found = [
        ESTIMATOR.epsilon(Counts(n, m, hits, alarms, True), delta, level).epsilon
        for hits in range(n + 1)
    ]
    least = int(np.searchsorted(found, epsilon, side="right"))
    assert found == sorted(found)
    if least <= n:
        curve = approximate_dp(epsilon, delta)
        assert ranked_chance(least, curve, n, alarms + 1, m) <= level


def test_coverage_on_the_patch_pair() -> None:
    """The pair attains its epsilon at one threshold only; no threshold errs more than it may."""
    delta, level = 0.05, 0.2
    curve = pair_curve(MECHANISM.pair(), MECHANISM.steps, delta)
    fpr = np.concatenate([[0.0], np.geomspace(1e-4, 1, 60)])
    tpr = curve.parts[0].highest_tpr(fpr)
    assert chance_above(curve.epsilon(delta), delta, 45, level, fpr, tpr).max() <= level


def test_power_on_randomised_response() -> None:
    """At epsilon 3 and 1,000 trials a world, at least 70% of it.

    Exact: the bound at the counts that are passed with probability 5e-5 each.
    """
    flip = 1 / (1 + math.exp(3.0))
    count = int(binom.isf(5e-5, 1000, flip))
    seen = Counts(1000, 1000, 1000 - count, count)
    assert ESTIMATOR.epsilon(seen, 0.0, 0.05).epsilon >= 0.7 * 3.0


def test_power_on_the_patch_pair() -> None:
    """At 10,000 trials a world .45 of the pair's epsilon is attainable; .4 at the median here."""
    curve = pair_curve(MECHANISM.pair(), MECHANISM.steps, 1e-5)
    seen = likely_hits(Counts(10_000, 10_000, 0, 24, True), curve.parts[0].highest_tpr, 0.5)
    bound = ESTIMATOR.epsilon(seen, 1e-5, 0.05).epsilon
    assert 0.4 * curve.epsilon(1e-5) <= bound <= curve.epsilon(1e-5)


@pytest.mark.parametrize("n", [1, 5, 100, 10_000])
def test_no_error_gives_the_most_that_so_many_trials_can(n: int) -> None:
    most = ESTIMATOR.epsilon(Counts(n, n, n, 0), 1e-5, 0.05).epsilon
    if n >= 100:
        assert most == pytest.approx(math.log(n / 3.69), abs=0.05)
    for hits, alarms in [(n - 1, 0), (n, 1), (0, 0), (n, n), (n // 2, n // 2)]:
        assert ESTIMATOR.epsilon(Counts(n, n, hits, alarms), 1e-5, 0.05).epsilon <= most
    assert ESTIMATOR.epsilon(Counts(n, n, n, 0, True), 1e-5, 0.05).epsilon == most


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_counts_that_say_nothing_give_zero(share: float) -> None:
    counts = Counts(50, 50, round(50 * share), round(50 * share))
    assert ESTIMATOR.epsilon(counts, 1e-5, 0.05).epsilon == 0


@pytest.mark.parametrize("delta", [1.0, 0.999, 5.0])
def test_a_huge_delta_leaves_nothing_to_show(delta: float) -> None:
    assert ESTIMATOR.epsilon(Counts(50, 50, 50, 0), delta, 0.05).epsilon == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 80), st.integers(1, 80), st.data())
def test_the_other_world_tells_the_same(n: int, m: int, data: st.DataObject) -> None:
    counts = Counts(n, m, data.draw(st.integers(0, n)), data.draw(st.integers(0, m)))
    assert ESTIMATOR.epsilon(counts, 0.01, 0.1) == ESTIMATOR.epsilon(counts.swapped(), 0.01, 0.1)


def test_what_it_says_of_itself() -> None:
    assert (ESTIMATOR.name, ESTIMATOR.validity) == ("clopper-pearson", "exact")
    assert "fixed without these scores" in ESTIMATOR.assumes

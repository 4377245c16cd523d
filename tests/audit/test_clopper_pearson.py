"""Estimator 1: exact coverage where the truth is a closed form, simulation for the patch pair."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from cropaudit.accounting.accountant import pair_curve
from cropaudit.accounting.mechanisms import PoissonPatch
from cropaudit.audit.design import planned_threshold
from cropaudit.audit.estimators.clopper_pearson import box_epsilon, cap, clopper_pearson
from cropaudit.audit.estimators.limits import measured_box, upper_limit
from cropaudit.audit.estimators.scores import Scores

MECHANISM = PoissonPatch(1.0, 0.1, 0.3, 100)
DELTA = 1e-5


def share_above(fpr: float, tpr: float, truth: float, delta: float, n: int, level: float) -> float:
    """The exact probability that the bound of n trials a world exceeds ``truth``."""
    counts = np.arange(n + 1)
    limits = [upper_limit(k, n, level / 2) for k in counts]
    above = np.array([[box_epsilon(f, m, delta) > truth for m in limits] for f in limits])
    alarms, misses = binom.pmf(counts, n, fpr), binom.pmf(counts, n, 1 - tpr)
    return float(alarms @ above @ misses)


def played(trials: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Scores of both worlds of the Poisson patch pair, straight from its mixtures."""
    pair = MECHANISM.pair()
    worlds = []
    for weights in (pair.p, pair.q):
        means = rng.choice([-1.0, 0.0, 1.0], p=weights, size=(trials, MECHANISM.steps))
        worlds.append(pair.log_ratio(rng.normal(means, pair.sigma)).sum(axis=1))
    return worlds[0], worlds[1]


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


@pytest.mark.parametrize("delta", [0.0, 1e-5])
@pytest.mark.parametrize("rate", [0.0, 0.02, 0.3, 0.5, 0.97])
def test_null_coverage_is_exact(rate: float, delta: float) -> None:
    """Worlds alike: the bound is positive with probability at most the level. No randomness."""
    for level in (0.2, 0.05):
        assert share_above(rate, rate, 0.0, delta, 60, level) <= level


@pytest.mark.parametrize("epsilon", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("delta", [0.0, 1e-2, 0.2])
def test_known_epsilon_coverage_is_exact(epsilon: float, delta: float) -> None:
    """Randomised response that shows the bit outright with probability delta. No randomness.

    It is (epsilon, delta)-DP with equality, so the bound exceeds epsilon at most at its level.
    """
    flip = (1 - delta) / (1 + math.exp(epsilon))
    for level in (0.2, 0.05):
        assert share_above(flip, 1 - flip, epsilon, delta, 60, level) <= level


def test_known_epsilon_coverage_on_the_patch_pair() -> None:
    """Poisson, sigma 1, q .1, rho .3, 100 steps: share of bounds above the pair's epsilon.

    False-failure rate at most 1e-4 (Binomial(120, .05)). The delta is .05, where the bound comes
    close to the truth.
    """
    rng, delta, level = np.random.default_rng(1), 0.05, 0.05
    truth = pair_curve(MECHANISM.pair(), MECHANISM.steps, delta).epsilon(delta)
    threshold = planned_threshold(MECHANISM, delta, 200, 200, level)
    member, nonmember = (world.reshape(120, 200) for world in played(120 * 200, rng))
    bounds = [
        clopper_pearson(measured_box(Scores.of(a, b), threshold, level), delta).epsilon
        for a, b in zip(member, nonmember, strict=True)
    ]
    assert sum(bound > truth for bound in bounds) <= binom.isf(1e-4, 120, level)


def test_power_on_randomised_response() -> None:
    """At epsilon 3 and 1,000 trials a world, at least 70% of it; false-failure rate 1e-4.

    Exact: the bound at the counts that are passed with probability 5e-5 each.
    """
    flip = 1 / (1 + math.exp(3.0))
    count = int(binom.isf(5e-5, 1000, flip))
    limit = upper_limit(count, 1000, 0.025)
    assert box_epsilon(limit, limit, 0.0) >= 0.7 * 3.0


def test_power_on_the_patch_pair() -> None:
    """At 10,000 trials a world .45 of the pair's epsilon is attainable; at least .3 is found.

    False-failure rate below 1e-6: .3 of 2.86 needs a TPR that is ten deviations off. The
    threshold is where TPR/FPR is large, as this estimator likes it.
    """
    rng = np.random.default_rng(2)
    truth = pair_curve(MECHANISM.pair(), MECHANISM.steps, DELTA).epsilon(DELTA)
    _, plan = played(10_000, rng)
    threshold = float(np.quantile(plan, 0.995))
    member, nonmember = played(10_000, rng)
    bound = clopper_pearson(measured_box(Scores.of(member, nonmember), threshold, 0.05), DELTA)
    assert 0.3 * truth <= bound.epsilon <= truth


@pytest.mark.parametrize("n", [1, 5, 100, 10_000])
def test_cap_is_reached_by_perfect_scores_only(n: int) -> None:
    perfect = Scores.of([np.inf] * n, [-np.inf] * n)
    bound = clopper_pearson(measured_box(perfect, 0.0, 0.05), DELTA)
    assert bound.cap == cap(n, n, 0.05, DELTA)
    assert bound.cap * (1 - 1e-5) <= bound.epsilon <= bound.cap
    if n >= 100:
        assert bound.cap == pytest.approx(math.log(n / 3.69), abs=0.05)
    if n >= 5:
        flawed = Scores.of([np.inf] * n, [-np.inf] * (n - 1) + [np.inf])
        # The mirrored inequality may still be at its cap, but never above.
        assert clopper_pearson(measured_box(flawed, 0.0, 0.05), DELTA).epsilon <= bound.cap


def test_scores_that_say_nothing_give_zero() -> None:
    for threshold in (-1.0, 0.0, 1.0, math.inf):
        box = measured_box(Scores.of(np.zeros(50), np.zeros(50)), threshold, 0.05)
        assert clopper_pearson(box, DELTA).epsilon == 0


@pytest.mark.parametrize("delta", [1.0, 0.999, 5.0])
def test_a_huge_delta_leaves_nothing_to_show(delta: float) -> None:
    box = measured_box(Scores.of(np.ones(50), np.zeros(50)), 0.5, 0.05)
    assert clopper_pearson(box, delta).epsilon == 0


def test_bound_names_what_it_rests_on() -> None:
    bound = clopper_pearson(measured_box(Scores.of([1.0], [0.0]), 0.5, 0.1), DELTA)
    assert (bound.estimator, bound.delta, bound.validity) == ("clopper-pearson", DELTA, "exact")
    assert bound.confidence == pytest.approx(0.9)
    assert "threshold fixed without these scores" in bound.assumes

"""Estimator 2: the mass of the region against slow oracles, calibration, and known overclaims."""

import itertools
import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import dblquad
from scipy.stats import beta, binom, kstest

from cropaudit.audit.estimators.clopper_pearson import box_epsilon
from cropaudit.audit.estimators.evidence import Counts
from cropaudit.audit.estimators.joint_beta import JointBeta, private_mass
from cropaudit.audit.estimators.ranks import ranked_counts
from cropaudit.audit.estimators.scores import Scores
from cropaudit.errors import InputError

LEVEL = 0.05


def allowed(x: np.ndarray, y: np.ndarray, epsilon: float, delta: float) -> np.ndarray:
    """The four inequalities of (epsilon, delta)-DP on a test's error rates."""
    e = math.exp(epsilon)
    below = (1 - y <= e * x + delta) & (1 - x <= e * y + delta)
    return below & (x <= e * (1 - y) + delta) & (y <= e * (1 - x) + delta)


def drawn_mass(counts: Counts, epsilon: float, delta: float, draws: int) -> float:
    """Monte Carlo."""
    rng = np.random.default_rng(1)
    a, b = counts.alarms + 0.5, counts.nonmembers - counts.alarms + 0.5
    if counts.ranked:
        a, b = a + 0.5, b - 0.5
    x = rng.beta(a, b, draws)
    y = rng.beta(counts.members - counts.hits + 0.5, counts.hits + 0.5, draws)
    if counts.ranked:  # few hits may be ties, and are no evidence
        kept = (1 - y <= math.exp(epsilon) * x + delta) & (1 - x <= math.exp(epsilon) * y + delta)
        return float(kept.mean())
    return float(allowed(x, y, epsilon, delta).mean())


def integrated_mass(counts: Counts, epsilon: float, delta: float) -> float:
    """The published way: two nested quadratures of the product of densities."""
    misses, rest = counts.members - counts.hits, counts.nonmembers - counts.alarms
    fpr, fnr = beta(counts.alarms + 0.5, rest + 0.5), beta(misses + 0.5, counts.hits + 0.5)

    def low(x: float) -> float:
        return max(0, 1 - delta - x * math.exp(epsilon), (1 - delta - x) * math.exp(-epsilon))

    kink = (1 - delta) / (1 + math.exp(epsilon))
    cuts = sorted([0, kink, 1 - kink, delta, 1 - delta, 1])
    return sum(
        dblquad(
            lambda y, x: fpr.pdf(x) * fnr.pdf(y), a, b, low, lambda x: 1 - low(1 - x), epsabs=1e-10
        )[0]
        for a, b in itertools.pairwise(cuts)
        if b > a
    )


counted = st.tuples(
    st.sampled_from([1, 2, 7, 100, 3000, 10**6]),
    st.sampled_from([1, 3, 50, 1000, 10**6]),
    st.floats(0, 1),
    st.floats(0, 1),
).map(lambda t: Counts(t[0], t[1], round(t[2] * t[0]), round(t[3] * t[1])))
epsilons = st.floats(0, 12)
deltas = st.sampled_from([0.0, 1e-9, 1e-5, 1e-2, 0.3])


@settings(max_examples=120, deadline=None)
@given(counted)
def test_the_diagonal_has_no_mass(counts: Counts) -> None:
    """P[y < 1 - x] + P[y > 1 - x] = 1: two integrals that must add up."""
    assert private_mass(counts, 0.0, 0.0) == pytest.approx(0, abs=1e-11)


@settings(max_examples=120, deadline=None)
@given(counted, epsilons, deltas)
def test_either_rate_may_be_integrated_first(counts: Counts, epsilon: float, delta: float) -> None:
    misses, rest = counts.members - counts.hits, counts.nonmembers - counts.alarms
    exchanged = Counts(counts.nonmembers, counts.members, rest, misses)
    mirrored = Counts(counts.members, counts.nonmembers, misses, rest)
    expected = private_mass(counts, epsilon, delta)
    assert private_mass(exchanged, epsilon, delta) == pytest.approx(expected, abs=1e-9)
    assert private_mass(mirrored, epsilon, delta) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("counts", "epsilon", "delta"),
    [
        (Counts(100, 80, 60, 20), 0.9, 0.01),
        (Counts(100, 80, 20, 60), 1.4, 0.0),
        (Counts(30, 40, 29, 3), 2.0, 1e-5),
        (Counts(12, 9, 7, 4), 0.5, 0.2),
    ],
)
def test_mass_by_nested_quadrature(counts: Counts, epsilon: float, delta: float) -> None:
    expected = integrated_mass(counts, epsilon, delta)
    assert 0.01 < expected < 0.99
    assert private_mass(counts, epsilon, delta) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(
    ("counts", "delta"),
    [
        (Counts(1000, 1000, 800, 100), 1e-5),
        (Counts(1000, 1000, 1000, 0), 1e-5),
        (Counts(10**5, 10**5, 300, 2), 1e-4),
        (Counts(1, 1, 1, 0), 0.05),
        (Counts(5, 10**6, 5, 10**6), 1e-5),
        (Counts(100, 100, 90, 3, ranked=True), 1e-5),
        (Counts(100, 100, 90, 60, ranked=True), 0.0),
    ],
)
def test_mass_by_drawing(counts: Counts, delta: float) -> None:
    """A million draws at the bound. False-failure rate below 1e-5: 4.5 deviations, 7 cases."""
    bound = JointBeta().epsilon(counts, delta, LEVEL).epsilon
    got = drawn_mass(counts, bound, delta, 10**6)
    assert abs(got - LEVEL) < 4.5 * math.sqrt(LEVEL * (1 - LEVEL) / 1e6)


# privacy_estimates 0.1.0.post1, compute_eps_lo(AttackResults(FN=members - hits, FP=alarms,
# TN=nonmembers - alarms, TP=hits), delta, 0.05, "joint-beta"); its own tolerance is 1e-2.
PUBLISHED = [
    ((1000, 1000, 800, 100), 1e-5, 1.92326),
    ((500, 500, 480, 20), 0.0, 2.99495),
    ((100, 100, 60, 30), 1e-2, 0.39999),
    ((1000, 500, 300, 20), 1e-5, 1.66264),
    ((200, 200, 30, 90), 1e-5, 0.79931),
    ((20, 20, 20, 0), 1e-5, 3.24828),
    ((1000, 1000, 1000, 0), 1e-5, 7.21027),
]


@pytest.mark.parametrize(("numbers", "delta", "expected"), PUBLISHED)
def test_published_implementation(
    numbers: tuple[int, int, int, int], delta: float, expected: float
) -> None:
    got = JointBeta().epsilon(Counts(*numbers), delta, LEVEL).epsilon
    assert got == pytest.approx(expected, abs=5e-3)


def test_published_implementation_directly() -> None:
    other = pytest.importorskip("privacy_estimates")
    n, m, hits, alarms = PUBLISHED[0][0]
    counted = other.AttackResults(FN=n - hits, FP=alarms, TN=m - alarms, TP=hits)
    expected = other.compute_eps_lo(counted, 1e-5, LEVEL, "joint-beta")
    got = JointBeta().epsilon(Counts(n, m, hits, alarms), 1e-5, LEVEL).epsilon
    assert got == pytest.approx(expected, abs=1e-2)


@settings(max_examples=60, deadline=None)
@given(counted, deltas, st.sampled_from([1e-4, 0.05, 0.5, 0.95]))
def test_the_bound_is_where_the_mass_is_the_level(
    counts: Counts, delta: float, level: float
) -> None:
    found = JointBeta().epsilon(counts, delta, level).epsilon
    if found == 0:
        assert private_mass(counts, 0.0, delta) >= level
    else:
        assert private_mass(counts, found, delta) == pytest.approx(level, abs=1e-9)


def test_bound_on_average_over_the_prior_has_the_level() -> None:
    """Null and coverage at once: rates drawn from the prior, counts from the rates.

    The mass of the region on whose edge the true rates lie is then uniform, so the bound exceeds
    the truth with probability ``level`` exactly, for every level. False-failure rate 1e-4
    (Kolmogorov-Smirnov).
    """
    rng, masses = np.random.default_rng(2), []
    for _ in range(800):
        x, y = rng.beta(0.5, 0.5, 2)
        counts = Counts(40, 30, int(rng.binomial(40, 1 - y)), int(rng.binomial(30, x)))
        truth = max(box_epsilon(x, y, 0.0), box_epsilon(1 - x, 1 - y, 0.0))
        masses.append(private_mass(counts, min(truth, 700.0), 0.0))
    assert kstest(masses, "uniform").pvalue > 1e-4


@cache
def above(trials: int, epsilon: float, delta: float) -> np.ndarray:
    """Whether the bound of each pair of counts exceeds epsilon."""
    counts = range(trials + 1)
    masses = [
        [private_mass(Counts(trials, trials, hits, alarms), epsilon, delta) for alarms in counts]
        for hits in counts
    ]
    return np.array(masses) < LEVEL


def overclaims(trials: int, tpr: float, fpr: float, epsilon: float, delta: float) -> float:
    """Exact probability that the bound exceeds epsilon: a sum over all counts."""
    laws = [binom.pmf(range(trials + 1), trials, rate) for rate in (tpr, fpr)]
    return float(laws[0] @ above(trials, epsilon, delta) @ laws[1])


def test_null_false_alarms_exactly() -> None:
    """Equal worlds: below the level where delta leaves the region some width, as at delta 0.1.

    Without it the overclaim is a known one, and the module says so.
    """
    for rate in (0.01, 0.1, 0.3, 0.5):
        assert overclaims(20, rate, rate, 0.0, 0.1) <= LEVEL
    assert overclaims(20, 0.5, 0.5, 0.0, 0.0) == pytest.approx(1)


def test_coverage_at_a_known_epsilon_exactly() -> None:
    """Below the level on the region's edge at small rates; in its corner the known overclaim."""
    for fpr in (0.01, 0.02, 0.05):
        assert overclaims(20, math.e * fpr, fpr, 1.0, 0.0) <= LEVEL
    for epsilon, expected in ((1.0, 0.128), (2.0, 0.196)):
        corner = 1 / (1 + math.exp(epsilon))
        got = overclaims(20, 1 - corner, corner, epsilon, 0.0)
        assert got == pytest.approx(expected, abs=2e-3)


def test_power() -> None:
    """Randomised response at epsilon 3, 1,000 trials a world: above 2.4 in 99.9% of games.

    No randomness: the bound grows with hits and falls with alarms, and both are taken at the
    quantile that is worse with probability 5e-4.
    """
    corner = 1 / (1 + math.exp(3.0))
    worse = int(binom.isf(5e-4, 1000, corner))
    assert JointBeta().epsilon(Counts(1000, 1000, 1000 - worse, worse), 1e-5, LEVEL).epsilon > 2.4


def test_more_evidence_gives_a_larger_bound() -> None:
    bounds = [JointBeta().epsilon(Counts(n, n, n, 0), 1e-5, LEVEL).epsilon for n in (1, 10, 1000)]
    assert bounds == sorted(bounds)
    ranked = JointBeta().epsilon(Counts(100, 100, 90, 3, ranked=True), 1e-5, LEVEL).epsilon
    assert ranked < JointBeta().epsilon(Counts(100, 100, 90, 3), 1e-5, LEVEL).epsilon
    assert ranked > JointBeta().epsilon(Counts(100, 100, 90, 4), 1e-5, LEVEL).epsilon


@pytest.mark.parametrize("rank", [1, 30, 150, 299])
def test_ties_at_a_rank_are_no_evidence(rank: int) -> None:
    """Both worlds vote 0 or 1 alike: no member lies above a cut at 1, which tells nothing."""
    votes = np.tile([0.0, 1.0], 150)
    (counts,) = ranked_counts(Scores.of(votes, votes), [rank])
    assert JointBeta().epsilon(counts, 0.0, LEVEL).epsilon == 0


@pytest.mark.parametrize("ranked", [False, True])
@pytest.mark.parametrize("hits", [0, 1])
@pytest.mark.parametrize("delta", [0.0, 1e-5, 0.9, 1.0])
def test_one_trial_and_all_or_nothing(hits: int, ranked: bool, delta: float) -> None:
    found = JointBeta().epsilon(Counts(1, 1, hits, 0, ranked), delta, LEVEL)
    assert 0 <= found.epsilon < 1
    if delta >= 0.9:
        assert found.epsilon == 0


def test_a_level_near_one_stays_finite() -> None:
    found = JointBeta().epsilon(Counts(10**9, 10**9, 10**9, 0), 1e-9, 1 - 1e-9)
    assert 30 < found.epsilon < 700


@pytest.mark.parametrize(
    ("delta", "level", "message"),
    [
        (0.0, 0.0, r"level must be in \(0, 1\), got 0.0"),
        (0.0, math.nan, r"level must be in \(0, 1\), got nan"),
        (-1e-5, 0.05, r"delta must be in \[0, 1\], got -1e-05"),
        (math.nan, 0.05, r"delta must be in \[0, 1\], got nan"),
    ],
)
def test_illegal_values_are_refused(delta: float, level: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        JointBeta().epsilon(Counts(10, 10, 5, 5), delta, level)
    with pytest.raises(InputError, match=r"epsilon must be in \[0, 700\]"):
        private_mass(Counts(10, 10, 5, 5), -1.0, 0.0)


def test_it_says_what_it_is() -> None:
    assert (JointBeta.name, JointBeta.validity) == ("joint-beta", "credible")
    assert "posterior" in JointBeta().assumes

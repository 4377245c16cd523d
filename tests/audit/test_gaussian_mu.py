"""Estimator 4: the profile of mu-GDP to many digits, exact coverage, and where it does not hold."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import ndtr, ndtri
from scipy.stats import binom, norm

from cropaudit.accounting.accountant import pair_bracket
from cropaudit.accounting.mechanisms import AddRemoveShortcut
from cropaudit.audit.estimators.clopper_pearson import box_epsilon
from cropaudit.audit.estimators.evidence import Counts
from cropaudit.audit.estimators.gaussian_mu import GaussianMu, gdp_delta, gdp_epsilon, gdp_tpr
from cropaudit.errors import InputError

LEVEL = 0.05


@pytest.mark.parametrize("mu", [0.05, 1.0, 3.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 2.0])
def test_profile_by_quadrature(mu: float, epsilon: float) -> None:
    """The hockey-stick divergence of N(mu, 1) from N(0, 1), integrated where it is positive."""
    start = epsilon / mu + mu / 2

    def excess(x: float) -> float:
        return float(norm.pdf(x - mu) - math.exp(epsilon) * norm.pdf(x))

    expected = quad(excess, start, start + 12, epsabs=1e-15, epsrel=1e-12)[0]
    assert gdp_delta(mu, epsilon) == pytest.approx(expected, rel=1e-9, abs=1e-16)


@pytest.mark.parametrize("mu", [1e-6, 1e-3, 0.1, 1.0, 5.0, 30.0, 100.0])
@pytest.mark.parametrize("delta", [1e-300, 1e-12, 1e-5, 0.1, 0.9])
def test_epsilon_inverts_the_profile_from_below(mu: float, delta: float) -> None:
    epsilon = gdp_epsilon(mu, delta)
    if epsilon == 0:
        assert gdp_delta(mu, 0.0) <= delta
    else:
        got = gdp_delta(mu, epsilon)
        assert delta * (1 - 1e-11) <= got <= delta * (1 + 1e-8)


def test_profile_to_sixty_digits() -> None:
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(60):
        for mu in (1e-6, 1e-3, 0.1, 1.0, 5.0, 100.0):
            for delta in (1e-300, 1e-12, 1e-5, 0.1):
                epsilon = gdp_epsilon(mu, delta)
                m, e = mpmath.mpf(mu), mpmath.mpf(epsilon)
                second = mpmath.exp(e) * mpmath.ncdf(-e / m - m / 2)
                expected = mpmath.ncdf(-e / m + m / 2) - second
                assert gdp_delta(mu, epsilon) == pytest.approx(float(expected), rel=1e-8)


@settings(max_examples=100, deadline=None)
@given(st.floats(0.01, 20), st.floats(1e-4, 0.9999))
def test_trade_off_and_profile_are_one_another(mu: float, fpr: float) -> None:
    """The tangent at a false positive rate has slope e^epsilon and meets the axis at delta."""
    start = -float(ndtri(fpr))
    epsilon = mu * start - mu**2 / 2  # log of the slope of Phi(Phi^-1(x) + mu)
    if epsilon >= 0:
        tangent = float(gdp_tpr(mu, fpr)) - math.exp(epsilon) * fpr
        assert gdp_delta(mu, epsilon) == pytest.approx(tangent, rel=1e-6, abs=1e-12)


def test_trade_off_at_its_ends_and_in_any_shape() -> None:
    got = gdp_tpr(1.0, np.array([[0.0, 1.0], [0.5, 0.1]]))
    assert got.shape == (2, 2)
    assert got[0].tolist() == [0.0, 1.0]
    assert gdp_tpr(0.0, 0.3) == pytest.approx(0.3)
    assert gdp_delta(0.0, 1.0) == 0
    assert gdp_epsilon(0.0, 1e-5) == 0
    assert gdp_epsilon(1.0, 1.0) == 0


# jax_privacy 2.0.0: CanaryScoreAuditor(scores of 1 and 0 that give the counts)
# .epsilon_from_gdp(0.05, delta, eps_tol=1e-12). Two distinct values have three thresholds, over
# which it applies Bonferroni.
THRESHOLDS = 3
PUBLISHED = [
    ((1000, 1000, 800, 100), 1e-5, 9.284089984791168),
    ((500, 300, 480, 2), 1e-3, 15.63766102330973),
    ((1000, 1000, 990, 900), 1e-5, 2.5871605481516093),
    ((200, 200, 200, 0), 1e-6, 26.07112735797857),
    ((100_000, 100_000, 99_990, 300), 1e-9, 56.15182971626182),
]


@pytest.mark.parametrize(("numbers", "delta", "expected"), PUBLISHED)
def test_published_implementation(
    numbers: tuple[int, int, int, int], delta: float, expected: float
) -> None:
    found = GaussianMu().epsilon(Counts(*numbers), delta, LEVEL / THRESHOLDS)
    assert found.epsilon == pytest.approx(expected, abs=1e-9)


def test_published_implementation_directly() -> None:
    auditing = pytest.importorskip("jax_privacy").auditing
    (n, m, hits, alarms), delta, _ = PUBLISHED[0]
    scores = [np.arange(n) < hits, np.arange(m) < alarms]
    auditor = auditing.CanaryScoreAuditor(*(score.astype(float) for score in scores))
    expected = auditor.epsilon_from_gdp(LEVEL, delta)
    found = GaussianMu().epsilon(Counts(n, m, hits, alarms), delta, LEVEL / THRESHOLDS)
    assert found.epsilon == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("mu", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("fpr", [0.01, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("trials", [1, 10, 60])
def test_null_and_coverage_exactly(mu: float, fpr: float, trials: int) -> None:
    """Tests at all rates on the curve of mu, which is 0 in the null: a sum over all counts."""
    counts = range(trials + 1)
    truth = gdp_epsilon(mu, 1e-3)
    above = [
        [
            GaussianMu().epsilon(Counts(trials, trials, h, a), 1e-3, LEVEL).epsilon > truth
            for a in counts
        ]
        for h in counts
    ]
    tpr = float(gdp_tpr(mu, fpr))
    laws = binom.pmf(counts, trials, tpr), binom.pmf(counts, trials, fpr)
    assert laws[0] @ np.array(above) @ laws[1] <= LEVEL


def test_power() -> None:
    """At mu 1 and 10,000 trials a world more than 0.8 of epsilon, in 99.9% of games.

    No randomness: the bound grows with hits and falls with alarms, and both are taken at the
    quantile that is worse with probability 5e-4. The Clopper-Pearson bound has less than half.
    """
    rate = float(ndtr(-0.5))
    worse = int(binom.isf(5e-4, 10_000, rate))
    counts, truth = Counts(10_000, 10_000, 10_000 - worse, worse), gdp_epsilon(1.0, 1e-5)
    found = GaussianMu().epsilon(counts, 1e-5, LEVEL).epsilon
    assert 0.8 * truth < found < truth
    shares = counts.fpr_upper(LEVEL / 2), counts.fnr_upper(LEVEL / 2)
    assert box_epsilon(*shares, 1e-5) < 0.5 * found


def test_not_valid_for_subsampled_mechanisms() -> None:
    """Without any sampling error: a test on the true curve of a mechanism that samples.

    Rate 0.03, noise 1, 100 steps: its best mu has an epsilon above the true one, 2.12.
    """
    mechanism = AddRemoveShortcut(1.0, 0.1, 0.3, 100)
    found = pair_bracket(mechanism.pair(), mechanism.compositions, 1e-5)
    fpr = np.geomspace(1e-6, 0.5, 200)
    mu = float((ndtri(found.curve.highest_tpr(fpr) * (1 - 1e-3)) - ndtri(fpr)).max())
    assert found.upper == pytest.approx(2.12, abs=0.01)
    assert gdp_epsilon(mu, 1e-5) > found.upper


@pytest.mark.parametrize(
    ("counts", "delta", "note"),
    [
        (Counts(100, 100, 100, 0), 0.0, "a Gaussian mechanism has no epsilon at delta 0"),
        (Counts(100, 100, 0, 100), 1e-5, "no mu above 0"),
        (Counts(100, 100, 50, 50), 1e-5, "no mu above 0"),
        (Counts(1, 1, 1, 0), 1e-5, "no mu above 0"),
        (Counts(1, 1, 0, 1), 1e-5, "no mu above 0"),
        (Counts(1, 1, 1, 0, ranked=True), 1e-5, "no mu above 0"),
    ],
)
def test_degenerate_counts_claim_nothing(counts: Counts, delta: float, note: str) -> None:
    found = GaussianMu().epsilon(counts, delta, LEVEL)
    assert (found.epsilon, found.note) == (0.0, note)


def test_perfect_tests_and_huge_deltas() -> None:
    perfect = Counts(10**6, 10**6, 10**6, 0)
    found = GaussianMu().epsilon(perfect, 1e-5, LEVEL)
    assert 40 < found.epsilon < 100
    assert found.note == "mu at least 8.964"
    assert GaussianMu().epsilon(perfect, 1.0, LEVEL).epsilon == 0
    ranked = GaussianMu().epsilon(Counts(100, 100, 90, 3, ranked=True), 1e-5, LEVEL)
    assert ranked == GaussianMu().epsilon(Counts(100, 100, 90, 3), 1e-5, LEVEL)


@pytest.mark.parametrize(
    ("delta", "level", "message"),
    [
        (0.1, 0.0, r"level must be in \(0, 1\), got 0.0"),
        (0.1, math.nan, r"level must be in \(0, 1\), got nan"),
        (-1e-5, 0.05, r"delta must be in \[0, 1\], got -1e-05"),
        (math.nan, 0.05, r"delta must be in \[0, 1\], got nan"),
    ],
)
def test_illegal_values_are_refused(delta: float, level: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        GaussianMu().epsilon(Counts(10, 10, 5, 5), delta, level)


def test_illegal_arguments_of_the_functions() -> None:
    with pytest.raises(InputError, match="mu must be at least 0 and finite, got -1"):
        gdp_tpr(-1.0, 0.1)
    with pytest.raises(InputError, match="epsilon must be at least 0 and finite, got inf"):
        gdp_delta(1.0, math.inf)
    with pytest.raises(InputError, match=r"delta must be in \(0, 1\], got 0"):
        gdp_epsilon(1.0, 0.0)


def test_it_says_what_it_is() -> None:
    assert (GaussianMu.name, GaussianMu.validity) == ("gaussian-mu", "model-based")
    assert "not valid for subsampled mechanisms" in GaussianMu().assumes

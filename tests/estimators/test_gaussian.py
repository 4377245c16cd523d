"""The profile of mu-GDP, inverted to many digits from the honest side."""

import math

import pytest
from scipy.integrate import quad
from scipy.stats import norm

from cropaudit.errors import InputError
from cropaudit.estimators.gaussian import gdp_epsilon


def delta_by_quadrature(mu: float, epsilon: float) -> float:
    """The hockey-stick divergence of N(mu, 1) from N(0, 1), integrated where it is positive."""
    start = epsilon / mu + mu / 2
    return float(
        quad(
            lambda x: norm.pdf(x - mu) - math.exp(epsilon) * norm.pdf(x),
            start,
            start + 12,
            epsabs=1e-15,
            epsrel=1e-12,
        )[0]
    )


@pytest.mark.parametrize("mu", [0.05, 1.0, 3.0])
@pytest.mark.parametrize("delta", [1e-9, 1e-5, 0.01])
def test_epsilon_inverts_the_profile(mu: float, delta: float) -> None:
    epsilon = gdp_epsilon(mu, delta)
    assert delta_by_quadrature(mu, epsilon) == pytest.approx(delta, rel=1e-6)


def test_epsilon_to_sixty_digits_from_below() -> None:
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(60):
        for mu in (1e-3, 1.0, 100.0):
            for delta in (1e-300, 1e-12, 0.1):
                m, e = mpmath.mpf(mu), mpmath.mpf(gdp_epsilon(mu, delta))
                second = mpmath.exp(e) * mpmath.ncdf(-e / m - m / 2)
                found = mpmath.ncdf(-e / m + m / 2) - second
                if e > 0:  # a smaller epsilon has a larger delta
                    assert delta * (1 - 1e-11) <= found <= delta * (1 + 1e-8)


def test_ends_and_illegal_values() -> None:
    assert gdp_epsilon(0.0, 1e-5) == gdp_epsilon(1.0, 1.0) == 0
    for mu, delta in ((-1.0, 1e-5), (math.inf, 1e-5), (1.0, 0.0), (1.0, 1.1)):
        with pytest.raises(InputError, match="must be"):
            gdp_epsilon(mu, delta)

"""What a curve means in operation, against the Gaussian closed form; epsilon over the image."""

import numpy as np
import pytest
from scipy.stats import norm

from cropaudit.accounting.accountant import epsilon_at, privacy_curve
from cropaudit.accounting.mechanisms import FullBatchPatch, PoissonPatch
from cropaudit.accounting.risk import epsilon_map, operational_risk
from cropaudit.errors import InputError


@pytest.mark.parametrize(("sigma", "steps"), [(4.0, 4), (1.0, 1), (10.0, 9)])
def test_risk_of_a_gaussian(sigma: float, steps: int) -> None:
    mu = 2 * np.sqrt(steps) / sigma
    found = operational_risk(privacy_curve(FullBatchPatch(sigma, 1.0, 1.0, steps)), (1e-3, 0.1))
    advantage = 2 * norm.cdf(mu / 2) - 1
    assert advantage <= found.advantage <= advantage * 1.001
    assert found.accuracy == pytest.approx((1 + found.advantage) / 2, rel=1e-5)
    for fpr, tpr in zip(found.fpr, found.tpr, strict=True):
        exact = norm.sf(norm.isf(fpr) - mu)
        assert exact <= tpr <= exact * 1.003


def test_rates_are_checked() -> None:
    curve = privacy_curve(PoissonPatch(1.0, 0.1, 0.3, 10))
    with pytest.raises(InputError, match=r"false positive rate must be in \[0, 1\], got 2"):
        operational_risk(curve, (2.0,))


def test_log_rates_agree_with_rates() -> None:
    curve = privacy_curve(PoissonPatch(1.0, 0.1, 0.3, 100))
    fpr = np.geomspace(1e-9, 1, 200)
    np.testing.assert_allclose(
        curve.highest_tpr_log(np.log(fpr)), curve.highest_tpr(fpr), rtol=1e-9
    )
    least = curve.highest_tpr_log(np.array([-np.inf, -5000.0]))
    assert np.all((least >= 0) & (least < 1e-10))
    assert np.all(np.diff(curve.highest_tpr_log(np.linspace(-80, 0, 500))) >= -1e-15)


def test_small_maps_are_exact_and_large_ones_upper_bounds() -> None:
    mechanism = PoissonPatch(1.0, 0.1, 0.3, 100)
    small = np.array([[0.0, 0.1], [0.2, 0.3]])
    found = epsilon_map(mechanism, small, 1e-5)
    for rho, epsilon in zip(small.ravel(), found.ravel(), strict=True):
        exact = epsilon_at(PoissonPatch(1.0, 0.1, float(rho), 100), 1e-5)
        assert exact * (1 - 1e-3) <= epsilon <= exact * 1.005
    large = np.linspace(0.05, 0.3, 5000).reshape(50, 100)
    wide = epsilon_map(mechanism, large, 1e-5)
    rng = np.random.default_rng(0)
    for at in rng.integers(0, 5000, 12):
        exact = epsilon_at(PoissonPatch(1.0, 0.1, float(large.flat[at]), 100), 1e-5)
        assert exact * (1 - 1e-3) <= wide.flat[at] <= exact * 1.06
    assert np.all(np.diff(wide.ravel()) >= 0)

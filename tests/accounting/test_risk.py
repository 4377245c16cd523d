"""What an attack can do at most, against the Gaussian closed form; epsilon at every place."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from cropaudit.accounting.accountant import bracket, epsilon_at, privacy_curve
from cropaudit.accounting.mechanisms import (
    FixedSizePatch,
    FullBatchPatch,
    PatchMechanism,
    PoissonPatch,
    ShufflePatch,
)
from cropaudit.accounting.risk import epsilon_map, operational_risk
from cropaudit.errors import InputError


@pytest.mark.parametrize("mu", [0.05, 0.5, 2.0, 6.0])
@pytest.mark.parametrize("steps", [1, 100])
def test_risk_of_a_gaussian(mu: float, steps: int) -> None:
    """Advantage 2 Phi(mu/2) - 1 and power Phi(Phi^-1(fpr) + mu), never understated."""
    sigma = 2 * math.sqrt(steps) / mu
    rates = (0.0, 1e-3, 1e-2, 0.3, 1.0)
    curve = privacy_curve(FullBatchPatch(sigma, 1.0, 1.0, steps))
    found = operational_risk(curve, rates)
    advantage = 2 * norm.cdf(mu / 2) - 1
    assert advantage <= found.advantage <= advantage * 1.002 + 1e-9
    assert found.accuracy == pytest.approx((1 + found.advantage) / 2, rel=1e-5)
    assert found.accuracy >= (1 + advantage) / 2
    assert found.fpr == rates
    for rate, power in zip(rates, found.tpr, strict=True):
        want = norm.cdf(norm.ppf(rate) + mu) if 0 < rate < 1 else rate
        assert want <= power <= min(1.0, want * 1.02 + 1e-9)


def test_risk_is_at_most_certainty_and_at_least_chance() -> None:
    loud = operational_risk(privacy_curve(FixedSizePatch(0.05, 1.0, 1.0, 100)))
    assert loud.advantage == loud.accuracy == 1.0
    assert loud.tpr == (1.0, 1.0)
    quiet = operational_risk(privacy_curve(PoissonPatch(1.0, 0.1, 0.0, 100)))
    assert quiet.advantage == 0.0
    assert quiet.accuracy == 0.5
    assert quiet.tpr == pytest.approx(quiet.fpr)


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan])
def test_rates_out_of_range_are_named(rate: float) -> None:
    curve = privacy_curve(PoissonPatch(1.0, 0.1, 0.3, 10))
    with pytest.raises(InputError, match="false positive rate must be in"):
        operational_risk(curve, (rate,))


MECHANISMS: list[PatchMechanism] = [
    PoissonPatch(1.0, 0.1, 0.9, 100),
    FixedSizePatch(1.0, 0.0672, 0.9, 1500),
    ShufflePatch(2.0, 0.1, 0.9, 100),
    PoissonPatch(1.0, 0.1, 0.9, 50, crops=2),
]


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_small_map_is_epsilon_at_each_place(mechanism: PatchMechanism) -> None:
    """An upper bound everywhere, close to the bound of that place, and as good at the worst one."""
    rho = np.array([[0.0, 0.05, 0.2], [0.2, 0.33, 0.05]])
    found = epsilon_map(mechanism, rho, 1e-5)
    assert found.shape == rho.shape
    assert found[0, 0] == 0.0
    for value, place in zip(found.ravel().tolist(), rho.ravel().tolist(), strict=True):
        here = bracket(type(mechanism)(**{**vars(mechanism), "inclusion": place}), 1e-5)
        assert value >= here.lower
        assert value <= here.upper * 1.006
    assert found[0, 1] == found[1, 2]
    # Monotone in the probability.
    order = np.argsort(rho.ravel())
    assert np.all(np.diff(found.ravel()[order]) >= 0)
    worst = type(mechanism)(**{**vars(mechanism), "inclusion": 0.33})
    assert epsilon_at(worst, 1e-5) == pytest.approx(float(found[1, 1]), rel=1e-5)


@pytest.mark.parametrize("least", [0.0, 0.01, 0.05])
@pytest.mark.parametrize("mechanism", MECHANISMS[:2])
def test_a_large_map_is_an_upper_bound_a_little_above(
    mechanism: PatchMechanism, least: float
) -> None:
    rho = np.linspace(least, 0.33, 4000).reshape(40, 100)
    found = epsilon_map(mechanism, rho, 1e-5)
    for place in [(0, 0), (0, 1), (1, 7), (4, 50), (13, 0), (25, 99), (39, 98), (39, 99)]:
        inclusion = float(rho[place])
        here = bracket(type(mechanism)(**{**vars(mechanism), "inclusion": inclusion}), 1e-5)
        assert found[place] >= here.lower
        if inclusion >= 0.33 / 40:
            assert found[place] <= here.upper * 1.10
    assert np.all(np.diff(found.ravel()) >= 0)

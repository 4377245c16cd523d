"""Composed bounds against closed forms, dp_accounting, integration and the reference table."""

import math

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.pld.pld_privacy_accountant import PLDAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from cropaudit.accounting.accountant import (
    calibrate_noise,
    delta_at,
    epsilon_at,
    pair_curve,
    privacy_curve,
    round_up,
)
from cropaudit.accounting.bound import Pipeline, bound
from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.accounting.mechanisms import (
    AddRemoveShortcut,
    FixedSizePatch,
    PoissonPatch,
    ReplaceOneShortcut,
    ShufflePatch,
)
from cropaudit.accounting.registry import patch_mechanism
from cropaudit.errors import InputError

RHO = 0.32906038262255877
STREETS = {"noise_multiplier": 1.0, "batch": 200, "records": 2975, "steps": 1500}


def gaussian_delta(mu: float, epsilon: float) -> float:
    """Balle and Wang 2018, theorem 8."""
    log_cost = epsilon + norm.logcdf(-mu / 2 - epsilon / mu)
    return float(norm.cdf(mu / 2 - epsilon / mu) - math.exp(log_cost))


@pytest.mark.parametrize(
    ("sampler", "inclusion", "expected"),
    [
        ("fixed", RHO, 32.73),
        ("poisson", RHO, 7.45),
        ("shuffle", RHO, 87.3),
        ("fixed", 1.0, 118.4),
        ("poisson", 1.0, 31.32),
    ],
)
def test_reference_table(sampler: str, inclusion: float, expected: float) -> None:
    mechanism = patch_mechanism(sampler, inclusion=inclusion, epochs=100, **STREETS)
    assert epsilon_at(mechanism, 1 / 2975) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(
    ("mechanism", "expected"),
    [
        (PoissonPatch(1.0, 0.1, 0.3, 100), 2.95),
        (PoissonPatch(1.0, 0.3, 0.3, 100), 10.58),
        (PoissonPatch(2.0, 0.9, 0.3, 100), 20.2),
        (FixedSizePatch(1.0, 0.1, 0.3, 100), 13.32),
    ],
)
def test_reference_values_at_1e5(mechanism: PoissonPatch | FixedSizePatch, expected: float) -> None:
    assert epsilon_at(mechanism, 1e-5) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("steps", [1, 30, 1000])
def test_without_subsampling_it_is_the_gaussian_mechanism(sigma: float, steps: int) -> None:
    """At q = rho = 1 the worlds are N(-1) and N(+1): one Gaussian of mu = 2 sqrt(T) / sigma."""
    mu = 2 * math.sqrt(steps) / sigma
    got = epsilon_at(FixedSizePatch(sigma, 1.0, 1.0, steps), 1e-5)
    assert gaussian_delta(mu, got) <= 1e-5
    assert gaussian_delta(mu, got * (1 - 2e-3)) > 1e-5


@pytest.mark.parametrize(("sigma", "rate", "steps"), [(1.0, 0.02, 1500), (0.7, 0.1, 200)])
def test_add_remove_equals_dp_accounting(sigma: float, rate: float, steps: int) -> None:
    theirs = pld.from_gaussian_mechanism(
        sigma, sampling_prob=rate, value_discretization_interval=1e-3
    ).self_compose(steps)
    ours = epsilon_at(AddRemoveShortcut(sigma, rate, 1.0, steps), 1e-5)
    assert ours == pytest.approx(theirs.get_epsilon_for_delta(1e-5), rel=2e-3)


def test_replace_one_equals_dp_accounting() -> None:
    relation = dp_accounting.NeighboringRelation.REPLACE_ONE
    step = dp_accounting.PoissonSampledDpEvent(0.1 * 0.3, dp_accounting.GaussianDpEvent(1.0))
    theirs = PLDAccountant(relation, value_discretization_interval=1e-3).compose(step, 100)
    ours = epsilon_at(ReplaceOneShortcut(1.0, 0.1, 0.3, 100), 1e-5)
    assert ours == pytest.approx(theirs.get_epsilon(1e-5), rel=2e-3)


@pytest.mark.parametrize("kind", [PoissonPatch, FixedSizePatch])
def test_two_steps_against_integration(kind: type) -> None:
    """The product of the one-step pair with itself, integrated in the plane."""
    pair = kind(0.8, 0.5, 0.4, 2).pair()
    axis = np.linspace(-8, 8, 3001)
    weight = axis[1] - axis[0]
    p = sum(w * norm.pdf(axis, m, 0.8) for w, m in zip(pair.p, (-1, 0, 1), strict=True))
    q = sum(w * norm.pdf(axis, m, 0.8) for w, m in zip(pair.q, (-1, 0, 1), strict=True))
    for epsilon in (0.0, 0.5, 1.5):
        gap = np.multiply.outer(p, p) - math.exp(epsilon) * np.multiply.outer(q, q)
        exact = float(np.maximum(gap, 0).sum() * weight**2)
        forward = pair_curve(pair, 2, 1e-5).parts[0].delta(epsilon)
        assert exact - 1e-9 <= forward <= exact * 1.002 + 1e-9
        assert privacy_curve(kind(0.8, 0.5, 0.4, 2)).delta(epsilon) >= exact - 1e-9


def test_curve_survives_its_own_worst_test() -> None:
    """At the best test's rates the exact pair does not cross the claimed trade-off curve."""
    mechanism = PoissonPatch(1.0, 0.1, 0.3, 1)
    curve = privacy_curve(mechanism)
    p, q = mechanism.pair().masses_above(np.linspace(-6, 8, 200))
    assert np.all(p <= curve.highest_tpr(q) + 1e-12)
    assert np.max(p - curve.highest_tpr(q)) > -5e-4


def test_curve_rejects_a_stronger_mechanism_and_not_itself() -> None:
    claimed = privacy_curve(PoissonPatch(1.0, 0.1, 0.3, 100))
    delivered = privacy_curve(PoissonPatch(0.5, 0.1, 0.3, 100))
    fpr = np.array([1e-3, 1e-2, 0.1])
    for x, y in zip(fpr, delivered.highest_tpr(fpr), strict=True):
        assert claimed.rejects(float(x), 1 - float(y))
    for x, y in zip(fpr, claimed.highest_tpr(fpr), strict=True):
        assert not claimed.rejects(float(x), 1 - float(y) * (1 - 1e-9))


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from([PoissonPatch, FixedSizePatch, ShufflePatch]),
    st.floats(0.5, 3),
    st.floats(0.02, 0.8),
    st.floats(0.05, 0.9),
    st.integers(2, 300),
)
def test_monotone_in_every_argument(
    kind: type, sigma: float, q: float, rho: float, steps: int
) -> None:
    base = epsilon_at(kind(sigma, q, rho, steps), 1e-5)
    slack = 1 + 2e-3  # twice the stated discretisation error
    assert epsilon_at(kind(sigma * 1.1, q, rho, steps), 1e-5) <= base * slack
    assert epsilon_at(kind(sigma, min(1.0, q * 1.1), rho, steps), 1e-5) * slack >= base
    assert epsilon_at(kind(sigma, q, min(1.0, rho * 1.1), steps), 1e-5) * slack >= base
    assert epsilon_at(kind(sigma, q, rho, steps + 50), 1e-5) * slack >= base


def test_delta_inverts_epsilon() -> None:
    mechanism = PoissonPatch(1.0, 0.1, 0.3, 100)
    assert delta_at(mechanism, epsilon_at(mechanism, 1e-5)) == pytest.approx(1e-5, rel=2e-2)


@pytest.mark.parametrize("target", [0.5, 3.0, 20.0])
def test_calibrated_noise_meets_its_target(target: float) -> None:
    mechanism = FixedSizePatch(1.0, 0.0672, RHO, 1500)
    noise = calibrate_noise(mechanism, 1e-5, target)
    got = epsilon_at(mechanism.with_noise(noise), 1e-5)
    assert 0.995 * target <= got <= target * (1 + 1e-5)


def test_a_patch_never_met_costs_nothing() -> None:
    assert epsilon_at(PoissonPatch(1.0, 0.1, 0.0, 100), 1e-5) == 0.0


def test_shuffle_counts_participations() -> None:
    # 14 whole batches an epoch where the last is dropped: the 108th epoch has begun.
    assert ShufflePatch(1.0, 200 / 2975, RHO, 1500).compositions == 108
    assert ShufflePatch(1.0, 200 / 2975, RHO, 1500, epochs=100).compositions == 100
    assert ShufflePatch(1.0, 0.1, RHO, 10).compositions == 1


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-9, 1e9))
def test_round_up_never_falls(value: float) -> None:
    assert value <= round_up(value) <= value * (1 + 1.1e-5)


def pipeline(**changes: object) -> Pipeline:
    values: dict[str, object] = {
        "images": (Size(64, 64),),
        "crop": Crop(Size(16, 16)),
        "patch": Rectangle(Size(4, 4)),
        "sampler": "poisson",
        "batch": 10,
        "records": 100,
        "steps": 50,
    }
    return Pipeline(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "delta", "noise", "target", "message"),
    [
        ({"batch": 101}, 1e-5, 1.0, None, "batch must be between 1 and the 100 records, got 101"),
        ({"steps": 0}, 1e-5, 1.0, None, "steps must be at least 1, got 0"),
        ({"epochs": 3}, 1e-5, 1.0, None, "steps or epochs must be given, and not both"),
        ({}, 1.0, 1.0, None, r"delta must be in \(0, 1\), got 1.0"),
        ({}, 1e-5, -1.0, None, "noise multiplier must be 0 for none, or from .*, got -1.0"),
        ({}, 1e-5, None, -1.0, "target epsilon must be positive and finite, got -1.0"),
        ({}, 1e-5, None, None, "noise multiplier or target epsilon must be given"),
        ({}, 1e-5, 1.0, 1.0, "and not both"),
        ({"crop": Crop(Size(65, 65))}, 1e-5, 1.0, None, "crop must be at most the padded image"),
    ],
)
def test_bad_input_is_named(
    changes: dict[str, object],
    delta: float,
    noise: float | None,
    target: float | None,
    message: str,
) -> None:
    with pytest.raises(InputError, match=message):
        bound(pipeline(**changes), delta, noise_multiplier=noise, target_epsilon=target)


def test_bound_orders_what_it_sets_side_by_side() -> None:
    found = bound(pipeline(), 1e-5, noise_multiplier=1.0)
    names = {item.name: item.epsilon for item in found.shortcuts}
    assert names["add-remove"] < names["replace-one"] < found.epsilon < found.epsilon_without_crop
    assert found.record_rate == pytest.approx(0.1 * found.inclusion_probability)


def test_target_epsilon_solves_for_the_noise() -> None:
    found = bound(pipeline(epochs=20, steps=None), 1e-5, target_epsilon=2.0)
    assert found.steps == 200
    assert found.epsilon <= 2.0 < found.epsilon * 1.005

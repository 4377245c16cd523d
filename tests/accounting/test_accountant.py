"""Composed bounds against closed forms, dp_accounting, integration and the reference table."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from cropaudit.accounting.bounds.accountant import (
    epsilon_at,
    pair_curve,
    privacy_curve,
    round_up,
)
from cropaudit.accounting.bounds.answers import bound
from cropaudit.accounting.bounds.bound import Pipeline
from cropaudit.accounting.geometry.shapes import Crop, Rectangle, Size
from cropaudit.accounting.mechanisms.descriptions import (
    FixedSizePatch,
    PoissonPatch,
    ShufflePatch,
)
from cropaudit.accounting.mechanisms.registry import sampler
from cropaudit.errors import InputError

RHO = 0.32906038262255877
STREETS = {"noise_multiplier": 1.0, "batch": 200, "records": 2975, "steps": 1500}


@pytest.mark.parametrize(
    ("name", "inclusion", "expected"),
    [
        ("fixed", RHO, 32.73),
        ("poisson", RHO, 7.45),
        ("shuffle", RHO, 87.3),
        ("fixed", 1.0, 118.4),
        ("poisson", 1.0, 31.32),
    ],
)
def test_reference_table(name: str, inclusion: float, expected: float) -> None:
    mechanism = sampler(name).of_loader(inclusion=inclusion, epochs=100, **STREETS)
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


def test_curve_rejects_a_stronger_mechanism() -> None:
    claimed = privacy_curve(PoissonPatch(1.0, 0.1, 0.3, 100))
    delivered = privacy_curve(PoissonPatch(0.5, 0.1, 0.3, 100))
    fpr = np.array([1e-3, 1e-2, 0.1])
    assert np.all(delivered.highest_tpr(fpr) > claimed.highest_tpr(fpr))


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
        ({}, 1e-5, None, None, "noise or target epsilon must be given"),
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
        bound(pipeline(**changes), delta=delta, noise=noise, target_epsilon=target)


def test_bound_orders_what_it_sets_side_by_side() -> None:
    found = bound(pipeline(), delta=1e-5, noise=1.0).bound
    names = {item.name: item.epsilon for item in found.shortcuts}
    assert names["add-remove"] < names["replace-one"] < found.epsilon < found.epsilon_without_crop
    assert found.record_rate == pytest.approx(0.1 * found.inclusion_probability)


def test_target_epsilon_solves_for_the_noise() -> None:
    found = bound(pipeline(epochs=20, steps=None), delta=1e-5, target_epsilon=2.0)
    assert found.solved == f"noise multiplier {found.bound.noise_multiplier:g}"
    assert found.bound.steps == 200
    assert found.epsilon <= 2.0 < found.epsilon * 1.005

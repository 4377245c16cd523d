"""Pipelines: steps and participations against simulated loaders, crops, noise on pixels, names."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from cropaudit.accounting.bound import Phase, bound, bound_phases
from cropaudit.accounting.geometry import Crop, Rectangle, Several, Size
from cropaudit.accounting.mechanisms import (
    CyclicPatch,
    FixedSizePatch,
    FullBatchPatch,
    PoissonPatch,
    ShufflePatch,
)
from cropaudit.accounting.pipelines import Pipeline, augmentation_distance
from cropaudit.accounting.registry import parse_mechanism, patch_mechanism, require_same
from cropaudit.accounting.shortcuts import shortcuts
from cropaudit.errors import InputError

RECT = Rectangle(Size(4, 4))


def pipeline(**changes: object) -> Pipeline:
    values: dict[str, object] = {
        "images": (Size(64, 64),),
        "crop": Crop(Size(24, 24)),
        "patch": RECT,
        "sampler": "poisson",
        "batch": 10,
        "records": 100,
        "steps": 50,
    }
    return Pipeline(**{**values, **changes})  # type: ignore[arg-type]


def participations(
    records: int, batch: int, steps: int, *, drop_last: bool, cyclic: bool, seed: int
) -> int:
    """Runs a loader and returns how often the most used record took part."""
    rng = np.random.default_rng(seed)
    used, taken, order = np.zeros(records, dtype=int), 0, rng.permutation(records)
    while True:
        order = order if cyclic else rng.permutation(records)
        for start in range(0, records, batch):
            part = order[start : start + batch]
            if drop_last and len(part) < batch:
                continue
            used[part] += 1
            taken += 1
            if taken == steps:
                return int(used.max())


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(1, 60),
    st.booleans(),
    st.booleans(),
    st.integers(0, 9),
)
def test_nobody_takes_part_more_often_than_is_composed(
    records: int, batch: int, steps: int, drop_last: bool, cyclic: bool, seed: int
) -> None:
    batch = min(batch, records)
    found = participations(records, batch, steps, drop_last=drop_last, cyclic=cyclic, seed=seed)
    name = "cyclic" if cyclic else "shuffle"
    one = pipeline(
        sampler=name, records=records, batch=batch, steps=steps, drop_last=drop_last
    ).mechanism(1.0, 0.5)
    assert found <= one.compositions <= steps
    if cyclic:
        assert found == one.compositions, "a cycle's first batch is used in every one begun"
    unknown = patch_mechanism(
        name, noise_multiplier=1.0, batch=batch, records=records, inclusion=0.5, steps=steps
    )
    assert found <= unknown.compositions, "without epochs either kind of loader is covered"


def test_epochs_and_steps_agree() -> None:
    for drop_last, steps in ((False, 40), (True, 30)):
        by_epochs = pipeline(
            sampler="shuffle", batch=30, steps=None, epochs=10, drop_last=drop_last
        )
        assert by_epochs.total_steps() == steps
        assert by_epochs.mechanism(1.0).compositions == 10
        by_steps = pipeline(sampler="shuffle", batch=30, steps=steps, drop_last=drop_last)
        assert by_steps.mechanism(1.0).compositions == 10


def test_every_sampler_gives_its_mechanism() -> None:
    kinds = {
        "poisson": PoissonPatch,
        "fixed": FixedSizePatch,
        "shuffle": ShufflePatch,
        "cyclic": CyclicPatch,
    }
    for name, kind in kinds.items():
        assert type(pipeline(sampler=name).mechanism(1.0)) is kind
    full = pipeline(sampler="full", batch=100).mechanism(1.0)
    assert type(full) is FullBatchPatch
    assert full.compositions == 50
    with pytest.raises(InputError, match="batch must be all 100 records for full batches, got 10"):
        pipeline(sampler="full").mechanism(1.0)
    with pytest.raises(InputError, match=r"sampler must be one of poisson, .*, got round-robin"):
        pipeline(sampler="round-robin")


def test_crops_together_and_apart() -> None:
    rho = pipeline().worst().probability
    together = pipeline(crops_per_image=3).mechanism(1.0)
    assert together.inclusion == pytest.approx(1 - (1 - rho) ** 3)
    assert together.crops == 1
    apart = pipeline(crops_per_image=3, clipped="apart").mechanism(1.0)
    assert (apart.inclusion, apart.crops) == (rho, 3)
    assert apart.record_rate == pytest.approx(together.record_rate)
    values = [
        bound(item, 1e-5, noise_multiplier=2.0).epsilon
        for item in (
            pipeline(),
            pipeline(crops_per_image=3),
            pipeline(crops_per_image=3, clipped="apart"),
        )
    ]
    assert values == sorted(values)
    with pytest.raises(InputError, match="crops must be 1 for a pair on three means, got 3"):
        apart.pair()


@pytest.mark.parametrize(("patch", "pixels"), [(RECT, 16), (Several(RECT, 3), 48)])
def test_noise_on_pixels(patch: Rectangle | Several, pixels: int) -> None:
    """Two contents at the largest distance, and Balle and Wang's divergence at epsilon 0."""
    for deviation in (10.0, 300.0, 1e5):
        mu = 255 * math.sqrt(3 * pixels) / deviation
        exact = norm.cdf(mu / 2) - norm.cdf(-mu / 2)
        found = augmentation_distance(patch, deviation)
        assert exact * (1 - 1e-12) <= found <= exact * (1 + 1e-9)
    mechanism = pipeline(augmentation=300.0).mechanism(1.0)
    rho = pipeline().worst().probability
    assert mechanism.inclusion == pytest.approx(rho * augmentation_distance(RECT, 300.0))


def test_split_phases_are_one() -> None:
    halves = [Phase(pipeline(steps=20), 1.0), Phase(pipeline(steps=30), 1.0)]
    once = bound(pipeline(), 1e-5, noise_multiplier=1.0)
    twice = bound_phases(halves, 1e-5)
    assert twice.epsilon == pytest.approx(once.epsilon, rel=1e-3)
    assert (twice.steps, twice.compositions) == (50, 50)
    names = {item.name: item.epsilon for item in once.shortcuts}
    for item in twice.shortcuts:
        assert item.epsilon == pytest.approx(names[item.name], rel=2e-3)


def test_noise_in_absolute_units_is_a_trap_below_norm_one() -> None:
    mechanism = PoissonPatch(1.0, 0.1, 0.3, 100)
    assert "absolute-noise" not in {item.name for item in shortcuts(mechanism)}
    assert "absolute-noise" not in {item.name for item in shortcuts(mechanism, 2.0)}
    trap = {item.name: item.mechanism for item in shortcuts(mechanism, 0.5)}["absolute-noise"]
    assert trap.noise_multiplier == 2.0
    with pytest.raises(InputError, match="clipping norm must be positive, got 0"):
        shortcuts(mechanism, 0.0)


def test_texts_of_mechanisms() -> None:
    assert parse_mechanism("cyclic:noise=1,q=0.1,rho=0.3,steps=5,epochs=2") == CyclicPatch(
        1.0, 0.1, 0.3, 5, 2
    )
    assert parse_mechanism("poisson:noise=1,q=0.1,rho=0.3,steps=5,crops=3").crops == 3
    assert parse_mechanism("full:noise=1,q=1,rho=0.3,steps=5").compositions == 5
    with pytest.raises(InputError, match="mechanism must be SAMPLER:noise"):
        parse_mechanism("poisson:noise=1,q=0.1,rho=0.3,steps=5,epochs=2")


def test_only_noise_may_differ() -> None:
    mechanism = PoissonPatch(1.0, 0.1, 0.3, 100)
    require_same(mechanism, mechanism.with_noise(9.0), ("one", "other"))
    for other in (
        mechanism.with_steps(99),
        mechanism.without_crop(),
        FixedSizePatch(1.0, 0.1, 0.3, 100),
    ):
        with pytest.raises(InputError, match="one and other must be of one"):
            require_same(mechanism, other, ("one", "other"))

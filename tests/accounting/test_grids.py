"""Discrete losses lie above and below the exact step at every epsilon, and close to it."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cropaudit.accounting.composition import compose_losses
from cropaudit.accounting.crops_apart import apart_game, apart_loss
from cropaudit.accounting.divergences import Divergence, StepLoss
from cropaudit.accounting.grids import GridLoss, Lattice, from_above, from_below
from cropaudit.accounting.groups import GroupStep
from cropaudit.accounting.mechanisms import (
    AddRemoveShortcut,
    FixedSizePatch,
    PoissonPatch,
    ReplaceOneShortcut,
)

Array = NDArray[np.float64]

COARSE = Lattice(0.0585, 1 / 64, 5e-14)
TINY = 3e-15  # rounding of one step's delta


def exact(loss: StepLoss, epsilon: Array) -> Array:
    """H_eps(P || Q) at any real epsilon: below zero it mirrors the other order of the worlds."""
    size = np.abs(epsilon)
    below = -np.expm1(-size) + np.exp(-size) * loss.down.delta(size)
    return np.where(epsilon >= 0, loss.up.delta(size), below)


def profile(grid: GridLoss, epsilon: Array) -> Array:
    """The sum that defines the divergence of a discrete loss."""
    losses = grid.index * grid.width + grid.offset
    with np.errstate(over="ignore"):
        gains = np.maximum(-np.expm1(epsilon[:, None] - losses), 0.0)
    return np.asarray(gains @ grid.probs) + grid.infinity


LOSSES = {
    "poisson": PoissonPatch(1.0, 0.1, 0.3, 1).losses()[0],
    "poisson, loud": PoissonPatch(0.3, 0.5, 0.3, 1).losses()[0],
    "poisson, quiet": PoissonPatch(20.0, 0.01, 0.02, 1).losses()[0],
    "fixed": FixedSizePatch(1.0, 0.1, 0.3, 1).losses()[0],
    "fixed, rare": FixedSizePatch(0.7, 1e-6, 0.3, 1).losses()[0],
    "full": FixedSizePatch(0.9, 1.0, 1.0, 1).losses()[0],
    "fixed, played": StepLoss.played(FixedSizePatch(0.8, 0.3, 0.3, 1).pair()),
    "replace": ReplaceOneShortcut(0.6, 0.2, 0.5, 1).losses()[0],
    "add": AddRemoveShortcut(0.7, 0.1, 1.0, 1).losses()[0],
    "remove": AddRemoveShortcut(0.7, 0.1, 1.0, 1).losses()[1],
    "add, rare": AddRemoveShortcut(1.0, 1e-7, 1.0, 1).losses()[0],
    "remove, rare": AddRemoveShortcut(1.0, 1e-7, 1.0, 1).losses()[1],
    "add, often": AddRemoveShortcut(0.5, 0.98, 1.0, 1).losses()[0],
    "remove, often": AddRemoveShortcut(0.5, 0.98, 1.0, 1).losses()[1],
    "add, always": AddRemoveShortcut(0.5, 1.0, 1.0, 1).losses()[1],
    "crops": StepLoss.both_ways(apart_loss(3, 0.2, 0.3, 0.0, 0.8)),
    "crops, played": StepLoss.played(apart_game(2, 0.2, 0.3, -1.0, 0.8)),
    "group": GroupStep(FixedSizePatch(1.0, 0.3, 0.4, 1), 3, 10).losses()[0],
}
LATTICES = [
    COARSE,
    Lattice(0.7, 1 / 4, 1e-9),
    Lattice(0.011, 1 / 100, 1e-18),
    Lattice(0.0021, 1 / 640, 1e-22),
]


def points(rng: np.random.Generator, grid: GridLoss) -> Array:
    """Epsilons of either sign and any size, and the kinks themselves."""
    far = max(float(np.abs(grid.index).max()) * grid.width, 1.0)
    sizes = np.exp(rng.uniform(math.log(1e-6), math.log(1.2 * far), 900))
    near = rng.uniform(-6 * grid.width, 6 * grid.width, 300)
    kinks = rng.choice(grid.index, 200) * grid.width
    return np.concatenate([sizes * rng.choice([-1, 1], len(sizes)), near, kinks, [0.0]])


@pytest.mark.parametrize("lattice", LATTICES)
@pytest.mark.parametrize("name", LOSSES)
def test_the_step_lies_between(name: str, lattice: Lattice) -> None:
    loss = LOSSES[name]
    rng = np.random.default_rng(11)
    above, below = from_above(loss, lattice), from_below(loss, lattice)
    for chunk in np.array_split(points(rng, above), 6):
        want = exact(loss, chunk)
        assert np.all(profile(above, chunk) >= want * (1 - 1e-12) - TINY)
        assert np.all(profile(below, chunk) <= want * (1 + 1e-11) + TINY)


@pytest.mark.parametrize("lattice", LATTICES)
@pytest.mark.parametrize("name", LOSSES)
def test_either_is_a_pair_of_laws(name: str, lattice: Lattice) -> None:
    """Under P they add to one; under Q too, but for what infinite losses leave out."""
    for grid in (from_above(LOSSES[name], lattice), from_below(LOSSES[name], lattice)):
        losses = grid.index * grid.width + grid.offset
        assert np.all(np.diff(grid.index) > 0)
        assert np.all(grid.probs >= 0)
        assert 0 <= grid.infinity <= lattice.tail + TINY
        assert grid.probs.sum() + grid.infinity == pytest.approx(1, abs=1e-11)
        with np.errstate(divide="ignore"):
            under_q = np.exp(np.log(grid.probs) - losses)
        # The least loss carries what Q holds at a loss of minus infinity under P.
        assert under_q.sum() <= 1 + 1e-11
        assert under_q.sum() >= 1 - max(lattice.tail, 1e-11) * (1 + 1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_a_single_composition_says_the_same(name: str) -> None:
    loss = LOSSES[name]
    lattice = COARSE
    over = compose_losses([(from_above(loss, lattice), 1)], above=True)
    under = compose_losses([(from_below(loss, lattice), 1)], above=False)
    assert over.slack == 0
    assert under.slack > 0
    rng = np.random.default_rng(3)
    for epsilon in points(rng, from_above(loss, lattice))[::7].tolist():
        want = float(exact(loss, np.array([epsilon]))[0])
        assert over.delta(epsilon) >= want - 1e-15
        assert under.delta(epsilon) <= want + 1e-15


@pytest.mark.parametrize(
    "name", ["poisson", "fixed", "add", "remove", "crops", "group", "fixed, played"]
)
def test_error_falls_as_the_square_of_the_width(name: str) -> None:
    loss = LOSSES[name]
    at = np.random.default_rng(5).uniform(0, 2, 4000)
    want = exact(loss, at)
    for discretise in (from_above, from_below):
        errors = []
        for lattice in (Lattice(0.04, 1 / 20, 1e-18), Lattice(0.005, 1 / 160, 1e-18)):
            found = np.concatenate(
                [profile(discretise(loss, lattice), part) for part in np.array_split(at, 10)]
            )
            errors.append(float(np.abs(found - want).mean()))
        # 64 for a pure square; kinks are not where they would be best.
        assert 40 < errors[0] / errors[1] < 130, errors


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.floats(0.25, 10),
    st.floats(-9, 0),
    st.floats(0.005, 0.6),
    st.floats(0.002, 0.3),
    st.sampled_from(["add", "remove", "fixed", "replace"]),
)
def test_lopsided_losses_lie_between(
    sigma: float, log_rate: float, width: float, growth: float, kind: str
) -> None:
    """Losses whose two sides differ, rates from 1e-9 to 1: the kink at zero must stay convex."""
    rate = 10.0**log_rate
    if kind == "fixed":
        loss = StepLoss.played(FixedSizePatch(sigma, rate, 1.0, 1).pair())
    elif kind == "replace":
        loss = StepLoss.played(ReplaceOneShortcut(sigma, rate, 1.0, 1).pair())
    else:
        loss = AddRemoveShortcut(sigma, rate, 1.0, 1).losses()[kind == "remove"]
    lattice = Lattice(width, growth, 1e-15)
    above, below = from_above(loss, lattice), from_below(loss, lattice)
    at = points(np.random.default_rng(2), above)[::5]
    want = exact(loss, at)
    assert np.all(profile(above, at) >= want * (1 - 1e-12) - TINY)
    assert np.all(profile(below, at) <= want * (1 + 1e-11) + TINY)
    for grid in (above, below):
        assert grid.probs.sum() + grid.infinity == pytest.approx(1, abs=1e-11)


def test_lower_bound_is_not_above_the_upper_on_a_coarse_lattice() -> None:
    """A first version took mass from nowhere at zero, and came out above the upper bound."""
    mechanism = AddRemoveShortcut(0.7, 0.1, 1.0, 200)
    for loss in mechanism.losses():
        over = compose_losses([(from_above(loss, COARSE), 200)], above=True)
        under = compose_losses([(from_below(loss, COARSE), 200)], above=False)
        assert 0 < under.epsilon(1e-5) < over.epsilon(1e-5)
        for epsilon in np.linspace(0, 12, 49).tolist():
            assert under.delta(epsilon) <= over.delta(epsilon)
        below = from_below(loss, COARSE)
        assert below.probs.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.15])
def test_tangents_hold_where_the_mass_under_q_underflows(sigma: float) -> None:
    """Losses of thousands: Q's mass of the best test is below the least number there is."""
    for loss in (
        FixedSizePatch(sigma, 1.0, 1.0, 1).losses()[0],
        PoissonPatch(sigma, 0.3, 0.4, 1).losses()[0],
        StepLoss.both_ways(apart_loss(2, 0.2, 0.3, 0.0, sigma)),
        StepLoss.played(apart_game(2, 0.2, 0.3, -1.0, sigma)),
    ):
        reach = loss.up.reach(1e-15)
        lattice = Lattice(reach / 1000, 1 / 500, 1e-15)
        at = np.linspace(0, reach, 1201)
        want = loss.up.delta(at)
        above, below = (profile(make(loss, lattice), at) for make in (from_above, from_below))
        assert np.all(above >= want - TINY)
        assert np.all(below <= want + 1e-12)


class Counted:
    """Counts in how many points a divergence is asked for."""

    def __init__(self, inner: Divergence) -> None:
        self.inner, self.asked = inner, 0

    def delta(self, epsilon: Array) -> Array:
        self.asked += np.size(epsilon)
        return self.inner.delta(epsilon)

    def slope(self, epsilon: Array) -> Array:
        return self.inner.slope(epsilon)

    def reach(self, tail: float) -> float:
        return self.inner.reach(tail)

    def infinity(self) -> float:
        return self.inner.infinity()


@pytest.mark.parametrize("reach", [1e-9, 0.03, 5.0, 4e4])
def test_kinks_cover_the_reach_and_are_as_near_as_promised(reach: float) -> None:
    for width, growth in itertools.product((1e-4, 0.01, 1.0), (1 / 4, 1 / 64, 1 / 1000)):
        kinks = Lattice(width, growth, 1e-15).kinks(reach)
        assert kinks[0] == 0
        assert kinks[-1] >= 1
        assert (kinks[-1] - 1) * width < reach or kinks[-1] == 1
        assert kinks[-1] * width >= reach * (1 - 1e-12)
        gaps = np.diff(kinks)
        assert np.all(gaps >= 1)
        # Rounding to the lattice may add one more width.
        assert np.all(gaps <= np.maximum(1, kinks[1:] * growth + 1))


def test_few_kinks_carry_a_long_range() -> None:
    found = Counted(FixedSizePatch(0.05, 1.0, 1.0, 1).losses()[0].up)
    grid = from_above(StepLoss.both_ways(found), Lattice(0.01, 1 / 64, 1e-15))
    assert float(grid.index[-1]) > 100_000
    assert found.asked < 1000


def test_a_finer_lattice_keeps_its_tail() -> None:
    finer = Lattice(0.1, 0.2, 1e-9).finer(2.0)
    assert (finer.width, finer.growth, finer.tail) == (0.05, 0.1, 1e-9)

"""Composed losses: against direct convolution, closed forms, dp_accounting and each other."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from dp_accounting import NeighboringRelation
from dp_accounting.pld import privacy_loss_distribution as pld
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.fft import rfft
from scipy.optimize import brentq
from scipy.stats import binom, norm

from cropaudit.accounting.accountant import (
    bracket,
    calibrate_noise,
    delta_at,
    epsilon_at,
    epsilon_over_steps,
    most_steps,
    pair_curve,
    privacy_curve,
)
from cropaudit.accounting.composition import compose_losses, compose_powers, transform_rounding
from cropaudit.accounting.curves import ComposedLoss
from cropaudit.accounting.grids import GridLoss, Lattice, from_above
from cropaudit.accounting.mechanisms import (
    AddRemoveRecord,
    AddRemoveShortcut,
    CyclicPatch,
    FixedSizePatch,
    FullBatchPatch,
    Mechanism,
    PoissonPatch,
    ReplaceOneShortcut,
    ShufflePatch,
)
from cropaudit.errors import InputError

Array = NDArray[np.float64]

AGREE = 1e-3
CELLS = 1 << 17  # a transform this large is at the limit of the refinement


def random_loss(rng: np.random.Generator, size: int, infinity: float = 0.0) -> GridLoss:
    """A loss on scattered points of the lattice; it need not be that of any pair."""
    index = np.sort(rng.choice(np.arange(-40, 60), size, replace=False)).astype(np.int64)
    probs = rng.dirichlet(np.ones(size)) * (1 - infinity)
    return GridLoss(0.1, index, probs, infinity)


def convolved(parts: Sequence[tuple[GridLoss, int]]) -> tuple[int, Array]:
    """Returns the least index and the probabilities of the finite losses, by repeated sums."""
    low, found = 0, np.ones(1)
    for part, steps in parts:
        dense = np.zeros(int(part.index[-1] - part.index[0]) + 1)
        dense[part.index - part.index[0]] = part.probs
        for _ in range(steps):
            low, found = low + int(part.index[0]), np.convolve(found, dense)
    return low, found


def laid_out(loss: ComposedLoss, low: int, size: int) -> Array:
    """Returns the probabilities on indices from ``low`` on."""
    found = np.zeros(size)
    at = loss.lower - low + np.arange(len(loss.probs))
    held = (at >= 0) & (at < size)
    assert np.all(loss.probs[~held] < 1e-13)
    found[at[held]] = loss.probs[held]
    return found


@pytest.mark.parametrize("seed", range(6))
def test_equals_direct_convolution(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [
        (random_loss(rng, int(rng.integers(1, 12)), infinity), int(rng.integers(1, 6)))
        for infinity in (0.0, 1e-3, 0.2)[: int(rng.integers(1, 4))]
    ]
    low, want = convolved(parts)
    found = compose_losses(parts, above=True)
    np.testing.assert_allclose(laid_out(found, low, len(want)), want, atol=1e-14)
    lost = 1 - math.prod((1 - part.infinity) ** steps for part, steps in parts)
    assert lost <= found.infinity <= lost + 1e-13
    losses = (low + np.arange(len(want))) * 0.1
    for epsilon in (-1.0, 0.0, 0.33, 2.0, 5.0):
        gain = float(np.maximum(-np.expm1(epsilon - losses), 0) @ want) + lost
        assert gain - 1e-15 <= found.delta(epsilon) <= gain + 1e-12


def test_composition_from_below_has_slack_for_what_is_cut_off() -> None:
    rng = np.random.default_rng(4)
    parts = [(random_loss(rng, 9), 4), (random_loss(rng, 5), 2)]
    low, want = convolved(parts)
    found = compose_losses(parts, above=False)
    assert found.infinity == 0
    assert 0 < found.slack < 1e-13
    losses = (low + np.arange(len(want))) * 0.1
    for epsilon in (0.0, 0.33, 2.0, 5.0):
        gain = float(np.maximum(-np.expm1(epsilon - losses), 0) @ want)
        assert found.delta(epsilon) <= gain
        assert found.delta(epsilon) >= gain - 2 * found.slack - 1e-12


@pytest.mark.parametrize("steps", [40, 3000])
def test_window_that_is_cut_still_dominates(steps: int) -> None:
    """Rare large losses: the window leaves most of the range out, and says what that costs."""
    loss = GridLoss(0.05, np.array([-1, 1, 200]), np.array([0.5, 0.5 - 1e-5, 1e-5]))
    found = compose_losses([(loss, steps)], above=True)
    assert len(found.probs) < steps * 201 / 2
    rng = np.random.default_rng(9)
    low, want = convolved([(loss, steps)]) if steps < 100 else (0, rng.random(0))
    if len(want):
        losses = (low + np.arange(len(want))) * 0.05
        for epsilon in (0.0, 1.0, 10.0, 20.0):
            gain = float(np.maximum(-np.expm1(epsilon - losses), 0) @ want)
            assert gain - 1e-15 <= found.delta(epsilon) <= gain + 1e-12
    assert found.probs.sum() == pytest.approx(1, abs=1e-11)


def test_powers_equal_repeated_composition() -> None:
    (loss,) = PoissonPatch(1.0, 0.1, 0.3, 1).losses()
    part = from_above(loss, Lattice(0.01, 1 / 100, 1e-15))
    counts = [1, 7, 100, 100, 900]
    for steps, found in zip(counts, compose_powers(part, counts), strict=True):
        alone = compose_losses([(part, steps)], above=True)
        for epsilon in (0.0, 0.5, 3.0):
            assert found.delta(epsilon) == pytest.approx(alone.delta(epsilon), rel=1e-9, abs=1e-12)
        assert found.epsilon(1e-5) == pytest.approx(alone.epsilon(1e-5), rel=1e-6)
    assert not list(compose_powers(part, []))


def test_rounding_that_is_charged_covers_the_rounding_of_a_long_composition() -> None:
    """A loss of +w or -w composed 2^16 times is binomial: known to the last digit."""
    steps, width = 1 << 16, 1e-3
    part = GridLoss(width, np.array([-1, 1]), np.array([0.5, 0.5]))
    found = compose_losses([(part, steps)], above=True)
    at = found.lower + np.arange(len(found.probs))
    want = np.where((at + steps) % 2 == 0, binom.pmf((at + steps) // 2, steps, 0.5), 0.0)
    missing = float(np.maximum(want - found.probs, 0).sum())
    surplus = float(np.maximum(found.probs - want, 0).sum())
    assert found.infinity < 1e-10
    assert max(missing, surplus) <= found.infinity + 1e-10  # what the binomial law itself loses


@pytest.mark.parametrize("size", [2, 27, 125, 1 << 10, 3 * 5 * 2**6, 1 << 14])
def test_every_value_of_a_transform_is_as_near_as_is_charged(size: int) -> None:
    """Against sums with phases exact to the last digit, from sines of the first octant."""
    rng = np.random.default_rng(size)
    held = rng.choice(size, min(size, 40), replace=False)
    weights = rng.dirichlet(np.full(len(held), 0.3))
    x = np.zeros(size, dtype=np.longdouble)
    x[held] = weights
    found = rfft(x)
    pi = np.longdouble("3.14159265358979323846264338327950288")
    for k in rng.choice(len(found), min(len(found), 60), replace=False):
        # Whole turns go exactly; what is left loses two roundoffs of a half turn.
        turns = (held.astype(object) * int(k)) % size
        angle = np.array([2 * pi * np.longdouble(t) / size for t in turns])
        real, imaginary = (weights * np.cos(angle)).sum(), -(weights * np.sin(angle)).sum()
        off = math.hypot(float(found[k].real - real), float(found[k].imag - imaginary))
        assert off <= transform_rounding(size) + 16 * float(np.finfo(np.longdouble).eps)


@pytest.mark.parametrize("steps", [1, 77, 40_000])
def test_the_charge_for_rounding_stays_far_below_any_delta_of_interest(steps: int) -> None:
    part = GridLoss(1e-3, np.array([-1, 0, 1]), np.array([0.3, 0.4, 0.3]))
    found = compose_losses([(part, steps)], above=True)
    assert 0 < found.infinity < 1e-14 * (10 + 20 * steps)


def mechanisms(least: float = 0.05) -> st.SearchStrategy[Mechanism]:
    noise, steps = st.floats(0.3, 5), st.integers(1, 5000)
    rate = st.one_of(st.floats(least, 0.3), st.floats(0.3, 1.0))
    common = {"noise_multiplier": noise, "inclusion": rate, "steps": steps}
    sampled = {**common, "sample_rate": rate}
    crops = {"crops": st.sampled_from([1, 1, 2, 3])}
    # Removing a rare record has an almost certain loss, which lattices meet slowly (seconds).
    whole = (st.floats(0.8, 5), st.floats(0.1, 1), st.just(1.0), steps)
    return st.one_of(
        st.builds(PoissonPatch, **sampled, **crops),
        st.builds(FixedSizePatch, **sampled, **crops),
        st.builds(ShufflePatch, **sampled, **crops),
        st.builds(CyclicPatch, **sampled, **crops, epochs=st.integers(1, 200)),
        st.builds(FullBatchPatch, **common, sample_rate=st.just(1.0), **crops),
        st.builds(ReplaceOneShortcut, **sampled),
        st.builds(AddRemoveShortcut, *whole),
        st.builds(AddRemoveRecord, *whole),
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(mechanisms(0.004), st.floats(-9, -1))
def test_bounds_bracket_and_are_close(mechanism: Mechanism, log_delta: float) -> None:
    found = bracket(mechanism, 10.0**log_delta)
    assert found.lower <= found.upper
    size = max(len(part.probs) for part in found.curve.parts)
    assert found.gap <= AGREE or found.upper - found.lower < 1e-6 or size > CELLS
    assert found.curve.epsilon(10.0**log_delta) == found.upper


@settings(max_examples=10, deadline=None, derandomize=True)
@given(mechanisms(), mechanisms(), st.floats(-8, -2))
def test_phases_are_at_least_either_and_in_any_order(
    one: Mechanism, other: Mechanism, log_delta: float
) -> None:
    if one.adjacency != other.adjacency or len(one.losses()) != len(other.losses()):
        return
    delta = 10.0**log_delta
    both, turned = bracket([one, other], delta), bracket([other, one], delta)
    assert both.lower <= turned.upper
    assert turned.lower <= both.upper
    for alone in (one, other):
        assert bracket(alone, delta).lower <= both.upper


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Balle and Wang 2018, theorem 8, solved for epsilon."""

    def excess(epsilon: float) -> float:
        cost = math.exp(epsilon + norm.logcdf(-mu / 2 - epsilon / mu))
        return float(norm.cdf(mu / 2 - epsilon / mu)) - cost - delta

    return float(brentq(excess, 0, mu * mu / 2 + 40 * mu)) if excess(0) > 0 else 0.0


@pytest.mark.parametrize("sigma", [0.02, 1.0, 20.0])
@pytest.mark.parametrize("steps", [1, 10, 1000, 100_000])
@pytest.mark.parametrize("delta", [1e-9, 1e-5, 0.05])
def test_exact_gaussian_lies_inside(sigma: float, steps: int, delta: float) -> None:
    want = gaussian_epsilon(2 * math.sqrt(steps) / sigma, delta)
    for kind in (PoissonPatch, FullBatchPatch):
        found = bracket(kind(sigma, 1.0, 1.0, steps), delta)
        assert found.lower <= want <= found.upper
        assert found.gap < 1.1e-3
    # K crops that always meet move the sum by 2K.
    if steps < 1e4:
        crops = bracket(FullBatchPatch(3 * sigma, 1.0, 1.0, steps, crops=3), delta)
        assert crops.lower <= want <= crops.upper


def test_phases_of_gaussians_add_their_squares() -> None:
    """mu^2 = 4 (60 / 3^2 + 400 / 8^2 + 1 / 0.7^2), whatever the order."""
    phases = [
        FullBatchPatch(3.0, 1.0, 1.0, 60),
        PoissonPatch(8.0, 1.0, 1.0, 400),
        FixedSizePatch(0.7, 1.0, 1.0, 1),
    ]
    want = gaussian_epsilon(2 * math.sqrt(60 / 9 + 400 / 64 + 1 / 0.49), 1e-6)
    found = bracket(phases, 1e-6)
    assert found.lower <= want <= found.upper
    assert found.gap <= AGREE


SAMPLED = [(1.0, 0.02, 1500), (0.7, 0.1, 200), (3.0, 0.9, 40), (0.5, 0.003, 2000), (1.5, 0.3, 1)]


@pytest.mark.parametrize(("sigma", "rate", "steps"), SAMPLED)
@pytest.mark.parametrize("relation", ["add-remove", "replace-one"])
def test_bracket_agrees_with_the_bracket_of_dp_accounting(
    sigma: float, rate: float, steps: int, relation: str
) -> None:
    """Theirs, from above and from below, overlaps ours; neither refutes the other."""
    replaced = relation == "replace-one"
    names = NeighboringRelation
    kind = ReplaceOneShortcut if replaced else AddRemoveShortcut
    ours = bracket(kind(sigma, rate, 1.0, steps), 1e-5)
    theirs = [
        pld.from_gaussian_mechanism(
            sigma,
            pessimistic_estimate=above,
            value_discretization_interval=4e-4,
            sampling_prob=rate,
            use_connect_dots=above,
            neighboring_relation=names.REPLACE_ONE if replaced else names.ADD_OR_REMOVE_ONE,
        )
        .self_compose(steps)
        .get_epsilon_for_delta(1e-5)
        for above in (False, True)
    ]
    assert ours.upper >= theirs[0]
    assert ours.lower <= theirs[1]
    assert ours.upper == pytest.approx(theirs[1], rel=1.5e-3)


def test_hundred_thousand_steps() -> None:
    """Near the Gaussian limit: moments of the loss give mu, good to a few percent here."""
    mechanism = PoissonPatch(2.0, 0.005, 0.3, 100_000)
    found = bracket(mechanism, 1e-6)
    assert found.lower <= found.upper
    assert found.gap <= AGREE
    pair = mechanism.pair()
    x = np.linspace(-25, 25, 200_001)
    p = sum(w * norm.pdf(x, m, 2.0) for w, m in zip(pair.p, (-1, 0, 1), strict=True))
    loss = pair.log_ratio(x)
    mean = float(np.trapezoid(p * loss, x))
    deviation = math.sqrt(1e5 * float(np.trapezoid(p * (loss - mean) ** 2, x)))
    assert found.upper == pytest.approx(gaussian_epsilon(deviation, 1e-6), rel=0.03)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    st.sampled_from([PoissonPatch, FixedSizePatch, ShufflePatch]),
    st.floats(0.3, 4),
    st.floats(0.05, 0.9),
    st.floats(0.05, 0.9),
    st.integers(1, 2000),
    st.integers(1, 3),
    st.floats(-8, -1.5),
)
def test_monotone_in_every_argument(
    kind: type[PoissonPatch],
    sigma: float,
    q: float,
    rho: float,
    steps: int,
    crops: int,
    log_delta: float,
) -> None:
    """The lower bound of the safer one never passes the upper bound of the riskier one."""
    base = kind(sigma, q, rho, steps, crops=crops)
    delta = 10.0**log_delta
    lower = bracket(base, delta).lower
    for riskier in (
        replace(base, noise_multiplier=sigma * 0.95),
        replace(base, sample_rate=min(1.0, q * 1.1)),
        replace(base, inclusion=min(1.0, rho * 1.1)),
        replace(base, steps=steps + max(1, steps // 10)),
        replace(base, crops=crops + 1),
    ):
        assert bracket(riskier, delta).upper >= lower
    assert bracket(base, delta / 3).upper >= lower


CURVES: list[Mechanism] = [
    PoissonPatch(1.0, 0.1, 0.3, 1),
    FixedSizePatch(0.6, 0.02, 0.5, 1),
    ShufflePatch(1.2, 0.3, 0.4, 1),
    AddRemoveShortcut(1.0, 0.1, 0.3, 1),
    PoissonPatch(1.0, 0.1, 0.3, 1, crops=2),
]


@pytest.mark.parametrize("mechanism", CURVES)
def test_epsilon_over_steps_agrees_with_each_alone(mechanism: Mechanism) -> None:
    steps = [1, 2, 7, 30, 200, 999, 3000]
    found = epsilon_over_steps(mechanism, 1e-5, steps)
    assert all(a <= b for a, b in pairwise(found))
    for count, value in zip(steps, found, strict=True):
        alone = bracket(mechanism.with_steps(count), 1e-5)
        assert value >= alone.lower
        assert value <= alone.upper * (1 + 2 * AGREE)


def test_epsilon_over_steps_refuses_what_does_not_increase() -> None:
    mechanism = PoissonPatch(1.0, 0.1, 0.3, 1)
    for steps in ([], [0, 1], [3, 3], [5, 2]):
        with pytest.raises(InputError, match="steps must be increasing from 1"):
            epsilon_over_steps(mechanism, 1e-5, steps)
    assert epsilon_over_steps(replace(mechanism, inclusion=0.0), 1e-5, [1, 9]) == [0.0, 0.0]


@settings(max_examples=6, deadline=None, derandomize=True)
@given(mechanisms(), st.floats(0.05, 30), st.floats(-7, -2))
def test_calibrated_noise_meets_its_target(
    mechanism: Mechanism, target: float, log_delta: float
) -> None:
    delta = 10.0**log_delta
    noise = calibrate_noise(mechanism, delta, target)
    found = bracket(mechanism.with_noise(noise), delta)
    # Noise is rounded up to six digits, and another lattice may be found there.
    assert found.upper <= target * (1 + AGREE)
    assert found.lower <= target
    assert bracket(mechanism.with_noise(noise * 0.99), delta).upper > target * (1 - AGREE)


def test_noise_calibrated_for_phases_is_one_for_all() -> None:
    phases = [PoissonPatch(9.0, 0.1, 0.3, 100), FixedSizePatch(2.0, 0.02, 0.3, 400)]
    noise = calibrate_noise(phases, 1e-5, 4.0)
    found = bracket([phase.with_noise(noise) for phase in phases], 1e-5).upper
    assert 4.0 * (1 - 2 * AGREE) <= found <= 4.0 * (1 + AGREE)
    assert noise > max(calibrate_noise(phase, 1e-5, 4.0) for phase in phases)


@pytest.mark.parametrize("target", [0.0, -1.0, math.inf, 1e9])
def test_targets_that_no_noise_attains_are_named(target: float) -> None:
    with pytest.raises(InputError, match="target epsilon must be"):
        calibrate_noise(PoissonPatch(1.0, 0.1, 0.3, 10), 1e-5, target)


@pytest.mark.parametrize("target", [3.0])
@pytest.mark.parametrize("mechanism", CURVES)
def test_most_steps_is_the_last_that_holds(mechanism: Mechanism, target: float) -> None:
    if bracket(mechanism, 1e-5).upper > target:
        with pytest.raises(InputError, match="at least that of one step"):
            most_steps(mechanism, 1e-5, target)
        return
    steps = most_steps(mechanism, 1e-5, target)
    assert bracket(mechanism.with_steps(steps), 1e-5).upper <= target
    assert bracket(mechanism.with_steps(steps + 1), 1e-5).upper > target


@settings(max_examples=10, deadline=None, derandomize=True)
@given(mechanisms(0.2), st.floats(-6, -1))
def test_delta_and_epsilon_answer_each_other(mechanism: Mechanism, log_delta: float) -> None:
    delta = 10.0**log_delta
    curve = privacy_curve(mechanism, delta)
    epsilon = curve.epsilon(delta)
    assert curve.delta(epsilon) <= delta * (1 + 1e-6) + 1e-12
    if epsilon > 0:
        assert curve.delta(epsilon * (1 - 1e-6)) >= delta * (1 - 1e-6)
    assert delta_at(mechanism, epsilon, delta) <= delta * (1 + 1e-4) + 1e-12


@pytest.mark.parametrize("delta", [0.0, 1.0, -0.1, math.nan])
def test_delta_out_of_range_is_named(delta: float) -> None:
    mechanism = PoissonPatch(1.0, 0.1, 0.3, 10)
    for ask in (bracket, epsilon_at, privacy_curve):
        with pytest.raises(InputError, match=r"delta must be in \(0, 1\)"):
            ask(mechanism, delta)
    with pytest.raises(InputError, match=r"delta must be in \(0, 1\)"):
        pair_curve(mechanism.pair(), 3, delta)


def test_delta_below_the_numerics_is_named_and_not_answered() -> None:
    with pytest.raises(InputError, match="delta must be above"):
        epsilon_at(PoissonPatch(1.0, 0.1, 0.3, 1000), 1e-14)


def test_phases_of_other_adjacencies_are_refused() -> None:
    with pytest.raises(InputError, match="phases must be of one adjacency"):
        bracket([PoissonPatch(1.0, 0.1, 0.3, 1), AddRemoveRecord(1.0, 0.1, 1.0, 1)], 1e-5)
    with pytest.raises(InputError, match="phases must be at least one"):
        bracket([], 1e-5)


@pytest.mark.parametrize("sigma", [1e-3, 0.01, 1e3, 1e6])
@pytest.mark.parametrize("rate", [1e-9, 1e-3, 1.0])
@pytest.mark.parametrize("delta", [1e-9, 0.9])
def test_absurd_values_have_an_answer(sigma: float, rate: float, delta: float) -> None:
    """A delta of zero beside the rounding that is charged was divided by."""
    found = bracket(PoissonPatch(sigma, rate, 0.3, 5), delta)
    assert 0 <= found.lower <= found.upper < math.inf
    # Five steps of a shift by 2, each observed at most 8 deviations away.
    assert found.upper <= 5 * (2 / sigma**2 + 8 * 2 / sigma) + 1e-6


def test_a_phase_that_never_meets_is_free() -> None:
    one = PoissonPatch(1.0, 0.1, 0.3, 50)
    idle = PoissonPatch(0.01, 1.0, 0.0, 1000)
    assert bracket([idle, one, idle], 1e-5).upper == bracket(one, 1e-5).upper
    assert bracket([idle], 1e-5).upper == 0.0
    assert bracket([idle], 1e-5).gap == 0.0


def test_game_curve_lies_between_the_lower_bound_of_nothing_and_the_claim() -> None:
    """A game plays one pair in one order; the claim must cover the order of every step."""
    for kind in (PoissonPatch, FixedSizePatch, ShufflePatch):
        mechanism = kind(0.9, 0.2, 0.4, 300)
        game = pair_curve(mechanism.pair(), mechanism.compositions, 1e-5)
        claim = bracket(mechanism, 1e-5)
        assert len(game.parts) == 2
        assert 0 < game.epsilon(1e-5) <= claim.upper * (1 + AGREE)
    several = FixedSizePatch(0.4, 0.2, 0.3, 60, crops=2)
    assert pair_curve(several.game(), 60, 1e-5).epsilon(1e-5) < bracket(several, 1e-5).lower

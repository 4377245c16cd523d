"""Without noise, and with next to none: closed forms, and answers that do not take minutes."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from cropaudit.accounting.accountant import (
    bracket,
    calibrate_noise,
    delta_at,
    epsilon_at,
    epsilon_over_steps,
    most_steps,
    pair_bracket,
)
from cropaudit.accounting.atoms import Atoms
from cropaudit.accounting.describe import from_json, to_json
from cropaudit.accounting.divergences import StepLoss
from cropaudit.accounting.mechanisms import (
    AddRemoveShortcut,
    FixedSizePatch,
    FullBatchPatch,
    PoissonPatch,
    ReplaceOneShortcut,
    ShufflePatch,
)
from cropaudit.accounting.pairs import MixturePair, StepPair
from cropaudit.errors import InputError

Array = NDArray[np.float64]
PATCH = [PoissonPatch, FixedSizePatch, ShufflePatch]


@pytest.mark.parametrize("kind", PATCH)
@pytest.mark.parametrize("crops", [1, 3])
@pytest.mark.parametrize("rho", [1e-4, 0.3, 1.0])
def test_epsilon_without_noise_is_infinite_unless_the_patch_is_hardly_seen(
    kind: type[PoissonPatch], crops: int, rho: float
) -> None:
    """Delta is 1 - (1 - r)^T at every epsilon, r being the rate of a composed step."""
    mechanism = kind(0.0, 0.1, rho, 20, crops=crops)
    rate = mechanism.rate() * -math.expm1(crops * math.log1p(-rho)) if rho < 1 else mechanism.rate()
    ever = -math.expm1(mechanism.compositions * math.log1p(-rate)) if rate < 1 else 1.0
    for epsilon in (0.0, 1.0, 500.0):
        assert delta_at(mechanism, epsilon) == pytest.approx(ever, rel=1.2e-5)
    for delta in (ever * 0.99, ever * 1.01):
        if delta < 1:
            found = bracket(mechanism, delta)
            assert found.lower == found.upper == (math.inf if delta < ever else 0.0)
            assert found.gap == 0
            assert epsilon_at(mechanism, delta) == found.upper


def played(pair: StepPair, steps: int, fpr: Array) -> Array:
    """The best test between the products of two laws on three points, by counting outcomes."""
    places = []
    for low in range(steps + 1):
        for high in range(steps + 1 - low):
            ways = math.comb(steps, low) * math.comb(steps - low, high)
            counts = (low, steps - low - high, high)
            places.append(
                [
                    ways * math.prod(w**c for w, c in zip(world, counts, strict=True))
                    for world in (pair.p, pair.q)
                ]
            )
    p, q = np.array(places).T
    with np.errstate(divide="ignore", invalid="ignore"):
        order = np.argsort(-np.where(q > 0, p / q, np.inf))
    return np.interp(fpr, np.append(0, np.cumsum(q[order])), np.append(0, np.cumsum(p[order])))


@pytest.mark.parametrize(
    "mechanism",
    [
        PoissonPatch(0.0, 0.2, 0.3, 1),
        PoissonPatch(0.0, 0.5, 1.0, 1),
        FixedSizePatch(0.0, 0.4, 0.3, 1),
        AddRemoveShortcut(0.0, 0.2, 0.5, 1),
        ReplaceOneShortcut(0.0, 0.2, 0.5, 1),
    ],
)
def test_the_game_without_noise_is_exact(mechanism: PoissonPatch) -> None:
    """Both directions, against the best test on counts; infinite losses begin the curve."""
    pair, steps = mechanism.pair(), 6
    fpr = np.linspace(0, 1, 101)
    found = pair_bracket(pair, steps, 1e-3).curve
    for part, one in zip(found.parts, (pair, pair.mirrored()), strict=True):
        want = played(one, steps, fpr)
        # At a rate of 0 a sum may be 1e-17 above it.
        assert np.all(part.highest_tpr(fpr)[1:] >= want[1:] - 1e-12)
        np.testing.assert_allclose(part.highest_tpr(fpr)[1:], want[1:], atol=1e-9)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.floats(0.01, 1), st.floats(0, 1), st.floats(-3, 6))
def test_atoms_are_the_limit_of_little_noise(q: float, rho: float, epsilon: float) -> None:
    exact = PoissonPatch(0.0, q, rho, 1).pair()
    quiet = PoissonPatch(0.01, q, rho, 1).pair()
    for one, other in ((exact, quiet), (exact.mirrored(), quiet.mirrored())):
        at = np.array([epsilon])
        assert one.delta(at)[0] == pytest.approx(other.delta(at)[0], abs=1e-9)
        assert np.all(one.delta(at) >= other.delta(at) - 1e-12)  # noise is post-processing


def test_atoms_merge_and_take_the_nearest_place() -> None:
    found = Atoms.of([1.0, -1.0, 1.0, 5.0], [0.25, 0.5, 0.25, 0.0], [0.0, 0.25, 0.75, 0.0])
    assert found.places.tolist() == [-1.0, 1.0]
    assert found.infinity == 0
    np.testing.assert_allclose(found.log_ratio(np.array([-0.9, 1.2])), np.log([2.0, 0.5 / 0.75]))
    several = MixturePair((0.0, -2.0, 0.0, 2.0), (0.5, 0.2, 0.2, 0.1), (0.5, 0.5, 0, 0), 0.0)
    at = np.array([0.0, 0.1])
    want = [
        sum(max(a - math.exp(e) * b, 0) for a, b in ((0.2, 0.5), (0.7, 0.5), (0.1, 0))) for e in at
    ]
    np.testing.assert_allclose(several.delta(at), want)
    assert several.infinity() == pytest.approx(0.1)
    pair = FixedSizePatch(0.0, 0.5, 0.5, 1).pair()
    above = pair.masses_above(np.array([-2.0, 0.0, 1.0]))
    np.testing.assert_allclose(above, [[1, 0.25, 0], [1, 0, 0]])
    assert pair.log_ratio(np.array([1.0])) == math.inf
    draws, _ = pair.sample(50, np.random.default_rng(0))
    assert set(draws.tolist()) <= {-1.0, 1.0}


def test_one_phase_without_noise_decides() -> None:
    """A phase that lost its noise, among steps that have it; and one that is hardly ever seen."""
    noisy = PoissonPatch(1.0, 0.1, 0.3, 50)
    assert epsilon_at([noisy, PoissonPatch(0.0, 0.1, 0.3, 50)], 1e-5) == math.inf
    rare = bracket([noisy, PoissonPatch(0.0, 1e-4, 1e-4, 50)], 1e-5)
    alone = bracket(noisy, 1e-5)
    assert alone.lower <= rare.upper < 1.1 * alone.upper
    assert rare.lower <= rare.upper
    shown = bracket([noisy, FullBatchPatch(0.0, 1.0, 1.0, 1)], 0.5)
    assert shown.upper == shown.lower == math.inf


@pytest.mark.parametrize("sigma", [1e-9, 9e-5, -0.0001, 1e10, math.inf, math.nan])
def test_noise_that_is_no_number_to_compute_with_is_named(sigma: float) -> None:
    with pytest.raises(
        InputError, match=r"noise multiplier must be 0 for none, or from 0\.0001 to"
    ):
        PoissonPatch(sigma, 0.1, 0.3, 10)


def test_epsilon_over_steps_becomes_infinite_once_the_patch_may_be_seen() -> None:
    found = epsilon_over_steps(PoissonPatch(0.0, 1e-3, 1e-3, 1), 1e-5, [1, 9, 11, 1000])
    assert found == [0.0, 0.0, math.inf, math.inf]


def test_noise_of_zero_survives_a_file() -> None:
    phases = (PoissonPatch(0.0, 0.1, 0.3, 100),)
    assert from_json(to_json(phases)) == phases


@pytest.mark.parametrize("sigma", [1e-3, 0.02, 0.05, 0.2])
@pytest.mark.parametrize("kind", [PoissonPatch, FixedSizePatch, AddRemoveShortcut])
@pytest.mark.parametrize(("rate", "rho", "steps"), [(1 / 16, 1.0, 100), (1e-3, 0.05, 10_000)])
def test_brackets_at_little_noise_are_narrow_in_either_order(
    sigma: float, kind: type[PoissonPatch], rate: float, rho: float, steps: int
) -> None:
    """Lopsided losses collapsed the lower bound, and the lattice was refined for minutes."""
    mechanism = kind(sigma, rate, rho, steps)
    for found in (bracket(mechanism, 1e-5), pair_bracket(mechanism.pair(), steps, 1e-5)):
        assert 0 < found.lower <= found.upper < math.inf
        assert found.gap < 2e-2
        assert max(len(part.probs) for part in found.curve.parts) < 1 << 21


@pytest.mark.parametrize("sigma", [0.02, 0.3])
def test_lower_bound_of_one_lopsided_step_is_below_its_divergence(sigma: float) -> None:
    pair = FixedSizePatch(sigma, 0.06, 0.3, 1).pair()
    for loss in (StepLoss.played(pair), StepLoss.played(pair).swapped()):
        for delta in (1e-6, 1e-3):
            found = pair_bracket(pair, 1, delta)
            at = np.array([found.lower, found.upper])
            worst = np.maximum(pair.delta(at), pair.mirrored().delta(at))
            assert worst[0] >= delta * (1 - 1e-9)
            assert worst[1] <= delta * (1 + 1e-9)
            assert loss.up.infinity() == 0


@pytest.mark.parametrize("target", [1e-2, 1.0, 1e3, 1e5])
@pytest.mark.parametrize("kind", [PoissonPatch, ShufflePatch])
def test_targets_of_any_size_are_solved_for(target: float, kind: type[PoissonPatch]) -> None:
    """`--target-epsilon 1000` gave no answer in four minutes."""
    mechanism = kind(1.0, 1 / 16, 1.0, 100)
    noise = calibrate_noise(mechanism, 1e-5, target)
    found = bracket(mechanism.with_noise(noise), 1e-5)
    assert found.lower <= target
    assert 0.98 * target <= found.upper <= target * (1 + 1e-3)


def test_most_steps_at_a_large_target() -> None:
    mechanism = FixedSizePatch(0.1, 0.06, 0.3, 1)
    steps = most_steps(mechanism, 1e-5, 5e3)
    assert bracket(mechanism.with_steps(steps), 1e-5).upper <= 5e3
    assert bracket(mechanism.with_steps(steps + 1), 1e-5).upper > 5e3


def test_reading_off_is_on_the_safe_side_of_the_binomial_law() -> None:
    """Without noise the game's losses are binomial: curves against tails known to every digit."""
    q, rho, steps = 0.2, 0.3, 400
    found = pair_bracket(PoissonPatch(0.0, q, rho, 1).pair(), steps, 0.9999999).curve.parts[1]
    counts = np.arange(steps + 1)
    tail = binom.sf(counts - 1, steps, q)  # of P = world B here: at least so many -1
    false = np.array(
        [
            (1 - q * rho) ** steps * binom.sf(count - 1, steps, q * (1 - rho) / (1 - q * rho))
            for count in counts
        ]
    )
    held = (false > 1e-12) & (tail > 1e-12)
    allowed = found.highest_tpr(false[held])
    assert np.all(allowed >= tail[held] * (1 - 1e-12))
    np.testing.assert_allclose(allowed, tail[held], atol=1e-8)


def test_a_file_without_noise_is_answered(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from cropaudit.cli import app

    path = tmp_path / "m.json"
    path.write_text(to_json([PoissonPatch(0.0, 0.1, 0.3, 100)]))
    found = CliRunner().invoke(
        app, ["bound", "--mechanism", str(path), "--delta", "1e-5", "--json"]
    )
    assert found.exit_code == 0
    values = json.loads(found.stdout)
    assert values["epsilon"] is None
    assert values["advantage"] == pytest.approx(1 - 0.97**100, rel=1e-5)

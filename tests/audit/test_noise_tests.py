"""What limits of noise rest on: false alarms at the level, and known faults by their names."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from cropaudit.audit.noise_tests import judge_noise
from cropaudit.audit.run_logs import NoiseLog

Array = NDArray[np.float64]
STEPS, DIRECTIONS = 100, 64
STEP, DIRECTION = np.arange(STEPS)[:, None], np.arange(DIRECTIONS)


def normal(size: int | tuple[int, ...] = (STEPS, DIRECTIONS), seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(size)


def refuted(samples: Array, level: float = 0.01) -> set[str]:
    return {item.name for item in judge_noise(NoiseLog.of(samples), level) if item.refuted}


@pytest.mark.parametrize("size", [(40, 12), (12, 40), (6, 150), (100, 4), (30, 2), (300,), (50, 1)])
@pytest.mark.parametrize("changing", [False, True])
def test_null_every_test_and_all_together_keep_their_level(
    size: tuple[int, ...], changing: bool
) -> None:
    """Sound noise, in float32 as it is drawn, whose deviation changes or not from step to step.

    Level 0.3, so 0.05 each; 100 logs. False-failure rate at most 1e-5 for each count, thus 1e-3 in
    all. Of noise that changes its constancy is not asked.
    """
    if changing and min(*size, 9) < 2 + (len(size) == 1) * 9:
        return
    counts: dict[str, int] = {}
    for seed in range(100):
        samples = normal(size, seed)
        if changing:
            samples = samples * np.where(np.arange(len(samples)) % 3, 0.2, 1.4)[:, None]
        judged = judge_noise(NoiseLog.of(samples.astype(np.float32)), 0.3)
        names = [item.name for item in judged if item.refuted]
        names = [name for name in names if not (changing and name == "constant over steps")]
        for name in [*names, *(["any"] if names else [])]:
            counts[name] = counts.get(name, 0) + 1
    for name, count in counts.items():
        assert count <= binom.isf(1e-5, 100, 0.3 if name == "any" else 0.05), name


def random_direction(samples: Array) -> Array:
    way = normal(DIRECTIONS, 5)
    return samples[:, :1] * way / np.linalg.norm(way) * np.sqrt(DIRECTIONS)


FAULTS: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "half of the steps": ("constant over steps", lambda x: x * np.where(STEP < 50, 0.2, 1.4)),
    "every other step": ("constant over steps", lambda x: x * np.where(STEP % 2, 0.2, 1.4)),
    "one step": ("constant over steps", lambda x: x * np.where(STEP == 40, 0.5, 1.0)),
    "a slow drift": ("constant over steps", lambda x: x * np.linspace(0.8, 1.2, STEPS)[:, None]),
    "no noise in one step": ("constant over steps", lambda x: x * (STEP != 9)),
    "one axis": ("isotropic", lambda x: 8 * x * (DIRECTION == 0)),
    "one direction": ("independent", random_direction),
    "a quiet direction": ("isotropic", lambda x: x * np.where(DIRECTION == 30, 0.5, 1.0)),
    "a direction without noise": ("isotropic", lambda x: x * (DIRECTION != 30)),
    "half of the rank": ("independent", lambda x: x[:, :32] @ normal((32, 64), 3) / np.sqrt(32)),
    "mirrored directions": ("independent", lambda x: np.hstack([x[:, :32], -1.01 * x[:, :32]])),
    "two directions together": (
        "independent",
        lambda x: np.hstack([x[:, :63], 0.6 * x[:, :1] + 0.8 * x[:, 63:]]),
    ),
    "a step scaled": ("independent", lambda x: np.vstack([x[:99], 1.5 * x[:1]])),
    "steps that go on": ("independent", lambda x: 0.8 * x + 0.6 * np.roll(x, 1, axis=0)),
    "copied directions": ("fresh", lambda x: np.hstack([x[:, :32], x[:, :32]])),
    "a copied step": ("fresh", lambda x: np.vstack([x[:99], x[3:4]])),
    "copied samples": ("fresh", lambda x: np.repeat(x.ravel()[:3200], 2)),
    "copies in any order": (
        "fresh",
        lambda x: np.random.default_rng(2).choice(x.ravel()[:800], (STEPS, DIRECTIONS)),
    ),
    "copies in float32": ("fresh", lambda x: np.resize(x.ravel()[:3200].astype(np.float32), 6400)),
    "a shift": ("mean 0", lambda x: x + 0.2),
    "a shift of one direction": ("mean 0", lambda x: x + 0.8 * (DIRECTION == 30)),
    "uniform": ("normal", lambda x: np.random.default_rng(1).uniform(-1, 1, x.shape)),
    "Laplace": ("normal", lambda x: np.random.default_rng(1).laplace(size=x.shape)),
    "uniform, flat": ("normal", lambda x: np.random.default_rng(1).uniform(-1, 1, 4000)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_power_every_fault_is_found_by_its_name(name: str) -> None:
    """Seeded, p-values far below the level: no false failures."""
    expected, spoil = FAULTS[name]
    for seed in range(3):
        assert expected in refuted(spoil(normal(seed=10 + seed)))


def test_constancy_is_judged_alone_where_nothing_else_is_wrong() -> None:
    for name in ("half of the steps", "every other step", "one step"):
        assert refuted(FAULTS[name][1](normal(seed=4))) == {"constant over steps"}


def test_coarse_numbers_are_no_copies() -> None:
    """Half precision, and noise read off weights on a grid: many ties, none of them a copy."""
    for samples in (
        normal(4000).astype(np.float16).astype(np.float64),
        np.round(normal((60, 64)) / 1e-4) * 1e-4,
        np.round(normal((60, 64)) / 1e-3) * 1e-3 / 0.7,
    ):
        assert refuted(samples) == set()


def test_without_noise_nothing_is_judged() -> None:
    assert judge_noise(NoiseLog.of(np.zeros((5, 5))), 0.01) == ()


def test_large_logs_are_judged_in_pieces() -> None:
    """More steps than are compared each with each: copies, once scaled, are found close by."""
    samples = normal((3000, 16), 1)
    assert refuted(samples) == set()
    samples[2100] = -1.5 * samples[2999]
    assert refuted(samples) == {"independent"}

"""The law of a summed score: against simulation, closed forms and the composed curve."""

import math

import numpy as np
import pytest

from cropaudit.accounting.accountant import pair_curve
from cropaudit.accounting.mechanisms import (
    FixedSizePatch,
    PatchMechanism,
    PoissonPatch,
    ShufflePatch,
)
from cropaudit.accounting.pairs import StepPair
from cropaudit.audit.score_law import attained, score_rates

DELTA = 1e-5
POISSON = PoissonPatch(1.0, 0.1, 0.3, 50)


def simulated(scoring: StepPair, played: StepPair, steps: int, n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    worlds = []
    for weights in (played.p, played.q):
        means = rng.choice([-1.0, 0.0, 1.0], p=weights, size=(n, steps))
        worlds.append(scoring.log_ratio(rng.normal(means, played.sigma)).sum(axis=1))
    return worlds


@pytest.mark.parametrize("factor", [1.0, 0.3, 2.0])
@pytest.mark.parametrize(
    ("mechanism", "trials"),
    [
        (PoissonPatch(1.0, 0.1, 0.3, 50), 10_000),
        (PoissonPatch(1.0, 0.1, 0.3, 1), 20_000),
        (PoissonPatch(0.3, 0.02, 0.1, 300), 2000),
        (FixedSizePatch(1.0, 0.1, 0.3, 50), 10_000),
        (FixedSizePatch(0.3, 0.1, 0.1, 500), 1000),
        (ShufflePatch(0.5, 0.1, 0.3, 200), 10_000),
    ],
    ids=str,
)
def test_score_law_is_that_of_simulation(
    mechanism: PatchMechanism, trials: int, factor: float
) -> None:
    """Kolmogorov distance of both worlds; false-failure rate 2e-6 a case (DKW inequality).

    The law may be smeared by a few cells of its lattice, which shows where the score has an atom
    (a score of ln(1 - rho) at each step): thresholds are compared with that much slack.
    """
    scoring, steps = mechanism.pair(), mechanism.compositions
    played = mechanism.with_noise(mechanism.noise_multiplier * factor).pair()
    thresholds, *rates = score_rates(scoring, played, steps)
    slack = 4 * (thresholds[1] - thresholds[0]) * math.sqrt(steps)
    worlds = simulated(scoring, played, steps, trials)
    assert slack < 0.25 * max(np.std(world) for world in worlds), "finer than what it must resolve"
    reach = math.sqrt(math.log(2e6) / (2 * trials))
    for world, rate in zip(worlds, rates, strict=True):
        scores = np.sort(world)

        def share(cuts: np.ndarray, scores: np.ndarray = scores) -> np.ndarray:
            return 1 - np.searchsorted(scores, cuts, side="left") / trials

        assert np.all(rate <= share(thresholds - slack) + reach)
        assert np.all(rate >= share(thresholds + slack) - reach)


@pytest.mark.parametrize(
    "mechanism",
    [POISSON, FixedSizePatch(0.3, 0.1, 0.3, 1000), FixedSizePatch(0.1, 0.1, 0.1, 100)],
    ids=str,
)
def test_mean_score_is_steps_times_that_of_one(mechanism: PatchMechanism) -> None:
    """By quadrature; rounding losses to a lattice would add its bias in every step."""
    pair, steps = mechanism.pair(), mechanism.compositions
    x = np.linspace(-1 - 10 * pair.sigma, 1 + 10 * pair.sigma, 400_001)
    loss = pair.log_ratio((x[1:] + x[:-1]) / 2)
    thresholds, *rates = score_rates(pair, pair, steps)
    values = (thresholds[1:] + thresholds[:-1]) / 2
    for rate, above in zip(rates, pair.masses_above(x), strict=True):
        mass = -np.diff(above)
        mean = float(mass @ loss)
        deviation = math.sqrt(steps * float(mass @ (loss - mean) ** 2))
        got = float(-np.diff(rate) @ values)
        assert got == pytest.approx(steps * mean, abs=0.01 * deviation + 1e-6)


def test_score_law_of_one_step_is_a_gaussian_tail() -> None:
    pair = POISSON.pair()
    x = np.linspace(-4, 4, 41)
    thresholds, tpr, fpr = score_rates(pair, pair, 1)
    tails = pair.masses_above(x)
    for rate, tail in zip((tpr, fpr), tails, strict=True):
        np.testing.assert_allclose(np.interp(pair.log_ratio(x), thresholds, rate), tail, atol=3e-3)


@pytest.mark.parametrize("mechanism", [POISSON, FixedSizePatch(1.0, 0.1, 0.3, 50)], ids=str)
def test_likelihood_ratio_attains_the_composed_curve(mechanism: PatchMechanism) -> None:
    """Neyman and Pearson: no test does better, and this one does as well."""
    pair, steps = mechanism.pair(), mechanism.compositions
    rates = np.geomspace(1e-6, 0.999, 200)
    best = pair_curve(pair, steps, DELTA).parts[0].highest_tpr(rates)
    found = attained(pair, pair, steps)(rates)
    assert np.all(found <= best * (1 + 2e-3) + 1e-9)
    assert np.all(found >= best * (1 - 2e-2))


@pytest.mark.parametrize("factor", [0.5, 0.7, 1.4])
def test_another_pairs_score_attains_less(factor: float) -> None:
    steps, rates = POISSON.compositions, np.geomspace(1e-4, 0.99, 100)
    played = POISSON.with_noise(factor).pair()
    best = attained(played, played, steps)(rates)
    found = attained(POISSON.pair(), played, steps)(rates)
    assert np.all(found <= best + 1e-3)
    assert (best - found).max() > 4e-3


def test_rates_fall_with_the_threshold_from_one_to_zero() -> None:
    thresholds, tpr, fpr = score_rates(POISSON.pair(), POISSON.pair(), 50)
    assert np.all(np.diff(thresholds) > 0)
    for rate in (tpr, fpr):
        assert np.all(np.diff(rate) <= 1e-15)
        assert (rate[0], rate[-1]) == (pytest.approx(1), pytest.approx(0, abs=1e-9))
    assert np.all(tpr >= fpr - 1e-9)
    curve = attained(POISSON.pair(), POISSON.pair(), 50)
    np.testing.assert_allclose(curve(np.array([0.0, 1.0])), [0.0, 1.0], atol=1e-9)

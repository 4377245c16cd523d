"""The plan of a game: the score's law against simulation and closed forms; threshold and power."""

import inspect
import math
from functools import lru_cache

import numpy as np
import pytest
from scipy.special import betaincinv
from scipy.stats import binom

from cropaudit.accounting.accountant import calibrate_noise, epsilon_at, pair_curve
from cropaudit.accounting.curves import PrivacyCurve
from cropaudit.accounting.mechanisms import (
    FixedSizePatch,
    PatchMechanism,
    PoissonPatch,
    ShufflePatch,
)
from cropaudit.accounting.pairs import StepPair
from cropaudit.audit.design import (
    _high_count,
    detectable_epsilon,
    learned_threshold,
    planned_threshold,
    score_rates,
    scoring_pairs,
)
from cropaudit.audit.estimators.limits import Box, measured_box, upper_limit
from cropaudit.audit.estimators.mechanism_fdp import family_bound
from cropaudit.audit.estimators.scores import Scores

DELTA = 1e-5
POISSON = PoissonPatch(1.0, 0.1, 0.3, 50)


def simulated(scoring: StepPair, played: StepPair, steps: int, n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    worlds = []
    for weights in (played.p, played.q):
        means = rng.choice([-1.0, 0.0, 1.0], p=weights, size=(n, steps))
        worlds.append(scoring.log_ratio(rng.normal(means, played.sigma)).sum(axis=1))
    return worlds


@pytest.mark.parametrize("factor", [1.0, 0.5, 2.0])
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
    spread = max(np.std(world) for world in simulated(scoring, played, steps, 200))
    assert slack < 0.25 * spread, "the lattice is finer than what it must resolve"
    reach = math.sqrt(math.log(2e6) / (2 * trials))
    for world, rate in zip(simulated(scoring, played, steps, trials), rates, strict=True):
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
    _, tpr, fpr = score_rates(pair, pair, steps)
    best = pair_curve(pair, steps, DELTA).parts[0].highest_tpr(fpr)
    seen = (fpr > 1e-7) & (fpr < 1 - 1e-7)
    assert np.all(tpr[seen] <= best[seen] * (1 + 2e-3) + 1e-9)
    assert np.all(tpr[seen] >= best[seen] * (1 - 2e-2))


def test_rates_fall_with_the_threshold_from_one_to_zero() -> None:
    thresholds, tpr, fpr = score_rates(POISSON.pair(), POISSON.pair(), 50)
    assert np.all(np.diff(thresholds) > 0)
    for rate in (tpr, fpr):
        assert np.all(np.diff(rate) <= 1e-15)
        assert (rate[0], rate[-1]) == (pytest.approx(1), pytest.approx(0, abs=1e-9))
    assert np.all(tpr >= fpr - 1e-9)


def expected_bound(threshold: float, n: int, level: float) -> float:
    thresholds, tpr, fpr = score_rates(POISSON.pair(), POISSON.pair(), POISSON.steps)
    at = int(np.searchsorted(thresholds, threshold))
    alarms, misses = n * float(fpr[at]), n * float(1 - tpr[at])
    box = upper_limit(alarms, n, level / 2), upper_limit(misses, n, level / 2)
    return family_bound(*box, POISSON, DELTA)[0]


def test_planned_threshold_is_about_the_best_there_is() -> None:
    n, level = 3000, 0.05
    thresholds, _, fpr = score_rates(POISSON.pair(), POISSON.pair(), POISSON.steps)
    others = [float(thresholds[int(np.argmax(fpr <= x))]) for x in (0.1, 0.03, 0.01, 3e-3)]
    best = max(expected_bound(other, n, level) for other in others)
    assert expected_bound(planned_threshold(POISSON, DELTA, n, n, level), n, level) >= 0.985 * best


def test_planned_threshold_depends_on_the_plan_only() -> None:
    """Pre-registered: no scores go in, no state is kept, no randomness is drawn."""
    legal = {"mechanism", "delta", "members", "nonmembers", "level"}
    assert set(inspect.signature(planned_threshold).parameters) == legal
    np.random.seed(1)  # noqa: NPY002 - shows that global randomness is not used
    first = planned_threshold(POISSON, DELTA, 500, 400, 0.05)
    np.random.seed(2)  # noqa: NPY002
    planned_threshold(FixedSizePatch(1.0, 0.1, 0.3, 5), DELTA, 100, 100, 0.05)
    assert planned_threshold(POISSON, DELTA, 500, 400, 0.05) == first


@pytest.mark.parametrize(
    "mechanism",
    [
        PoissonPatch(1.0, 0.1, 0.0, 10),
        PoissonPatch(50.0, 0.01, 0.01, 1),
        ShufflePatch(1.0, 1.0, 1.0, 1),
    ],
    ids=str,
)
@pytest.mark.parametrize("n", [10, 1000])
def test_thresholds_are_finite_where_there_is_little_to_find(mechanism, n) -> None:
    assert math.isfinite(planned_threshold(mechanism, DELTA, n, n, 0.05))
    blind = [Scores.of(np.arange(n), np.arange(n)), Scores.of(np.zeros(n), np.zeros(n))]
    number, cut = learned_threshold(blind, mechanism, DELTA, 0.05)
    assert number in (0, 1)
    assert math.isfinite(cut)


def test_learned_threshold_prefers_the_score_that_tells_more() -> None:
    """One score parts the worlds at 5, another hardly, a third not at all."""
    rng = np.random.default_rng(0)
    scores = [
        Scores.of(rng.normal(size=500), rng.normal(size=500)),
        Scores.of(rng.normal(0.5, size=500), rng.normal(size=500)),
        Scores.of(rng.normal(10, size=500), rng.normal(size=500)),
    ]
    number, cut = learned_threshold(scores, ShufflePatch(1.0, 1.0, 1.0, 2), DELTA, 0.05)
    assert number == 2
    assert 3 < cut < 8


def test_scoring_pairs_begin_with_the_configured_one() -> None:
    pairs = scoring_pairs(POISSON)
    assert pairs[0] == POISSON.pair()
    assert all(pair.sigma < POISSON.noise_multiplier for pair in pairs[1:])


@lru_cache
def claimed() -> PrivacyCurve:
    return pair_curve(POISSON.pair(), POISSON.steps, DELTA)


def contradicts(box: Box) -> bool:
    return claimed().rejects(box.fpr_upper, box.fnr_upper)


def rejection_probability(sigma: float, threshold: float, n: int, level: float) -> float:
    """Exact over the binomial counts, of the claimed curve at a true noise multiplier."""
    thresholds, tpr, fpr = score_rates(POISSON.pair(), POISSON.with_noise(sigma).pair(), 50)
    at = int(np.searchsorted(thresholds, threshold))
    counts = np.arange(n)
    limits = np.append(betaincinv(counts + 1, n - counts, 1 - level / 2), 1.0)
    misses = np.searchsorted(limits, 1 - claimed().highest_tpr(limits), side="left")
    alarms = binom.pmf(np.arange(n + 1), n, fpr[at])
    return float(alarms @ binom.cdf(misses - 1, n, 1 - tpr[at]))


def test_planned_threshold_accuses_the_honest_mechanism_at_most_at_the_level() -> None:
    """Null, exact."""
    for n, level in ((200, 0.2), (1000, 0.05)):
        threshold = planned_threshold(POISSON, DELTA, n, n, level)
        assert rejection_probability(1.0, threshold, n, level) <= level


def plays(sigma: float, n: int, games: int, level: float) -> int:
    """How many games of n trials a world reject the claim, each with a planned threshold on all
    trials and a learned one on half of them, at half the level each."""
    threshold = planned_threshold(POISSON, DELTA, n, n, level)
    rng, played = np.random.default_rng(11), POISSON.with_noise(sigma).pair()
    rejected = 0
    for _ in range(games):
        seen = [
            rng.normal(rng.choice([-1.0, 0.0, 1.0], p=weights, size=(n, 50)), sigma)
            for weights in (played.p, played.q)
        ]
        scores = [
            [pair.log_ratio(world).sum(axis=1) for world in seen] for pair in scoring_pairs(POISSON)
        ]
        first = [Scores.of(a[: n // 2], b[: n // 2]) for a, b in scores]
        number, cut = learned_threshold(first, POISSON, DELTA, level / 2)
        tested = Scores.of(*(world[n // 2 :] for world in scores[number]))
        rejected += contradicts(measured_box(tested, cut, level / 2)) or contradicts(
            measured_box(Scores.of(*scores[0]), threshold, level / 2)
        )
    return rejected


def test_detectable_epsilon_is_found_with_the_promised_power() -> None:
    """At its noise 3 or more of 5 whole games reject; power .9 fails that with rate 8.6e-3.

    Few games, for each learns a threshold over six scores; the seed is fixed. Of 40 games played
    once by hand all 40 rejected: the plan allows for bad luck in both counts at once.
    """
    n, level = 400, 0.05
    threshold = planned_threshold(POISSON, DELTA, n, n, level)
    found = detectable_epsilon(POISSON, contradicts, threshold, n, n, level, DELTA)
    assert found is not None
    assert found > epsilon_at(POISSON, DELTA)
    sigma = calibrate_noise(POISSON, DELTA, found)
    assert plays(sigma, n, 5, level) >= 3


def test_more_trials_detect_less() -> None:
    found = []
    for n in (400, 4000):
        threshold = planned_threshold(POISSON, DELTA, n, n, 0.05)
        found.append(detectable_epsilon(POISSON, contradicts, threshold, n, n, 0.05, DELTA))
    assert found[0] is not None
    assert found[1] is not None
    assert found[0] > found[1] > epsilon_at(POISSON, DELTA)


def test_a_claim_that_nothing_or_everything_contradicts() -> None:
    rest = (0.0, 100, 100, 0.05, DELTA)
    assert detectable_epsilon(POISSON, lambda box: False, *rest) is None
    quietest = detectable_epsilon(POISSON, lambda box: True, *rest)
    assert quietest is not None
    assert quietest <= epsilon_at(POISSON.with_noise(2.9), DELTA)


@pytest.mark.parametrize("trials", [1, 2, 20, 1000, 10_000])
@pytest.mark.parametrize("slack", [0.05, 0.005, 0.25])
def test_high_count_is_the_smallest_that_is_rarely_passed(trials: int, slack: float) -> None:
    for rate in (0, 5e-324, 1e-300, 1e-15, 1e-6, 0.01, 0.3, 0.5, 0.9, 1 - 1e-9, 1 - 1e-15, 1):
        count = _high_count(trials, rate, slack)
        assert 0 <= count <= trials
        assert binom.sf(count, trials, rate) <= slack + 1e-9
        assert count == 0 or binom.sf(count - 1, trials, rate) > slack - 1e-9

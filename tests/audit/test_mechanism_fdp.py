"""Estimator 8: the true curve is rejected at most at the level; the inversion against truths."""

import itertools
import math
from functools import lru_cache

import numpy as np
import pytest
from scipy.special import betaincinv, log_ndtr
from scipy.stats import binom

from cropaudit.accounting.accountant import pair_curve
from cropaudit.accounting.curves import PrivacyCurve
from cropaudit.accounting.mechanisms import (
    FixedSizePatch,
    PatchMechanism,
    PoissonPatch,
    ShufflePatch,
)
from cropaudit.audit.design import planned_threshold, score_rates
from cropaudit.audit.estimators.clopper_pearson import box_epsilon
from cropaudit.audit.estimators.limits import measured_box, upper_limit
from cropaudit.audit.estimators.mechanism_fdp import family_bound, mechanism_fdp, noiseless_tpr
from cropaudit.audit.estimators.scores import Scores

DELTA = 1e-5
POISSON = PoissonPatch(1.0, 0.1, 0.3, 100)
MECHANISMS = [POISSON, FixedSizePatch(1.0, 0.1, 0.3, 30), ShufflePatch(1.0, 0.1, 0.3, 100)]


@lru_cache
def curve_of(mechanism: PatchMechanism) -> PrivacyCurve:
    return pair_curve(mechanism.pair(), mechanism.compositions, DELTA)


def point(mechanism: PatchMechanism, fpr: float) -> tuple[float, float]:
    """A true operating point of the likelihood ratio test, at most ``fpr``."""
    _, tprs, fprs = score_rates(mechanism.pair(), mechanism.pair(), mechanism.compositions)
    at = int(np.argmax(fprs <= fpr))
    return float(fprs[at]), float(tprs[at])


def rejection_probability(
    curve: PrivacyCurve, fpr: float, tpr: float, n: int, level: float
) -> float:
    """The exact probability that n trials a world reject the curve, summed over all counts."""
    counts = np.arange(n)
    limits = np.append(betaincinv(counts + 1, n - counts, 1 - level / 2), 1.0)
    allowed = curve.highest_tpr(limits)  # by false positives
    misses = np.searchsorted(limits, 1 - allowed, side="left")  # fewer misses than this reject
    return float(binom.pmf(np.arange(n + 1), n, fpr) @ binom.cdf(misses - 1, n, 1 - tpr))


def played(
    mechanism: PatchMechanism, trials: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of both worlds, straight from the mixtures of the pair."""
    pair = mechanism.pair()
    worlds = []
    for weights in (pair.p, pair.q):
        means = rng.choice([-1.0, 0.0, 1.0], p=weights, size=(trials, mechanism.compositions))
        worlds.append(pair.log_ratio(rng.normal(means, pair.sigma)).sum(axis=1))
    return worlds[0], worlds[1]


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=str)
@pytest.mark.parametrize("n", [50, 1000])
def test_the_true_curve_is_rejected_at_most_at_the_level(mechanism, n) -> None:
    """Coverage of the inversion follows: its bound exceeds the truth only where this happens.

    Exact, no randomness: for every threshold of a grid, sums of binomial probabilities.
    """
    for level, fpr in itertools.product((0.2, 0.05), (0.5, 0.2, 0.05, 0.01, 1e-3)):
        operating = point(mechanism, fpr)
        assert rejection_probability(curve_of(mechanism), *operating, n, level) <= level


@pytest.mark.parametrize("n", [5, 50, 1000])
def test_alike_worlds_give_a_positive_bound_at_most_at_the_level(n: int) -> None:
    """Null, exact: a positive bound needs fpr_upper + fnr_upper < 1, the curve without leakage."""
    chance = pair_curve(PoissonPatch(1.0, 0.1, 0.0, 1).pair(), 1, DELTA)
    for level, rate in itertools.product((0.2, 0.05), (0.01, 0.3, 0.5, 0.9)):
        assert rejection_probability(chance, rate, rate, n, level) <= level


@pytest.mark.parametrize(("fpr", "fnr"), [(0.5, 0.5), (0.3, 0.8), (1.0, 0.0), (1.0, 1.0), (0, 1)])
def test_rates_of_a_blind_guess_give_nothing(fpr: float, fnr: float) -> None:
    assert family_bound(fpr, fnr, POISSON, DELTA) == (0.0, None)
    assert family_bound(0.5, 0.5 - 1e-6, POISSON, DELTA) == (0.0, None)


@pytest.mark.parametrize(
    ("mechanism", "factor"), [*zip(MECHANISMS, (1.0, 0.7, 1.5), strict=True)], ids=str
)
def test_true_rates_give_back_the_true_member(mechanism, factor) -> None:
    """No sampling error: the bound stays below the truth, and finds at least 85% of it.

    What is lost is the worst of both directions, which the curve covers and the game does not.
    """
    truth = mechanism.with_noise(mechanism.noise_multiplier * factor)
    epsilon = curve_of(truth).epsilon(DELTA)
    for fpr in (0.1, 0.01):
        at, tpr = point(truth, fpr)
        bound, noise = family_bound(at, 1 - tpr, mechanism, DELTA)
        assert noise is not None
        assert noise >= truth.noise_multiplier * (1 - 1e-3)
        assert 0.85 * epsilon <= bound <= epsilon


def test_bound_grows_as_the_box_shrinks() -> None:
    bounds = [family_bound(0.02, fnr, POISSON, DELTA)[0] for fnr in (0.97, 0.9, 0.8, 0.5)]
    assert bounds == sorted(bounds)
    assert bounds[-1] > bounds[1] > 0


def test_full_inversion_covers() -> None:
    """From scores to bound, 8 games of 400 trials a world at level .2.

    False-failure rate at most 1e-4 (Binomial(8, .2)).
    """
    rng, level = np.random.default_rng(7), 0.2
    threshold = planned_threshold(POISSON, DELTA, 400, 400, level)
    truth = curve_of(POISSON).epsilon(DELTA)
    above = 0
    for _ in range(8):
        box = measured_box(Scores.of(*played(POISSON, 400, rng)), threshold, level)
        above += mechanism_fdp(box, POISSON, DELTA).epsilon > truth
    assert above <= binom.isf(1e-4, 8, level)


def test_power() -> None:
    """5,000 trials a world find about .8 of the pair's epsilon at the median, and here half.

    False-failure rate at most 1e-4: the bound at the counts that are passed with probability
    5e-5 each, by the exact law of the score.
    """
    n, level = 5000, 0.05
    threshold = planned_threshold(POISSON, DELTA, n, n, level)
    thresholds, tpr, fpr = score_rates(POISSON.pair(), POISSON.pair(), POISSON.steps)
    at = int(np.searchsorted(thresholds, threshold))
    truth = curve_of(POISSON).epsilon(DELTA)

    def found(tail: float) -> float:
        alarms, misses = binom.isf(tail, n, fpr[at]), binom.isf(tail, n, 1 - tpr[at])
        upper = [upper_limit(count, n, level / 2) for count in (alarms, misses)]
        return family_bound(upper[0], upper[1], POISSON, DELTA)[0]

    assert found(5e-5) >= 0.5 * truth
    assert found(0.5) >= 0.78 * truth
    scores = Scores.of(*played(POISSON, n, np.random.default_rng(8)))
    bound = mechanism_fdp(measured_box(scores, threshold, level), POISSON, DELTA)
    assert bound.epsilon >= 0.5 * truth


def brute_noiseless(mechanism: PatchMechanism, fpr: float) -> float:
    """Neyman and Pearson over all 3^T sequences of means."""
    pair, steps = mechanism.pair(), mechanism.compositions
    atoms = [
        (math.prod(pair.p[i] for i in path), math.prod(pair.q[i] for i in path))
        for path in itertools.product(range(3), repeat=steps)
    ]
    atoms.sort(key=lambda atom: -math.inf if atom[1] == 0 else -atom[0] / atom[1])
    tpr, left = 0.0, fpr
    for p, q in atoms:
        take = 1.0 if q == 0 else min(1.0, left / q)
        tpr, left = tpr + take * p, left - take * q
        if take < 1:
            break
    return tpr


@pytest.mark.parametrize(
    "mechanism",
    [
        PoissonPatch(1.0, 0.3, 0.4, 5),
        PoissonPatch(1.0, 1.0, 0.4, 3),
        PoissonPatch(1.0, 0.3, 1.0, 4),
        PoissonPatch(1.0, 0.3, 0.0, 4),
        FixedSizePatch(1.0, 0.3, 0.4, 5),
        ShufflePatch(1.0, 0.5, 0.4, 6),
        ShufflePatch(1.0, 0.5, 1.0, 6),
    ],
    ids=str,
)
def test_noiseless_rates_are_those_of_all_sequences(mechanism: PatchMechanism) -> None:
    for fpr in (0.0, 0.01, 0.2, 0.5, 0.9, 1.0):
        assert noiseless_tpr(mechanism, fpr) == pytest.approx(brute_noiseless(mechanism, fpr))


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=str)
@pytest.mark.parametrize("factor", [1.0, 0.3])
def test_noise_never_helps(mechanism: PatchMechanism, factor: float) -> None:
    pair = mechanism.with_noise(factor).pair()
    _, tprs, fprs = score_rates(pair, pair, mechanism.compositions)
    for at in np.linspace(0, len(fprs) - 1, 50).astype(int):
        assert tprs[at] <= noiseless_tpr(mechanism, float(fprs[at])) + 1e-9


@pytest.mark.parametrize("mechanism", [FixedSizePatch(1.0, 0.01, 0.01, 100), MECHANISMS[1]])
def test_rates_that_no_member_allows_fall_back_on_clopper_pearson(mechanism) -> None:
    """A wrong crop or sampler: the family's epsilon would be thousands, of no meaning."""
    box = measured_box(Scores.of(np.ones(5000), np.zeros(5000)), 0.5, 0.05)
    bound = mechanism_fdp(box, mechanism, DELTA)
    plain = box_epsilon(box.fpr_upper, box.fnr_upper, DELTA)
    assert plain * (1 - 1e-5) <= bound.epsilon <= plain
    assert "every member is rejected" in bound.note


def test_much_less_noise_than_searched_gives_the_loudest_searched() -> None:
    """Sound, for more noise leaks less; quick, for louder curves cost more; and no warning."""
    epsilon, noise = family_bound(1e-3, 0.05, PoissonPatch(1.0, 0.1, 0.3, 100), DELTA)
    assert noise is not None
    assert 0.05 <= noise < 0.2
    assert 100 < epsilon < math.inf


@pytest.mark.parametrize("sigma", [0.1, 0.05, 0.03, 0.02])
def test_epsilon_of_the_loudest_members_is_right(sigma: float) -> None:
    """Losses beyond 745, where e^-epsilon vanishes: Balle and Wang (2018), theorem 8, in logs."""
    loudest = pair_curve(ShufflePatch(sigma, 1.0, 1.0, 1).pair(), 1, DELTA)
    epsilon = loudest.epsilon(DELTA)
    heads = log_ndtr(1 / sigma - epsilon * sigma / 2)
    tails = epsilon + log_ndtr(-1 / sigma - epsilon * sigma / 2)
    assert math.exp(heads) - math.exp(tails) == pytest.approx(DELTA, rel=0.05)


def test_bound_names_what_it_rests_on() -> None:
    bound = mechanism_fdp(measured_box(Scores.of([1.0], [0.0]), 0.5, 0.1), POISSON, DELTA)
    assert (bound.estimator, bound.delta) == ("mechanism-f-dp", DELTA)
    assert (bound.validity, bound.note) == ("model-based", "no member is rejected")
    assert (bound.epsilon, bound.confidence) == (0.0, pytest.approx(0.9))
    assert "at some noise multiplier" in bound.assumes

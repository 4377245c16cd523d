"""Estimator 7: exact laws of small games, known curves, coverage and the published tightness."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from cropaudit.accounting.mechanisms import FixedSizePatch, PoissonPatch
from cropaudit.accounting.pairs import StepPair
from cropaudit.audit.estimators.evidence import Guesses
from cropaudit.audit.estimators.family import Family
from cropaudit.audit.estimators.gaussian_mu import gdp_epsilon
from cropaudit.audit.estimators.guessing import Ends, Surest
from cropaudit.audit.estimators.order_statistics import (
    OrderStatistics,
    Sureness,
    likely_right,
    p_value,
    planned_share,
)
from cropaudit.audit.estimators.rate_test import TradeOff, approximate_dp
from cropaudit.audit.estimators.scores import Scores
from cropaudit.errors import InputError

POISSON = Family(PoissonPatch(1.0, 0.1, 0.3, 100), 1e-5)
FIXED = Family(FixedSizePatch(1.0, 0.1, 0.3, 100), 1e-5)


def gaussian(mu: float) -> TradeOff:
    return lambda fpr: ndtr(ndtri(fpr) + mu)


def ratios(pair: StepPair, steps: int, bits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Summed log-likelihood ratios of the pair over all steps, for each canary."""
    means, total = np.array([-1.0, 0.0, 1.0]), np.zeros(len(bits))
    for _ in range(steps):
        draws = rng.random(len(bits))
        low = np.where(bits == 1, pair.p[0], pair.q[0])
        middle = np.where(bits == 1, pair.p[1], pair.q[1])
        seen = np.where(draws < low, -1.0, np.where(draws < low + middle, 0.0, 1.0))
        seen += pair.sigma * rng.normal(size=len(bits))
        kernel = np.exp((seen[:, None] * means - means**2 / 2) / pair.sigma**2)
        total += np.log(kernel @ np.array(pair.p)) - np.log(kernel @ np.array(pair.q))
    return total


def enumerated(p: np.ndarray, q: np.ndarray, canaries: int, made: int) -> np.ndarray:
    """Exact law of the wrong guesses of the best guesser, over all that may be seen."""
    seen, error = (p + q) / 2, np.minimum(p, q) / (p + q)
    law = np.zeros(made + 1)
    for shown in itertools.product(range(len(p)), repeat=canaries):
        surest = np.sort(error[list(shown)])[:made]
        wrong = np.ones(1)
        for rate in surest:
            wrong = np.convolve(wrong, [1 - rate, rate])
        law += np.prod(seen[list(shown)]) * wrong
    return law


@pytest.mark.parametrize(("canaries", "made"), [(1, 1), (2, 1), (4, 1), (5, 3), (5, 5), (6, 2)])
def test_p_value_is_that_of_all_that_may_be_seen(canaries: int, made: int) -> None:
    """Three signs with likelihood ratios 8, 1 and 1/3, and a rare sure one: exact sums."""
    p, q = np.array([0.32, 0.475, 0.2, 0.005]), np.array([0.04, 0.36, 0.6, 0.0])
    tail = np.cumsum(enumerated(p, q, canaries, made))
    sureness = Sureness.of_masses(p, q)
    for wrong in range(made + 1):
        found = p_value(Guesses(canaries, made, made - wrong), sureness)
        assert tail[wrong] - 1e-12 <= found <= tail[wrong] + 0.01


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.floats(0, 1), st.floats(0, 1), st.floats(0, 5))
def test_where_all_are_equally_sure_it_is_binomial(
    canaries: int, guessed: float, right: float, epsilon: float
) -> None:
    """(epsilon, 0)-DP allows 1 / (1 + e^epsilon) wrong and no more, however few are guessed."""
    made = max(1, round(guessed * canaries))
    guesses = Guesses(canaries, made, round(right * made))
    expected = binom.cdf(made - guesses.right, made, 1 / (1 + math.exp(epsilon)))
    both = np.array([math.exp(epsilon), 1.0]), np.array([1.0, math.exp(epsilon)])
    exact = Sureness.of_masses(*(mass / (1 + math.exp(epsilon)) for mass in both))
    assert p_value(guesses, exact) == pytest.approx(expected, rel=1e-6, abs=1e-12)
    tabulated = Sureness.above(approximate_dp(epsilon, 0.0))
    assert expected * (1 - 1e-6) <= p_value(guesses, tabulated) <= 1.2 * expected + 1e-9


@pytest.mark.parametrize("mu", [0.02, 0.5, 1.0, 3.0])
def test_tables_enclose_a_gaussian(mu: float) -> None:
    """The mean error of all is Phi(-mu / 2); of the surest, an average over |z|."""
    above, below = Sureness.above(gaussian(mu)), Sureness.below(gaussian(mu))
    assert above.error(np.ones(1)) <= ndtr(-mu / 2) <= below.error(np.ones(1))
    share = np.array([0.01, 0.1, 0.3, 0.7, 1.0])
    assert (above.error(share) <= below.error(share)).all()
    assert above.error(share) == pytest.approx(below.error(share), rel=5e-3)


def test_published_pin_of_a_gaussian() -> None:
    """mu = 1, 2,500 of 10,000 guessed, the median of 364 wrong: epsilon 4.1371 at delta 1e-5.

    It is the bound within the Gaussian family at 95%; the pair itself has 4.3772. Sums on the
    honest side take 0.0003 off.
    """
    assert likely_right(10_000, 2500, gaussian(1.0), 0.5) == 2500 - 364
    low, high, guesses = 0.5, 1.5, Guesses(10_000, 2500, 2136)
    while high - low > 1e-6:
        mu = (low + high) / 2
        against = p_value(guesses, Sureness.above(gaussian(mu))) <= 0.05
        low, high = (mu, high) if against else (low, mu)
    assert 4.1371 - 1e-3 < gdp_epsilon(low, 1e-5) <= 4.1371


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 400), st.floats(0.01, 1), st.floats(0.5, 1), st.floats(0.1, 3))
def test_louder_curves_are_harder_to_reject(
    canaries: int, guessed: float, right: float, mu: float
) -> None:
    made = max(1, round(guessed * canaries))
    guesses = Guesses(canaries, made, round(right * made))
    found = [p_value(guesses, Sureness.above(gaussian(m))) for m in (mu, 1.1 * mu, 2 * mu)]
    assert found[0] <= found[1] * (1 + 1e-9)
    assert found[1] <= found[2] * (1 + 1e-9)


@pytest.mark.parametrize("family", [POISSON, FIXED])
def test_order_of_the_worlds_does_not_matter(family: Family) -> None:
    """The two parts of a curve are rounded apart, and agree in sureness."""
    one, other = (Sureness.above(curve) for curve in family.played(0))
    share = np.geomspace(1e-3, 1, 20)
    assert one.error(share) == pytest.approx(other.error(share), rel=0.02, abs=1e-5)


def test_p_values_are_uniform_under_the_best_guesser() -> None:
    """Gaussian canaries, the surest quarter guessed: right guesses follow the computed law.

    The null test, from scores on. False-failure rate at most 4e-4 (Binomial(2000, p), both sides
    of two counts).
    """
    rng, games, sureness = np.random.default_rng(11), 2000, Sureness.above(gaussian(1.0))
    right = []
    for _ in range(games):
        bits = rng.integers(2, size=80)
        scores = rng.normal(size=80) + bits - 0.5
        right.append(Surest(0.25).guesses(Scores.labelled(scores, bits)).right)
    for least in (18, 20):
        tail = p_value(Guesses(80, 20, least), sureness)
        seen = int((np.array(right) >= least).sum())
        assert binom.ppf(1e-4, games, tail) <= seen <= binom.isf(1e-4, games, tail)


@pytest.mark.parametrize("family", [POISSON, FIXED])
def test_coverage_is_exact_for_the_best_guesser(family: Family) -> None:
    """The fewest right guesses whose bound exceeds the true epsilon are reached too rarely."""
    estimator, played = OrderStatistics(family), family.played(0)[0]
    above, below = Sureness.above(played), Sureness.below(played)
    for canaries, made, level in ((30, 30, 0.3), (100, 20, 0.05), (1000, 300, 0.05)):
        low, high = -1, made + 1
        while high - low > 1:
            middle = (low + high) // 2
            against = p_value(Guesses(canaries, made, middle), above) <= level
            low, high = (low, middle) if against else (middle, high)
        if high <= made:
            assert p_value(Guesses(canaries, made, high), below) <= level
        found = estimator.epsilon(Guesses(canaries, made, low), 1e-5, level)
        assert found.epsilon <= family.epsilon(0)


def test_coverage_from_scores_on() -> None:
    """Summed log-likelihood ratios of the pair, two policies. False-failure rate at most 2e-4."""
    family = Family(PoissonPatch(0.7, 0.2, 0.5, 5), 1e-5)
    rng, pair, above = np.random.default_rng(12), family.mechanism.pair(), np.zeros(2)
    for _ in range(120):
        bits = rng.integers(2, size=150)
        scores = Scores.labelled(ratios(pair, 5, bits, rng), bits)
        for i, policy in enumerate((Surest(0.4), Ends(0.4))):
            found = OrderStatistics(family).epsilon(policy.guesses(scores), 1e-5, 0.1)
            above[i] += found.epsilon > family.epsilon(0)
    assert above.max() <= binom.isf(1e-4, 120, 0.1)


def test_likely_right_is_reached() -> None:
    """By the best guesser, from scores on. False-failure rate at most 1e-4."""
    rng, games, hits = np.random.default_rng(13), 1000, 0
    wanted = likely_right(200, 60, gaussian(1.5), 0.9)
    for _ in range(games):
        bits = rng.integers(2, size=200)
        scores = Scores.labelled(rng.normal(size=200) + 1.5 * bits - 0.75, bits)
        hits += Surest(0.3).guesses(scores).right >= wanted
    assert hits >= binom.ppf(1e-4, games, 0.9)
    tail = p_value(Guesses(200, 60, wanted + 1), Sureness.above(gaussian(1.5)))
    assert tail < 0.9 + 0.01  # and one more is not


@pytest.mark.parametrize(("canaries", "wanted"), [(1000, 0.68), (10_000, 0.90)])
def test_tightness(canaries: int, wanted: float) -> None:
    """The median bound over the pair's epsilon, at the share planned from the curve alone."""
    share = planned_share(canaries, POISSON, 0.05)
    made = round(share * canaries)
    right = likely_right(canaries, made, POISSON.played(0)[0], 0.5)
    found = OrderStatistics(POISSON).epsilon(Guesses(canaries, made, right), 1e-5, 0.05)
    assert wanted * POISSON.epsilon(0) <= found.epsilon <= POISSON.epsilon(0)


def test_power_from_scores_on() -> None:
    """10,000 canaries: 70% of epsilon in all but 1e-3 of runs, this one among them."""
    rng, family = np.random.default_rng(14), POISSON
    made = round(0.5 * 10_000)
    worst = likely_right(10_000, made, family.played(0)[0], 0.999)
    estimator = OrderStatistics(family)
    lowest = estimator.epsilon(Guesses(10_000, made, worst), 1e-5, 0.05).epsilon
    assert lowest >= 0.7 * family.epsilon(0)
    bits = rng.integers(2, size=10_000)
    scores = Scores.labelled(ratios(family.mechanism.pair(), 100, bits, rng), bits)
    found = estimator.epsilon(Surest(0.5).guesses(scores), 1e-5, 0.05)
    assert found.epsilon >= lowest


def test_degenerate_games() -> None:
    estimator = OrderStatistics(POISSON)
    for guesses in (Guesses(10, 5, 0), Guesses(1, 1, 1), Guesses(1, 1, 0), Guesses(2, 1, 1)):
        assert estimator.epsilon(guesses, 1e-5, 0.05).epsilon == 0
    assert likely_right(1, 1, gaussian(0.1), 0.9) == 0
    assert likely_right(1, 1, approximate_dp(0.0, 1.0), 0.9) == 1
    assert p_value(Guesses(1, 1, 0), Sureness.above(gaussian(1.0))) == 1
    shown = Sureness.of_masses(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    assert p_value(Guesses(10, 5, 5), shown) == 1
    assert p_value(Guesses(10, 5, 4), shown) == 1
    assert (estimator.name, estimator.validity) == ("one-run-order-statistics", "model-based")


def test_what_no_member_allows_gets_the_exact_bound() -> None:
    """Crops that hardly ever meet the patch hide most coins, however little noise there is."""
    family = Family(PoissonPatch(1.0, 0.01, 0.01, 10), 1e-5)
    found = OrderStatistics(family).epsilon(Guesses(5000, 5000, 4900), 1e-5, 0.05)
    assert "every member is rejected" in found.note
    assert 3.5 < found.epsilon < math.log(49)


@pytest.mark.parametrize(("delta", "level"), [(1e-6, 0.05), (0.0, 0.05), (1e-5, 0.0), (1e-5, 1.0)])
def test_illegal_values_are_refused(delta: float, level: float) -> None:
    with pytest.raises(InputError, match=r"(delta|level) must be"):
        OrderStatistics(POISSON).epsilon(Guesses(10, 5, 5), delta, level)

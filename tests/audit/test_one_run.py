"""Estimator 5: the published pins, the published algorithm, and exact coverage."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from cropaudit.audit.estimators.one_run import (
    coin_p_value,
    one_run,
    one_run_epsilon,
    one_run_p_value,
    right_guesses,
)
from cropaudit.audit.estimators.scores import Scores
from cropaudit.errors import InputError


def published_p_value(m: int, r: int, v: int, epsilon: float, delta: float) -> float:
    """Appendix D of Steinke et al. (2305.08846), in its own terms."""
    q = 1 / (1 + math.exp(-epsilon))
    beta = float(binom.sf(v - 1, r, q))
    alpha, total = 0.0, 0.0
    for i in range(1, v + 1):
        total += float(binom.pmf(v - i, r, q))
        alpha = max(alpha, total / i)
    return min(1.0, beta + alpha * delta * 2 * m)


def responses(
    canaries: int, epsilon: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Fair coins and their randomised responses."""
    bits = rng.integers(2, size=canaries)
    lies = rng.random(canaries) < 1 / (1 + math.exp(epsilon))
    return bits, np.where(lies, 1 - bits, bits).astype(float)


@pytest.mark.parametrize(
    ("m", "r", "v", "delta", "expected"),
    [
        (1000, 100, 75, 1e-4, 0.673),
        (100_000, 1510, 1439, 1e-5, 2.676),
        (100, 100, 75, 0.0, 0.702),
    ],
)
def test_published_bounds(m: int, r: int, v: int, delta: float, expected: float) -> None:
    assert one_run_epsilon(m, r, v, delta, 0.05) == pytest.approx(expected, abs=6e-4)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 200),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 6),
    st.sampled_from([0.0, 1e-5, 1e-3, 0.5]),
)
def test_p_value_is_the_published_one(
    m: int, guessed: float, right: float, epsilon: float, delta: float
) -> None:
    r = max(1, round(guessed * m))
    v = round(right * r)
    got = one_run_p_value(m, r, v, epsilon, delta)
    assert got == pytest.approx(published_p_value(m, r, v, epsilon, delta), rel=1e-7, abs=1e-14)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 400), st.floats(0, 1), st.sampled_from([0.0, 1e-5, 1e-3]))
def test_bound_is_where_the_p_value_passes_the_level(r: int, right: float, delta: float) -> None:
    v = round(right * r)
    epsilon = one_run_epsilon(2 * r, r, v, delta, 0.05)
    assert one_run_p_value(2 * r, r, v, epsilon + 1e-6, delta) > 0.05
    if epsilon > 0:
        assert one_run_p_value(2 * r, r, v, epsilon, delta) <= 0.05


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0, 4.0])
@pytest.mark.parametrize("guesses", [1, 2, 7, 60])
def test_coverage_is_exact_for_pure_epsilon(guesses: int, epsilon: float) -> None:
    """Randomised response is the worst case: right guesses are Bin(r, q). Null: epsilon 0."""
    counts = np.arange(guesses + 1)
    law = binom.pmf(counts, guesses, 1 / (1 + math.exp(-epsilon)))
    for level in (0.3, 0.05):
        bounds = np.array([one_run_epsilon(100, guesses, v, 0.0, level) for v in counts])
        assert law[bounds > epsilon].sum() <= level + 1e-12


@pytest.mark.parametrize("delta", [1e-3, 1e-2, 0.1])
@pytest.mark.parametrize("epsilon", [0.0, 1.0])
def test_coverage_is_exact_for_leaks(epsilon: float, delta: float) -> None:
    """Each canary shows itself with probability delta, else responds at random. No randomness.

    A second leak shows all canaries at once with probability delta: the correlation that the
    correction by m delta pays for.
    """
    m, counts = 50, np.arange(51)
    apart = binom.pmf(counts, m, delta + (1 - delta) / (1 + math.exp(-epsilon)))
    together = (1 - delta) * binom.pmf(counts, m, 1 / (1 + math.exp(-epsilon)))
    together[-1] += delta
    for level in (0.3, 0.05):
        bounds = np.array([one_run_epsilon(m, m, v, delta, level) for v in counts])
        assert apart[bounds > epsilon].sum() <= level + 1e-12
        assert together[bounds > epsilon].sum() <= level + 1e-12


def test_null_coverage_of_the_whole_estimator() -> None:
    """Fair coins and scores that know nothing but each other: walks, ties, infinities.

    False-failure rate at most 1e-4 (Binomial(600, .1)).
    """
    rng, level, above = np.random.default_rng(3), 0.1, 0
    for game in range(600):
        bits = rng.integers(2, size=90)
        scores = rng.normal(size=90).cumsum()
        if game % 3 == 1:
            scores = np.round(scores / 4)
        if game % 3 == 2:
            scores = np.where(scores > 0, np.inf, 0.0)
        above += one_run(Scores.labelled(scores, bits), 0.0, level, seed=game).epsilon > 0
    assert above <= binom.isf(1e-4, 600, level)


def test_known_epsilon_coverage_of_the_whole_estimator() -> None:
    """Randomised responses at epsilon 1, ties broken at random, best of three numbers of guesses.

    False-failure rate at most 1e-4 (Binomial(600, .1)).
    """
    rng, level, above = np.random.default_rng(4), 0.1, 0
    for game in range(600):
        bits, scores = responses(120, 1.0, rng)
        above += one_run(Scores.labelled(scores, bits), 0.0, level, seed=game).epsilon > 1.0
    assert above <= binom.isf(1e-4, 600, level)


def test_power() -> None:
    """At epsilon 3 and 1,000 canaries at least 60% of it is found.

    False-failure rate at most 1e-4: of r = m/3 guesses, all from the side where the responses
    agree, Bin(r, q) are right, and the bound at its 1e-4 quantile is above 60%.
    """
    worst = int(binom.ppf(1e-4, 333, 1 / (1 + math.exp(-3.0))))
    assert one_run_epsilon(1000, 333, worst, 1e-5, 0.05 / 3) >= 0.6 * 3.0
    bits, scores = responses(1000, 3.0, np.random.default_rng(5))
    bound = one_run(Scores.labelled(scores, bits), 1e-5, 0.05, seed=0)
    assert bound.cap is not None
    assert 0.6 * 3.0 <= bound.epsilon <= bound.cap


@pytest.mark.parametrize("guesses", [1, 2, 5, 10, 11])
def test_guesses_without_ties_are_the_extremes(guesses: int) -> None:
    rng = np.random.default_rng(6)
    bits, scores = rng.integers(2, size=11), rng.normal(size=11)
    bits[:2] = 0, 1
    order = np.argsort(scores)
    low, high = guesses // 2, guesses - guesses // 2
    expected = int((bits[order[:low]] == 0).sum() + (bits[order[11 - high :]] == 1).sum())
    for seed in range(3):
        assert right_guesses(Scores.labelled(scores, bits), guesses, seed) == expected


@pytest.mark.parametrize("value", [0.0, np.inf, -np.inf])
def test_ties_are_broken_by_chance_and_not_by_order(value: float) -> None:
    """All scores equal: right guesses average r/2, though members come first in the list.

    False-failure rate below 1e-6: five deviations, 500 draws of 20 guesses.
    """
    scores = Scores.of([value] * 30, [value] * 30)
    found = [right_guesses(scores, 20, seed) for seed in range(500)]
    assert abs(np.mean(found) - 10) < 5 * math.sqrt(20 / 4 / 500)
    assert right_guesses(scores, 20, 1) == right_guesses(scores, 20, 1)


@pytest.mark.parametrize(("members", "nonmembers"), [(1, 1), (1, 2), (3, 1), (10, 1)])
def test_the_smallest_games_give_a_bound(members: int, nonmembers: int) -> None:
    bound = one_run(Scores.of([1.0] * members, [0.0] * nonmembers), 1e-5, 0.05, seed=0)
    assert bound.cap is not None
    assert 0 <= bound.epsilon <= bound.cap


def test_perfect_guesses_meet_the_cap_and_a_huge_delta_ends_it() -> None:
    perfect = Scores.of([np.inf] * 60, [-np.inf] * 60)
    bound = one_run(perfect, 0.0, 0.05, seed=0)
    assert bound.cap is not None
    assert bound.epsilon == pytest.approx(bound.cap, rel=1e-5)
    assert one_run(perfect, 0.9, 0.05, seed=0).epsilon == 0
    assert one_run(perfect, 1.0, 0.05, seed=0).epsilon == 0


def test_bound_names_what_it_rests_on() -> None:
    bound = one_run(Scores.of([1.0] * 9, [0.0] * 9), 1e-5, 0.1, seed=0)
    assert (bound.estimator, bound.delta, bound.validity) == ("one-run", 1e-5, "exact")
    assert bound.confidence == pytest.approx(0.9)
    assert "own fair coin" in bound.assumes


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((10, 0, 0, 0.0, 0.05), "guesses must be"),
        ((10, 11, 5, 0.0, 0.05), "guesses must be"),
        ((10, 5, 6, 0.0, 0.05), "guesses must be"),
        ((10, 5, -1, 0.0, 0.05), "guesses must be"),
        ((10, 5, 5, 0.0, 0.0), r"level must be in \(0, 1\), got 0.0"),
        ((10, 5, 5, 0.0, 1.0), r"level must be in \(0, 1\), got 1.0"),
        ((10, 5, 5, -1e-5, 0.05), r"delta must be in \[0, 1\], got -1e-05"),
        ((10, 5, 5, math.nan, 0.05), r"delta must be in \[0, 1\], got nan"),
    ],
)
def test_illegal_values_are_refused(
    values: tuple[int, int, int, float, float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        one_run_epsilon(*values)


@pytest.mark.parametrize("epsilon", [0.0, 50.0, 1000.0])
def test_p_value_at_extremes(epsilon: float) -> None:
    assert one_run_p_value(10, 10, 0, epsilon, 0.0) == 1.0
    assert 0 <= one_run_p_value(10, 10, 10, epsilon, 0.0) <= 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 300), st.integers(0, 300))
def test_coins_are_held_against_the_exact_test(members: int, nonmembers: int) -> None:
    total = members + nonmembers
    expected = binomtest(members, total).pvalue if total else 1.0
    assert coin_p_value(members, nonmembers) == pytest.approx(expected, abs=1e-10)

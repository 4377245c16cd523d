"""Estimator 5: the published pins, the published algorithm, and exact coverage."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betainc, expit
from scipy.stats import binom

from cropaudit.audit.estimators.evidence import Guesses
from cropaudit.audit.estimators.guessing import Ends, Highest
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.estimators.steinke import Steinke, p_value
from cropaudit.errors import InputError


def bound(m: int, r: int, v: int, delta: float, level: float = 0.05) -> float:
    return Steinke().epsilon(Guesses(m, r, v), delta, level).epsilon


def published_p_value(m: int, r: int, v: int, epsilon: float, delta: float) -> float:
    """Appendix D of Steinke et al. (2305.08846), in its own terms."""
    q = 1 / (1 + math.exp(-epsilon))
    beta = float(binom.sf(v - 1, r, q))
    alpha, total = 0.0, 0.0
    for i in range(1, v + 1):
        total += float(binom.pmf(v - i, r, q))
        alpha = max(alpha, total / i)
    return min(1.0, beta + alpha * delta * 2 * m)


@pytest.mark.parametrize(
    ("m", "r", "v", "delta", "expected"),
    [
        (1000, 100, 75, 1e-4, 0.673),
        (100_000, 1510, 1439, 1e-5, 2.676),
        (100, 100, 75, 0.0, 0.702),
    ],
)
def test_published_bounds(m: int, r: int, v: int, delta: float, expected: float) -> None:
    assert bound(m, r, v, delta) == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize(
    ("m", "r", "v", "expected"),
    [
        # jax_privacy 2.0: CanaryScoreAuditor(a, b).epsilon_one_run(0.05, 1e-5,
        # threshold_strategy=Explicit(t)); its root is searched to 1e-6.
        (1000, 302, 238, 1.0747568757586805),
        (1000, 93, 85, 1.73023609592929),
        (10_000, 1552, 1527, 3.7554063454204067),
        (10_000, 1142, 802, 0.7477261432132907),
    ],
)
def test_bounds_of_jax_privacy(m: int, r: int, v: int, expected: float) -> None:
    assert bound(m, r, v, 1e-5) == pytest.approx(expected, abs=1.1e-6)


def test_agrees_with_jax_privacy_where_installed() -> None:
    auditing = pytest.importorskip("jax_privacy.auditing")
    rng = np.random.default_rng(8)
    member, nonmember = rng.normal(1.5, 1, 400), rng.normal(0, 1, 400)
    guesses = Highest(0.25).guesses(Scores.of(member, nonmember))
    threshold = float(np.sort(np.append(member, nonmember))[-guesses.guesses])
    theirs = auditing.CanaryScoreAuditor(member, nonmember).epsilon_one_run(
        0.05, 1e-5, threshold_strategy=auditing.Explicit(threshold)
    )
    assert Steinke().epsilon(guesses, 1e-5, 0.05).epsilon == pytest.approx(theirs, abs=1.1e-6)


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
    got = p_value(Guesses(m, r, v), epsilon, delta)
    assert got == pytest.approx(published_p_value(m, r, v, epsilon, delta), rel=1e-7, abs=1e-14)


@pytest.mark.parametrize("right", [1, 500, 20_000, 30_000, 39_990, 40_000])
@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.2, 7.0, 40.0])
def test_bisection_finds_the_full_maximum(right: int, epsilon: float) -> None:
    """40,000 guesses, where the published loop would take long: every i at once."""
    q, at = float(expit(epsilon)), np.arange(right, 0, -1)
    below = betainc(at, 40_000 - at + 1, q)  # f(v), f(v - 1), ..., f(1)
    slope = float(((np.append(below[1:], 1.0) - below[0]) / np.arange(1, right + 1)).max())
    expected = min(1.0, float(below[0]) + 2 * 50_000 * 1e-6 * slope)
    got = p_value(Guesses(50_000, 40_000, right), epsilon, 1e-6)
    assert got == pytest.approx(expected, rel=1e-9, abs=1e-15)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 400), st.floats(0, 1), st.sampled_from([0.0, 1e-5, 1e-3]))
def test_bound_is_where_the_p_value_passes_the_level(r: int, right: float, delta: float) -> None:
    """Never above the root, and less than 1e-6 below."""
    guesses = Guesses(2 * r, r, round(right * r))
    epsilon = Steinke().epsilon(guesses, delta, 0.05).epsilon
    assert p_value(guesses, epsilon + 1e-6, delta) > 0.05
    if epsilon > 0:
        assert p_value(guesses, epsilon, delta) <= 0.05


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0, 4.0])
@pytest.mark.parametrize("guesses", [1, 2, 7, 60])
def test_coverage_is_exact_for_pure_epsilon(guesses: int, epsilon: float) -> None:
    """Randomised response is the worst case: right guesses are Bin(r, q). Null: epsilon 0."""
    counts = np.arange(guesses + 1)
    law = binom.pmf(counts, guesses, 1 / (1 + math.exp(-epsilon)))
    for level in (0.3, 0.05):
        bounds = np.array([bound(100, guesses, v, 0.0, level) for v in counts])
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
        bounds = np.array([bound(m, m, v, delta, level) for v in counts])
        assert apart[bounds > epsilon].sum() <= level + 1e-12
        assert together[bounds > epsilon].sum() <= level + 1e-12


def test_coverage_of_scores_with_ties() -> None:
    """Randomised responses at epsilon 1: scores of two values, nearly all tied.

    False-failure rate at most 1e-4 (Binomial(600, .1)).
    """
    rng, above = np.random.default_rng(4), 0
    for _ in range(600):
        bits = rng.integers(2, size=120)
        scores = np.where(rng.random(120) < 1 / (1 + math.e), 1 - bits, bits)
        guesses = Ends(1 / 3).guesses(Scores.labelled(scores, bits))
        above += Steinke().epsilon(guesses, 0.0, 0.1).epsilon > 1.0
    assert above <= binom.isf(1e-4, 600, 0.1)


def test_power() -> None:
    """At epsilon 3 and 1,000 canaries at least 60% of it is found in all but 1e-4 of runs.

    Of r = m/3 guesses, all from the side where the responses agree, Bin(r, q) are right.
    """
    worst = int(binom.ppf(1e-4, 333, 1 / (1 + math.exp(-3.0))))
    assert bound(1000, 333, worst, 1e-5, 0.05 / 3) >= 0.6 * 3.0


def test_degenerate_games() -> None:
    assert bound(10, 10, 0, 0.0) == 0.0
    assert bound(1, 1, 1, 0.0) == 0.0
    assert bound(1, 1, 1, 0.0, 0.6) == pytest.approx(math.log(0.6 / 0.4), abs=1e-8)
    assert bound(120, 120, 120, 0.9) == bound(120, 120, 120, 1.0) == 0.0
    assert bound(100_000, 100_000, 100_000, 0.0) == pytest.approx(10.4158, abs=1e-3)
    for epsilon in (0.0, 50.0, 1000.0):
        assert p_value(Guesses(10, 10, 0), epsilon, 0.0) == 1.0
        assert 0 <= p_value(Guesses(10, 10, 10), epsilon, 1e-5) <= 1


@pytest.mark.parametrize(
    ("delta", "level", "message"),
    [
        (0.0, 0.0, r"level must be in \(0, 1\), got 0.0"),
        (0.0, 1.0, r"level must be in \(0, 1\), got 1.0"),
        (-1e-5, 0.05, r"delta must be in \[0, 1\], got -1e-05"),
        (math.nan, 0.05, r"delta must be in \[0, 1\], got nan"),
    ],
)
def test_illegal_values_are_refused(delta: float, level: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Steinke().epsilon(Guesses(10, 5, 5), delta, level)


def test_it_names_what_it_rests_on() -> None:
    assert (Steinke().name, Steinke().validity) == ("one-run", "exact")
    assert "own fair coin" in Steinke().assumes

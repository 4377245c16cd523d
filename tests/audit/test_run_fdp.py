"""Estimator 6: the published recursion, exact coverage under known curves, and agreement."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from cropaudit.accounting.mechanisms import FixedSizePatch, FullBatchPatch, PoissonPatch
from cropaudit.audit.estimators.evidence import Guesses
from cropaudit.audit.estimators.family import Family
from cropaudit.audit.estimators.guessing import Highest
from cropaudit.audit.estimators.order_statistics import Sureness, likely_right, p_value
from cropaudit.audit.estimators.run_fdp import (
    Inverse,
    RunFdp,
    blow_up_inverse,
    gaussian_blow_up_inverse,
    gaussian_run_epsilon,
    outer_polygon,
    rejected,
)
from cropaudit.audit.estimators.scores import Scores
from cropaudit.errors import InputError

POISSON = Family(PoissonPatch(1.0, 0.1, 0.3, 100), 1e-5)
FIXED = Family(FixedSizePatch(1.0, 0.1, 0.3, 100), 1e-5)


def leaky_inverse(epsilon: float, delta: float) -> Inverse:
    """Inverse of what (epsilon, delta)-DP allows."""

    def inverse(rate: float) -> float:
        flat = 1 - delta - math.exp(epsilon) * (1 - rate)
        return max(0.0, math.exp(-epsilon) * (rate - delta), flat)

    return inverse


def published(guesses: Guesses, inverse: Inverse, tau: float) -> bool:
    """Algorithm 3 of Mahloujifar et al. (2410.22235) for two worlds, in its own terms."""
    m, j, cap = guesses.canaries, guesses.right, guesses.guesses
    r, h = np.zeros(j + 1), np.zeros(j + 1)
    r[j], h[j] = tau * j / m, tau * (cap - j) / m
    for i in range(j - 1, -1, -1):
        h[i] = max(h[i + 1], inverse(min(r[i + 1], 1.0)))
        r[i] = r[i + 1] + i / (cap - i) * (h[i] - h[i + 1])
    return bool(r[0] + h[0] > cap / m)


def first_rejected(canaries: int, made: int, inverse: Inverse, level: float) -> int:
    """The fewest right guesses that are rejected, or one more than all."""
    low, high = -1, made + 1
    while high - low > 1:
        middle = (low + high) // 2
        against = rejected(Guesses(canaries, made, middle), inverse, level)
        low, high = (low, middle) if against else (middle, high)
    return high


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 120),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0.1, 3),
    st.sampled_from([0.3, 0.05, 1e-3]),
)
def test_it_is_the_published_recursion(
    m: int, guessed: float, right: float, loudness: float, level: float
) -> None:
    made = max(1, round(guessed * m))
    guesses = Guesses(m, made, round(right * made))
    for inverse in (gaussian_blow_up_inverse(loudness), leaky_inverse(loudness, 1e-3)):
        assert rejected(guesses, inverse, level) == published(guesses, inverse, level)


@pytest.mark.parametrize(
    ("m", "r", "v", "expected"),
    [
        # jax_privacy 2.0: CanaryScoreAuditor(a, b).epsilon_one_run_fdp(0.05, 1e-5,
        # threshold_strategy=Explicit(t)); its root is searched to 1e-6.
        (1000, 302, 238, 1.7820940207488658),
        (1000, 93, 85, 2.6038120040185313),
        (10_000, 1552, 1527, 5.593465818177153),
        (10_000, 1142, 802, 1.024044513624761),
    ],
)
def test_gaussian_bounds_of_jax_privacy(m: int, r: int, v: int, expected: float) -> None:
    found = gaussian_run_epsilon(Guesses(m, r, v), 1e-5, 0.05)
    assert found.epsilon == pytest.approx(expected, abs=1.1e-6)


def test_agrees_with_jax_privacy_where_installed() -> None:
    auditing = pytest.importorskip("jax_privacy.auditing")
    rng = np.random.default_rng(8)
    member, nonmember = rng.normal(1.5, 1, 400), rng.normal(0, 1, 400)
    guesses = Highest(0.25).guesses(Scores.of(member, nonmember))
    threshold = float(np.sort(np.append(member, nonmember))[-guesses.guesses])
    theirs = auditing.CanaryScoreAuditor(member, nonmember).epsilon_one_run_fdp(
        0.05, 1e-5, threshold_strategy=auditing.Explicit(threshold)
    )
    ours = gaussian_run_epsilon(guesses, 1e-5, 0.05).epsilon
    assert ours == pytest.approx(theirs, abs=1.1e-6)


@pytest.mark.parametrize("level", [0.3, 0.05, 0.001])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0, 4.0])
@pytest.mark.parametrize("made", [1, 2, 7, 60, 400])
def test_coverage_under_randomised_response(made: int, epsilon: float, level: float) -> None:
    """Right guesses are Bin(r, q): exact sums, of all canaries or some. Null: epsilon 0."""
    for canaries in (made, 5 * made):
        first = first_rejected(canaries, made, leaky_inverse(epsilon, 0.0), level)
        assert binom.sf(first - 1, made, 1 / (1 + math.exp(-epsilon))) <= level


@pytest.mark.parametrize("level", [0.3, 0.05, 0.001])
@pytest.mark.parametrize("delta", [1e-3, 0.04, 0.2])
def test_coverage_where_all_canaries_leak_at_once(delta: float, level: float) -> None:
    """With probability delta the run shows every coin: the strongest dependence there is."""
    for made in (5, 50):
        first = first_rejected(made, made, leaky_inverse(0.0, delta), level)
        if first <= made:
            assert delta + (1 - delta) * binom.sf(first - 1, made, 0.5) <= level


@pytest.mark.parametrize("family", [POISSON, FIXED])
@pytest.mark.parametrize(("canaries", "made"), [(40, 40), (200, 60), (1000, 30)])
def test_coverage_of_the_best_guesser(family: Family, canaries: int, made: int) -> None:
    """Independent canaries of an asymmetric pair: the law of right guesses is known exactly."""
    played = family.played(0)[0]
    inverse, sureness = blow_up_inverse(played), Sureness.above(played)
    for level in (0.3, 0.05):
        first = first_rejected(canaries, made, inverse, level)
        if first <= made:
            assert p_value(Guesses(canaries, made, first), sureness) <= level
        allowed = RunFdp(family).epsilon(Guesses(canaries, made, first - 1), 1e-5, level)
        assert allowed.epsilon <= family.epsilon(0)


@pytest.mark.parametrize("family", [POISSON, FIXED])
def test_inverse_is_convex_and_holds_in_both_directions(family: Family) -> None:
    curve = family.curve(0)
    inverse = blow_up_inverse(family.played(0)[0])
    rates = np.linspace(0, 1, 2001)
    values = np.array([inverse(rate) for rate in rates])
    assert values[0] == 0
    assert values[-1] <= 1
    assert np.diff(values, 2).min() >= -1e-12
    fpr = np.geomspace(1e-8, 1, 500)
    for part in curve.parts:
        found = np.array([inverse(rate) for rate in part.highest_tpr(fpr)])
        assert (found <= fpr * (1 + 0.02)).all()  # the other part is rounded on its own
    larger = curve.highest_tpr(np.linspace(0, 1, 2001))
    assert np.diff(larger, 2).max() > 1e-7  # not concave: hence the hull


def test_inverse_of_a_gaussian_pair() -> None:
    """Every step N(-1) against N(+1): mu = 2 sqrt(T) / sigma; never above, and within 1%."""
    family, exact = Family(FullBatchPatch(4.0, 1.0, 1.0, 4), 1e-5), gaussian_blow_up_inverse(1.0)
    for allowed in (*family.played(0), lambda fpr: ndtr(ndtri(fpr) + 1.0)):
        inverse = blow_up_inverse(allowed)
        for rate in (1e-7, 1e-4, 1e-2, 0.1, 0.5, 0.9, 0.999):
            assert exact(rate) * 0.99 <= inverse(rate) <= exact(rate)


@pytest.mark.parametrize("family", [POISSON, FIXED])
def test_polygon_is_concave_above_and_close(family: Family) -> None:
    fpr = np.exp(np.random.default_rng(1).uniform(math.log(1e-6), 0, 4000))
    for allowed in family.played(0):
        x, y = outer_polygon(allowed)
        assert (np.diff(x) >= 0).all()
        assert (np.diff(y) >= 0).all()
        assert (x[0], x[-1], y[-1]) == (0.0, 1.0, 1.0)
        above = np.interp(fpr, x, y) - allowed(fpr)
        assert above.min() >= -1e-12
        assert (above <= 2e-3 * allowed(fpr) + 1e-12).all()
        assert np.diff(np.interp(np.linspace(0, 1, 3001), x, y), 2).max() <= 1e-12


def test_power() -> None:
    """At 10,000 canaries of the best guesser 35% of epsilon is found in 99.99% of runs; the
    Gaussian curve, which is not the mechanism's, gives less from the same guesses."""
    truth = POISSON.played(0)[0]
    guesses = Guesses(10_000, 300, likely_right(10_000, 300, truth, 0.9999))
    found = RunFdp(POISSON).epsilon(guesses, 1e-5, 0.05)
    assert 0.35 * POISSON.epsilon(0) <= found.epsilon <= POISSON.epsilon(0)
    assert gaussian_run_epsilon(guesses, 1e-5, 0.05).epsilon < found.epsilon
    assert "noise multiplier" in found.note


def test_degenerate_games() -> None:
    for inverse in (gaussian_blow_up_inverse(1.0), leaky_inverse(1.0, 0.0)):
        assert not rejected(Guesses(10, 5, 0), inverse, 0.05)
        assert not rejected(Guesses(1, 1, 1), inverse, 0.05)
        assert rejected(Guesses(100_000, 100_000, 100_000), inverse, 0.05)
    estimator = RunFdp(POISSON)
    assert estimator.epsilon(Guesses(10, 5, 0), 1e-5, 0.05).epsilon == 0
    assert estimator.epsilon(Guesses(1, 1, 1), 1e-5, 0.05).epsilon == 0
    assert gaussian_run_epsilon(Guesses(10, 5, 1), 1e-5, 0.05).epsilon == 0
    assert 10 < gaussian_run_epsilon(Guesses(9999, 9999, 9999), 1e-5, 0.05).epsilon < math.inf
    assert (estimator.name, estimator.validity) == ("one-run-f-dp", "model-based")


def test_what_no_member_allows_gets_the_exact_bound() -> None:
    """Crops that hardly ever meet the patch hide most coins, however little noise there is."""
    family = Family(PoissonPatch(1.0, 0.01, 0.01, 10), 1e-5)
    found = RunFdp(family).epsilon(Guesses(5000, 5000, 4900), 1e-5, 0.05)
    assert "every member is rejected" in found.note
    assert 3.5 < found.epsilon < math.log(49)


@pytest.mark.parametrize(("delta", "level"), [(1e-6, 0.05), (1e-5, 0.0), (1e-5, 1.0)])
def test_illegal_values_are_refused(delta: float, level: float) -> None:
    with pytest.raises(InputError, match=r"(delta|level) must be"):
        RunFdp(POISSON).epsilon(Guesses(10, 5, 5), delta, level)
    with pytest.raises(InputError, match=r"(delta|level) must be"):
        gaussian_run_epsilon(Guesses(10, 5, 5), delta - 1e-6, level)


def test_gaussian_inverse_undoes_the_blow_up() -> None:
    inverse = gaussian_blow_up_inverse(1.3)
    for fpr in (1e-9, 0.01, 0.5, 0.99):
        assert inverse(float(ndtr(ndtri(fpr) + 1.3))) == pytest.approx(fpr, rel=1e-6)

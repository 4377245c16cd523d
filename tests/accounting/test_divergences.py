"""One-sided profiles of a step against integration, and their behaviour at extreme values."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_ndtr
from scipy.stats import kstest, norm

from cropaudit.accounting.crops_apart import apart_game, apart_loss
from cropaudit.accounting.divergences import (
    Divergence,
    Forward,
    Revealed,
    StepLoss,
    TopShift,
    Worse,
)
from cropaudit.accounting.groups import GroupStep
from cropaudit.accounting.mechanisms import FixedSizePatch, PoissonPatch
from cropaudit.accounting.pairs import MixturePair, StepPair
from cropaudit.errors import InputError

Array = NDArray[np.float64]
Parts = Sequence[tuple[float, float]]  # (mean, weight)


def density(parts: Parts, x: Array, sigma: float) -> Array:
    return np.asarray(sum(w * norm.pdf(x, m, sigma) for m, w in parts))


def integrated(p: Parts, q: Parts, sigma: float, epsilon: float) -> tuple[float, float]:
    """Returns delta and -d delta / d e^eps by the trapezoid rule."""
    net: dict[float, float] = {}  # what both worlds share cancels before anything is rounded
    for sign, parts in ((1.0, p), (-math.exp(epsilon), q)):
        for mean, weight in parts:
            net[mean] = net.get(mean, 0.0) + sign * weight
    x = np.linspace(min(net) - 9 * sigma, max(net) + 9 * sigma, 60_001)
    gap = density(list(net.items()), x, sigma)
    return (
        float(np.trapezoid(np.maximum(gap, 0), x)),
        float(np.trapezoid(np.where(gap > 0, density(q, x, sigma), 0), x)),
    )


def check(found: Divergence, p: Parts, q: Parts, sigma: float, epsilon: float) -> None:
    at = np.array(epsilon)
    delta, mass = integrated(p, q, sigma, epsilon)
    assert float(found.delta(at)) == pytest.approx(delta, abs=3e-7)
    assert float(found.slope(at)) == pytest.approx(math.exp(epsilon) * mass, rel=2e-3, abs=2e-3)


@st.composite
def top_shifts(draw: st.DrawFn) -> TopShift:
    top = draw(st.floats(0, 3))
    below = st.floats(-4, -0.05)
    shares = draw(st.lists(st.floats(0.01, 1), min_size=2, max_size=4))
    rate = shares[0] / sum(shares)
    common = tuple((top + draw(below), share / sum(shares)) for share in shares[1:])
    return TopShift(common, top + draw(below), top, rate, draw(st.floats(0.25, 4)))


def worlds(shift: TopShift) -> tuple[Parts, Parts]:
    return (*shift.common, (shift.top, shift.rate)), (*shift.common, (shift.low, shift.rate))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(top_shifts(), st.floats(0, 6))
def test_top_shift_equals_integration(shift: TopShift, epsilon: float) -> None:
    check(shift, *worlds(shift), shift.sigma, epsilon)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.tuples(top_shifts(), st.floats(0.05, 1)), min_size=1, max_size=3))
def test_revealed_is_the_mean_of_its_parts(drawn: list[tuple[TopShift, float]]) -> None:
    total = sum(share for _, share in drawn)
    weights = tuple(share / total for _, share in drawn)
    revealed = Revealed(weights, tuple(shift for shift, _ in drawn))
    for epsilon in (0.0, 0.4, 2.0):
        each = [integrated(*worlds(shift), shift.sigma, epsilon)[0] for shift, _ in drawn]
        want = sum(w * value for w, value in zip(weights, each, strict=True))
        assert float(revealed.delta(np.array(epsilon))) == pytest.approx(want, abs=3e-7)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from([PoissonPatch, FixedSizePatch]),
    st.floats(0.25, 4),
    st.floats(0.01, 1),
    st.floats(0.01, 1),
    st.floats(0, 6),
)
def test_forward_and_worse_equal_integration(
    kind: type[PoissonPatch] | type[FixedSizePatch],
    sigma: float,
    q: float,
    rho: float,
    epsilon: float,
) -> None:
    pair = kind(sigma, q, rho, 1).pair()
    p, other = (list(zip((-1.0, 0.0, 1.0), w, strict=True)) for w in (pair.p, pair.q))
    check(Forward(pair), p, other, sigma, epsilon)
    check(Forward(pair.mirrored()), other, p, sigma, epsilon)
    worse = Worse(Forward(pair), Forward(pair.mirrored()))
    both = [integrated(*way, sigma, epsilon)[0] for way in ((p, other), (other, p))]
    assert float(worse.delta(np.array(epsilon))) == pytest.approx(max(both), abs=3e-7)


def test_worse_takes_the_larger_one_and_its_slope_where_they_cross() -> None:
    """A rare large shift against a certain small one: they cross between 0 and 3."""
    rare = TopShift(((0.0, 0.9),), -1.0, 1.0, 0.1, 0.5)
    small = TopShift((), 0.0, 0.5, 1.0, 1.0)
    at = np.linspace(0, 5, 101)
    worse = Worse(rare, small)
    first = rare.delta(at) > small.delta(at)
    assert 0 < first.sum() < len(at)
    np.testing.assert_array_equal(worse.delta(at), np.maximum(rare.delta(at), small.delta(at)))
    np.testing.assert_array_equal(worse.slope(at), np.where(first, rare.slope(at), small.slope(at)))
    assert worse.reach(1e-9) == max(rare.reach(1e-9), small.reach(1e-9))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(1, 4),
    st.floats(0.3, 3),
    st.floats(0.02, 1),
    st.floats(0.02, 1),
    st.sampled_from([0.0, -1.0]),
    st.floats(0, 8),
    st.booleans(),
)
def test_mixture_pair_equals_integration(
    crops: int, sigma: float, q: float, rho: float, absent: float, epsilon: float, mirror: bool
) -> None:
    pair = apart_game(crops, q, rho, absent, sigma)
    pair = pair.mirrored() if mirror else pair
    p, other = (list(zip(pair.means, w, strict=True)) for w in (pair.p, pair.q))
    at = np.array(epsilon)
    delta, mass = integrated(p, other, sigma, epsilon)
    assert float(pair.delta(at)) == pytest.approx(delta, abs=1e-6)
    assert float(pair.slope(at)) == pytest.approx(math.exp(epsilon) * mass, rel=4e-3, abs=4e-3)


@pytest.mark.parametrize("absent", [0.0, -1.0])
@pytest.mark.parametrize("sigma", [0.03, 0.1, 0.3, 1.0, 10.0])
def test_mixture_of_one_crop_is_the_step_pair_at_any_epsilon(sigma: float, absent: float) -> None:
    """One crop has a closed form: the axis must follow it where e^eps overflows, too."""
    general = apart_game(1, 0.2, 0.3, absent, sigma)
    kind = PoissonPatch if absent == 0 else FixedSizePatch
    closed = kind(sigma, 0.2, 0.3, 1).pair()
    # A fixed-size pair of mixtures keeps its absent part; the closed one has taken it in.
    at = np.linspace(0, max(closed.quantile_range(1e-18)[1], 1.0), 200)
    for mine, theirs in ((general, closed), (general.mirrored(), closed.mirrored())):
        want = theirs.delta(at)
        np.testing.assert_allclose(mine.delta(at), want, rtol=1e-8, atol=1e-13)
        # No test that it tries does better than the best one.
        assert np.all(mine.delta(at) <= want * (1 + 1e-9) + 1e-13)


@pytest.mark.parametrize("crops", [2, 3])
def test_mixture_pair_is_right_where_the_loss_is_large(crops: int) -> None:
    """A difference of two masses near 1, times e^eps, was off by 9% at epsilon 40."""
    pair = apart_game(crops, 1.0, 0.3, -1.0, 0.3)
    x = np.linspace(-crops - 3, crops + 3, 400_001)
    p, q = (density(list(zip(pair.means, w, strict=True)), x, 0.3) for w in (pair.p, pair.q))
    for epsilon in (20.0, 30.0, 40.0, 60.0):
        exact = float(np.trapezoid(np.maximum(p - math.exp(epsilon) * q, 0), x))
        assert float(pair.delta(np.array(epsilon))) == pytest.approx(exact, rel=1e-6)


def divergences() -> list[Divergence]:
    poisson = PoissonPatch(0.8, 0.3, 0.4, 1).pair()
    fixed = FixedSizePatch(1.3, 0.3, 0.4, 1).pair()
    return [
        Forward(poisson),
        Forward(fixed.mirrored()),
        Worse(Forward(fixed), Forward(fixed.mirrored())),
        TopShift(((0.0, 0.5), (-0.5, 0.2)), -1.5, 1.0, 0.3, 0.7),
        apart_loss(3, 0.4, 0.2, 0.0, 1.1),
        apart_loss(2, 0.4, 0.2, -1.0, 0.6),
        Forward(apart_game(2, 0.4, 0.2, 0.0, 0.9)),
    ]


@pytest.mark.parametrize("which", range(len(divergences())))
def test_slope_is_the_derivative_and_delta_falls_and_is_convex(which: int) -> None:
    found = divergences()[which]
    at = np.linspace(0.01, 5, 200)
    odds, step = np.exp(at), 1e-4
    there = found.delta(np.log(odds + step)), found.delta(np.log(odds - step))
    by_difference = (there[1] - there[0]) / (2 * step) * odds
    np.testing.assert_allclose(found.slope(at), by_difference, rtol=1e-4, atol=1e-8)
    even = np.log(np.linspace(1, 60, 400))
    delta = found.delta(even)
    # The mixture follows a bent loss by straight lines; hence not convex to the last digit.
    assert np.all(np.diff(delta) <= 1e-13)
    assert np.all(np.diff(delta, 2) >= -1e-11)
    # A line with that slope supports the profile.
    line = delta[200] - found.slope(even)[200] * np.expm1(even - even[200])
    assert np.all(delta >= line - 1e-11)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.floats(0.02, 50), st.floats(1e-9, 1), st.floats(1e-9, 1))
def test_top_shift_contains_the_poisson_pair(sigma: float, q: float, rho: float) -> None:
    shift = TopShift(((0.0, 1 - q), (-1.0, q * (1 - rho))), -1.0, 1.0, q * rho, sigma)
    pair = Forward(PoissonPatch(sigma, q, rho, 1).pair())
    at = np.concatenate([[0.0], np.geomspace(1e-6, max(pair.reach(1e-15), 1.0), 200)])
    np.testing.assert_allclose(shift.delta(at), pair.delta(at), rtol=1e-6, atol=1e-14)
    # The pair holds P - Q at -1, which is -q rho, to one rounding of q: 1e-16 / rho in the log of
    # the likelihood ratio, that times sigma in the mass above its threshold.
    rounding = np.finfo(float).eps * sigma / rho
    np.testing.assert_allclose(shift.slope(at), pair.slope(at), rtol=1e-6 + rounding, atol=1e-12)


EXTREMES = [
    (sigma, q, rho)
    for sigma in (0.02, 0.1, 1.0, 7.0, 50.0)
    for q in (1e-9, 1e-3, 1.0)
    for rho in (1e-9, 0.3, 1.0)
]


@pytest.mark.parametrize("crops", [1, 2, 5])
def test_extreme_values_are_finite_and_monotone(crops: int) -> None:
    at = np.concatenate([[0.0], np.geomspace(1e-9, 1e5, 300)])
    for sigma, q, rho in EXTREMES:
        for absent in (0.0, -1.0):
            kind = PoissonPatch if absent == 0.0 else FixedSizePatch
            (loss,) = kind(sigma, q, rho, 1, crops=crops).losses()
            delta, slope = loss.up.delta(at), loss.up.slope(at)
            assert np.all(np.isfinite(delta) & (delta >= 0) & (delta <= 1)), (sigma, q, rho)
            assert np.all(np.isfinite(slope) & (slope >= 0)), (sigma, q, rho)
            assert np.all(np.diff(delta) <= 1e-15 + 1e-9 * delta[1:]), (sigma, q, rho)
            rate = -q * math.expm1(crops * math.log1p(-rho)) if rho < 1 else q
            assert delta[0] <= rate + 1e-15


@pytest.mark.parametrize("sigma", [0.02, 0.3, 5.0])
def test_more_rate_and_less_noise_are_worse(sigma: float) -> None:
    """Of the same pair, at every epsilon."""
    at = np.concatenate([[0.0], np.geomspace(1e-6, 1e4, 120)])
    for absent in (0.0, -1.0):
        base = apart_loss(2, 0.3, 0.2, absent, sigma).delta(at)
        for worse in (
            apart_loss(2, 0.4, 0.2, absent, sigma),
            apart_loss(2, 0.3, 0.25, absent, sigma),
            apart_loss(2, 0.3, 0.2, absent, sigma * 0.9),
            apart_loss(3, 0.3, 0.2, absent, sigma),
        ):
            assert np.all(worse.delta(at) >= base * (1 - 1e-9) - 1e-16)


def by_root(shift: TopShift, epsilon: float) -> float:
    """The divergence of a shift from a bracketed root: no iteration in common with the package."""
    means = np.array([m for m, _ in shift.common] + [shift.low])
    weights = [w * -math.expm1(-epsilon) for _, w in shift.common] + [shift.rate]
    held = np.array(weights) > 0
    means, logs = means[held], np.log(np.array(weights)[held]) + epsilon

    def excess(x: float) -> float:
        away = logs - (x - means) ** 2 / (2 * shift.sigma**2)
        top = math.log(shift.rate) - (x - shift.top) ** 2 / (2 * shift.sigma**2)
        return float(top - np.logaddexp.reduce(away))

    far = 10 + (epsilon + 50) * shift.sigma**2 / 0.2
    cut = brentq(excess, -far, far, xtol=1e-14)
    gain = shift.rate * math.exp(log_ndtr((shift.top - cut) / shift.sigma))
    return float(gain - np.exp(logs + log_ndtr((means - cut) / shift.sigma)).sum())


@pytest.mark.parametrize("sigma", [0.02, 0.1, 1.0, 7.0, 50.0])
@pytest.mark.parametrize("rate", [1e-9, 1e-4, 0.5])
def test_top_shift_equals_a_bracketed_root(sigma: float, rate: float) -> None:
    """Relative accuracy in the far tail, where integration sees nothing."""
    common = ((0.0, 0.7 * (1 - rate)), (-0.5, 0.3 * (1 - rate)))
    shift = TopShift(common, -1.0, 1.0, rate, sigma)
    top = shift.reach(rate * 1e-9)
    for epsilon in np.linspace(top / 50, top, 12).tolist():
        want = by_root(shift, epsilon)
        assert float(shift.delta(np.array(epsilon))) == pytest.approx(want, rel=1e-7, abs=1e-30)


@pytest.mark.parametrize("tail", [1e-3, 1e-9, 1e-22])
def test_reach_leaves_at_most_the_tail(tail: float) -> None:
    rounding = 4e-15  # of a difference of two masses near 1
    for sigma, q, rho in EXTREMES:
        losses = [
            *PoissonPatch(sigma, q, rho, 1).losses(),
            *FixedSizePatch(sigma, q, rho, 1).losses(),
            StepLoss.played(FixedSizePatch(sigma, q, rho, 1).pair()),
            *PoissonPatch(sigma, q, rho, 1, crops=3).losses(),
            *FixedSizePatch(sigma, q, rho, 1, crops=2).losses(),
        ]
        if tail > 1e-22:  # an axis of 10 deviations ends at 1e-23
            losses.append(StepLoss.played(apart_game(2, q, rho, 0.0, sigma)))
        for loss in losses:
            for half in (loss.up, loss.down):
                assert float(half.delta(np.array(half.reach(tail)))) <= tail * (1 + 1e-9) + rounding


def test_nothing_moves_at_rate_zero() -> None:
    shift = TopShift(((0.0, 1.0),), -1.0, 1.0, 0.0, 1.0)
    at = np.array([0.0, 1.0])
    assert shift.reach(1e-9) == 0.0
    assert not shift.delta(at).any()
    assert not shift.slope(at).any()


def test_swapped_and_both_ways() -> None:
    forward = Forward(FixedSizePatch(1.0, 0.3, 0.4, 1).pair())
    played = StepLoss.played(FixedSizePatch(1.0, 0.3, 0.4, 1).pair())
    assert played.up == forward
    assert (played.swapped().up, played.swapped().down) == (played.down, played.up)
    same = StepLoss.both_ways(forward)
    assert same.up is same.down


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TopShift(((1.0, 0.5),), -1.0, 1.0, 0.5, 1.0), "means must be below the top 1.0"),
        (lambda: TopShift(((0.0, 0.5),), 1.0, 1.0, 0.5, 1.0), "means must be below the top"),
        (lambda: TopShift(((0.0, 0.6),), -1.0, 1.0, 0.5, 1.0), "non-negative with sum 1"),
        (lambda: TopShift(((0.0, 0.5),), -1.0, 1.0, 0.5, -1.0), "noise multiplier must be"),
        (lambda: Revealed((0.5, 0.6), ()), "weights must be non-negative with sum 1"),
        (lambda: MixturePair((0.0,), (1.0,), (0.9,), 1.0), "mixture weights must be"),
        (lambda: MixturePair((0.0,), (1.0,), (1.0,), math.inf), "noise multiplier must be"),
    ],
)
def test_bad_values_are_named(build: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build()  # type: ignore[operator]


@pytest.mark.parametrize(
    "pair",
    [
        StepPair((0.2, 0.3, 0.5), (0.6, 0.4, 0.0), 0.4),
        apart_game(3, 0.6, 0.4, 0.0, 0.4),
        MixturePair((-2.0, 0.5, 7.0), (0.1, 0.2, 0.7), (1.0, 0.0, 0.0), 1.5),
    ],
)
def test_samples_follow_the_densities(pair: StepPair | MixturePair) -> None:
    """Levels 1e-5 (Kolmogorov-Smirnov) and 4e-6 (means): fresh seeds fail 1e-4 of the time."""
    means = (-1.0, 0.0, 1.0) if isinstance(pair, StepPair) else pair.means
    drawn = pair.sample(20_000, np.random.default_rng(7))
    for sample, weights in zip(drawn, (pair.p, pair.q), strict=True):

        def law(x: Array, weights: tuple[float, ...] = weights) -> Array:
            return np.asarray(
                sum(w * norm.cdf(x, m, pair.sigma) for m, w in zip(means, weights, strict=True))
            )

        assert kstest(sample, law).pvalue > 1e-5
        spread = sample.std() / math.sqrt(len(sample))
        assert abs(sample.mean() - np.dot(weights, means)) < 4.6 * spread  # 4e-6 each


def corner(loss: StepLoss) -> float:
    """Total variation and twice the best test's mass under the other world, just above zero."""
    at = np.array([1e-12])
    return float(loss.up.delta(at)[0] + 2 * loss.up.slope(at)[0])


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.sampled_from([0.0, 0.05, 0.3, 1.0, 5.0]),
    st.floats(0.01, 1),
    st.floats(0.01, 1),
    st.integers(1, 4),
)
def test_the_symmetrised_profile_is_convex_at_zero(
    sigma: float, q: float, rho: float, crops: int
) -> None:
    """P(L>0) + Q(L>0) <= 1 for the order that wins: else no pair would have the profile."""
    kinds = [
        PoissonPatch(sigma, q, rho, 1, crops=crops),
        FixedSizePatch(sigma, q, rho, 1, crops=crops),
    ]
    for mechanism in kinds:
        assert corner(mechanism.losses()[0]) <= 1 + 1e-9
    for base in (PoissonPatch(sigma, q, rho, 1), FixedSizePatch(sigma, max(q, 0.1), rho, 1)):
        assert corner(GroupStep(base, crops, 10).losses()[0]) <= 1 + 1e-9


def test_a_single_order_may_break_what_the_larger_one_keeps() -> None:
    """The condition is no matter of course: the order that loses can have a sum above 1."""
    pair = FixedSizePatch(0.3, 0.3, 0.3, 1).pair()
    sums = [corner(StepLoss.both_ways(Forward(one))) for one in (pair, pair.mirrored())]
    assert min(sums) < 1 < max(sums)

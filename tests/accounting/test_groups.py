"""Bounds for a patch in each of several images: chains, and the step looked into."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from cropaudit.accounting.accountant import bracket, pair_curve, privacy_curve
from cropaudit.accounting.counts import binomial, hypergeometric
from cropaudit.accounting.groups import GroupStep, chained_epsilon, group_epsilon
from cropaudit.accounting.mechanisms import (
    CyclicPatch,
    FixedSizePatch,
    FullBatchPatch,
    PatchMechanism,
    PoissonPatch,
    ShufflePatch,
)
from cropaudit.accounting.pairs import MixturePair
from cropaudit.errors import InputError

AGREE = 1e-3


def gaussian_epsilon(mu: float, delta: float) -> float:
    def excess(epsilon: float) -> float:
        cost = math.exp(epsilon + norm.logcdf(-mu / 2 - epsilon / mu))
        return float(norm.cdf(mu / 2 - epsilon / mu)) - cost - delta

    return float(brentq(excess, 0, mu * mu / 2 + 40 * mu)) if excess(0) > 0 else 0.0


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize(("mu", "steps"), [(0.1, 1), (0.5, 40), (1.0, 900)])
@pytest.mark.parametrize("delta", [1e-6, 1e-2])
def test_a_chain_of_gaussians_adds_up(size: int, mu: float, steps: int, delta: float) -> None:
    """A chain of k tests of mu is one of k mu (Dong, Roth and Su 2019)."""
    mechanism = FullBatchPatch(2 * math.sqrt(steps) / mu, 1.0, 1.0, steps)
    want = gaussian_epsilon(size * mu, delta)
    found = chained_epsilon(privacy_curve(mechanism, delta), size, delta)
    # Five links of mu 1 are more than the numerics of a chain can follow, which they say.
    assert want <= found
    assert found <= want * 1.02 + 2e-3 or (found == math.inf and size * mu >= 5)
    # Looking into the step: every full step moves the sum by 2k.
    inside = bracket(GroupStep(mechanism, size, 10), delta)
    assert inside.lower <= want <= inside.upper
    assert want <= group_epsilon(mechanism, size, delta, 10) <= found


def test_a_chain_that_numerics_cannot_follow_is_infinite() -> None:
    loud = privacy_curve(FullBatchPatch(0.1, 1.0, 1.0, 10), 1e-5)
    assert chained_epsilon(loud, 3, 1e-5) == math.inf


MECHANISMS: list[PatchMechanism] = [
    PoissonPatch(1.0, 0.1, 0.3, 100),
    PoissonPatch(0.6, 0.02, 0.1, 300),
    FixedSizePatch(2.0, 0.1, 0.3, 100),
    FullBatchPatch(5.0, 1.0, 0.2, 30),
    ShufflePatch(4.0, 0.1, 0.3, 60),
    CyclicPatch(3.0, 0.2, 0.3, 10),
]


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_larger_groups_cost_more(mechanism: PatchMechanism) -> None:
    single = bracket(mechanism, 1e-5)
    found = [group_epsilon(mechanism, size, 1e-5, 1000) for size in (1, 2, 3, 5)]
    assert found[0] == pytest.approx(single.upper, rel=2 * AGREE)
    assert found[0] >= single.lower
    assert all(b > a for a, b in itertools.pairwise(found))


@pytest.mark.parametrize("steps", [1, 60])
def test_a_group_of_one_is_one_image(steps: int) -> None:
    """The step looked into is exact for full and fixed-size batches, and looser for Poisson.

    There it reveals, for the one image, whether it would be used where its patch is not shown.
    """
    for mechanism in (FullBatchPatch(2.0, 1.0, 0.3, steps), FixedSizePatch(1.0, 0.1, 0.3, steps)):
        alone, group = bracket(mechanism, 1e-5), bracket(GroupStep(mechanism, 1, 100), 1e-5)
        assert group.upper == pytest.approx(alone.upper, rel=2 * AGREE)
    # What revealing costs: a factor that falls with the rate.
    for rate, most in ((0.1, 5.0), (0.9, 1.35)):
        poisson = PoissonPatch(1.5, rate, 0.3, steps)
        alone, group = bracket(poisson, 1e-5), bracket(GroupStep(poisson, 1, 100), 1e-5)
        assert alone.lower <= group.upper <= alone.upper * most
        # Hence the smaller of both bounds is taken.
        assert group_epsilon(poisson, 1, 1e-5, 100) <= alone.upper * (1 + 2 * AGREE) + 1e-3


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.floats(0.3, 4),
    st.floats(0.01, 1),
    st.floats(0.01, 1),
    st.integers(1, 4),
    st.sampled_from([PoissonPatch, FixedSizePatch]),
)
def test_profiles_of_a_group_hold_those_of_a_smaller_one(
    sigma: float, q: float, rho: float, size: int, kind: type[PoissonPatch]
) -> None:
    at = np.linspace(0, 8, 60)
    base = kind(sigma, max(1, round(20 * q)) / 20, rho, 1)
    smaller = base if size == 1 else GroupStep(base, size - 1, 20)
    small = smaller.losses()[0].up
    (loss,) = GroupStep(base, size, 20).losses()
    assert loss.up is loss.down
    assert np.all(loss.up.delta(at) >= small.delta(at) - 1e-12)


def attained(q: float, rho: float, sigma: float, size: int) -> MixturePair:
    """Worlds that gradients can bring about: +1 or -1 for a shown patch, and -1 for any other."""
    hit, missed = q * rho, q * (1 - rho)
    p = np.array([1.0])
    other = np.array([1.0])
    for _ in range(size):
        p = np.convolve(p, [missed, 1 - q, hit])
        other = np.convolve(other, [q, 1 - q, 0.0])
    means = np.arange(-size, size + 1, dtype=float)
    worlds = [tuple((law / law.sum()).tolist()) for law in (p, other)]
    return MixturePair(tuple(means.tolist()), worlds[0], worlds[1], sigma)


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize(("q", "rho", "sigma"), [(0.1, 0.3, 1.0), (0.5, 0.8, 1.5), (1.0, 0.2, 3.0)])
def test_no_bound_lies_below_what_a_group_attains(
    size: int, q: float, rho: float, sigma: float
) -> None:
    pair = attained(q, rho, sigma, size)
    (loss,) = GroupStep(PoissonPatch(sigma, q, rho, 1), size, 50).losses()
    at = np.linspace(0, 8, 80)
    for way in (pair, pair.mirrored()):
        assert np.all(loss.up.delta(at) >= way.delta(at) - 1e-9)
    for steps in (1, 30):
        game = pair_curve(pair, steps, 1e-4)
        bound = group_epsilon(PoissonPatch(sigma, q, rho, steps), size, 1e-4, 50)
        assert bound >= game.epsilon(1e-4) * (1 - AGREE)
        for epsilon in (0.0, 0.5, 2.0):
            claimed = privacy_curve(GroupStep(PoissonPatch(sigma, q, rho, steps), size, 50), 1e-4)
            assert claimed.delta(epsilon) >= game.delta(epsilon) * (1 - 0.01) - 1e-9


def test_phases_of_a_group() -> None:
    phases = [PoissonPatch(1.0, 0.1, 0.3, 60), PoissonPatch(1.0, 0.1, 0.3, 40)]
    whole = group_epsilon(PoissonPatch(1.0, 0.1, 0.3, 100), 2, 1e-5, 1000)
    assert group_epsilon(phases, 2, 1e-5, 1000) == pytest.approx(whole, rel=5e-3)


def test_several_crops_clipped_apart_take_the_chain_alone() -> None:
    mechanism = FixedSizePatch(6.0, 0.1, 0.3, 20, crops=2)
    curve = privacy_curve(mechanism, 1e-5)
    assert group_epsilon(mechanism, 2, 1e-5, 100) == chained_epsilon(curve, 2, 1e-5)
    with pytest.raises(InputError, match="crops must be 1 for a group bound"):
        GroupStep(mechanism, 2, 100)


@pytest.mark.parametrize("size", [0, 11])
def test_group_sizes_out_of_range_are_named(size: int) -> None:
    with pytest.raises(InputError, match="group size must be between 1 and the 10 records"):
        group_epsilon(PoissonPatch(1.0, 0.1, 0.3, 10), size, 1e-5, 10)


def exact_hypergeometric(total: int, marked: int, drawn: int) -> list[float]:
    law = []
    for k in range(marked + 1):
        held = drawn - k >= 0 and total - marked >= drawn - k
        ways = math.comb(marked, k) * math.comb(total - marked, drawn - k) if held else 0
        law.append(float(Fraction(ways, math.comb(total, drawn))))
    return law


@pytest.mark.parametrize(
    ("total", "marked", "drawn"),
    [(1, 1, 1), (5, 2, 2), (5, 3, 5), (10, 4, 9), (50, 50, 20), (3000, 5, 200), (1_000_000, 3, 64)],
)
def test_hypergeometric_law_is_exact(total: int, marked: int, drawn: int) -> None:
    found = hypergeometric(np.arange(marked + 1), total, marked, drawn)
    np.testing.assert_allclose(found, exact_hypergeometric(total, marked, drawn), rtol=1e-11)


@pytest.mark.parametrize(("trials", "probability"), [(1, 0.3), (5, 1.0), (7, 0.0), (40, 1e-9)])
def test_binomial_law_is_exact(trials: int, probability: float) -> None:
    share = Fraction(probability)
    want = [
        float(math.comb(trials, k) * share**k * (1 - share) ** (trials - k))
        for k in range(trials + 1)
    ]
    np.testing.assert_allclose(
        binomial(np.arange(trials + 1), trials, probability), want, rtol=1e-11, atol=1e-300
    )


@pytest.mark.parametrize(("records", "batch"), [(1000, 10), (1_000_000, 64), (10_000_000, 1)])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_rates_of_a_group_keep_their_digits_in_large_data_sets(
    records: int, batch: int, size: int
) -> None:
    """A rate that was 1 less a sum came out as 0 in ten million records, and so did epsilon."""
    rho = Fraction(1, 100)
    ways = math.comb(records, batch)
    want = sum(
        Fraction(math.comb(size, k) * math.comb(records - size, batch - k), ways)
        * (1 - (1 - rho) ** k)
        for k in range(min(size, batch) + 1)
    )
    step = GroupStep(FixedSizePatch(1.0, batch / records, 0.01, 1), size, records)
    assert step.record_rate == pytest.approx(float(want), rel=1e-11)


def test_group_step_says_what_it_is() -> None:
    step = GroupStep(PoissonPatch(1.0, 0.1, 0.3, 7), 3, 10)
    assert "each of 3 images" in step.adjacency
    assert step.compositions == 7
    assert step.record_rate == pytest.approx(1 - 0.97**3)
    assert step.with_noise(2.0).base.noise_multiplier == 2.0
    assert step.with_steps(9).compositions == 9
    assert GroupStep(FullBatchPatch(1.0, 1.0, 1.0, 1), 2, 5).record_rate == 1.0

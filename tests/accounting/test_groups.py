"""Group bounds against Gaussian closed forms and against explicit worlds of several images."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom, hypergeom, norm

from cropaudit.accounting.accountant import bracket, epsilon_at
from cropaudit.accounting.counts import binomial, hypergeometric
from cropaudit.accounting.groups import GroupStep, chained_epsilon, group_epsilon
from cropaudit.accounting.mechanisms import (
    FixedSizePatch,
    FullBatchPatch,
    PoissonPatch,
    ShufflePatch,
)
from cropaudit.errors import InputError

Law = dict[float, float]
EPSILONS = np.array([0.0, 0.1, 0.5, 1.0, 2.0, 4.0])


def divergence(p: Law, q: Law, sigma: float) -> np.ndarray:
    """H_eps(P || Q) of two laws of means with Gaussian noise, integrated on a grid."""
    means = [*p, *q]
    x = np.linspace(min(means) - 9 * sigma, max(means) + 9 * sigma, 6001)
    densities = [sum(w * norm.pdf(x, m, sigma) for m, w in law.items()) for law in (p, q)]
    gaps = densities[0] - np.exp(EPSILONS)[:, None] * densities[1]
    return np.asarray(np.maximum(gaps, 0).sum(axis=1) * (x[1] - x[0]))


def bound_of(step: GroupStep) -> np.ndarray:
    return np.asarray(step.losses()[0].up.delta(EPSILONS))


@pytest.mark.parametrize(("q", "rho", "sigma"), [(0.2, 0.4, 0.7), (0.6, 0.2, 1.0), (1.0, 0.5, 1.5)])
def test_poisson_step_is_above_every_world_of_two_images(
    q: float, rho: float, sigma: float
) -> None:
    """Each image misses with m, shows the patch with a or b; all signs and zero are tried."""
    base = PoissonPatch(sigma, q, rho, 1)
    limit = bound_of(GroupStep(base, 2, 10))
    best = np.zeros(len(EPSILONS))
    single = list(itertools.product((-1.0, 0.0, 1.0), repeat=3))
    for first, second in itertools.combinations_with_replacement(single, 2):
        worlds = []
        for side in (1, 2):
            law: Law = {}
            options = [
                [(0.0, 1 - q), (image[0], q * (1 - rho)), (image[side], q * rho)]
                for image in (first, second)
            ]
            for (x, u), (y, v) in itertools.product(*options):
                law[x + y] = law.get(x + y, 0.0) + u * v
            worlds.append(law)
        best = np.maximum(best, divergence(worlds[0], worlds[1], sigma))
    assert np.all(best <= limit + 1e-6)
    assert best[0] >= 0.9 * limit[0], "the bound is close where epsilon is 0"


@pytest.mark.parametrize(("rho", "sigma"), [(0.3, 0.8), (0.7, 1.2)])
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_fixed_size_step_is_above_every_world_of_two_images(
    batch: int, rho: float, sigma: float
) -> None:
    """Four records, two of the group; every batch is listed, the others' gradients are tried too.

    By symmetry the batch is drawn by subset; signs alone, as interior points only blur.
    """
    base = FixedSizePatch(sigma, batch / 4, rho, 1)
    limit = bound_of(GroupStep(base, 2, 4))
    best = np.zeros(len(EPSILONS))
    batches = list(itertools.combinations(range(4), batch))
    signs = (-1.0, 1.0)
    for m1, a1, b1, m2, a2, b2, o1, o2 in itertools.product(signs, repeat=8):
        worlds = []
        for hits in ((a1, a2), (b1, b2)):
            law: Law = {}
            for drawn in batches:
                options = [
                    [(miss, 1 - rho), (hit, rho)] if at in drawn else [(0.0, 1.0)]
                    for at, miss, hit in ((0, m1, hits[0]), (1, m2, hits[1]))
                ]
                rest = sum(o for at, o in ((2, o1), (3, o2)) if at in drawn)
                for (x, u), (y, v) in itertools.product(*options):
                    law[x + y + rest] = law.get(x + y + rest, 0.0) + u * v / len(batches)
            worlds.append(law)
        best = np.maximum(best, divergence(worlds[0], worlds[1], sigma))
    assert np.all(best <= limit + 1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_full_batches_without_crops_are_one_gaussian(size: int) -> None:
    """k images at +1 or -1 each: a Gaussian of k times the distance."""
    base = FullBatchPatch(4.0, 1.0, 1.0, 4)
    exact = bracket(FullBatchPatch(4.0 / size, 1.0, 1.0, 4), 1e-5)
    found = bracket(GroupStep(base, size, 50), 1e-5)
    assert found.lower <= exact.upper
    assert exact.lower <= found.upper
    if size <= 3:
        chained = chained_epsilon(bracket(base, 1e-5).curve, size, 1e-5)
        assert exact.lower <= chained <= exact.upper * 1.002


def test_a_group_of_one_is_no_better_than_one_image() -> None:
    for base in (PoissonPatch(1.0, 0.1, 0.3, 100), FixedSizePatch(1.0, 0.1, 0.3, 100)):
        single = epsilon_at(base, 1e-5)
        assert bracket(GroupStep(base, 1, 100), 1e-5).upper >= single * (1 - 1e-3)
        assert group_epsilon(base, 1, 1e-5, 100) == pytest.approx(single, rel=2e-3)


@pytest.mark.parametrize(
    "base",
    [
        PoissonPatch(2.0, 0.1, 0.3, 100),
        FixedSizePatch(3.0, 0.1, 0.3, 100),
        ShufflePatch(6.0, 0.1, 0.3, 100),
        PoissonPatch(4.0, 0.1, 0.3, 100, crops=2),
    ],
)
def test_larger_groups_cost_more(base: PoissonPatch) -> None:
    found = [group_epsilon(base, size, 1e-5, 100) for size in (1, 2, 3)]
    assert found == sorted(found)
    assert all(math.isfinite(value) for value in found)
    assert found[1] >= 1.5 * found[0]


def test_phases_form_groups_as_well() -> None:
    half = PoissonPatch(2.0, 0.1, 0.3, 50)
    whole = group_epsilon(half.with_steps(100), 2, 1e-5, 100)
    assert group_epsilon([half, half], 2, 1e-5, 100) == pytest.approx(whole, rel=2e-3)


def test_groups_are_never_larger_than_the_data() -> None:
    with pytest.raises(InputError, match="group size must be between 1 and the 100 records"):
        group_epsilon(PoissonPatch(1.0, 0.1, 0.3, 10), 101, 1e-5, 100)


def test_counts_are_those_of_scipy() -> None:
    counts = np.arange(9)
    for trials, chance in itertools.product((1, 3, 8), (0.0, 1e-9, 0.3, 1.0)):
        expected = binom.pmf(counts, trials, chance)
        np.testing.assert_allclose(binomial(counts, trials, chance), expected, atol=1e-14)
    for total, marked, drawn in itertools.product((9, 20, 3000), (1, 3, 8), (1, 5, 9)):
        expected = hypergeom.pmf(counts, total, marked, drawn)
        got = hypergeometric(counts, total, marked, drawn)
        np.testing.assert_allclose(got, expected, atol=1e-10)

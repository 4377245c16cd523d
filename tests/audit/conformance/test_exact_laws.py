"""The laws behind the checks against enumeration, and Monte Carlo p-values against their level."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cropaudit.audit.conformance.checks.exact import (
    FOUND,
    SMALL,
    expected_share,
    hypergeometric_sum,
    monte_carlo,
    poisson_binomial,
    tails,
)

CHANCES = st.lists(st.floats(0, 1), min_size=1, max_size=7)
SIZES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(CHANCES)
def test_successes_are_those_of_all_outcomes(chances: list[float]) -> None:
    slow = np.zeros(len(chances) + 1)
    for outcome in itertools.product([0, 1], repeat=len(chances)):
        parts = [p if hit else 1 - p for p, hit in zip(chances, outcome, strict=True)]
        slow[sum(outcome)] += np.prod(parts)
    assert poisson_binomial(chances) == pytest.approx(slow, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(SIZES)
def test_overlaps_are_those_of_all_sets(sizes: list[tuple[int, int]]) -> None:
    records, slow = 5, np.ones(1)
    for one, other in sizes:
        fixed = set(range(one))
        drawn = [len(fixed & set(s)) for s in itertools.combinations(range(records), other)]
        slow = np.convolve(slow, np.bincount(drawn) / len(drawn))
    first, second = np.array(sizes).T
    law = hypergeometric_sum(records, first, second)
    longest = max(len(law), len(slow))
    padded = [np.pad(x, (0, longest - len(x))) for x in (law, slow)]
    assert padded[0] == pytest.approx(padded[1], abs=1e-12)


def test_tails_share_the_value_that_was_seen() -> None:
    law = poisson_binomial([0.5] * 4)
    assert tails(law, 1) == pytest.approx((5 / 16, 15 / 16))
    assert tails(law, 4) == pytest.approx((1.0, 1 / 16))
    assert tails(law, 0)[1] == 1.0


@pytest.mark.parametrize("draws", [99, 999])
def test_monte_carlo_keeps_its_level(draws: int) -> None:
    """4000 sound values: P(p <= u) <= u. Fails falsely with a probability below 6e-5 in all."""
    rng = np.random.default_rng(1)
    found = np.array(
        [monte_carlo(float(rng.random()), lambda n: rng.random(n), draws) for _ in range(4000)]
    )
    for level in (0.01, 0.05, 0.3):
        assert (found <= level).sum() <= stats.binom.isf(1e-5, 4000, level)


def test_ties_count_as_exceedances_and_the_least_value_is_one_over_the_draws() -> None:
    assert monte_carlo(2.0, lambda n: np.full(n, 2.0)) == 1.0
    assert monte_carlo(3.0, lambda n: np.full(n, 2.0), 999) == 1 / 1000


def test_the_stated_share_is_found_as_surely_as_stated() -> None:
    share = expected_share(140, 1 / 8, 128)
    critical = stats.binom.isf(SMALL / 128, 140, 1 / 8) + 1
    assert stats.binom.sf(critical - 1, 140, 1 / 8) <= SMALL / 128
    assert stats.binom.sf(critical - 1, 140, share) == pytest.approx(FOUND)
    assert expected_share(3, 0.5, 100) == 1.0
    assert expected_share(0, 0.5) == 1.0

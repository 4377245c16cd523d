"""Holm's procedure against the closed test that it is a short cut of, and its level."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cropaudit.audit.estimators.holm import holm
from cropaudit.errors import InputError

VALUES = st.lists(
    st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.05, 1.0])), min_size=1, max_size=7
)


def closed(values: list[float]) -> list[float]:
    """A hypothesis is rejected if every intersection that holds it is, each by Bonferroni."""
    every = range(len(values))
    subsets = [s for size in every for s in itertools.combinations(every, size + 1)]
    p_of = {s: min(1.0, len(s) * min(values[i] for i in s)) for s in subsets}
    return [max(p for s, p in p_of.items() if i in s) for i in every]


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_adjusted_values_are_those_of_the_closed_test(values: list[float]) -> None:
    assert holm(values) == pytest.approx(closed(values), abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(VALUES, st.randoms(use_true_random=False))
def test_order_does_not_matter_and_nothing_gets_smaller(values: list[float], random) -> None:
    found = dict(zip(values, holm(values), strict=True))
    shuffled = values.copy()
    random.shuffle(shuffled)
    assert holm(shuffled) == [found[value] for value in shuffled]
    assert all(found[value] >= value for value in values)
    assert all(found[a] <= found[b] for a, b in itertools.pairwise(sorted(values)))


@pytest.mark.parametrize("tests", [1, 2, 5, 20])
@pytest.mark.parametrize("level", [0.05, 0.2])
def test_level_holds_whatever_the_dependence(tests: int, level: float) -> None:
    """Exact, no randomness: the share of a fine grid of one uniform that drives all p-values.

    Each p-value is uniform. Shifted by even steps they are never small together, which is the
    worst case of Bonferroni and uses the level in full; alike, they are small at once.
    """
    points = (np.arange(4000) + 0.5) / 4000
    shifted = (points[:, None] + np.arange(tests) / tests) % 1
    alike = np.repeat(points[:, None], tests, axis=1)
    opposed = np.where(np.arange(tests) % 2, 1 - alike, alike)
    shares = [
        np.mean([min(holm(row)) <= level for row in law.tolist()])
        for law in (shifted, alike, opposed)
    ]
    assert max(shares) <= level + 1e-12
    assert shares[0] == pytest.approx(level, abs=1e-12)


def test_false_ones_beside_true_ones_cost_nothing() -> None:
    """Two true hypotheses beside one that is rejected for sure: they share the level by two."""
    assert holm([1e-9, 0.02, 0.5]) == pytest.approx([3e-9, 0.04, 0.5])


def test_degenerate_lists() -> None:
    assert holm([]) == []
    assert holm([0.3]) == [0.3]
    assert holm([0.0, 0.0]) == [0.0, 0.0]
    assert holm([1.0, 1.0, 0.9]) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("bad", [-1e-9, 1.0000001, math.nan, math.inf])
def test_what_is_no_p_value_is_refused(bad: float) -> None:
    with pytest.raises(InputError, match=r"p-values must be in \[0, 1\], got"):
        holm([0.1, bad])

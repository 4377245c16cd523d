"""Guessing policies: the extremes, ties by chance, and fair coins that no policy foresees."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from cropaudit.audit.estimators.guessing import Ends, Guessing, Highest, Surest
from cropaudit.audit.estimators.scores import Scores
from cropaudit.errors import InputError

POLICIES = (Highest, Ends, Surest)


def oracle(
    policy: Guessing,
    scores: np.ndarray,
    bits: np.ndarray,
    count: int,
    ties: np.ndarray | None = None,
) -> int:
    """Right guesses, canary by canary; ``ties`` orders canaries of one score."""
    second = np.arange(len(scores)) if ties is None else ties
    order = np.lexsort((second, scores))
    if isinstance(policy, Highest):
        return int((bits[order[-count:]] == 1).sum())
    if isinstance(policy, Ends):
        low, high = count // 2, count - count // 2
        return int((bits[order[:low]] == 0).sum() + (bits[order[len(order) - high :]] == 1).sum())
    surest = np.lexsort((second, np.abs(scores)))[-count:]
    return int((bits[surest] == (scores[surest] > 0)).sum())


@settings(max_examples=150, deadline=None)
@given(st.integers(3, 30), st.floats(0.01, 1), st.integers(0, 10_000))
def test_without_ties_it_is_the_slow_count(n: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    bits, scores = rng.integers(2, size=n), rng.normal(size=n)
    bits[:2] = 0, 1
    for kind in POLICIES:
        found = kind(share).guesses(Scores.labelled(scores, bits))
        assert found.guesses == max(2 if kind is Ends else 1, round(share * n))
        assert found.right == oracle(kind(share), scores, bits, found.guesses)


@pytest.mark.parametrize("kind", POLICIES)
def test_null_over_all_coins(kind: type) -> None:
    """Whatever the scores are, over fair coins right guesses are exactly Bin(r, 1/2)."""
    scores, law = np.random.default_rng(2).normal(size=8).cumsum(), np.zeros(6)
    for coins in itertools.product((0, 1), repeat=8):
        bits = np.array(coins)
        if 0 < bits.sum() < 8:
            law[kind(0.6).guesses(Scores.labelled(scores, bits)).right] += 1
        else:  # no Scores without both worlds
            law[oracle(kind(0.6), scores, bits, 5)] += 1
    assert law / 256 == pytest.approx(binom.pmf(np.arange(6), 5, 0.5))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([-1.0, 0.0, 1.0]), st.booleans()), min_size=3, max_size=5),
    st.sampled_from([0.3, 0.5, 0.75, 1.0]),
)
def test_ties_are_broken_in_the_worst_way(rows: list[tuple[float, bool]], share: float) -> None:
    """As many right guesses as the worst order of the tied canaries brings, for every policy."""
    values = np.array([score for score, _ in rows])
    bits = np.array([bit for _, bit in rows], dtype=int)
    if bits.min() == bits.max():
        bits[0] = 1 - bits[0]
    for kind in POLICIES:
        found = kind(share).guesses(Scores.labelled(values, bits))
        least = min(
            oracle(kind(share), values, bits, found.guesses, np.array(order))
            for order in itertools.permutations(range(len(values)))
        )
        assert found.right == least


@pytest.mark.parametrize("kind", POLICIES)
@pytest.mark.parametrize("value", [0.0, np.inf, -np.inf])
@pytest.mark.parametrize("share", [1 / 3, 1.0])
def test_scores_all_alike_find_no_more_than_coins(kind: type, value: float, share: float) -> None:
    found = kind(share).guesses(Scores.of([value] * 30, [value] * 30))
    assert found.right <= found.guesses / 2


@pytest.mark.parametrize("kind", POLICIES)
def test_order_within_the_lists_does_not_matter(kind: type) -> None:
    rng = np.random.default_rng(4)
    member, nonmember = rng.integers(-3, 4, 50).astype(float), rng.integers(-3, 4, 40).astype(float)
    shuffled = Scores.of(rng.permutation(member), rng.permutation(nonmember))
    assert kind(0.3).guesses(Scores.of(member, nonmember)) == kind(0.3).guesses(shuffled)


def test_infinite_scores_are_the_surest() -> None:
    scores = Scores.of([np.inf, 1.0, -np.inf], [-np.inf, 0.5, -0.2])
    assert Surest(0.5).guesses(scores).right == 2
    assert Highest(1 / 6).guesses(scores).right == 1
    assert Ends(1 / 3).guesses(scores).guesses == 2


def test_a_score_of_zero_is_a_guess_of_world_b() -> None:
    assert Surest(1.0).guesses(Scores.of([0.0], [0.0, 0.0])).right == 2


def test_shares_and_smallest_games() -> None:
    for kind in POLICIES:
        for share in (0.0, -0.1, 1.1, math.nan):
            with pytest.raises(InputError, match="share of canaries to guess must be"):
                kind(share)
        assert kind(1e-9).guesses(Scores.of([1.0], [-1.0])).right >= 1
        assert "%" in kind(0.05).words
    assert Ends(1.0).guesses(Scores.of([1.0], [-1.0])).right == 2

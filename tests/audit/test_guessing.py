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


def oracle(policy: Guessing, scores: np.ndarray, bits: np.ndarray, count: int) -> int:
    """Right guesses, canary by canary; scores without ties."""
    order = np.argsort(scores)
    if isinstance(policy, Highest):
        return int((bits[order[-count:]] == 1).sum())
    if isinstance(policy, Ends):
        low, high = count // 2, count - count // 2
        return int((bits[order[:low]] == 0).sum() + (bits[order[len(order) - high :]] == 1).sum())
    surest = np.argsort(np.abs(scores))[-count:]
    return int((bits[surest] == (scores[surest] > 0)).sum())


@settings(max_examples=150, deadline=None)
@given(st.integers(3, 30), st.floats(0.01, 1), st.integers(0, 10_000))
def test_without_ties_it_is_the_slow_count(n: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    bits, scores = rng.integers(2, size=n), rng.normal(size=n)
    bits[:2] = 0, 1
    for kind in POLICIES:
        found = kind(share).guesses(Scores.labelled(scores, bits), seed)
        assert found.guesses == max(2 if kind is Ends else 1, round(share * n))
        assert found.right == oracle(kind(share), scores, bits, found.guesses)


@pytest.mark.parametrize("kind", POLICIES)
def test_null_over_all_coins(kind: type) -> None:
    """Whatever the scores are, over fair coins right guesses are exactly Bin(r, 1/2)."""
    scores, law = np.random.default_rng(2).normal(size=8).cumsum(), np.zeros(6)
    for coins in itertools.product((0, 1), repeat=8):
        bits = np.array(coins)
        if 0 < bits.sum() < 8:
            law[kind(0.6).guesses(Scores.labelled(scores, bits), 0).right] += 1
        else:  # no Scores without both worlds
            law[oracle(kind(0.6), scores, bits, 5)] += 1
    assert law / 256 == pytest.approx(binom.pmf(np.arange(6), 5, 0.5))


@pytest.mark.parametrize("kind", POLICIES)
@pytest.mark.parametrize("value", [0.0, np.inf, -np.inf])
def test_ties_are_broken_by_chance_and_not_by_order(kind: type, value: float) -> None:
    """All scores equal: right guesses average as the coins, though members come first.

    False-failure rate below 1e-5: five deviations, 500 draws of 20 guesses.
    """
    policy, scores = kind(1 / 3), Scores.of([value] * 30, [value] * 30)
    found = [policy.guesses(scores, seed).right for seed in range(500)]
    assert abs(np.mean(found) - 10) < 5 * math.sqrt(20 / 4 / 500)
    assert policy.guesses(scores, 1) == policy.guesses(scores, 1)


@pytest.mark.parametrize("share", [1.0, 0.75, 0.5])
def test_ends_that_meet_in_a_tie_use_no_canary_twice(share: float) -> None:
    """Scores take three values; the law of right guesses is that of shuffled canaries.

    False-failure rate below 1e-5: five deviations, 4,000 draws on either side.
    """
    scores, bits = np.array([0, 1, 1, 1, 1, 1, 1, 2.0]), np.array([1, 1, 1, 1, 0, 0, 0, 1])
    given_scores, rng, draws = Scores.labelled(scores, bits), np.random.default_rng(3), 4000
    fast = [Ends(share).guesses(given_scores, seed).right for seed in range(draws)]
    slow = []
    for _ in range(draws):
        jittered = scores + rng.random(8) / 2
        slow.append(oracle(Ends(share), jittered, bits, round(share * 8)))
    assert abs(np.mean(fast) - np.mean(slow)) <= 5 * math.sqrt((np.var(slow) + 1e-9) * 2 / draws)
    assert abs(np.var(fast) - np.var(slow)) <= 5 * math.sqrt(2 / draws) * 2 * np.var(slow)


@pytest.mark.parametrize("kind", POLICIES)
def test_order_within_the_lists_does_not_matter(kind: type) -> None:
    rng = np.random.default_rng(4)
    member, nonmember = rng.integers(-3, 4, 50).astype(float), rng.integers(-3, 4, 40).astype(float)
    shuffled = Scores.of(rng.permutation(member), rng.permutation(nonmember))
    for seed in range(20):
        found = kind(0.3).guesses(Scores.of(member, nonmember), seed)
        assert found == kind(0.3).guesses(shuffled, seed)


def test_infinite_scores_are_the_surest() -> None:
    scores = Scores.of([np.inf, 1.0, -np.inf], [-np.inf, 0.5, -0.2])
    assert Surest(0.5).guesses(scores, 0).right == 2
    assert Highest(1 / 6).guesses(scores, 0).right == 1
    assert Ends(1 / 3).guesses(scores, 0).guesses == 2


def test_a_score_of_zero_is_a_guess_of_world_b() -> None:
    assert Surest(1.0).guesses(Scores.of([0.0], [0.0, 0.0]), 0).right == 2


def test_shares_and_smallest_games() -> None:
    for kind in POLICIES:
        for share in (0.0, -0.1, 1.1, math.nan):
            with pytest.raises(InputError, match="share of canaries to guess must be"):
                kind(share)
        assert kind(1e-9).guesses(Scores.of([1.0], [-1.0]), 0).right >= 1
        assert "%" in kind(0.05).words
    assert Ends(1.0).guesses(Scores.of([1.0], [-1.0]), 0).right == 2

"""Ranks against a naive loop; ties by enumeration; the law of a rank's rate."""

import itertools
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom, chi2

from cropaudit.audit.estimators.evidence import Counts
from cropaudit.audit.estimators.ranks import (
    flipped,
    hits_at_ranks,
    ranked_counts,
    telling_hits,
)
from cropaudit.audit.estimators.scores import Scores
from cropaudit.errors import InputError

FEW = st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 2.0, np.inf])


def untied(n: int, m: int, seed: int) -> Scores:
    rng = np.random.default_rng(seed)
    values = rng.permutation(n + m).astype(float)
    return Scores.of(values[:n], values[n:])


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 99), st.data())
def test_without_ties_hits_are_those_of_a_loop(n: int, m: int, seed: int, data) -> None:
    scores = untied(n, m, seed)
    ranks = data.draw(st.lists(st.integers(1, m), min_size=1, max_size=6))
    expected = [
        sum(x > sorted(scores.nonmember, reverse=True)[rank - 1] for x in scores.member)
        for rank in ranks
    ]
    for other in (0, 1, seed):
        assert hits_at_ranks(scores, ranks, other).tolist() == expected
    tests = ranked_counts(scores, ranks, seed)
    assert tests == tuple(
        Counts(n, m, hits, rank - 1, ranked=True)
        for hits, rank in zip(expected, ranks, strict=True)
    )


def exact_law(member: list[float], nonmember: list[float], ranks: list[int]) -> dict:
    """Of the hits above each rank, every order among tied scores being as likely."""
    scores = [(value, True) for value in member] + [(value, False) for value in nonmember]
    law: Counter = Counter()
    orders = list(itertools.permutations(range(len(scores))))
    for order in orders:  # the second coordinate of each score
        ordered = sorted(zip(scores, order, strict=True), key=lambda s: (s[0][0], s[1]))[::-1]
        above, hits = 0, []
        for (_, is_member), _ in ordered:
            above += is_member
            if not is_member:
                hits.append(above)
        law[tuple(hits[rank - 1] for rank in ranks)] += 1
    return {key: Fraction(count, len(orders)) for key, count in law.items()}


@pytest.mark.parametrize(
    ("member", "nonmember", "ranks"),
    [
        ([0, 0], [0, 0], [1, 2]),
        ([0, 0, 1], [0, 0, 0], [1, 2, 3]),
        ([0, 1, 1], [0, 1, 1], [1, 2, 3]),
        ([np.inf, -np.inf], [np.inf, np.inf, -np.inf, -np.inf], [1, 2, 3, 4]),
        ([0, 0, 0], [1, 0, -1], [3, 1, 2]),
        ([-0.0, 0.0, 5], [0.0, -0.0], [2, 1]),
    ],
)
def test_ties_are_broken_by_chance(member: list, nonmember: list, ranks: list) -> None:
    """All ranks together, against the enumerated law, over 3,000 seeds.

    False-failure rate 1e-5 a case (chi-square); outcomes of no probability never occur.
    """
    law, seeds = exact_law(member, nonmember, ranks), 3000
    scores = Scores.of(member, nonmember)
    seen = Counter(tuple(hits_at_ranks(scores, ranks, seed).tolist()) for seed in range(seeds))
    assert set(seen) <= set(law)
    distance = sum(
        (seen[key] - seeds * float(share)) ** 2 / (seeds * float(share))
        for key, share in law.items()
    )
    assert distance <= (chi2.isf(1e-5, len(law) - 1) if len(law) > 1 else 1e-12)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(FEW, min_size=1, max_size=9),
    st.lists(FEW, min_size=1, max_size=9),
    st.integers(0, 99),
    st.randoms(use_true_random=False),
)
def test_the_order_in_which_scores_came_never_matters(member, nonmember, seed, random) -> None:
    ranks = list(range(1, len(nonmember) + 1))
    found = hits_at_ranks(Scores.of(member, nonmember), ranks, seed)
    assert np.all(np.diff(found) >= 0)
    random.shuffle(member)
    random.shuffle(nonmember)
    assert np.array_equal(hits_at_ranks(Scores.of(member, nonmember), ranks, seed), found)
    alone = [int(hits_at_ranks(Scores.of(member, nonmember), [k], seed)[0]) for k in ranks]
    for rank, hits in zip(ranks, alone, strict=True):
        cut = sorted(nonmember, reverse=True)[rank - 1]
        assert sum(x > cut for x in member) <= hits <= sum(x >= cut for x in member)


@pytest.mark.parametrize("kind", ["smooth", "rounded", "constant", "infinite"])
@pytest.mark.parametrize(("n", "m", "rank"), [(3, 4, 1), (5, 9, 4), (2, 3, 3)])
def test_the_rate_follows_a_beta_law_whatever_the_scores(
    kind: str, n: int, m: int, rank: int
) -> None:
    """Worlds alike: hits above a rank are beta-binomial with Beta(k, m - k + 1), ties or not.

    False-failure rate 1e-5 a case (chi-square over 2,500 games).
    """
    rng, games = np.random.default_rng(5), 2500
    draws = rng.normal(size=(games, n + m))
    values = {
        "smooth": draws,
        "rounded": np.round(draws),
        "constant": np.zeros_like(draws),
        "infinite": np.where(draws > 0.3, np.inf, -np.inf),
    }[kind]
    hits = [
        int(hits_at_ranks(Scores.of(row[:n], row[n:]), [rank], game)[0])
        for game, row in enumerate(values)
    ]
    expected = games * betabinom.pmf(np.arange(n + 1), n, rank, m - rank + 1)
    seen = np.bincount(hits, minlength=n + 1)
    assert ((seen - expected) ** 2 / expected).sum() <= chi2.isf(1e-5, n)


def test_flipped_tells_the_game_from_the_other_world() -> None:
    scores = Scores.of([3.0, np.inf, -np.inf], [1.0, 2.0])
    other = flipped(scores)
    assert other.member.tolist() == [-1.0, -2.0]
    assert other.nonmember.tolist() == [-3.0, -np.inf, np.inf]
    assert flipped(other).member.tolist() == scores.member.tolist()
    # Below the lowest member, -inf, lies no nonmember; below the second lowest, 3, both do.
    assert hits_at_ranks(other, [1, 2, 3], 0).tolist() == [0, 2, 2]


@pytest.mark.parametrize("ranks", [[], [0], [3], [1, -1], [1, 99]])
def test_ranks_out_of_range_are_refused(ranks: list[int]) -> None:
    with pytest.raises(InputError, match="ranks must be between 1 and the 2 nonmembers"):
        hits_at_ranks(Scores.of([1.0], [0.0, 2.0]), ranks, 0)


def test_constant_scores_are_no_finding_for_any_seed() -> None:
    """Fair draws of ties would make one of nothing in 5% of all seeds."""
    scores = Scores.of(np.ones(90), np.ones(110))
    for seed in range(20):
        assert telling_hits(scores, [11, 55, 110], seed).tolist() == [8, 44, 89]
        found = ranked_counts(scores, [11, 55], seed)
        assert [test.hits for test in found] == [8, 44]

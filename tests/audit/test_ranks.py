"""Ranks against a naive loop; ties against every way to break them; the law of a rank's rate."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom, chi2

from cropaudit.audit.estimators.evidence import Counts
from cropaudit.audit.estimators.ranks import flipped, hits_at_ranks, ranked_counts
from cropaudit.audit.estimators.scores import Scores
from cropaudit.errors import InputError

FEW = st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 2.0, np.inf])


@settings(max_examples=100, deadline=None)
@given(st.lists(FEW, min_size=1, max_size=20), st.lists(FEW, min_size=1, max_size=20), st.data())
def test_hits_are_those_of_a_loop_ties_not_counted(member, nonmember, data) -> None:
    scores, m = Scores.of(member, nonmember), len(nonmember)
    ranks = data.draw(st.lists(st.integers(1, m), min_size=1, max_size=6))
    expected = [
        sum(x > sorted(nonmember, reverse=True)[rank - 1] for x in member) for rank in ranks
    ]
    assert hits_at_ranks(scores, ranks).tolist() == expected
    assert ranked_counts(scores, ranks) == tuple(
        Counts(len(member), m, hits, rank - 1, ranked=True)
        for hits, rank in zip(expected, ranks, strict=True)
    )


def broken(member: list[float], nonmember: list[float], ranks: list[int]) -> list[tuple[int, ...]]:
    """Hits above each rank in every order of the tied scores."""
    scores = [(value, True) for value in member] + [(value, False) for value in nonmember]
    found = []
    for order in itertools.permutations(range(len(scores))):  # the second coordinate of each
        ordered = sorted(zip(scores, order, strict=True), key=lambda s: (s[0][0], s[1]))[::-1]
        above, hits = 0, []
        for (_, is_member), _ in ordered:
            above += is_member
            if not is_member:
                hits.append(above)
        found.append(tuple(hits[rank - 1] for rank in ranks))
    return found


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
def test_ties_are_broken_in_the_worst_way(member: list, nonmember: list, ranks: list) -> None:
    """At most the hits of every way, at every rank: the level holds for every law of the file."""
    found = hits_at_ranks(Scores.of(member, nonmember), ranks)
    ways = np.array(broken(member, nonmember, ranks))
    assert np.all(found <= ways)
    assert np.any(np.all(ways[:, :1] == found[:1], axis=1)), "and no fewer than the worst one's"


@settings(max_examples=50, deadline=None)
@given(
    st.lists(FEW, min_size=1, max_size=9),
    st.lists(FEW, min_size=1, max_size=9),
    st.randoms(use_true_random=False),
)
def test_the_order_in_which_scores_came_never_matters(member, nonmember, random) -> None:
    ranks = list(range(1, len(nonmember) + 1))
    found = hits_at_ranks(Scores.of(member, nonmember), ranks)
    assert np.all(np.diff(found) >= 0)
    random.shuffle(member)
    random.shuffle(nonmember)
    assert np.array_equal(hits_at_ranks(Scores.of(member, nonmember), ranks), found)


@pytest.mark.parametrize("kind", ["smooth", "rounded", "constant", "infinite"])
@pytest.mark.parametrize(("n", "m", "rank"), [(3, 4, 1), (5, 9, 4), (2, 3, 3)])
def test_the_rate_follows_a_beta_law_whatever_the_scores(
    kind: str, n: int, m: int, rank: int
) -> None:
    """Worlds alike: hits above a rank are beta-binomial with Beta(k, m - k + 1), fewer with ties.

    False-failure rate 1e-5 a case (chi-square over 2,500 games; five deviations of each tail).
    """
    rng, games = np.random.default_rng(5), 2500
    draws = rng.normal(size=(games, n + m))
    values = {
        "smooth": draws,
        "rounded": np.round(draws),
        "constant": np.zeros_like(draws),
        "infinite": np.where(draws > 0.3, np.inf, -np.inf),
    }[kind]
    hits = [int(hits_at_ranks(Scores.of(row[:n], row[n:]), [rank])[0]) for row in values]
    seen = np.bincount(hits, minlength=n + 1)
    law = betabinom(n, rank, m - rank + 1)
    if kind == "smooth":
        expected = games * law.pmf(np.arange(n + 1))
        assert ((seen - expected) ** 2 / expected).sum() <= chi2.isf(1e-5, n)
    for least in range(1, n + 1):
        tail = law.sf(least - 1)
        assert seen[least:].sum() <= games * tail + 5 * np.sqrt(games * tail * (1 - tail)) + 1


def test_flipped_tells_the_game_from_the_other_world() -> None:
    scores = Scores.of([3.0, np.inf, -np.inf], [1.0, 2.0])
    other = flipped(scores)
    assert other.member.tolist() == [-1.0, -2.0]
    assert other.nonmember.tolist() == [-3.0, -np.inf, np.inf]
    assert flipped(other).member.tolist() == scores.member.tolist()
    # Below the lowest member, -inf, lies no nonmember; below the second lowest, 3, both do.
    assert hits_at_ranks(other, [1, 2, 3]).tolist() == [0, 2, 2]


@pytest.mark.parametrize("ranks", [[], [0], [3], [1, -1], [1, 99]])
def test_ranks_out_of_range_are_refused(ranks: list[int]) -> None:
    with pytest.raises(InputError, match="ranks must be between 1 and the 2 nonmembers"):
        hits_at_ranks(Scores.of([1.0], [0.0, 2.0]), ranks)


def test_constant_scores_are_no_finding() -> None:
    scores = Scores.of(np.ones(90), np.ones(110))
    assert hits_at_ranks(scores, [11, 55, 110]).tolist() == [0, 0, 0]

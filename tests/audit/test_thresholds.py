"""Where thresholds come from: each policy keeps the level, and learns on nothing it tests."""

import itertools
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from cropaudit.audit.estimators.evidence import Counts
from cropaudit.audit.estimators.joint_test import best_for_epsilon
from cropaudit.audit.estimators.rate_test import approximate_dp, p_value
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.estimators.thresholds import Given, Policy, Ranks, Split
from cropaudit.errors import InputError

TRUTH = approximate_dp(0.7, 0.02)
POLICIES: list[Policy] = [
    Given(0.4),
    Given(0.4, two_sided=True),
    Ranks((0.1,)),
    Ranks(),
    Ranks((0.3, 0.05), "low"),
    Ranks((0.3, 0.05), "both"),
    Ranks((0.2,), "both", either_sign=True),
    Split(),
    Split(0.2),
]


@lru_cache
def chance(counts: Counts) -> float:
    return p_value(counts, TRUTH)


def most_advantage(tests: Sequence[Counts]) -> int:
    return max(
        range(len(tests)),
        key=lambda i: tests[i].hits / tests[i].members - tests[i].alarms / tests[i].nonmembers,
    )


def responses(rng: np.random.Generator, n: int, m: int, kind: str) -> Scores:
    """Randomised response at epsilon .7 that shows the bit outright with probability .02.

    Its ROC is the edge of the region: three values, or spread so that no two are alike.
    """
    flip = 0.98 / (1 + np.exp(0.7))
    values = np.array([-1.0, 0.0, 1.0, 2.0])  # shown nonmember, told so, told member, shown
    member = rng.choice(values, n, p=[0, flip, 0.98 - flip, 0.02])
    nonmember = rng.choice(values, m, p=[0.02, 0.98 - flip, flip, 0])
    if kind == "spread":
        return Scores.of(member + rng.random(n) / 2, nonmember + rng.random(m) / 2)
    if kind == "turned":
        return Scores.of(-member, -nonmember)
    return Scores.of(member, nonmember)


@pytest.mark.parametrize("kind", ["tied", "spread", "turned"])
@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.words)
def test_level_holds_at_the_truth(policy: Policy, kind: str) -> None:
    """The smallest p-value times the number of tests, 400 games of 30 and 24 trials.

    Learning takes the largest advantage. False-failure rate 1e-5 a case (binomial).
    """
    rng, games, level, rejected = np.random.default_rng(0), 400, 0.2, 0
    for game in range(games):
        scores = responses(rng, 30, 24, kind)
        tests = policy.counts(scores, most_advantage, game)
        rejected += len(tests) * min(chance(test) for test in tests) <= level
    assert rejected <= binom.isf(1e-5, games, level)


def test_an_uncorrected_choice_would_break_the_level() -> None:
    """What the policies are for: the best of all thresholds, tested on the scores it was found on.

    600 games of alike worlds at level .05: over twice the level. False-failure rate below 1e-5.
    """
    rng, broken = np.random.default_rng(1), 0
    for _ in range(600):
        scores = Scores.of(rng.normal(size=30), rng.normal(size=24))
        cuts = np.concatenate([scores.member, scores.nonmember])
        tests = [Counts(30, 24, *scores.counts(float(cut))) for cut in cuts]
        best = tests[most_advantage(tests)]
        broken += p_value(best, approximate_dp(0.0, 0.0)) <= 0.05
    assert broken >= 2 * 0.05 * 600


def test_given_counts_at_or_above_and_below() -> None:
    scores = Scores.of([np.inf, 2.0, 1.0, -np.inf], [2.0, 0.0, -np.inf])
    above, below = Given(2.0, two_sided=True).counts(scores, most_advantage, 0)
    assert above == Counts(4, 3, 2, 1)
    assert below == Counts(4, 3, 2, 2)
    assert Given(2.0).counts(scores, most_advantage, 0) == (above,)
    assert not above.ranked


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_threshold_without_a_value_is_refused(bad: float) -> None:
    with pytest.raises(InputError, match="threshold must be finite"):
        Given(bad)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.lists(st.floats(1e-6, 1 - 1e-6), min_size=1, max_size=5),
    st.sampled_from(["high", "low", "both"]),
    st.booleans(),
)
def test_ranks_are_fixed_by_the_trials_alone(n, m, rates, sides, either) -> None:
    policy = Ranks(tuple(rates), sides, either)
    rng = np.random.default_rng(0)
    found = [
        policy.counts(Scores.of(rng.normal(size=n) + shift, rng.normal(size=m)), most_advantage, 0)
        for shift in (0.0, 3.0)
    ]
    shapes = [[(t.members, t.nonmembers, t.alarms, t.ranked) for t in tests] for tests in found]
    assert shapes[0] == shapes[1]
    each = {"high": [(n, m)], "low": [(m, n)], "both": [(n, m), (m, n)]}[sides]
    for members, nonmembers, alarms, ranked in shapes[0]:
        assert ranked
        assert (members, nonmembers) in each
        assert any(abs(alarms + 1 - rate * nonmembers) <= 1 for rate in rates)
    told = len(each) * (2 if either else 1)
    assert len(shapes[0]) <= told * len(set(rates))
    twice = (2 if either else 1) * (2 if n == m and sides == "both" else 1)
    assert len(shapes[0]) == twice * len(set(shapes[0])), "no rank is tested twice"


def test_low_ranks_count_nonmembers_below_members() -> None:
    scores = Scores.of([5.0, 6.0, 7.0, 8.0], [1.0, 2.0, 5.5, 9.0])
    (low,) = Ranks((0.25,), "low").counts(scores, most_advantage, 0)
    assert low == Counts(4, 4, 2, 0, ranked=True)  # below 5, the lowest member
    (high,) = Ranks((0.5,), "high").counts(scores, most_advantage, 0)
    assert high == Counts(4, 4, 3, 1, ranked=True)  # above 5.5, the second nonmember


def test_either_sign_hears_an_attack_that_is_turned() -> None:
    rng = np.random.default_rng(2)
    scores = Scores.of(rng.normal(size=50) - 6, rng.normal(size=60))
    (straight,) = Ranks((0.1,)).counts(scores, most_advantage, 0)
    _, turned = Ranks((0.1,), either_sign=True).counts(scores, most_advantage, 0)
    assert (straight.hits, turned.hits) == (0, 50)
    assert (turned.members, turned.nonmembers) == (50, 60)


@pytest.mark.parametrize("rates", [(), (0.0,), (1.0,), (0.1, -0.2), (np.nan,), (2.0,)])
def test_rates_out_of_range_are_refused(rates: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=r"rates must be in \(0, 1\), at least one"):
        Ranks(rates)


def learned_on(share: float, n: int, m: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the scores that a split learns on: the first of a shuffle of each world."""
    marks = Scores.of(np.arange(n, dtype=float), np.arange(m, dtype=float) + 1000)
    tuning: list[int] = []

    def note(tests: Sequence[Counts]) -> int:
        tuning.extend([tests[0].members, tests[0].nonmembers])
        return 0

    Split(share).counts(marks, note, seed)
    generator = np.random.default_rng(seed)
    first, second = generator.permutation(n), generator.permutation(m)
    return first[: tuning[0]], second[: tuning[1]]


@pytest.mark.parametrize("share", [0.3, 0.5])
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_what_is_tested_cannot_move_the_threshold(share: float, seed: int) -> None:
    """The tested scores are replaced by grids, on which the number of hits shows the threshold.

    What the learner saw, and the threshold, stay the same; learned scores do move what it sees.
    """
    n, m = 40, 50
    rng = np.random.default_rng(3)
    member, nonmember = rng.normal(size=n) + 1, rng.normal(size=m)
    first, second = learned_on(share, n, m, seed)
    rest = np.setdiff1d(np.arange(n), first), np.setdiff1d(np.arange(m), second)
    seen: list[tuple[Counts, ...]] = []
    tests: list[Counts] = []

    def learn(shown: Sequence[Counts]) -> int:
        seen.append(tuple(shown))
        return most_advantage(shown)

    for poison in (1, -1):
        one, other = member.copy(), nonmember.copy()
        one[rest[0]] = np.linspace(-4, 4, len(rest[0]))[::poison]
        other[rest[1]] = np.linspace(-4, 4, len(rest[1]))[::-poison]
        tests += Split(share).counts(Scores.of(one, other), learn, seed)
    one[first] = -77.0
    Split(share).counts(Scores.of(one, other), learn, seed)
    assert seen[0] == seen[1] != seen[2]
    assert tests[0] == tests[1]
    assert (tests[0].members, tests[0].nonmembers) == (len(rest[0]), len(rest[1]))


@settings(max_examples=80, deadline=None)
@given(
    st.integers(2, 30), st.integers(2, 30), st.floats(0.001, 0.999), st.integers(0, 9), st.data()
)
def test_split_tests_every_score_that_it_did_not_learn_on(n, m, share, seed, data) -> None:
    some = st.sampled_from([-np.inf, 0.0, 1.0, np.inf])
    scores = Scores.of(
        data.draw(st.lists(some, min_size=n, max_size=n)),
        data.draw(st.lists(some, min_size=m, max_size=m)),
    )
    shown: list[Counts] = []

    def learn(tests: Sequence[Counts]) -> int:
        shown.extend(tests)
        return most_advantage(tests)

    (test,) = Split(share).counts(scores, learn, seed)
    assert {(t.members + test.members, t.nonmembers + test.nonmembers) for t in shown} == {(n, m)}
    assert 1 <= len(shown) <= 60
    assert min(test.members, test.nonmembers, shown[0].members, shown[0].nonmembers) >= 1
    assert (
        (test.members == round((1 - share) * n))
        or not 1 <= round(share * n) < n
        or (abs(test.members - (1 - share) * n) <= 0.5)
    )


def test_split_learns_a_good_threshold() -> None:
    rng = np.random.default_rng(4)
    scores = Scores.of(rng.normal(size=600) + 3, rng.normal(size=600))

    def best(tests: Sequence[Counts]) -> int:
        return best_for_epsilon(tests, 1e-5, 0.05)

    (test,) = Split().counts(scores, best, 0)
    assert (test.members, test.nonmembers, test.ranked) == (300, 300, False)
    assert p_value(test, approximate_dp(2.0, 1e-5)) <= 0.05
    assert Split().counts(scores, best, 0) == (test,)


@pytest.mark.parametrize(("n", "m"), [(1, 5), (5, 1), (1, 1)])
def test_split_needs_two_scores_of_each_world(n: int, m: int) -> None:
    with pytest.raises(InputError, match="at least 2 of each world to learn a threshold, got 1"):
        Split().counts(Scores.of(np.zeros(n), np.zeros(m)), most_advantage, 0)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, np.nan])
def test_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(InputError, match=r"share must be in \(0, 1\)"):
        Split(share)


@pytest.mark.parametrize(
    "scores",
    [
        Scores.of([0.0] * 10, [0.0] * 10),
        Scores.of([np.inf] * 10, [np.inf] * 10),
        Scores.of([np.inf] * 5 + [-np.inf] * 5, [-np.inf] * 10),
        Scores.of([1.0, 2.0], [0.0, 3.0]),
    ],
)
def test_degenerate_scores_are_counted(scores: Scores) -> None:
    for policy, seed in itertools.product(POLICIES, range(3)):
        for test in policy.counts(scores, most_advantage, seed):
            assert 0 < p_value(test, TRUTH) <= 1


def test_the_words_of_a_policy() -> None:
    assert Given(0.25, two_sided=True).words == "given: 0.25, both sides"
    assert Ranks((0.1,)).words == "fixed rank at rates 0.1, side high"
    assert "corrected for" in Ranks((0.1, 0.2)).words
    assert "either sign, corrected for" in Ranks((0.1,), either_sign=True).words
    assert Split(0.25).words == "learned on 25% of the scores, tested on the rest"

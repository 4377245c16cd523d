"""Scores against pairwise counting, and what they refuse."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cropaudit.audit.estimators.scores import Scores
from cropaudit.errors import InputError

# Few distinct values, so that ties are common; infinities are legal.
VALUES = st.lists(
    st.sampled_from([-np.inf, -2.0, 0.0, 0.5, 1.0, 3.0, np.inf]), min_size=1, max_size=12
)


@settings(max_examples=150, deadline=None)
@given(VALUES, VALUES)
def test_auc_counts_pairs(member: list[float], nonmember: list[float]) -> None:
    pairs = list(itertools.product(member, nonmember))
    wins = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs)
    assert Scores.of(member, nonmember).auc() == pytest.approx(wins / len(pairs), abs=1e-12)
    assert Scores.of(nonmember, member).auc() == pytest.approx(1 - wins / len(pairs), abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(VALUES, VALUES)
def test_roc_holds_every_threshold(member: list[float], nonmember: list[float]) -> None:
    scores = Scores.of(member, nonmember)
    fpr, tpr = scores.roc()
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert np.all(np.diff(fpr) >= 0)
    assert np.all(np.diff(tpr) >= 0)
    for point, cut in enumerate(sorted({*member, *nonmember}, reverse=True), start=1):
        hits, alarms = scores.counts(cut)
        assert hits == sum(x >= cut for x in member)
        assert alarms == sum(x >= cut for x in nonmember)
        assert tpr[point] == pytest.approx(hits / len(member), abs=1e-12)
        assert fpr[point] == pytest.approx(alarms / len(nonmember), abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(VALUES, VALUES, st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]))
def test_tpr_at_is_the_best_threshold_within(
    member: list[float], nonmember: list[float], fpr: float
) -> None:
    scores = Scores.of(member, nonmember)
    rates = [
        (sum(x >= cut for x in nonmember) / len(nonmember), sum(x >= cut for x in member))
        for cut in {*member, *nonmember}
    ]
    best = max([hits / len(member) for rate, hits in rates if rate <= fpr + 1e-12], default=0.0)
    assert scores.tpr_at(fpr) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 3), (4, 4)])
def test_auc_deviation_is_that_of_all_orders(n: int, m: int) -> None:
    """Exact: with worlds alike and no ties, every choice of the members' ranks is as likely."""
    ranks = set(range(n + m))
    found = [
        Scores.of(list(chosen), list(ranks - set(chosen))).auc()
        for chosen in itertools.combinations(ranks, n)
    ]
    assert np.mean(found) == pytest.approx(0.5)
    deviation = Scores.of(np.zeros(n), np.zeros(m)).auc_deviation()
    assert np.std(found) == pytest.approx(deviation)


def test_labelled_parts_by_the_bit() -> None:
    scores = Scores.labelled([3, 1, 2, 0], [1, 0, True, False])
    assert scores.member.tolist() == [3, 2]
    assert scores.nonmember.tolist() == [1, 0]
    as_text = Scores.labelled(["3", "1"], ["1", "0"])
    assert (as_text.member.tolist(), as_text.nonmember.tolist()) == ([3], [1])


@pytest.mark.parametrize(
    ("member", "nonmember", "message"),
    [
        ([], [1.0], "member scores must be a non-empty list of numbers, got shape"),
        ([1.0], [], "nonmember scores must be a non-empty list of numbers, got shape"),
        ([[1.0]], [1.0], "member scores must be a non-empty list"),
        ([0.0, np.nan], [1.0], "member scores must be free of NaN, got NaN at entry 1"),
        (["loud"], [1.0], "member scores must be numbers, got list"),
        (None, [1.0], "member scores must be"),
    ],
)
def test_illegal_scores_are_refused(member: object, nonmember: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Scores.of(member, nonmember)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scores", "member", "message"),
    [
        ([1, 2], [1, 1], "nonmember scores must be a non-empty"),
        ([1, 2], [0, 0], "member scores must be a non-empty"),
        ([1, 2], [0, 1, 1], r"member must be as long as score \(2\), got 3"),
        ([1, 2], [0, 2], "member must be 0 or 1, got 2"),
        ([1, 2], [0, np.nan], "member must be 0 or 1, got nan"),
        (["a", "b"], [0, 1], "score must be numbers"),
        ([1, 2], ["in", "out"], "member must be numbers"),
    ],
)
def test_illegal_labels_are_refused(scores: object, member: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Scores.labelled(scores, member)  # type: ignore[arg-type]

"""Several ranks together: the joint law against simulation, and never below Bonferroni's bound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from cropaudit.accounting.mechanisms import PoissonPatch
from cropaudit.audit.estimators.evidence import Counts
from cropaudit.audit.estimators.family import Family
from cropaudit.audit.estimators.joint_test import JointTest, largest_rejected
from cropaudit.audit.estimators.ladder import extreme, joint_p_value
from cropaudit.audit.estimators.mechanism_fdp import MechanismFdp
from cropaudit.audit.estimators.rate_test import TradeOff, approximate_dp, p_value

FAMILY = Family(PoissonPatch(1.0, 0.1, 0.3, 30), 1e-5)


def ranked(n: int, m: int, hits: list[int], ranks: list[int]) -> list[Counts]:
    return [Counts(n, m, h, k - 1, ranked=True) for h, k in zip(hits, ranks, strict=True)]


def drawn(
    n: int, m: int, ranks: list[int], curve: TradeOff, games: int, rng: np.random.Generator
) -> np.ndarray:
    """Returns hits above the ranks, members following the curve, shape (games, ranks)."""
    gaps = np.diff(ranks, prepend=0, append=m + 1).astype(float)
    parts = rng.standard_gamma(gaps, size=(games, len(gaps)))
    rates = np.cumsum(parts, axis=1)[:, :-1] / parts.sum(axis=1, keepdims=True)
    bins = np.maximum(np.diff(curve(rates), prepend=0.0, append=1.0, axis=1), 0.0)
    inside = rng.multinomial(n, bins / bins.sum(axis=1, keepdims=True))
    return np.cumsum(inside, axis=1)[:, :-1]


@pytest.mark.parametrize(("n", "m", "ranks"), [(20, 30, [1, 3, 9]), (150, 150, [1, 2, 4, 15, 45])])
@pytest.mark.parametrize("epsilon", [0.0, 1.0, 3.0])
def test_the_p_value_is_the_chance_of_files_so_extreme(
    n: int, m: int, ranks: list[int], epsilon: float
) -> None:
    """40,000 simulated games: not below their share, nor far above. False-failure rate 1e-5."""
    rng, curve = np.random.default_rng(0), approximate_dp(epsilon, 1e-5)
    games = drawn(n, m, ranks, curve, 40_000, rng)
    seen = drawn(n, m, ranks, approximate_dp(epsilon + 0.5, 1e-5), 3, rng)
    for hits in seen:
        needed = extreme(ranked(n, m, hits.tolist(), ranks), curve, 0.05)
        reached = np.zeros(len(games), dtype=bool)
        for test in needed:
            reached |= games[:, ranks.index(test.alarms + 1)] >= test.hits
        found, share = joint_p_value(needed, curve), reached.mean()
        slack = 5 * np.sqrt(share * (1 - share) / len(games)) + 1e-4
        assert share - slack <= found <= 1.2 * share + slack + 0.002
        assert found <= sum(p_value(test, curve) for test in needed) + 1e-12


@settings(max_examples=8, deadline=None)
@given(st.data(), st.sampled_from([(9, 12, [1, 2, 5]), (60, 40, [1, 4, 12, 20])]))
def test_bounds_are_never_below_those_of_bonferroni(data, shape) -> None:
    n, m, ranks = shape
    hits = sorted(data.draw(st.integers(0, n)) for _ in ranks)
    tests = ranked(n, m, hits, ranks)
    together = JointTest().ladder_epsilon(tests, 1e-5, 0.05).epsilon
    alone = max(largest_rejected(test, 1e-5, 0.05 / len(tests)) for test in tests)
    single = max(largest_rejected(test, 1e-5, 0.05) for test in tests)
    assert alone <= together + 1e-5
    assert together <= single + 1e-5
    value = JointTest().ladder_p_value(tests, together + 0.01, 1e-5, 0.05)
    assert value > 0.05
    if together > 0.02:
        assert JointTest().ladder_p_value(tests, together - 0.01, 1e-5, 0.05) <= 0.05


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_what_was_seen_is_among_what_is_as_extreme(data) -> None:
    n, m, ranks = 60, 40, [1, 4, 12, 20]
    tests = ranked(n, m, sorted(data.draw(st.integers(0, n)) for _ in ranks), ranks)
    needed = extreme(tests, approximate_dp(0.5, 0.0), 0.05)
    hits = {test.alarms: test.hits for test in tests}
    if any(hits.values()):
        assert any(hits[test.alarms] >= test.hits for test in needed)
    assert [test.hits for test in needed] == sorted({test.hits for test in needed})


def test_null_and_power_at_the_true_curve() -> None:
    """300 games at epsilon 1: at most the level, and more often than Bonferroni. Rate 1e-5."""
    n, m, ranks = 80, 80, [1, 2, 8, 24]
    curve = approximate_dp(1.0, 0.0)
    games = drawn(n, m, ranks, curve, 300, np.random.default_rng(2))
    tests = [ranked(n, m, hits.tolist(), ranks) for hits in games]
    smallest = np.array([min(p_value(t, curve) for t in each) for each in tests])
    maybe = [each for each, p in zip(tests, smallest, strict=True) if p <= 0.1]
    joint = np.array([JointTest().ladder_p_value(each, 1.0, 0.0, 0.1) for each in maybe])
    bonferroni = (len(ranks) * smallest <= 0.1).sum()
    assert bonferroni <= (joint <= 0.1).sum() <= binom.isf(1e-5, 300, 0.1)
    assert (joint <= 0.1).sum() >= binom.ppf(1e-5, 300, 0.07)


def test_a_family_uses_it_too() -> None:
    tests = ranked(300, 300, [6, 40, 150], [1, 10, 90])
    estimator = MechanismFdp(FAMILY)
    together = estimator.ladder_epsilon(tests, 1e-5, 0.05).epsilon
    alone = max(estimator.epsilon(test, 1e-5, 0.05 / 3).epsilon for test in tests)
    assert 0 < alone <= together
    assert estimator.ladder_p_value(tests, together * 0.95, 1e-5, 0.05) <= 0.05
    assert estimator.ladder_p_value(tests, together * 1.1, 1e-5, 0.05) > 0.05
    outside = ranked(300, 300, [300, 300, 300], [1, 10, 90])
    assert "every member is rejected" in estimator.ladder_epsilon(outside, 1e-5, 0.05).note

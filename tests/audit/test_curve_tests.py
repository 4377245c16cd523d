"""Evidence against curves: counts and whole ROCs, their levels and their words."""

import math

import numpy as np
import pytest
from scipy import stats

from cropaudit.accounting.mechanisms import PoissonPatch
from cropaudit.audit.curve_tests import CountsTest, CurveTest, RankSumTest
from cropaudit.audit.estimators.evidence import Counts
from cropaudit.audit.estimators.family import Family
from cropaudit.audit.estimators.rank_sum import RankSum
from cropaudit.audit.estimators.rate_test import approximate_dp, p_value

FAMILY = Family(PoissonPatch(1.0, 0.1, 0.3, 20), 1e-5, order="forward")
LEVEL = 0.05
TRIALS = 120


def counted(hits: int, alarms: int = 5, *, ranked: bool = True) -> CountsTest:
    return CountsTest(Counts(TRIALS, TRIALS, hits, alarms, ranked), LEVEL)


def ranked_roc(share: float) -> RankSumTest:
    """Returns the test of a ROC that has so much of all possible hits above each rank."""
    roc = RankSum(FAMILY, TRIALS, TRIALS)
    hits = np.full(len(roc.ranks), round(share * TRIALS))
    return RankSumTest(roc, roc.statistic(hits), LEVEL)


@pytest.mark.parametrize("ranked", [True, False])
@pytest.mark.parametrize("epsilon", [0.0, 0.7, 2.0])
def test_counts_reject_where_the_exact_p_value_is_at_most_the_level(
    ranked: bool, epsilon: float
) -> None:
    curve = approximate_dp(epsilon, 1e-5)
    seen = [
        (p_value(test.counts, curve, LEVEL), test.rejects([curve]))
        for test in (counted(hits, ranked=ranked) for hits in range(TRIALS + 1))
    ]
    assert [rejected for _, rejected in seen] == [value <= LEVEL for value, _ in seen]
    assert not seen[0][1]
    assert seen[-1][1]


@pytest.mark.parametrize("epsilon", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("alarms", [0, 5, 60])
def test_null_a_ranked_test_rejects_a_true_curve_at_most_at_its_level(
    alarms: int, epsilon: float
) -> None:
    """Exact: the rate at the rank is beta, hits are binomial. A slow oracle of the p-value."""
    curve = approximate_dp(epsilon, 0.0)
    rejected = [h for h in range(TRIALS + 1) if counted(h, alarms).rejects([curve])]
    least = min(rejected)
    assert rejected == list(range(least, TRIALS + 1)), "more hits, more evidence"
    law = stats.beta(alarms + 1, TRIALS - alarms)
    rates = law.ppf((np.arange(20_000) + 0.5) / 20_000)
    chance = [float(stats.binom.sf(h - 1, TRIALS, curve(rates)).mean()) for h in (least, least - 1)]
    assert chance[0] <= LEVEL
    assert chance[1] > 0.9 * LEVEL, "and not much below it"


@pytest.mark.parametrize("test", [counted(100), ranked_roc(0.9)], ids=lambda t: type(t).__name__)
def test_every_curve_must_be_rejected(test: CurveTest) -> None:
    """Curves are hypotheses about which world is which: one that stands is an explanation."""
    quiet, loud = approximate_dp(0.1, 0.0), approximate_dp(30.0, 0.0)
    assert test.rejects([quiet])
    assert not test.rejects([loud])
    assert test.rejects([quiet, quiet])
    assert not test.rejects([quiet, loud])
    assert not test.rejects([loud, quiet])


@pytest.mark.parametrize("test", [counted(100), ranked_roc(0.9)], ids=lambda t: type(t).__name__)
def test_louder_curves_are_harder_to_reject(test: CurveTest) -> None:
    found = [test.rejects([approximate_dp(e, 1e-5)]) for e in np.linspace(0, 8, 33)]
    assert found == sorted(found, reverse=True)
    assert {True, False} == set(found)


def test_a_smaller_level_rejects_less() -> None:
    """All hits of some number reject at the one level and not at the other."""
    curve = approximate_dp(0.5, 0.0)
    counts = [Counts(TRIALS, TRIALS, hits, 5, ranked=True) for hits in range(TRIALS + 1)]
    strict, plain = (
        [CountsTest(item, level).rejects([curve]) for item in counts] for level in (0.001, 0.05)
    )
    assert all(not a or b for a, b in zip(strict, plain, strict=True))
    assert sum(strict) < sum(plain)


def test_null_the_roc_of_a_true_curve_is_rejected_at_most_at_the_level() -> None:
    """400 games drawn from a curve, p-values by one simulation; false-failure rate 1e-4.

    Members: uniform ranks of the curve, by inversion; nonmembers: uniforms. Nothing of `RankSum`
    is used to draw them.
    """
    rng, curve = np.random.default_rng(3), FAMILY.curve(0).parts[0].highest_tpr
    grid = np.concatenate([[0.0], np.geomspace(1e-7, 1.0, 4000)])
    rejected = 0
    for _ in range(400):
        members = np.interp(rng.random(TRIALS), curve(grid), grid)
        others = np.sort(rng.random(TRIALS))
        roc = RankSum(FAMILY, TRIALS, TRIALS)
        hits = np.searchsorted(np.sort(members), others[roc.ranks - 1])
        rejected += RankSumTest(roc, roc.statistic(hits), LEVEL).rejects([curve])
    assert rejected <= stats.binom.isf(1e-4, 400, LEVEL)
    assert rejected >= stats.binom.ppf(1e-4, 400, LEVEL), "and about as often as that"


def test_words_name_what_was_measured() -> None:
    assert counted(100).words == "100 of 120 true positives at 5 of 120 false ones"
    test = ranked_roc(0.5)
    assert test.words == f"the ROC over {len(test.test.ranks)} fixed ranks"


def test_nothing_seen_rejects_nothing() -> None:
    flat = approximate_dp(0.0, 0.0)
    assert not counted(0).rejects([flat])
    assert not ranked_roc(0.0).rejects([flat])
    one = RankSum(FAMILY, 1, 1)
    for hits in (0, 1):
        seen = RankSumTest(one, one.statistic(np.full(len(one.ranks), hits)), LEVEL)
        assert not seen.rejects([flat]), "one trial a world has a p-value of 1/2 at best"
        assert math.isfinite(seen.statistic)

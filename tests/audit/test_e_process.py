"""Estimator 9: no bet gains under its null, whatever is learned; bounds against known truths."""

import copy
import itertools
import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import ndtr, xlogy

from cropaudit.accounting.mechanisms import FixedSizePatch, PatchMechanism, PoissonPatch
from cropaudit.audit.estimators.betting.nulls import Bets, Null
from cropaudit.audit.estimators.betting.stakes import planned_stakes
from cropaudit.audit.estimators.betting.wager import Wager
from cropaudit.audit.estimators.e_process import EProcess
from cropaudit.audit.estimators.family import Family
from cropaudit.audit.estimators.scores import Scores
from cropaudit.errors import InputError

DELTA = 1e-5
FREE = EProcess()
FAMILY = Family(PoissonPatch(1.0, 0.1, 0.3, 30), DELTA)
GIVEN = EProcess(FAMILY)
SMALL = Bets(rates=(0.5, 0.2, 0.05), horizons=(10, 1000))
KNOWN = Bets(rates=(0.5, 0.2, 0.05), thresholds=(0.0, 1.0, 2.0), horizons=(10, 1000))
CLAIMS = {
    "region": (Null.region(0.7, 0.01),),
    "no leakage": (Null.region(0.0, 0.0),),
    "forward": (Null.under(FAMILY.curve(-200).parts[0], 0.5),),
    "backward": (Null.under(FAMILY.curve(-200).parts[1], 0.5),),
}


def games(mechanism: PatchMechanism, pairs: int, seed: int) -> Scores:
    """Games of a mechanism's own pair, scored by the summed log likelihood ratio."""
    pair, steps = mechanism.pair(), mechanism.compositions
    worlds = pair.sample(pairs * steps, np.random.default_rng(seed))
    return Scores(*(pair.log_ratio(x).reshape(pairs, steps).sum(axis=1) for x in worlds))


def allowed(null: Null, fpr: np.ndarray) -> np.ndarray:
    """The largest true positive rates under a null."""
    return np.minimum((null.slopes[:, None] * fpr + null.intercepts[:, None]).min(axis=0), 1.0)


def masses(tails: np.ndarray) -> np.ndarray:
    return -np.diff(np.concatenate([[1.0], tails, [0.0]]))


def fork(wager: Wager) -> Wager:
    """A wager that goes on by itself, the planned bets being shared."""
    other = copy.copy(wager)
    other._seen = list(wager._seen)
    return other


def expected_wealth(wager: Wager, law_x: dict, law_y: dict, pairs: int) -> float:
    """Exact mean, over all sequences of pairs, of the factor by which the wealth grows."""
    total = 0.0
    outcomes = list(itertools.product(law_x, law_y))
    for sequence in itertools.product(outcomes, repeat=pairs):
        played = fork(wager)
        chance = math.prod(law_x[x] * law_y[y] for x, y in sequence)
        for x, y in sequence:
            played.play([x], [y])
        total += chance * math.exp(float(played.wealth[0] - wager.wealth[0]))
    return total


# Nulls


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 0.0), (0.7, 0.01), (4.0, 0.0)])
def test_a_region_is_that_of_epsilon_and_delta(epsilon: float, delta: float) -> None:
    fpr = np.linspace(0, 1, 101)
    steep = delta + math.exp(epsilon) * fpr
    flat = 1 - math.exp(-epsilon) * (1 - delta - fpr)
    expected = np.minimum(np.minimum(steep, flat), 1.0)
    assert allowed(Null.region(epsilon, delta), fpr) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("index", [-2000, -200, 0, 300])
def test_the_lines_of_a_curve_never_cut_it_and_touch_it(index: int) -> None:
    fpr = np.concatenate([np.geomspace(1e-9, 0.5, 50), np.linspace(0.5, 1, 20)])
    for part in FAMILY.curve(index).parts:
        lines, curve = allowed(Null.under(part, 1.0), fpr), part.highest_tpr(fpr)
        assert (lines >= curve * (1 - 1e-9)).all()
        inside = (fpr > 1e-8) & (fpr < 1)
        assert lines[inside] == pytest.approx(curve[inside], rel=5e-3)


# Validity, exactly


@pytest.mark.parametrize("claim", CLAIMS)
def test_no_bet_gains_under_its_null(claim: str) -> None:
    """Exact: for rates on the null's boundary, at the thresholds and anywhere between them."""
    wager = EProcess(FAMILY, KNOWN).wager(CLAIMS[claim])
    rng = np.random.default_rng(1)
    values = [-1.0, 0.5, 1.5, 3.0]
    for _ in range(40):
        false = np.sort(rng.uniform(size=3) ** rng.choice([0.3, 1, 3]))[::-1]
        true = np.maximum.accumulate(allowed(CLAIMS[claim][0], false)[::-1])[::-1]
        law_x = dict(zip(values, masses(true), strict=True))
        law_y = dict(zip(values, masses(false), strict=True))
        assert expected_wealth(wager, law_x, law_y, 1) <= 1 + 1e-9


@pytest.mark.parametrize("claim", ["region", "forward"])
def test_sequences_with_learned_thresholds_gain_nothing(claim: str) -> None:
    """Exact: all sequences of three pairs of tied scores, thresholds learned on the way.

    The first 23 pairs, drawn once, lie before the second time at which thresholds are learned.
    """
    false = np.array([0.4, 0.1])
    true = allowed(CLAIMS[claim][0], false)
    law_x = dict(zip((0.0, 1.0, math.inf), masses(true), strict=True))
    law_y = dict(zip((0.0, 1.0, math.inf), masses(false), strict=True))
    wager = EProcess(FAMILY, SMALL).wager(CLAIMS[claim])
    rng = np.random.default_rng(2)
    x = rng.choice(list(law_x), p=list(law_x.values()), size=23)
    y = rng.choice(list(law_y), p=list(law_y.values()), size=23)
    wager.play(x, y)
    found = expected_wealth(wager, law_x, law_y, 3)
    assert 0.5 < found <= 1 + 1e-9
    assert wager.wealth[0] != 0


def test_a_null_is_rejected_at_most_at_the_level_at_any_time() -> None:
    """Truth on the null: the family's own member, 300 games of 300 pairs, level 0.2.

    A test of exactly level 0.2 would exceed the limit with probability below 1e-4.
    """
    nulls = (Null.under(FAMILY.curve(0).parts[0], 1.0),)
    rejected = 0
    for seed in range(300):
        scores = games(FAMILY.mechanism, 300, seed)
        wager = GIVEN.wager(nulls)
        wager.play(scores.member, scores.nonmember)
        rejected += bool(wager.rejected(0.2)[0])
    assert rejected <= 87


def test_alike_worlds_show_leakage_at_most_at_the_level() -> None:
    """Null test of the whole ladder, 60 games of 300 pairs, level 0.2.

    A bound above 0 needs the null of epsilon 0 rejected; the limit would be exceeded by a test of
    exactly level 0.2 with probability below 1e-4.
    """
    rng = np.random.default_rng(3)
    found = [FREE.bound(Scores(*rng.normal(size=(2, 300))), 0.0, 0.2) for _ in range(60)]
    assert sum(item.epsilon > 0 for item in found) <= 24


def test_the_bound_exceeds_a_known_epsilon_at_most_at_the_level() -> None:
    """Coverage at level 0.2, 40 games of 400 pairs at a known epsilon.

    A bound of exactly level 0.2 would exceed the limit with probability below 1e-4.
    """
    found = [GIVEN.bound(games(FAMILY.mechanism, 400, 500 + s), DELTA, 0.2) for s in range(40)]
    assert sum(item.epsilon > FAMILY.epsilon(0) for item in found) <= 18


# Power


@pytest.mark.parametrize(("fpr", "tpr"), [(0.1, 0.5), (0.02, 0.3), (0.4, 0.95)])
def test_stakes_are_growth_optimal_for_one_threshold(fpr: float, tpr: float) -> None:
    """Growth is the divergence to the null's nearest point, found by a plain search.

    Turner, Ly and Grünwald (2106.02693).
    """
    null = Null.region(1.0, 0.01)

    def divergence(b: float) -> float:
        a = float(allowed(null, np.array([b]))[0])
        terms = [(tpr, a), (1 - tpr, 1 - a), (fpr, b), (1 - fpr, 1 - b)]
        return sum(float(xlogy(x, x / y)) for x, y in terms)

    best = minimize_scalar(divergence, bounds=(fpr, 0.999), method="bounded").fun
    log_g, log_h = planned_stakes([null], np.array([[tpr]]), np.array([fpr]))
    growth = np.array([1 - tpr, tpr]) @ log_g[0] + np.array([1 - fpr, fpr]) @ log_h[0]
    assert growth == pytest.approx(best, rel=2e-3)


@pytest.mark.parametrize(
    ("mechanism", "least"),
    [
        (PoissonPatch(1.0, 0.1, 0.3, 100), 0.56),
        (FixedSizePatch(1.0, 0.1, 0.3, 30), 0.58),
    ],
    ids=["poisson", "fixed"],
)
def test_power_against_a_known_truth(mechanism: PatchMechanism, least: float) -> None:
    """Median bound of 9 games of 1,000 pairs over epsilon; over 50 games it was 0.72 and 0.74.

    A tenth of those 50 fell below the limit; the median of nine does with probability below 1e-3.
    """
    family = Family(mechanism, DELTA)
    process = EProcess(family)
    found = [process.bound(games(mechanism, 1000, s), DELTA, 0.05).epsilon for s in range(9)]
    assert least < np.median(found) / family.epsilon(0) <= 1


def test_planned_power_is_that_of_simulated_games() -> None:
    """The bound is reached in 90% of games, by the plan: of 30 games in at least 19.

    Below that falls a binomial count at 0.9 with probability below 1e-4.
    """
    planned = GIVEN.likely_epsilon(600, DELTA, 0.05)
    assert planned is not None
    assert planned > 0.1 * FAMILY.epsilon(0)
    found = [GIVEN.bound(games(FAMILY.mechanism, 600, 900 + s), DELTA, 0.05) for s in range(30)]
    assert sum(item.epsilon >= planned for item in found) >= 19


def test_detectable_epsilon_falls_with_the_pairs_and_stays_above_the_claim() -> None:
    for process in (FREE, GIVEN):
        claims = process.claim(0.5, DELTA)
        found = [process.detectable_epsilon(claims, n, DELTA, 0.05) for n in (300, 3000, 100_000)]
        known = [epsilon for epsilon in found if epsilon is not None]
        assert len(known) >= 2
        assert known == sorted(known, reverse=True)
        assert known[-1] > 0.5
    assert FREE.detectable_epsilon(FREE.claim(0.5, DELTA), 10, DELTA, 0.05) is None
    assert FREE.likely_epsilon(1000, DELTA, 0.05) is None


# Mechanics


def test_blocks_do_not_matter() -> None:
    scores = games(FAMILY.mechanism, 700, 4)
    whole, parts = FREE.wager(FREE.ladder(DELTA)), FREE.wager(FREE.ladder(DELTA))
    whole.play(scores.member, scores.nonmember)
    for low, high in itertools.pairwise((0, 1, 16, 17, 300, 700)):
        parts.play(scores.member[low:high], scores.nonmember[low:high])
    assert parts.pairs == whole.pairs == 700
    assert parts.highest == pytest.approx(whole.highest, abs=1e-9)
    assert parts.wealth == pytest.approx(whole.wealth, abs=1e-9)


def test_only_the_order_of_scores_matters_where_thresholds_are_learned() -> None:
    scores = games(FAMILY.mechanism, 500, 5)
    bent = Scores(*(ndtr(x / 3) for x in (scores.member, scores.nonmember)))
    assert FREE.bound(bent, DELTA, 0.05) == FREE.bound(scores, DELTA, 0.05)


def test_learned_thresholds_stand_at_their_rates() -> None:
    """Expected rates are r / (n + 1); ties and infinities only make alarms rarer."""
    bets = Bets(rates=(0.5, 0.1, 0.01))
    assert bets.cuts(np.arange(99.0)).tolist() == [49.0, 89.0, 98.0]
    assert bets.cuts(np.arange(19.0)).tolist() == [9.0, 17.0]
    assert bets.cuts(np.full(19, math.inf)).tolist() == [math.inf, math.inf]
    assert len(bets.cuts(np.empty(0))) == 0


@pytest.mark.parametrize("value", [0.0, math.inf, -math.inf])
def test_constant_scores_show_nothing(value: float) -> None:
    same = np.full(2000, value)
    for process in (FREE, GIVEN):
        assert process.bound(Scores(same, same), DELTA, 0.05).epsilon == 0


@pytest.mark.parametrize("delta", [0.0, DELTA])
def test_worlds_apart_give_a_large_bound_that_grows(delta: float) -> None:
    sizes = (10, 100, 1000, 10_000)
    apart = [Scores(np.full(n, math.inf), np.full(n, -math.inf)) for n in sizes]
    found = [FREE.bound(scores, delta, 0.05).epsilon for scores in apart]
    assert found[0] == 0  # not yet betting
    assert 1 < found[1] < found[2] < found[3] < math.log(10_000)


def test_one_pair_and_lists_of_unequal_length() -> None:
    assert FREE.bound(Scores(np.ones(1), np.zeros(1)), DELTA, 0.05).epsilon == 0
    scores = games(FAMILY.mechanism, 400, 7)
    longer = Scores(np.append(scores.member, np.full(50, 1e9)), scores.nonmember)
    assert FREE.bound(longer, DELTA, 0.05) == FREE.bound(scores, DELTA, 0.05)


def test_what_it_says_of_itself() -> None:
    assert (FREE.name, FREE.validity, GIVEN.validity) == ("e-process", "exact", "model-based")
    assert "stopping time" in FREE.assumes
    assert "noise multiplier" in GIVEN.assumes


def test_input_outside_its_range_is_refused() -> None:
    scores = Scores(np.zeros(3), np.zeros(3))
    with pytest.raises(InputError, match="level must be in"):
        FREE.bound(scores, DELTA, 1.0)
    with pytest.raises(InputError, match="delta must be 1e-05, that of the family"):
        GIVEN.bound(scores, 1e-6, 0.05)
    with pytest.raises(InputError, match="epsilon must be at least 0"):
        Null.region(-0.1, 0.0)
    with pytest.raises(InputError, match="rates must be falling"):
        Bets(rates=(0.1, 0.2))
    with pytest.raises(InputError, match="thresholds must be not falling"):
        Bets(rates=(0.2, 0.1), thresholds=(1.0, 0.0))
    with pytest.raises(InputError, match="horizons must be"):
        Bets(horizons=())

"""The order of counts: one order, nested sets, nearer to louder curves."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri

from cropaudit.audit.estimators.evidence import Counts
from cropaudit.audit.estimators.rate_test import approximate_dp
from cropaudit.audit.estimators.yardstick import (
    TradeOff,
    Yardstick,
    alarm_blocks,
    distance,
    extreme_hits,
    yardstick,
)

CURVES: dict[str, TradeOff] = {
    "blind": lambda b: np.asarray(b),
    "region": approximate_dp(1.0, 0.0),
    "leaking": approximate_dp(2.0, 0.1),
    "gaussian": lambda b: ndtr(ndtri(b) + 1.0),
}


def slow_distance(counts: Counts, curve: TradeOff) -> float:
    """From every point of a far finer grid, ends and vertical start included."""
    fpr = np.sin(np.linspace(0, math.pi / 2, 200_001)) ** 2
    tpr = np.asarray(curve(fpr), float)
    x, y = (
        2 * math.sqrt(t) * math.asin(math.sqrt((k + 0.5) / (t + 1)))
        for k, t in ((counts.alarms, counts.nonmembers), (counts.hits, counts.members))
    )
    at = 2 * math.sqrt(counts.nonmembers) * np.arcsin(np.sqrt(fpr))
    up = 2 * math.sqrt(counts.members) * np.arcsin(np.sqrt(np.clip(tpr, 0, 1)))
    if y <= np.interp(x, at, up):
        return 0.0
    # The region under the curve: straight across to it where the curve lies above.
    return float(np.hypot(at - x, np.maximum(y - up, 0)).min())


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (20, 20), (7, 300), (300, 7)])
def test_distance_is_that_of_a_fine_grid(name: str, n: int, m: int) -> None:
    for hits, alarms in itertools.product({0, n // 2, n - 1, n}, {0, m // 10, m // 2, m}):
        counts = Counts(n, m, hits, alarms)
        expected = min(slow_distance(counts, CURVES[name]), 12.0)
        # Its own grid is a twelfth of a deviation wide: near a steep curve that shows.
        assert -0.01 <= distance(counts, CURVES[name]) - expected <= (0.1 if expected < 1 else 0.02)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.floats(0, 3), st.floats(0, 0.3))
def test_distance_grows_with_hits_and_falls_with_alarms_and_louder_curves(
    n: int, m: int, epsilon: float, delta: float
) -> None:
    curve, louder = approximate_dp(epsilon, delta), approximate_dp(epsilon + 0.3, delta + 0.02)
    found = np.array(
        [[distance(Counts(n, m, h, a), curve) for a in (0, m // 3, m)] for h in (0, n // 2, n)]
    )
    assert np.all(np.diff(found, axis=0) >= 0)
    assert np.all(np.diff(found, axis=1) <= 1e-12)
    assert distance(Counts(n, m, n, 0), louder) <= distance(Counts(n, m, n, 0), curve)


def every_set(n: int, m: int, order_of) -> list[np.ndarray]:
    """What is as extreme as each count: the fewest hits, by alarms."""
    blocks = alarm_blocks(m)
    found = []
    for hits, alarms in itertools.product(range(n + 1), range(m + 1)):
        counts = Counts(n, m, hits, alarms)
        cuts = extreme_hits(counts, order_of(counts), blocks)
        at = np.searchsorted(blocks, np.arange(m + 1), side="right") - 1
        assert cuts[at][alarms] <= hits, "what was seen is as extreme as itself"
        assert np.all(np.diff(cuts) >= 0), "more alarms ask for more hits"
        found.append(np.minimum(cuts[at], n + 1))
    return found


def assert_nested(sets: list[np.ndarray]) -> None:
    """Any two are equal or one holds the other: then the largest p-value over rates is valid."""
    sizes = np.array([item.sum() for item in sets])
    for small, large in itertools.pairwise(np.argsort(-sizes, kind="stable")):
        assert np.all(sets[large] <= sets[small])


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (9, 9), (4, 17), (17, 4)])
def test_the_order_by_one_curve_is_nested(name: str, n: int, m: int) -> None:
    curve = CURVES[name]
    assert_nested(every_set(n, m, lambda counts: Yardstick(curve, distance(counts, curve))))


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("level", [0.3, 0.05])
@pytest.mark.parametrize(("n", "m"), [(9, 9), (4, 17), (17, 4)])
def test_the_order_of_a_search_is_nested(n: int, m: int, level: float, limited: bool) -> None:
    """By the loudest curve from which counts keep a fixed distance.

    Counts too near to the first curve are ordered by their distance from it; so are those far
    above the last one, if no curve exceeds it.
    """
    curves = [approximate_dp(step / 10, 0.05) for step in range(8 if limited else 60)]
    limit = curves[-1] if limited else None

    def order(counts: Counts) -> Yardstick:
        def loudest(holds) -> TradeOff:
            return [curves[0], *(curve for curve in curves if holds(curve))][-1]

        return yardstick(counts, level, loudest, limit)

    assert_nested(every_set(n, m, order))


def test_a_search_keeps_its_distance_or_takes_what_there_is() -> None:
    quiet, loud = approximate_dp(0.0, 0.0), approximate_dp(1.0, 0.0)

    def loudest(holds) -> TradeOff:
        return loud if holds(loud) else quiet

    clear, near, below = (Counts(100, 100, hits, 10) for hits in (90, 15, 5))
    assert yardstick(clear, 0.05, loudest) == Yardstick(loud, pytest.approx(1.6449, abs=1e-4))
    assert yardstick(near, 0.05, loudest) == Yardstick(quiet, distance(near, quiet))
    assert 0 < distance(near, quiet) < 1.6449
    assert yardstick(below, 0.05, loudest) == Yardstick(quiet, 0.0)
    assert yardstick(clear, 0.9, loudest).radius == 0.5
    far = yardstick(clear, 0.05, loudest, limit=loud)
    assert far == Yardstick(loud, distance(clear, loud))
    assert far.radius > 1.6449


@pytest.mark.parametrize("m", [1, 2, 50, 575, 3000, 10**6])
def test_blocks_hold_every_number_of_alarms_and_stay_narrow(m: int) -> None:
    blocks = alarm_blocks(m)
    assert blocks[0] == 0
    assert np.all(np.diff(blocks) >= 1)
    assert blocks[-1] >= m - math.sqrt(m) / 6
    assert np.all(np.diff(blocks) <= np.maximum(1, 2 + np.sqrt(blocks[:-1]) / 20))


def test_counts_of_any_size_have_a_place() -> None:
    """No warning, and no more memory than 12 deviations of a million trials."""
    for counts in (Counts(1, 10**6, 1, 10**6), Counts(10**6, 1, 10**6, 0), Counts(1, 1, 1, 1)):
        assert 0 <= distance(counts, approximate_dp(700.0, 0.0)) <= 12
    sure = Counts(10**6, 10**6, 10**6, 0)
    assert distance(sure, CURVES["blind"]) == 12
    assert extreme_hits(sure, Yardstick(CURVES["blind"], 12.0), alarm_blocks(10**6)[:50])[0] > 0

"""Truths from quiet to loud, and the quietest that is found."""

import itertools

import numpy as np
import pytest

from cropaudit.accounting.mechanisms import PoissonPatch
from cropaudit.audit.estimators.family import Family
from cropaudit.audit.estimators.power import (
    ApproximateTruth,
    FamilyTruth,
    Truth,
    smallest_found,
)
from cropaudit.audit.estimators.rate_test import TradeOff, approximate_dp

FAMILY = Family(PoissonPatch(1.0, 0.1, 0.3, 50), 1e-5)


class Span:
    """A truth of which only the span matters."""

    delta = 0.0

    def __init__(self, low: int, high: int) -> None:
        self.span = low, high
        self.asked: list[int] = []

    def trade_off(self, loudness: int) -> TradeOff:
        raise NotImplementedError

    def epsilon(self, loudness: int) -> float:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("low", "high"), [(0, 0), (0, 1), (-5, 5), (3, 40), (-300, -2), (-900, 700)]
)
def test_smallest_found_is_that_of_a_scan(low: int, high: int) -> None:
    for edge in {
        *range(low, min(low + 12, high) + 1),
        *range(max(low, high - 3), high + 2),
        0,
        64,
        65,
    }:
        truth = Span(low, high)

        def found(loudness: int, edge: int = edge, truth: Span = truth) -> bool:
            truth.asked.append(loudness)
            return loudness >= edge

        expected = next((i for i in range(low, high + 1) if i >= edge), None)
        assert smallest_found(truth, found) == expected
        assert all(low <= asked <= high for asked in truth.asked)


@pytest.mark.parametrize(
    ("truth", "indices"),
    [(FamilyTruth(FAMILY), (-700, -50, 0, 50, 300)), (ApproximateTruth(0.01), (0, 1, 50, 2000))],
)
def test_louder_truths_show_more(truth: Truth, indices: tuple[int, ...]) -> None:
    fpr = np.concatenate([[0.0], np.geomspace(1e-5, 1, 80)])
    for quiet, loud in itertools.pairwise(indices):
        assert truth.epsilon(quiet) < truth.epsilon(loud)
        assert np.all(truth.trade_off(quiet)(fpr) <= truth.trade_off(loud)(fpr) + 1e-4)


def test_truths_are_what_they_say() -> None:
    fpr = np.linspace(0, 1, 50)
    region = ApproximateTruth(0.02)
    assert (region.span, region.delta, region.epsilon(150)) == ((0, 2000), 0.02, 1.5)
    assert np.array_equal(region.trade_off(150)(fpr), approximate_dp(1.5, 0.02)(fpr))
    game = FamilyTruth(FAMILY)
    assert (game.span, game.delta) == (FAMILY.span, FAMILY.delta)
    assert game.epsilon(20) == FAMILY.epsilon(20)
    assert np.array_equal(game.trade_off(20)(fpr), FAMILY.played(20)[0](fpr))


def test_orders_of_a_truth_are_those_that_may_be_played() -> None:
    """Each with the same game told from the other world; a region is the same from either."""
    at = np.array([0.05])
    forward, backward = (float(curve(at)[0]) for curve in FAMILY.played(10))
    seen = {
        one.order: [
            tuple(float(curve(at)[0]) for curve in pair) for pair in FamilyTruth(one).orders(10)
        ]
        for one in (FAMILY, *FAMILY.in_one_order())
    }
    assert seen["forward"] == [(forward, backward)]
    assert seen["backward"] == [(backward, forward)]
    assert seen["either"] == [(forward, backward), (backward, forward)]
    ((own, other),) = ApproximateTruth(0.1).orders(100)
    assert float(own(at)[0]) == float(other(at)[0])

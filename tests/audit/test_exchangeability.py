"""An order that knows the scores is found; one that does not is left alone."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from cropaudit.audit.estimators.betting.exchangeability import Exchangeability


def refuted_at(scores: np.ndarray, bits: np.ndarray, level: float = 1e-3) -> int | None:
    bets = Exchangeability(np.random.default_rng(0))
    for number, (score, bit) in enumerate(zip(scores, bits, strict=True), start=1):
        bets.add(float(score), int(bit))
        if bets.highest >= -math.log(level):
            return number
    return None


@pytest.mark.parametrize("kind", ["smooth", "two-valued", "constant", "leaking"])
def test_null_a_random_order_is_refuted_at_most_at_the_level(kind: str) -> None:
    """150 streams of 200 games, stopped whenever it pleases; false-failure rate 1e-5."""
    rng, refuted = np.random.default_rng(1), 0
    for _ in range(150):
        bits = rng.integers(0, 2, 200)
        scores = {
            "smooth": rng.normal(size=200),
            "two-valued": rng.integers(0, 2, 200),
            "constant": np.zeros(200),
            "leaking": rng.normal(size=200) + 3 * bits,
        }[kind]
        refuted += refuted_at(scores, bits, 0.1) is not None
    assert refuted <= binom.isf(1e-5, 150, 0.1)


def test_null_members_first_is_a_random_order_of_scores() -> None:
    """The order may know the coins."""
    scores = np.random.default_rng(2).normal(size=400)
    assert refuted_at(scores + 5 * (np.arange(400) < 200), np.arange(400) < 200) is None


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("rounded", [False, True])
def test_power_sorted_scores_are_found_at_once(sign: int, rounded: bool) -> None:
    """2,000 + 1,000 null scores, as a table sorted by score has them."""
    rng = np.random.default_rng(3)
    bits, scores = np.arange(3000) < 2000, rng.normal(size=3000)
    scores = np.round(scores) if rounded else scores
    order = np.argsort(sign * scores, kind="stable")
    found = refuted_at(scores[order], bits[order])
    assert found is not None
    assert found <= 150


@pytest.mark.parametrize("kind", ["late", "blocks", "pairs", "drift"])
def test_power_orders_that_know_less_are_found(kind: str) -> None:
    rng = np.random.default_rng(4)
    scores, bits = rng.normal(size=3000), np.tile([0, 1], 1500)
    if kind == "late":
        scores = np.r_[scores[:1500], np.sort(scores[1500:])]
    elif kind == "blocks":
        scores = np.sort(scores.reshape(-1, 50), axis=1).ravel()
    elif kind == "pairs":
        scores = 0.7 * scores + 0.7 * np.repeat(rng.normal(size=1500), 2)
    else:
        scores = scores + np.arange(3000) / 2000
    assert refuted_at(scores, bits) is not None

"""Guesses about coins held against trade-off curves: sound ones stand, impossible ones fall."""

from functools import lru_cache

import numpy as np
import pytest

from cropaudit.accounting.accountant import calibrate_noise, privacy_curve
from cropaudit.accounting.mechanisms import PoissonPatch
from cropaudit.audit.estimators.evidence import Guesses
from cropaudit.audit.estimators.guessing import Ends
from cropaudit.audit.estimators.rate_test import TradeOff, approximate_dp
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.run_games import GuessesTest
from cropaudit.audit.simulated import summed_scores

CONFIGURED = PoissonPatch(noise_multiplier=1.0, sample_rate=0.25, inclusion=0.4, steps=40)
SHARES = (1.0, 1 / 3, 1 / 10)


@lru_cache
def curves(epsilon: float) -> tuple[TradeOff, ...]:
    noise = calibrate_noise(CONFIGURED, 1e-5, epsilon)
    return tuple(privacy_curve(CONFIGURED.with_noise(noise), 1e-5).trade_offs())


def guessed(scores: Scores, level: float) -> GuessesTest:
    return GuessesTest(tuple(Ends(share).guesses(scores) for share in SHARES), level)


def test_null_best_guesses_of_the_claimed_mechanism_are_accused_at_most_at_the_level() -> None:
    """Coins of a product channel, the claimed pair itself, guessed as well as can be.

    The test is far below its level here; more than 10 of 100 at a level of 10% has, for a test of
    just that level, a chance of 42%; the bound of 15 has 4%.
    """
    rng = np.random.default_rng(0)
    curve = privacy_curve(CONFIGURED, 1e-5).trade_offs()
    accused = 0
    for _ in range(100):
        member = rng.random(96) < 0.5
        scores = Scores.of(
            summed_scores(CONFIGURED, int(member.sum()), rng, member=True),
            summed_scores(CONFIGURED, int((~member).sum()), rng, member=False),
        )
        accused += guessed(scores, 0.1).rejects(curve)
    assert accused <= 15


def faultless(canaries: int) -> Scores:
    half = np.arange(canaries // 2) + 1.0
    return Scores.of(half, -half)


def test_power_no_error_over_1000_canaries_refutes_a_claim_of_8() -> None:
    """The level is that of one of three attacks at 95%, halved between its two tests."""
    test = guessed(faultless(1000), 0.05 / 6)
    assert test.rejects(curves(8.0))
    assert not test.rejects([approximate_dp(8.0, 1e-5)])  # that would take 17,000 canaries
    assert test.words == (
        "coins of 1000 canaries guessed: 1000 of 1000, 333 of 333, 100 of 100 right"
    )


def test_96_canaries_of_one_run_cannot_refute_it() -> None:
    """A limit worth knowing: canaries of one run may depend on each other."""
    assert not guessed(faultless(96), 0.05 / 6).rejects(curves(8.0))
    assert guessed(faultless(96), 0.05 / 6).rejects(curves(4.0))


def test_chance_refutes_nothing() -> None:
    half = GuessesTest((Guesses(96, 96, 48),), 0.05)
    assert not half.rejects(curves(1.0))
    assert not half.rejects([approximate_dp(0.0, 1e-9)])


def test_all_curves_must_fall() -> None:
    test = guessed(faultless(96), 0.05)
    weak, strong = approximate_dp(0.1, 1e-5), approximate_dp(30.0, 1e-5)
    assert test.rejects([weak])
    assert not test.rejects([weak, strong])


@pytest.mark.parametrize("level", [0.05, 1e-3])
def test_several_rules_share_the_level(level: float) -> None:
    """Rules that say nothing cost the one that speaks its share of the level."""
    telling = Guesses(96, 96, 62)
    alone = GuessesTest((telling,), level)
    padded = GuessesTest((telling, Guesses(96, 10, 5), Guesses(96, 10, 5)), 3 * level)
    for epsilon in (0.0, 0.2, 0.4, 0.6):
        curve = approximate_dp(epsilon, 1e-9)
        assert alone.rejects([curve]) == padded.rejects([curve])

"""What is claimed: each kind, its region, and what may contradict it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pytest

from cropaudit.accounting.accountant import epsilon_at, pair_curve
from cropaudit.accounting.digits import format_upper
from cropaudit.accounting.mechanisms import (
    FixedSizePatch,
    PatchMechanism,
    PoissonPatch,
    ShufflePatch,
)
from cropaudit.accounting.shortcuts import shortcuts
from cropaudit.audit.claims import StatedClaim, state_claim
from cropaudit.audit.config import ClaimConfig
from cropaudit.audit.curve_tests import CountsTest, CurveTest
from cropaudit.audit.estimators.clopper_pearson import box_epsilon
from cropaudit.audit.estimators.evidence import Counts
from cropaudit.audit.estimators.rate_test import TradeOff
from cropaudit.errors import InputError

DELTA = 1e-5
MECHANISMS: list[PatchMechanism] = [
    PoissonPatch(1.0, 0.1, 0.3, 50),
    FixedSizePatch(0.8, 0.1, 0.3, 50),
    ShufflePatch(1.0, 0.1, 0.3, 50),
    ShufflePatch(1.5, 0.25, 1.0, 40, epochs=7),
]
SHORTCUTS = [(mechanism, item.name) for mechanism in MECHANISMS for item in shortcuts(mechanism)]
FPR = np.concatenate([[0.0], np.geomspace(1e-9, 0.5, 200), 1 - np.geomspace(0.5, 1e-6, 50), [1.0]])


@lru_cache
def stated(mechanism: PatchMechanism, **claim: object) -> StatedClaim:
    return state_claim(ClaimConfig.model_validate(claim), mechanism, DELTA)


@dataclass(frozen=True)
class Point:
    """Evidence without chance: a test that is known to have these rates."""

    fpr: float
    fnr: float
    level: float = 0.05
    words: str = "known rates"

    def rejects(self, curves: Sequence[TradeOff]) -> bool:
        return all(1 - self.fnr > float(curve(np.array(self.fpr))) for curve in curves)


def point(fpr: float, fnr: float) -> CurveTest:
    return Point(fpr, fnr)


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=str)
def test_configured_claim_is_the_bound(mechanism: PatchMechanism) -> None:
    claim = stated(mechanism)
    assert claim.kind == "configured"
    assert claim.epsilon == epsilon_at(mechanism, DELTA)
    assert claim.curve is not None
    assert 0 <= claim.epsilon - claim.curve.epsilon(DELTA) < 2e-5 * claim.epsilon, "rounded up"
    assert (claim.delta, claim.noise_multiplier) == (DELTA, mechanism.noise_multiplier)
    sampler = {PoissonPatch: "Poisson", FixedSizePatch: "fixed-size", ShufflePatch: "shuffled"}
    assert f"({sampler[type(mechanism)]} batches" in claim.statement
    assert f"({format_upper(claim.epsilon)}, 1e-05)-DP" in claim.statement
    assert "patch-level" in claim.statement


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=str)
def test_the_game_lies_inside_the_claimed_region(mechanism: PatchMechanism) -> None:
    """A game of one fixed pair is one of the adversaries that the formal curve must cover."""
    claim = stated(mechanism)
    assert claim.curve is not None
    assert claim.game is not None
    assert np.all(claim.game.highest_tpr(FPR) <= claim.curve.highest_tpr(FPR) + 1e-10)
    assert claim.game.epsilon(DELTA) <= claim.epsilon
    for epsilon in (0.0, 0.3, 1.0, claim.epsilon, 1.5 * claim.epsilon):
        assert claim.game.delta(epsilon) <= claim.curve.delta(epsilon) + 1e-12


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=str)
def test_grounds_nest(mechanism: PatchMechanism) -> None:
    """What the game allows contradicts nothing; what is outside the region, both."""
    claim = stated(mechanism)
    assert claim.curve is not None
    assert claim.game is not None
    for fpr in (1e-4, 0.01, 0.1, 0.4):
        forward = claim.game.trade_offs()[0]  # the order that is played
        played, formal = (float(c(np.array(fpr))) for c in (forward, claim.curve.highest_tpr))
        assert not claim.contradicted_by(point(fpr, 1 - played + 1e-9))
        between = point(fpr, 1 - (played + formal) / 2)
        if formal - played > 1e-6:
            assert claim.beyond_family(between)
            assert not claim.refuted_by(between)
            assert claim.contradicted_by(between)
        beyond = point(fpr, 1 - formal - 1e-6)
        assert claim.refuted_by(beyond)
        assert claim.beyond_family(beyond)
    assert not claim.contradicted_by(point(1.0, 1.0))
    assert not claim.contradicted_by(point(0.5, 0.5)), "a coin contradicts nothing"
    assert claim.contradicted_by(point(1e-9, 1e-9)), "perfect tests contradict everything"


@pytest.mark.parametrize("mechanism", MECHANISMS[:3], ids=str)
@pytest.mark.parametrize("epsilon", [0.5, 3.0])
def test_a_claimed_epsilon_is_that_of_its_own_curve(
    mechanism: PatchMechanism, epsilon: float
) -> None:
    claim = stated(mechanism, epsilon=epsilon)
    assert (claim.kind, claim.epsilon, claim.delta) == ("epsilon", epsilon, DELTA)
    assert claim.curve is not None
    assert claim.game is not None
    assert 0.995 * epsilon <= claim.curve.epsilon(DELTA) <= epsilon
    assert epsilon_at(mechanism.with_noise(claim.noise_multiplier), DELTA) <= epsilon * (1 + 1e-5)
    assert np.all(claim.game.highest_tpr(FPR) <= claim.curve.highest_tpr(FPR) + 1e-10)
    assert f"{claim.noise_multiplier:.4g}" in claim.statement


def test_claiming_the_configured_epsilon_gives_the_configured_noise_back() -> None:
    mechanism = MECHANISMS[0]
    claim = stated(mechanism, epsilon=stated(mechanism).epsilon)
    assert claim.noise_multiplier == pytest.approx(mechanism.noise_multiplier, rel=2e-3)


def test_less_claimed_allows_less() -> None:
    mechanism = MECHANISMS[0]
    small, large = (stated(mechanism, epsilon=e).curve for e in (0.5, 3.0))
    assert small is not None
    assert large is not None
    assert np.all(small.highest_tpr(FPR) <= large.highest_tpr(FPR) + 1e-12)


@pytest.mark.parametrize("mechanism", MECHANISMS[:3], ids=str)
def test_a_bare_claim_is_a_point_and_no_curve(mechanism: PatchMechanism) -> None:
    claim = stated(mechanism, epsilon=1.0, family="none")
    assert (claim.kind, claim.epsilon, claim.curve, claim.game) == ("bare", 1.0, None, None)
    assert claim.statement == "The training is patch-level (1, 1e-05)-DP."
    for fpr, fnr in ((0.1, 0.7), (0.1, 0.75), (0.7, 0.1), (0.1, 0.73), (1e-9, 1.0)):
        assert claim.contradicted_by(point(fpr, fnr)) == (box_epsilon(fpr, fnr, DELTA) > 1.0)
    assert claim.contradicted_by(point(0.1, 0.7))
    assert claim.contradicted_by(point(0.7, 0.1)), "both worlds count"
    assert not claim.contradicted_by(point(0.1, 0.75))


@pytest.mark.parametrize(("mechanism", "name"), SHORTCUTS, ids=str)
def test_a_shortcut_allows_less_than_the_mechanism_does(
    mechanism: PatchMechanism, name: str
) -> None:
    configured, claim = stated(mechanism), stated(mechanism, shortcut=name)
    assert (claim.kind, claim.game) == ("shortcut", None)
    assert claim.noise_multiplier == mechanism.noise_multiplier
    assert name in claim.statement
    assert claim.epsilon < configured.epsilon
    assert claim.curve is not None
    assert configured.curve is not None
    assert configured.game is not None
    allowed, truth = claim.curve.highest_tpr(FPR), configured.curve.highest_tpr(FPR)
    assert np.all(allowed <= truth + 1e-12)
    # The game shows what the short cut forbids: that is what refutes it.
    played = configured.game.highest_tpr(FPR)
    worst = int(np.argmax(played - allowed))
    assert claim.refuted_by(point(float(FPR[worst]), 1 - float(played[worst]) + 1e-9))


def test_unknown_shortcuts_name_the_legal_ones() -> None:
    with pytest.raises(InputError) as caught:
        stated(MECHANISMS[0], shortcut="magic")
    words = "claim shortcut must be one of add-remove, replace-one, sensitivity-c, got magic"
    assert str(caught.value) == words
    with pytest.raises(InputError, match=r"must be one of .*, got poisson-accounting"):
        stated(MECHANISMS[0], shortcut="poisson-accounting")


@pytest.mark.parametrize(
    ("epsilon", "message"), [(1e-6, "noise below 1e4"), (1e6, "below what a noise multiplier")]
)
def test_epsilons_out_of_reach(epsilon: float, message: str) -> None:
    mechanism = ShufflePatch(1.0, 1.0, 1.0, 1)
    with pytest.raises(InputError, match=f"target epsilon must be .*{message}.*, got"):
        stated(mechanism, epsilon=epsilon)


def test_a_delta_below_the_numerics_is_refused() -> None:
    for claim in (ClaimConfig(), ClaimConfig(shortcut="add-remove")):
        with pytest.raises(InputError, match=r"delta must be above 1e-11 or so .*, got 1e-17"):
            state_claim(claim, MECHANISMS[0], 1e-17)


def test_a_patch_that_no_crop_meets_leaks_nothing() -> None:
    claim = stated(PoissonPatch(1.0, 0.1, 0.0, 10))
    assert claim.epsilon == 0
    assert not claim.contradicted_by(point(0.3, 0.7 + 1e-9))
    assert claim.contradicted_by(point(0.3, 0.69))


def test_counts_are_held_against_the_same_curves() -> None:
    """Many trials come near to knowing the rates; the grounds nest for each number of hits."""
    claim = stated(MECHANISMS[0])
    assert claim.curve is not None
    assert claim.game is not None
    n = 20_000
    grounds = []
    for share in (0.1, 0.2, 0.25, 0.3, 0.6):
        test = CountsTest(Counts(n, n, round(share * n), n // 20, ranked=True), 0.05)
        known = point(0.05, 1 - share)
        assert claim.refuted_by(test) == claim.refuted_by(known)
        assert claim.beyond_family(test) == claim.beyond_family(known)
        assert claim.beyond_family(test) or not claim.refuted_by(test)
        grounds.append(claim.contradicted_by(test))
    assert grounds == sorted(grounds)
    assert {True, False} == set(grounds)


@pytest.mark.parametrize("mechanism", MECHANISMS[:3], ids=str)
def test_the_game_is_held_to_the_order_that_is_played(mechanism: PatchMechanism) -> None:
    """World A of the probe is P: the first curve is P's rates by Q's, and it alone counts.

    In one step both are known in closed form. Where the curves differ, a point that only the other
    order allows is beyond the claimed mechanism; one that only this order allows is not.
    """
    pair = mechanism.pair()
    first, other = pair_curve(pair, 1, DELTA).trade_offs()
    tpr, fpr = pair.masses_above(np.linspace(-3, 3, 61))
    np.testing.assert_allclose(first(fpr), tpr, atol=3e-3)
    np.testing.assert_allclose(other(1 - tpr), 1 - fpr, atol=3e-3)
    claim = stated(mechanism)
    assert claim.game is not None
    forward, backward = (curve(FPR) for curve in claim.game.trade_offs())
    for at in (int(np.argmax(forward - backward)), int(np.argmax(backward - forward))):
        gap = abs(float(forward[at] - backward[at]))
        assert gap > 1e-3
        tpr_between = float(forward[at] + backward[at]) / 2
        seen = claim.beyond_family(point(float(FPR[at]), 1 - tpr_between))
        assert seen == (backward[at] > forward[at])

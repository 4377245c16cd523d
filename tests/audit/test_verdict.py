"""The decision: each ground, each doubt, and whole games played from the pair itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

import numpy as np
import pytest
from scipy.stats import binom

from cropaudit.accounting.digits import format_lower, format_upper
from cropaudit.accounting.mechanisms import FixedSizePatch, PoissonPatch
from cropaudit.accounting.pairs import StepPair
from cropaudit.attacks.probe import Probe, ProbeScores
from cropaudit.audit import design, games
from cropaudit.audit.claims import StatedClaim, state_claim
from cropaudit.audit.config import AuditConfig, ClaimConfig
from cropaudit.audit.curve_tests import CountsTest, CurveTest
from cropaudit.audit.estimators.clopper_pearson import box_epsilon
from cropaudit.audit.estimators.evidence import Counts, Found
from cropaudit.audit.estimators.family import Family
from cropaudit.audit.estimators.mechanism_fdp import OUTSIDE, MechanismFdp, family_note
from cropaudit.audit.estimators.rank_sum import RankSum
from cropaudit.audit.estimators.rate_test import TradeOff
from cropaudit.audit.estimators.rounding import round_down
from cropaudit.audit.result import Bound, Check, Validity
from cropaudit.audit.subject import Subject, prepare_subject
from cropaudit.audit.verdict import Evidence, decide, headline

DELTA = 1e-5
POISSON = PoissonPatch(1.0, 0.1, 0.3, 50)
FIXED = FixedSizePatch(1.0, 0.1, 0.3, 50)
PASS = Check(name="null control", expected="AUC near 0.5", observed="AUC 0.503", status="pass")
FAIL = PASS.model_copy(update={"observed": "AUC 0.8", "status": "fail"})


pytestmark = pytest.mark.usefixtures("one_thread")


@lru_cache
def claimed(mechanism: PoissonPatch | FixedSizePatch = POISSON, **claim: object) -> StatedClaim:
    return state_claim(ClaimConfig.model_validate(claim), mechanism, DELTA)


@dataclass(frozen=True)
class Point:
    """Evidence without chance: a test that is known to have these rates."""

    fpr: float
    fnr: float
    level: float = 0.05 / 3

    @property
    def words(self) -> str:
        return f"rates ({self.fpr:.4g}, {self.fnr:.4g})"

    def rejects(self, curves: Sequence[TradeOff]) -> bool:
        return all(1 - self.fnr > float(curve(np.array(self.fpr))) for curve in curves)


@lru_cache
def family(mechanism: PoissonPatch | FixedSizePatch) -> Family:
    return Family(mechanism, DELTA, order="forward")


def within(test: CurveTest, mechanism: PoissonPatch | FixedSizePatch = POISSON) -> Bound:
    """Returns the bound that a test gives within a family."""
    held = family(mechanism)
    found = held.loudest_rejected(lambda curve: test.rejects([curve]))
    note = OUTSIDE if found.outside else family_note(held, found)
    return bound(0.0 if found.outside else round_down(found.epsilon), "model-based", note)


def plain(point: Point) -> Bound:
    return bound(round_down(box_epsilon(point.fpr, point.fnr, DELTA)))


def bound(epsilon: float, validity: Validity = "exact", note: str = "") -> Bound:
    names: dict[Validity, str] = {"exact": "clopper-pearson", "model-based": "mechanism-f-dp"}
    return Bound(
        estimator=names.get(validity, str(validity)),
        epsilon=epsilon,
        delta=DELTA,
        confidence=0.983,
        validity=validity,
        assumes="independent trials",
        note=note,
    )


def seen(*tests: CurveTest, bounds: tuple[Bound, ...] = (bound(0.0),)) -> list[Evidence]:
    return [
        Evidence("probe", bounds, tests),
        Evidence("white-box", (bound(0.0),), ()),
        Evidence("black-box", (bound(0.0),), ()),
    ]


def region(claim: StatedClaim, fpr: float) -> tuple[float, float]:
    """Returns the smallest false negative rates of the game, and of the claimed region."""
    assert claim.game is not None
    assert claim.curve is not None
    played = claim.game.trade_offs()[0]
    return 1 - float(played(np.array(fpr))), 1 - float(claim.curve.highest_tpr(np.array(fpr)))


def test_within_the_game_is_consistent() -> None:
    claim = claimed()
    played, _ = region(claim, 0.1)
    verdict = decide(claim, seen(Point(0.1, played + 1e-6)), [PASS], 1.9 * claim.epsilon, 2.0)
    assert (verdict.status, verdict.ground, verdict.reasons) == ("consistent", "none", ())
    assert verdict.detectable_epsilon == 1.9 * claim.epsilon
    assert "A lower bound never certifies epsilon" in verdict.detail
    assert f"{format_upper(1.9 * claim.epsilon)} or more would have been found with 90% power" in (
        verdict.detail
    )


def test_between_game_and_region_is_a_violation_given_the_family() -> None:
    claim = claimed()
    played, formal = region(claim, 0.1)
    assert played - formal > 1e-4
    rates = Point(0.1, (played + formal) / 2)
    bounds = (within(rates), bound(0.5))
    verdict = decide(claim, seen(rates, bounds=bounds), [PASS], 3.0, 2.0)
    assert (verdict.status, verdict.ground) == ("violation", "given the family")
    (reason,) = verdict.reasons
    assert reason.startswith(f"probe: {rates.words}")
    assert "beyond the claimed mechanism in this game" in reason
    assert "whatever the mechanism is" not in verdict.detail
    assert "The pipeline is not the claimed mechanism; given the configured family" in (
        verdict.detail
    )


def test_outside_the_region_is_a_violation_whatever_the_mechanism() -> None:
    """Though no Clopper-Pearson bound at delta exceeds the claimed epsilon."""
    claim = claimed()
    _, formal = region(claim, 0.1)
    rates = Point(0.1, formal - 0.02)
    assert box_epsilon(rates.fpr, rates.fnr, DELTA) < claim.epsilon
    model = within(rates)
    verdict = decide(claim, seen(rates, bounds=(model, bound(0.9))), [PASS], 3.0, 2.0)
    assert (verdict.status, verdict.ground) == ("violation", "assumption-free")
    assert verdict.reasons[0].startswith(f"probe: {rates.words}")
    assert "assumes nothing about the mechanism" in verdict.reasons[0]
    assert "The claimed trade-off curve is impossible, whatever the mechanism is;" in verdict.detail
    shown = format_lower(model.epsilon)
    assert f"given the configured family of mechanisms, epsilon is at least {shown}" in (
        verdict.detail
    )


@pytest.mark.parametrize("claim", [claimed(), claimed(epsilon=2.0, family="none")], ids=str)
def test_an_exact_bound_above_the_claim_is_a_violation(claim: StatedClaim) -> None:
    found = seen()
    found[2] = Evidence("black-box", (bound(4.0),), ())
    verdict = decide(claim, found, [PASS], None, 2.0)
    assert (verdict.status, verdict.ground) == ("violation", "assumption-free")
    assert verdict.reasons[0].startswith("black-box: the exact lower bound 4.00 (clopper-pearson)")
    assert "Epsilon is at least 4.00, whatever the mechanism is." in verdict.detail
    same = seen(bounds=(bound(claim.epsilon),))
    assert decide(claim, same, [PASS], 2.5, 2.0).status == "consistent", "equal is not above"


@pytest.mark.parametrize("validity", ["model-based", "credible", "asymptotic"])
def test_a_bare_claim_is_not_violated_by_what_a_family_says(validity: Validity) -> None:
    claim = claimed(epsilon=1.0, family="none")
    verdict = decide(claim, seen(bounds=(bound(1.7, validity), bound(0.9))), [PASS], 1.5, 2.0)
    assert (verdict.status, verdict.ground) == ("inconclusive", "none")
    (reason,) = verdict.reasons
    assert reason == (
        "given the configured family, epsilon is at least 1.70, above the claim; without that "
        "assumption it is not shown"
    )
    below = seen(bounds=(bound(0.9, validity), bound(0.9)))
    assert decide(claim, below, [PASS], 1.5, 2.0).status == "consistent"


def test_no_claim_is_consistent_beside_a_larger_headline() -> None:
    """A short cut's curve may allow a box by which the family has more than its epsilon."""
    claim = claimed(FIXED, shortcut="replace-one")
    assert claim.curve is not None
    rates = Point(0.3, 1 - float(claim.curve.highest_tpr(np.array(0.3))) + 1e-6)
    assert not claim.contradicted_by(rates)
    bounds = (within(rates, FIXED), plain(rates))
    found = seen(rates, bounds=bounds)
    assert headline(found, 0.95, DELTA).epsilon_lower > 1.5 * claim.epsilon
    verdict = decide(claim, found, [PASS], claim.epsilon, 2.0)
    assert verdict.status == "inconclusive"
    assert "above the claim; without that assumption it is not shown" in verdict.reasons[0]


def test_a_failed_check_is_a_doubt_and_a_skipped_one_is_not() -> None:
    claim = claimed()
    verdict = decide(claim, seen(), [PASS, FAIL], 2.5, 2.0)
    assert (verdict.status, verdict.ground) == ("inconclusive", "none")
    assert verdict.reasons == ("check 'null control' failed: AUC 0.8",)
    skipped = PASS.model_copy(update={"status": "skipped"})
    assert decide(claim, seen(), [PASS, skipped], 2.5, 2.0).status == "consistent"


def test_doubts_do_not_hide_a_violation() -> None:
    verdict = decide(claimed(), seen(Point(1e-6, 1e-6)), [FAIL], None, 2.0)
    assert verdict.status == "violation"


def test_low_power_is_a_doubt() -> None:
    claim = claimed()
    blind = decide(claim, seen(), [PASS], None, 2.0)
    assert (blind.status, blind.detectable_epsilon) == ("inconclusive", None)
    assert blind.reasons == ("no epsilon would have been found with 90% power: play more slots",)
    weak = decide(claim, seen(), [PASS], 2.01 * claim.epsilon, 2.0)
    assert weak.status == "inconclusive"
    assert "over 2 times the claim: play more slots" in weak.reasons[0]
    assert decide(claim, seen(), [PASS], 2.01 * claim.epsilon, 3.0).status == "consistent"
    assert decide(claim, seen(), [PASS], 2.0 * claim.epsilon, 2.0).status == "consistent"


def test_all_doubts_are_listed() -> None:
    claim = claimed(epsilon=1.0, family="none")
    verdict = decide(claim, seen(bounds=(bound(2, "model-based"), bound(0))), [FAIL], None, 2.0)
    assert len(verdict.reasons) == 3


def test_a_refuted_family_is_said_to_be_one() -> None:
    """Rates that no noise explains, but that a claim of 8 allows by its exact bound."""
    rates = Point(0.02, 0.05)
    model = within(rates)
    assert model.note == OUTSIDE
    noted = model.model_copy(update={"note": f"{OUTSIDE}; planned ranks"})
    bounds = (noted, plain(rates))
    claim = claimed(epsilon=8.0)
    verdict = decide(claim, seen(rates, bounds=bounds), [PASS], 3.0, 2.0)
    assert verdict.status == "violation"
    assert "No noise at all explains it: the sampler, the crop or the steps are not as conf" in (
        verdict.detail
    )
    assert "given the configured family" not in verdict.detail
    # Where the exact bound already exceeds the claim, that is what is said.
    exact = decide(claimed(), seen(rates, bounds=bounds), [PASS], 3.0, 2.0)
    assert "whatever the mechanism is." in exact.detail
    assert "No noise" not in exact.detail


def test_headline_is_the_largest_corrected_bound() -> None:
    evidence = [
        Evidence("probe", (bound(1.5, "model-based"), bound(1.0)), ()),
        Evidence("white-box", (bound(1.4),), ()),
        Evidence("black-box", (bound(0.0),), ()),
    ]
    found = headline(evidence, 0.95, DELTA)
    assert (found.epsilon_lower, found.attack, found.estimator, found.validity) == (
        1.5,
        "probe",
        "mechanism-f-dp",
        "model-based",
    )
    assert (found.confidence, found.delta) == (0.95, DELTA)
    assert found.correction == "Bonferroni over 3 attacks"
    evidence[1] = Evidence("white-box", (bound(1.6),), ())
    found = headline(evidence, 0.95, DELTA)
    assert (found.epsilon_lower, found.attack, found.validity) == (1.6, "white-box", "exact")
    assert headline(seen(), 0.95, DELTA).epsilon_lower == 0


def test_power_is_planned_for_the_very_decision() -> None:
    """`contradicted_by` goes into the plan, `decide` makes the verdict: they must agree."""
    claims = [
        claimed(),
        claimed(epsilon=1.0),
        claimed(epsilon=1.0, family="none"),
        claimed(shortcut="add-remove"),
    ]
    grid = (0.001, 0.02, 0.1, 0.3, 0.6)
    for claim, fpr, fnr in product(claims, grid, (*grid, 0.8, 0.95, 0.99)):
        rates = Point(fpr, fnr)
        evidence = seen(rates, bounds=(plain(rates),))
        violated = decide(claim, evidence, [PASS], 1.0, 2.0).status == "violation"
        assert violated == claim.contradicted_by(rates), (claim.kind, fpr, fnr)
        free = decide(claim, evidence, [PASS], 1.0, 2.0).ground == "assumption-free"
        assert free == claim.refuted_by(rates)


# Whole games, played from the pair itself: no torch, no crops, so that many can be had.

SAMPLERS = ["poisson", "fixed", "shuffle"]
LEVEL = 0.1  # of the probe: a third of what the configured confidence leaves


def prepared(sampler: str, slots: int) -> Subject:
    values = {
        "seed": 1,
        "patch": "8x8",
        "data": {"images": 2, "validation": 1, "size": "32x48"},
        "crop": {"size": "16x16"},
        "training": {"sampler": sampler, "batch": 3, "steps": 8, "noise_multiplier": 0.8},
        "game": {"probe_slots": slots, "canary_slots": 10, "confidence": 1 - 3 * LEVEL},
    }
    return prepare_subject(AuditConfig.model_validate(values))


def simulate(spec: Probe, played: StepPair, steps: int, rng: np.random.Generator) -> ProbeScores:
    """Draws what `run_probe` would, by the mixtures of the pair."""
    member = rng.random(spec.slots) < 0.5
    weights = np.where(member[:, None], played.p, played.q).cumsum(axis=1)
    draws = rng.random((spec.slots, steps, 1))
    means = (draws > weights[:, None, :2]).sum(axis=2) - 1.0
    values = rng.normal(means, played.sigma)
    sums = np.stack([pair.log_ratio(values).sum(axis=1) for pair in spec.pairs])
    return ProbeScores(sums, member, np.zeros(spec.slots, dtype=np.int64))


@pytest.fixture
def violations(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Returns a function that counts violations among so many games at a factor of the noise.

    For speed the plan is that of equal numbers of trials, and families share their curves. Bounds
    are left out: an exact one exceeds the claim where a test refutes it (shown in `test_games`).
    """
    kept = lru_cache(maxsize=None)(Family)
    monkeypatch.setattr(design, "Family", lambda m, delta, order: kept(m, delta, order=order))
    shared = lru_cache(maxsize=None)(design.plan_game)

    def planned(mechanism, delta, members, nonmembers, level):
        half = round((members + nonmembers) / 2)
        plan = shared(mechanism, delta, half, half, level)
        return replace(plan, roc=RankSum(plan.family, members, nonmembers))

    monkeypatch.setattr(games, "plan_game", planned)
    monkeypatch.setattr(games, "plan_bounds", lambda *_: (bound(0.0, "model-based"), bound(0.0)))

    def count(sampler: str, factor: float, number: int, slots: int = 300) -> int:
        subject = prepared(sampler, slots)
        mechanism = subject.mechanism
        claim = state_claim(subject.config.claim, mechanism, DELTA)
        played = mechanism.with_noise(factor * mechanism.noise_multiplier).pair()
        rng = np.random.default_rng(7)
        monkeypatch.setattr(
            games,
            "run_probe",
            lambda spec, progress=None: simulate(spec, played, mechanism.compositions, rng),
        )
        verdicts = [
            decide(claim, [games.probe_game(subject, None)[0].evidence], (), claim.epsilon, 2.0)
            for _ in range(number)
        ]
        return sum(verdict.status == "violation" for verdict in verdicts)

    return count


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_null_honest_games_are_accused_at_most_at_the_level(
    violations: Callable[..., int], sampler: str
) -> None:
    """100 whole games at level .1; false-failure rate at most 1e-4 a case (Binomial(100, .1))."""
    assert violations(sampler, 1.0, 100) <= binom.isf(1e-4, 100, LEVEL)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_power_half_the_noise_is_found(violations: Callable[..., int], sampler: str) -> None:
    """18 of 20 games of 1,200 slots or more; a power of .99 fails that with rate 1e-3.

    The seed is fixed. Of 200 games played once at each sampler all were found.
    """
    assert violations(sampler, 0.5, 20, slots=1200) >= 18


def test_the_null_test_has_power(
    violations: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count above would show a game that accuses too often: here point estimates, as if any
    excess of the observed rates over the curve counted."""

    def bare(test: CountsTest, curves: Sequence[TradeOff]) -> bool:
        counts = test.counts
        point = Point(counts.alarms / counts.nonmembers, 1 - counts.hits / counts.members)
        return point.rejects(curves)

    monkeypatch.setattr(CountsTest, "rejects", bare)
    assert violations("poisson", 1.0, 100) > binom.isf(1e-4, 100, LEVEL)


def test_words_of_a_violation_name_what_was_counted() -> None:
    test = CountsTest(Counts(1000, 1000, 600, 20, ranked=True), 0.05 / 3)
    verdict = decide(claimed(), seen(test), [PASS], 3.0, 2.0)
    assert verdict.status == "violation"
    assert "600 of 1000 true positives at 20 of 1000 false ones" in verdict.reasons[0]


def test_a_bound_that_says_outside_is_read_with_the_bound_beside_it() -> None:
    """`MechanismFdp` itself gives the note that the verdict looks for."""
    counts = Counts(3000, 3000, 2850, 20, ranked=True)
    found = MechanismFdp(family(POISSON)).epsilon(counts, DELTA, 0.05)
    assert found == Found(found.epsilon, OUTSIDE)
    test = CountsTest(counts, 0.05)
    noted = bound(round_down(found.epsilon), "model-based", found.note)
    verdict = decide(claimed(epsilon=8.0), seen(test, bounds=(noted, bound(1.0))), [PASS], 3.0, 2.0)
    assert verdict.status == "violation"
    assert verdict.detail.endswith("the crop or the steps are not as configured.")

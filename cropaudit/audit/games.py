"""The probe game of an audit, and the controls that stand beside it.

The level is split evenly over the attacks for the verdict; the bounds that an attack reports for
itself stand at the full confidence. Both come from the same scores.
"""

import math
import time
from collections.abc import Callable

import numpy as np

from cropaudit.attacks.probe import Probe, ProbeScores, run_probe
from cropaudit.audit.curve_tests import CurveTest
from cropaudit.audit.design import Plan, plan_game, scoring_pairs
from cropaudit.audit.estimators.evidence import Found, upper_limit
from cropaudit.audit.estimators.joint_test import JointTest, largest_epsilon
from cropaudit.audit.estimators.mechanism_fdp import OUTSIDE, family_note
from cropaudit.audit.estimators.methods import bound_of
from cropaudit.audit.estimators.rank_sum import RankSum
from cropaudit.audit.estimators.rate_test import approximate_dp
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.game_entry import Played, Words, attack_entry, score_csv
from cropaudit.audit.result import Bound, Check
from cropaudit.audit.subject import Subject
from cropaudit.audit.verdict import Evidence
from cropaudit.training.samplers import Cyclic, Shuffle

__all__ = ["control_checks", "plan_bounds", "probe_game"]

_REAL = (
    "independent trials; and, for the value of epsilon, that the delivered mechanism is the "
    "claimed one at another noise multiplier"
)


def probe_game(
    subject: Subject, progress: Callable[[int], None] | None
) -> tuple[Played, ProbeScores, Plan]:
    """Plays the pipeline probe.

    Returns:
        The game, its raw scores with hit counts, and its plan.
    """
    game = subject.config.game
    level = 1 - game.confidence
    share = level / len(game.attacks)
    start = time.perf_counter()
    result = run_probe(_probe(subject, game.probe_slots, subject.seeds.probe), progress)
    seconds = time.perf_counter() - start
    scores = [Scores.labelled(values, result.member) for values in result.scores]
    members, nonmembers = len(scores[0].member), len(scores[0].nonmember)
    shape = subject.mechanism, game.delta, members, nonmembers
    plan = plan_game(*shape, share)
    own = plan.tests(scores, level)
    corrected = plan.tests(scores, share)
    words = Words(
        "Pipeline probe",
        "sees every noisy sum of the real sampler, crop, clipping and noise, with gradients at the "
        "worst case of the bound",
        f"{game.probe_slots} slots, each with its own fair coin; slots are independent of each "
        "other",
    )
    bounds = plan_bounds(plan, own, game.delta, level)
    strict = plan_bounds(plan, corrected, game.delta, share)
    threshold = float(np.sort(scores[0].nonmember)[-plan.family_rank])
    attack = attack_entry("probe", words, scores[0], bounds, seconds, threshold)
    raw = score_csv(result.scores[0], result.member)
    return Played(attack, Evidence("probe", strict, corrected), raw), result, plan


def plan_bounds(
    plan: Plan, tests: tuple[CurveTest, ...], delta: float, level: float
) -> tuple[Bound, ...]:
    """Returns the best bound within the family, and the one that assumes nothing about it.

    Args:
        plan: Of the game.
        tests: What it made of the scores.
        delta: For epsilon.
        level: At which the tests were made together.
    """
    *against_family, exact = tests
    rejected = [
        plan.family.loudest_rejected(lambda curve, test=test: test.rejects([curve]))  # type: ignore[misc]
        for test in against_family
    ]
    plain = max(_plain_epsilon(test, delta) for test in (exact, *against_family))
    best = max(rejected, key=lambda item: (item.outside, item.epsilon))
    found = Found(best.epsilon, family_note(plan.family, best))
    # One test that no member allows refutes the family, and with it what the others say of it.
    if best.outside:
        found = Found(plain, OUTSIDE)
    words = "planned ranks, corrected for all tests of the game"
    assumes = _REAL if plan.family.order == "claimed" else RankSum.assumes
    return (
        bound_of(RankSum.name, "model-based", assumes, found, None, delta, level, words),
        bound_of(
            JointTest.name, "exact", JointTest.assumes, Found(plain), None, delta, level, words
        ),
    )


def _plain_epsilon(test: CurveTest, delta: float) -> float:
    """Returns the largest epsilon whose (epsilon, delta) region a test rejects."""
    return largest_epsilon(lambda epsilon: test.rejects([approximate_dp(epsilon, delta)]))


def control_checks(subject: Subject, result: ProbeScores) -> tuple[Check, ...]:
    """Plays the null and the positive control and checks the measured inclusion rate."""
    return (_null_control(subject), _positive_control(subject), _inclusion_check(subject, result))


def _probe(subject: Subject, slots: int, seed: int, **changes: object) -> Probe:
    training = subject.config.training
    values = {
        "image": subject.worst_image,
        "position": subject.bound.worst_position,
        "patch": subject.patch,
        "crop": subject.crop,
        "sampling": subject.sampling,
        "records": subject.records,
        "steps": subject.bound.steps,
        "noise_multiplier": training.noise_multiplier,
        "max_grad_norm": training.max_grad_norm,
        "pairs": scoring_pairs(subject.mechanism),
        "slots": slots,
        "seed": seed,
    }
    return Probe(**{**values, **changes})  # type: ignore[arg-type]


def _null_control(subject: Subject) -> Check:
    """Both worlds alike: an AUC beyond four deviations (chance 6e-5) would betray a leak."""
    slots = subject.config.game.control_slots
    result = run_probe(_probe(subject, slots, subject.seeds.null, different=False))
    scores = Scores.labelled(result.scores[0], result.member)
    auc, allowed = scores.auc(), 4 * scores.auc_deviation()
    return Check(
        name="null control",
        expected=f"with both contents alike, AUC 0.5 within {allowed:.3f} ({slots} slots)",
        observed=f"AUC {auc:.3f}",
        status="pass" if abs(auc - 0.5) <= allowed else "fail",
    )


def _positive_control(subject: Subject) -> Check:
    """Without noise every member that a window ever met stands out, by who expects it."""
    slots = subject.config.game.control_slots
    result = run_probe(_probe(subject, slots, subject.seeds.positive, noise_multiplier=0.0))
    auc = Scores.labelled(result.scores[-1], result.member).auc()
    _, never = _hit_law(subject)
    slack = 4 * (0.5 * (never * (1 - never) / (slots / 2)) ** 0.5 + 1 / slots)
    least = max(0.5, 1 - never / 2 - slack)
    return Check(
        name="positive control",
        expected=f"without noise, AUC at least {least:.3f} ({slots} slots)",
        observed=f"AUC {auc:.3f}",
        status="pass" if auc >= least else "fail",
    )


def _inclusion_check(subject: Subject, result: ProbeScores) -> Check:
    """The measured rate at which steps use the patch, against the claimed record rate.

    Exact limits, one-sided at 1e-3 each: a correct pipeline fails this in 0.2% of audits.
    """
    trials = len(result.hits) * subject.mechanism.steps
    hits = int(result.hits.sum())
    low = 1 - upper_limit(trials - hits, trials, 1e-3)
    high = upper_limit(hits, trials, 1e-3)
    rate, _ = _hit_law(subject)
    if isinstance(subject.sampling, Shuffle | Cyclic):
        # Steps of one slot are not independent of each other here: no exact limits.
        near = abs(hits / trials - rate) <= 5 * (rate / trials) ** 0.5 + rate * 0.01
        return Check(
            name="record rate",
            expected=f"rho once an epoch = {rate:.5f} a step, nearly (steps are dependent)",
            observed=f"{hits / trials:.5f} over {trials} steps",
            status="pass" if near else "fail",
        )
    return Check(
        name="record rate",
        expected=f"q rho = {rate:.5f} within the exact 99.8% limits",
        observed=f"{hits / trials:.5f}, limits {low:.5f} to {high:.5f}, {trials} steps",
        status="pass" if low <= rate <= high else "fail",
    )


def _hit_law(subject: Subject) -> tuple[float, float]:
    """Returns the mean share of steps that use the patch, and the chance that no step ever does.

    Under shuffling the last batch of an epoch may be short. A record takes part once an epoch all
    the same, which is then in fewer steps than the claim's batch over records.
    """
    mechanism, rho = subject.mechanism, subject.mechanism.inclusion
    if not isinstance(subject.sampling, Shuffle | Cyclic):
        rate = mechanism.record_rate
        return rate, (1 - rate) ** mechanism.steps
    batch = subject.sampling.batch
    epochs, begun = divmod(mechanism.steps, math.ceil(subject.records / batch))
    last = begun * batch / subject.records
    return (epochs + last) * rho / mechanism.steps, (1 - rho) ** epochs * (1 - last * rho)

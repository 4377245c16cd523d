"""The probe game of an audit, and the controls that stand beside it.

The bounds that an attack reports for itself stand at the full confidence, those of the verdict at
its share of the level. Both come from the same scores.
"""

import math
import time
from collections.abc import Callable

from cropaudit.accounting.counts import averaged
from cropaudit.attacks.probe import PROBE, Probe, ProbeScores, run_probe
from cropaudit.audit.experiment.subject import Subject
from cropaudit.audit.games.design import scoring_pairs
from cropaudit.audit.games.game_entry import Played, Words
from cropaudit.audit.games.run_games import independent_game
from cropaudit.audit.results.result import Check
from cropaudit.estimators.evidence import upper_limit
from cropaudit.estimators.scores import Scores
from cropaudit.training.sampling.samplers import Cyclic, Shuffle

__all__ = ["control_checks", "probe_game"]


def probe_game(
    subject: Subject, progress: Callable[[int], None] | None
) -> tuple[Played, ProbeScores]:
    """Plays the pipeline probe; returns the game, and its raw scores with hit counts."""
    game = subject.config.game
    start = time.perf_counter()
    result = run_probe(_probe(subject, game.probe_slots, subject.seeds.probe), progress)
    seconds = time.perf_counter() - start
    words = Words(
        PROBE.title,
        PROBE.adversary,
        f"{game.probe_slots} slots, each with its own fair coin; slots are independent of each "
        "other",
    )
    given = "probe", words, list(result.scores), result.member, seconds
    return independent_game(subject, *given, order="forward"), result


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
        "crops_per_image": subject.config.crop.per_image,
        "clipped": subject.config.crop.clipped,
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
    mechanism = subject.mechanism
    rho = averaged(mechanism.inclusion, mechanism.crops)
    if not isinstance(subject.sampling, Shuffle | Cyclic):
        rate = mechanism.record_rate
        return rate, (1 - rate) ** mechanism.steps
    batch = subject.sampling.batch
    epochs, begun = divmod(mechanism.steps, math.ceil(subject.records / batch))
    last = begun * batch / subject.records
    return (epochs + last) * rho / mechanism.steps, (1 - rho) ** epochs * (1 - last * rho)

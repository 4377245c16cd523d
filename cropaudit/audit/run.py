"""The main job: prepares a subject, plays every game on it, and decides.

Stages report their progress, and raw files are handed out, through callbacks; nothing here prints
or writes.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.inclusion import inclusion_map
from cropaudit.audit.assemble import Findings, assemble, raw_files
from cropaudit.audit.claims import state_claim
from cropaudit.audit.config import AuditConfig
from cropaudit.audit.design import detectable_epsilon, scoring_pairs
from cropaudit.audit.games import control_checks, probe_game
from cropaudit.audit.mixing import refuse_mixture
from cropaudit.audit.own_pipeline import own_conformance
from cropaudit.audit.pictures import draw_canaries
from cropaudit.audit.real_model import audit_model, ensemble_games
from cropaudit.audit.result import AuditReport
from cropaudit.audit.run_files import training_files
from cropaudit.audit.stages import Stage
from cropaudit.audit.subject import prepare_subject
from cropaudit.audit.verdict import decide, headline

__all__ = ["Outcome", "Stage", "run_audit"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an audit leaves behind.

    Attributes:
        report: The canonical document.
        inclusion: The inclusion map of the worst image.
        pictures: PNG bytes by file name.
        raw: Raw files by name: scores, weights, the configuration.
    """

    report: AuditReport
    inclusion: NDArray[np.float64]
    pictures: Mapping[str, bytes]
    raw: Mapping[str, bytes]


def run_audit(
    config: AuditConfig, command: str, stage: Stage, keep: Callable[[Mapping[str, bytes]], None]
) -> Outcome:
    """Runs a whole audit.

    Args:
        config: What to audit.
        command: The command line, for the record.
        stage: Called with a title and a total when a stage begins; returns the callback that
            takes the amount done.
        keep: Given the raw files as soon as everything is played, before anything is made of them.

    Raises:
        InputError: If the configuration does not fit the data.
    """
    start = time.perf_counter()
    stage("Data, canaries and bounds", 0)
    subject = prepare_subject(config)
    if subject.photographs.files:
        stage(f"Read {subject.photographs.files}", 0)
    claim = state_claim(config.claim, subject.mechanism, config.game.delta)
    pairs = scoring_pairs(subject.mechanism)
    refuse_mixture(subject.mechanism, subject.sampling, pairs, claim.mechanism)
    # Drawn before anything is played: a fault of drawing then costs nothing.
    canaries, pictures = draw_canaries(subject.empty, subject.slots, subject.member, subject.crop)
    rho = inclusion_map(subject.worst_image, subject.crop, subject.patch)
    stage("Conformance of the pipeline", 0)
    conformance = own_conformance(subject, claim)
    played, result, plan = probe_game(subject, stage("Pipeline probe", config.game.probe_slots))
    stage("Controls", 0)
    controls = control_checks(subject, result)
    real = audit_model(subject, stage)
    games = (played, *real.games, *ensemble_games(subject, stage))
    raw = raw_files(
        subject, training_files(real.trained), {game.attack.name: game.scores for game in games}
    )
    keep(raw)
    stage("Verdict", 0)
    evidence = [game.evidence for game in games]
    share = (1 - config.game.confidence) / len(config.game.attacks)
    detectable = detectable_epsilon(plan, claim.contradicted_by, share)
    checks = (*controls, *conformance.checks)
    findings = Findings(
        attacks=tuple(game.attack for game in games),
        controls=controls,
        conformance=conformance,
        headline=headline(evidence, config.game.confidence, config.game.delta),
        verdict=decide(claim, evidence, checks, detectable, config.game.resolution),
        utility=real.utility,
        device=real.trained.device,
        command=command,
    )
    seconds = time.perf_counter() - start
    report = assemble(subject, claim, findings, canaries, raw, seconds)
    return Outcome(report, rho, pictures, raw)

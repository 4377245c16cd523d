"""The main job: prepares a subject, plays every game on it, and decides.

Stages report their progress, and raw files are handed out, through callbacks; nothing here prints
or writes.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cropaudit.audit.config.audit_config import AuditConfig
from cropaudit.audit.experiment.own_pipeline import own_conformance
from cropaudit.audit.experiment.pictures import draw_canaries
from cropaudit.audit.experiment.subject import prepare_subject
from cropaudit.audit.games.design import detectable_epsilon
from cropaudit.audit.games.probe_game import control_checks, probe_game
from cropaudit.audit.games.real_model import audit_model, ensemble_games
from cropaudit.audit.games.run_games import hypothesis_of
from cropaudit.audit.results.result import AuditReport
from cropaudit.audit.runs.assemble import Findings, assemble
from cropaudit.audit.runs.run_files import MAP_NAME, map_bytes, score_csv, training_files
from cropaudit.audit.verdict.estimate import headline_of
from cropaudit.audit.verdict.verdict import decide
from cropaudit.stages import Stage

__all__ = ["Outcome", "Stage", "run_audit"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an audit leaves behind.

    Attributes:
        report: The canonical document.
        pictures: PNG bytes by file name.
        raw: Raw files by name: scores, weights, the inclusion map, the configuration.
    """

    report: AuditReport
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
    subject = prepare_subject(config, stage)
    # Drawn before anything is played: a fault of drawing then costs nothing.
    canaries, pictures = draw_canaries(subject.empty, subject.slots, subject.member, subject.crop)
    stage("Conformance of the pipeline", 0)
    conformance = own_conformance(subject, subject.claim)
    played, result = probe_game(subject, stage("Pipeline probe", config.game.probe_slots))
    stage("Controls", 0)
    controls = control_checks(subject, result)
    real = audit_model(subject, stage)
    played_all = (played, *real.games, *ensemble_games(subject, stage))
    games = sorted(played_all, key=lambda one: config.game.attacks.index(one.attack.name))
    raw = {
        **{f"{game.attack.name}.csv": score_csv(game.table) for game in games},
        **training_files(subject, real.trained, real.noise),
        MAP_NAME: map_bytes(subject),
    }
    keep(raw)
    stage("Verdict", 0)
    level = 1 - config.game.confidence
    hypothesis = hypothesis_of(subject, order="forward")
    detectable = detectable_epsilon(hypothesis, (played.attack.members, played.attack.nonmembers))
    checks = (*controls, *conformance.checks)
    shown = [item for game in games for item in game.shown]
    findings = Findings(
        attacks=tuple(game.attack for game in games),
        controls=controls,
        conformance=conformance,
        headline=headline_of(shown, hypothesis),
        verdict=decide(subject.claim, shown, level, checks, detectable, config.game.resolution),
        utility=real.utility,
        device=real.trained.device,
        command=command,
    )
    seconds = time.perf_counter() - start
    report = assemble(subject, findings, canaries, raw, seconds)
    return Outcome(report, pictures, raw)

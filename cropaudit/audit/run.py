"""The main job: prepares a subject, plays every game on it, and decides.

Stages report their progress through a callback; nothing here prints or writes.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save as save_tensors

from cropaudit.accounting.inclusion import inclusion_map
from cropaudit.attacks.black_box import black_box_scores
from cropaudit.attacks.white_box import WhiteBox
from cropaudit.audit.assemble import Findings, assemble
from cropaudit.audit.claims import state_claim
from cropaudit.audit.config import AuditConfig
from cropaudit.audit.design import detectable_epsilon, scoring_pairs
from cropaudit.audit.games import ATTACKS, Played, control_checks, one_run_game, probe_game
from cropaudit.audit.mixing import refuse_mixture
from cropaudit.audit.own_pipeline import own_conformance
from cropaudit.audit.pictures import draw_canaries
from cropaudit.audit.result import AuditReport
from cropaudit.audit.subject import Subject, prepare_subject
from cropaudit.audit.verdict import decide, headline
from cropaudit.training.dpsgd import DpSgdSpec, Trained, train
from cropaudit.training.utility import IntersectionOverUnion, mean_iou

__all__ = ["Outcome", "Stage", "run_audit"]

Advance = Callable[[int], None]
Stage = Callable[[str, int], Advance]


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


@dataclass(frozen=True, eq=False)
class _RealModel:
    """The real training run with its attacks, and its twin without noise."""

    trained: Trained
    white: Played
    black: Played
    utility: IntersectionOverUnion
    twin: IntersectionOverUnion


def run_audit(config: AuditConfig, command: str, stage: Stage) -> Outcome:
    """Runs a whole audit.

    Args:
        config: What to audit.
        command: The command line, for the record.
        stage: Called with a title and a total when a stage begins; returns the callback that
            takes the amount done.

    Raises:
        InputError: If the configuration does not fit the data.
    """
    start = time.perf_counter()
    stage("Data, canaries and bounds", 0)
    subject = prepare_subject(config)
    claim = state_claim(config.claim, subject.mechanism, config.game.delta)
    pairs = scoring_pairs(subject.mechanism)
    refuse_mixture(subject.mechanism, subject.sampling, pairs, claim.mechanism)
    stage("Conformance of the pipeline", 0)
    conformance = own_conformance(subject, claim)
    played, result, plan = probe_game(subject, stage("Pipeline probe", config.game.probe_slots))
    stage("Controls", 0)
    controls = control_checks(subject, result)
    real = _real_model(subject, stage)
    stage("Verdict", 0)
    games = (played, real.white, real.black)
    evidence = [game.evidence for game in games]
    share = (1 - config.game.confidence) / len(ATTACKS)
    detectable = detectable_epsilon(plan, claim.contradicted_by, share)
    checks = (*controls, *conformance.checks)
    findings = Findings(
        attacks=tuple(game.attack for game in games),
        controls=controls,
        conformance=conformance,
        headline=headline(evidence, config.game.confidence, config.game.delta),
        verdict=decide(claim, evidence, checks, detectable, config.game.resolution),
        utility=real.utility,
        twin=real.twin,
        device=real.trained.device,
        weights=_weights(real.trained),
        scores={game.attack.name: game.scores for game in games},
        command=command,
    )
    canaries, pictures = draw_canaries(subject.empty, subject.slots, subject.member, subject.crop)
    report, raw = assemble(subject, claim, findings, canaries, time.perf_counter() - start)
    rho = inclusion_map(subject.worst_image, subject.crop, subject.patch)
    return Outcome(report, rho, pictures, raw)


def _real_model(subject: Subject, stage: Stage) -> _RealModel:
    config = subject.config
    training = config.training
    spec = DpSgdSpec(
        model=training.model,
        crop=subject.crop,
        sampling=subject.sampling,
        steps=subject.bound.steps,
        noise_multiplier=training.noise_multiplier,
        max_grad_norm=training.max_grad_norm,
        learning_rate=training.learning_rate,
        momentum=training.momentum,
        seed=subject.seeds.training,
    )
    watcher = WhiteBox(
        subject.empty,
        subject.slots,
        subject.crop,
        sample_rate=subject.mechanism.sample_rate,
        noise_multiplier=training.noise_multiplier,
        max_grad_norm=training.max_grad_norm,
        seed=subject.seeds.white_box,
    )
    start = time.perf_counter()
    advance = stage("Private training, watched", spec.steps)
    trained = train(subject.filled, spec, observe=watcher, progress=advance)
    white = one_run_game(subject, ATTACKS[1], watcher.scores(), time.perf_counter() - start)
    stage("Black-box attack", 0)
    start = time.perf_counter()
    black_scores = black_box_scores(
        trained.model,
        subject.empty,
        subject.slots,
        subject.crop,
        windows=config.game.black_box_windows,
        seed=subject.seeds.black_box,
    )
    black = one_run_game(subject, ATTACKS[2], black_scores, time.perf_counter() - start)
    twin = _twin(subject, spec, stage)
    return _RealModel(trained, white, black, mean_iou(trained.model, subject.validation), twin)


def _twin(subject: Subject, spec: DpSgdSpec, stage: Stage) -> IntersectionOverUnion:
    """Trains the same model on the same batches and windows without noise."""
    advance = stage("The same without noise", spec.steps)
    quiet = replace(spec, noise_multiplier=0.0)
    return mean_iou(train(subject.filled, quiet, progress=advance).model, subject.validation)


def _weights(trained: Trained) -> bytes:
    state = {k: v.contiguous().cpu() for k, v in trained.model.state_dict().items()}
    data: bytes = save_tensors(state)
    return data

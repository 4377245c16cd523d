"""Trains a configured run with its canaries planted, and records what it takes to attack it."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import torch

from cropaudit.audit.accounted import finite
from cropaudit.audit.assemble import library_versions
from cropaudit.audit.canary_files import canary_bytes
from cropaudit.audit.claims import state_claim
from cropaudit.audit.config import AuditConfig
from cropaudit.audit.design import scoring_pairs
from cropaudit.audit.digests import data_digest, sha256
from cropaudit.audit.mixing import refuse_mixture
from cropaudit.audit.model_utility import measure_utility
from cropaudit.audit.pictures import draw_canaries
from cropaudit.audit.result import CanaryPicture, Shortcut, Utility
from cropaudit.audit.run_files import config_bytes, training_files
from cropaudit.audit.stages import Stage
from cropaudit.audit.subject import Subject, prepare_subject
from cropaudit.audit.train_result import (
    ModeRecord,
    StartRecord,
    TrainedClaim,
    TrainRecord,
    TrialRecord,
)
from cropaudit.audit.training_plan import training_spec
from cropaudit.training.checkpoints import Checkpoints
from cropaudit.training.cutting import output_size
from cropaudit.training.distributed import current_world, summed
from cropaudit.training.dpsgd import DpSgdSpec, Trained, pick_device, train
from cropaudit.training.grad_modes import ALL_MODES, ModeChoice
from cropaudit.training.models import ModelSpec, build, build_model
from cropaudit.training.run_setup import mode_choice, run_facts

__all__ = ["RECORD_NAME", "TrainedRun", "train_run"]

RECORD_NAME = "train.json"


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A finished run.

    Attributes:
        subject: What was trained on; its configuration names the way of the gradients.
        trained: The model, with its tape.
        utility: How well it segments, beside its twins.
        mode: Why gradients were taken as they were.
        canaries: Pictures of some of them.
        pictures: Those, PNG bytes by file name.
        seconds: Of everything.
    """

    subject: Subject
    trained: Trained
    utility: Utility
    mode: ModeChoice
    canaries: tuple[CanaryPicture, ...]
    pictures: Mapping[str, bytes]
    seconds: float

    def files(self, command: str) -> tuple[TrainRecord, dict[str, bytes]]:
        """Returns the record and the files of the run folder by name, the record last."""
        subject = self.subject
        raw = {
            "config.yaml": config_bytes(subject.config),
            **training_files(self.trained),
            "canaries.npz": canary_bytes(subject.slots, subject.member),
        }
        record = _record(self, raw, self.canaries, command)
        text = record.model_dump_json(indent=2) + "\n"
        return record, {**self.pictures, **raw, RECORD_NAME: text.encode()}


def train_run(
    config: AuditConfig, stage: Stage, checkpoints: Checkpoints | None = None
) -> TrainedRun:
    """Trains what is configured, in every process of a distributed run.

    Args:
        config: The run.
        stage: As in `run_audit`.
        checkpoints: Where weights are saved on the way, if anywhere.

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
    # Drawn before the training: a fault of drawing then costs no run.
    canaries = draw_canaries(subject.empty, subject.slots, subject.member, subject.crop)
    stage("How to take per-sample gradients", 0)
    spec, mode = _with_mode(subject, training_spec(subject))
    trained = train(
        subject.filled,
        spec,
        progress=stage("Private training", spec.steps),
        checkpoints=checkpoints,
    )
    utility = measure_utility(subject, spec, trained, stage)
    fixed = config.training.model_copy(update={"grad_sample_mode": mode.mode})
    replayable = replace(subject, config=config.model_copy(update={"training": fixed}))
    seconds = time.perf_counter() - start
    return TrainedRun(replayable, trained, utility, mode, *canaries, seconds)


def _with_mode(subject: Subject, spec: DpSgdSpec) -> tuple[DpSgdSpec, ModeChoice]:
    """Fixes the way of the gradients beforehand: what is measured could turn out otherwise."""
    device, data = pick_device(), subject.filled
    facts = run_facts(data, spec, device)
    model = build_model(
        spec.model, len(data.classes), facts.seeds.weights, norm=spec.norm, weights=spec.weights
    ).to(device)
    shown = output_size(spec.crop, data)
    choice = mode_choice(spec, model, shown, len(data.classes), facts.expected_batch)
    world = current_world()
    if world.size > 1:  # all processes take the first one's choice
        own = ALL_MODES.index(choice.mode) if world.leads else 0
        agreed = ALL_MODES[int(summed(torch.tensor([own], device=device), world))]
        choice = replace(choice, mode=agreed)
    return replace(spec, grad_sample_mode=choice.mode), choice


def _record(
    run: TrainedRun, raw: Mapping[str, bytes], shown: tuple[CanaryPicture, ...], command: str
) -> TrainRecord:
    subject, trained = run.subject, run.trained
    config = subject.config
    return TrainRecord(
        name=config.name,
        seed=config.seed,
        created=datetime.now(UTC).replace(microsecond=0).isoformat(),
        command=command,
        claim=_claim(subject),
        utility=run.utility,
        data=subject.empty.source,
        data_digest=data_digest(subject.filled),
        model=config.training.model,
        parameters=sum(p.numel() for p in trained.model.parameters() if p.requires_grad),
        weights_digest=sha256(raw["model.safetensors"]),
        start=_start(subject),
        grad_sample=_mode(run.mode),
        device=trained.device,
        threads=torch.get_num_threads(),
        processes=current_world().size,
        seconds=round(run.seconds, 1),
        seconds_per_step=trained.seconds / trained.steps,
        loss_first=finite(trained.losses[0]),
        loss_last=finite(trained.losses[-1]),
        canaries=shown,
        versions=library_versions(),
        config=json.loads(config.model_dump_json()),
        files={name: sha256(data) for name, data in sorted(raw.items())},
    )


def _claim(subject: Subject) -> TrainedClaim:
    bound, config = subject.bound, subject.config
    claim = state_claim(config.claim, subject.mechanism, config.game.delta)
    return TrainedClaim(
        statement=claim.statement,
        adjacency=bound.adjacency,
        epsilon=claim.epsilon,
        delta=claim.delta,
        sampler=bound.sampler,
        noise_multiplier=config.training.noise_multiplier,
        max_grad_norm=config.training.max_grad_norm,
        records=subject.records,
        canary_records=subject.canary_records,
        canaries=len(subject.slots),
        batch=config.training.batch,
        sample_rate=bound.sample_rate,
        steps=bound.steps,
        image=bound.image,
        crop=str(subject.crop.size),
        patch=str(subject.patch),
        inclusion_probability=bound.inclusion_probability,
        epsilon_amplified=finite(bound.epsilon),
        epsilon_without_crop=finite(bound.epsilon_without_crop),
        epsilon_without_canaries=subject.epsilon_without_canaries,
        shortcuts=tuple(
            Shortcut(name=item.name, epsilon=item.epsilon, why_invalid=item.why_invalid)
            for item in bound.shortcuts
        ),
    )


def _start(subject: Subject) -> StartRecord | None:
    spec = training_spec(subject)
    if spec.weights is None:
        return None
    chosen = ModelSpec(spec.model, spec.norm, spec.weights)
    report = build(chosen, len(subject.empty.classes), 0).weights
    assert report is not None  # a file was given
    return StartRecord(
        file=report.file,
        sha256=report.sha256,
        loaded=len(report.loaded),
        missing=report.missing,
        unexpected=report.unexpected,
        mismatched=report.mismatched,
        frozen=len(report.frozen),
    )


def _mode(choice: ModeChoice) -> ModeRecord:
    trials = tuple(
        TrialRecord(
            mode=trial.mode,
            error=finite(trial.error),
            seconds=finite(trial.seconds),
            peak_bytes=trial.peak_bytes,
            note=trial.note,
        )
        for trial in choice.trials
    )
    return ModeRecord(mode=choice.mode, reason=choice.reason, trials=trials)

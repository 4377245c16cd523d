"""Trains a configured run with its canaries planted, and records what it takes to attack it."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import torch

from cropaudit.audit.config.audit_config import AuditConfig
from cropaudit.audit.experiment.canary_files import canary_bytes
from cropaudit.audit.experiment.model_utility import measure_utility
from cropaudit.audit.experiment.pictures import draw_canaries
from cropaudit.audit.experiment.subject import Subject, prepare_subject
from cropaudit.audit.experiment.training_plan import training_spec
from cropaudit.audit.results.digests import data_digest, sha256
from cropaudit.audit.results.result import CanaryPicture, Utility
from cropaudit.audit.results.train_result import (
    ModeRecord,
    StartRecord,
    TrainedClaim,
    TrainRecord,
)
from cropaudit.audit.runs.assemble import claim_values, created_now, library_versions
from cropaudit.audit.runs.run_files import training_files
from cropaudit.certificate.transcript_logs import ResidualNoise
from cropaudit.stages import Stage
from cropaudit.training.crops.cutting import output_size
from cropaudit.training.dpsgd.distributed import current_world, summed
from cropaudit.training.dpsgd.grad_modes import ALL_MODES, ModeChoice
from cropaudit.training.dpsgd.loop import DpSgdSpec, Trained, pick_device, train
from cropaudit.training.dpsgd.run_setup import mode_choice, run_facts
from cropaudit.training.models.build import ModelSpec, build, build_model
from cropaudit.training.transcript.checkpoints import Checkpoints

__all__ = ["RECORD_NAME", "TrainedRun", "train_run"]

RECORD_NAME = "train.json"


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A finished run.

    Attributes:
        subject: What was trained on; its configuration names the way of the gradients.
        trained: The model, with its transcript.
        utility: How well it segments, beside its twins.
        mode: Why gradients were taken as they were.
        canaries: Pictures of some of them.
        pictures: Those, PNG bytes by file name.
        seconds: Of everything.
        noise: As it was added.
    """

    subject: Subject
    trained: Trained
    utility: Utility
    mode: ModeChoice
    canaries: tuple[CanaryPicture, ...]
    pictures: Mapping[str, bytes]
    seconds: float
    noise: ResidualNoise

    def files(self, command: str) -> tuple[TrainRecord, dict[str, bytes]]:
        """Returns the record and the files of the run folder by name, the record last."""
        subject = self.subject
        raw = {
            **training_files(subject, self.trained, self.noise),
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
    subject = prepare_subject(config, stage)
    config = subject.config  # with the digest of the user's own model
    # Drawn before the training: a fault of drawing then costs no run.
    canaries = draw_canaries(subject.empty, subject.slots, subject.member, subject.crop)
    stage("How to take per-sample gradients", 0)
    spec, mode = _with_mode(subject, training_spec(subject))
    noise = ResidualNoise(spec, seed=spec.seed)
    trained = train(
        subject.filled,
        spec,
        observe=noise,
        progress=stage("Private training", spec.steps),
        checkpoints=checkpoints,
    )
    utility = measure_utility(subject, spec, trained, stage)
    fixed = config.training.model_copy(update={"grad_sample_mode": mode.mode})
    replayable = replace(subject, config=config.model_copy(update={"training": fixed}))
    seconds = time.perf_counter() - start
    return TrainedRun(replayable, trained, utility, mode, *canaries, seconds, noise)


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
    subject, trained, config = run.subject, run.trained, run.subject.config
    spec, noise = training_spec(subject), config.training.noise_multiplier
    start = None
    if spec.weights is not None:
        chosen = ModelSpec(spec.model, spec.norm, spec.weights)
        start = build(chosen, len(subject.empty.classes), 0).weights
    own = vars(start) if start else None
    return TrainRecord(
        name=config.name,
        seed=config.seed,
        created=created_now(),
        command=command,
        claim=TrainedClaim(**claim_values(subject), noise_multiplier=noise),
        utility=run.utility,
        data=subject.empty.source,
        data_digest=data_digest(subject.filled),
        model=config.training.model,
        parameters=sum(p.numel() for p in trained.model.parameters() if p.requires_grad),
        weights_digest=sha256(raw["model.safetensors"]),
        start=None if own is None else StartRecord(**own),
        grad_sample=ModeRecord.model_validate(asdict(run.mode)),
        device=trained.device,
        threads=torch.get_num_threads(),
        processes=current_world().size,
        seconds=round(run.seconds, 1),
        seconds_per_step=trained.seconds / trained.steps,
        loss_first=trained.losses[0],
        loss_last=trained.losses[-1],
        canaries=shown,
        versions=library_versions(),
        config=json.loads(config.model_dump_json()),
        files={name: sha256(data) for name, data in sorted(raw.items())},
    )

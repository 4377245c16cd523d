"""How well an audited model segments, beside its twins: those without noise or crop credit."""

from dataclasses import replace

from cropaudit.audit.result import Utility
from cropaudit.audit.stages import Stage
from cropaudit.audit.subject import Subject
from cropaudit.training.divergence import named_run
from cropaudit.training.dpsgd import DpSgdSpec, Trained, train
from cropaudit.training.twins import uncredited_noise
from cropaudit.training.utility import IntersectionOverUnion, constant_iou, mean_iou

__all__ = ["measure_utility"]


def measure_utility(subject: Subject, spec: DpSgdSpec, trained: Trained, stage: Stage) -> Utility:
    """Measures a model and the configured twins, which see the same batches and windows.

    Args:
        subject: What was trained on.
        spec: Of the run.
        trained: The run.
        stage: As in `run_audit`.
    """
    own = mean_iou(trained.model, subject.validation)
    wanted = subject.config.training.twins
    quiet = uncredited = None
    if "no-noise" in wanted:
        quiet = _twin(subject, spec, 0.0, stage, "The same without noise")
    if "no-crop" in wanted:
        noise = uncredited_noise(subject.mechanism, subject.config.game.delta)
        uncredited = _twin(subject, spec, noise, stage, "The same without credit for the crop")
    return Utility(
        miou=own.miou,
        miou_constant=constant_iou(subject.validation),
        miou_without_noise=quiet.miou if quiet else None,
        miou_without_crop_credit=uncredited.miou if uncredited else None,
        per_class=dict(own.per_class),
        per_class_without_noise=dict(quiet.per_class) if quiet else {},
        images=own.images,
    )


def _twin(
    subject: Subject, spec: DpSgdSpec, noise: float, stage: Stage, words: str
) -> IntersectionOverUnion:
    twin = replace(spec, noise_multiplier=noise)
    with named_run(words[0].lower() + words[1:]):
        trained = train(subject.filled, twin, progress=stage(words, spec.steps))
    return mean_iou(trained.model, subject.validation)

"""From the configuration of an audit to the run that is audited."""

from cropaudit.audit.config_sections import TrainingConfig
from cropaudit.audit.initial_model import weights_file
from cropaudit.audit.subject import Subject
from cropaudit.training.dpsgd import DpSgdSpec
from cropaudit.training.schedules import Constant, Cosine, Poly, Schedule, Steps

__all__ = ["training_spec"]


def training_spec(subject: Subject) -> DpSgdSpec:
    """Returns the DP-SGD run of a subject.

    Raises:
        InputError: If a value is out of its range.
    """
    training = subject.config.training
    return DpSgdSpec(
        model=training.model,
        crop=subject.crop,
        sampling=subject.sampling,
        steps=subject.bound.steps,
        noise_multiplier=training.noise_multiplier,
        max_grad_norm=training.max_grad_norm,
        learning_rate=training.learning_rate,
        momentum=training.momentum,
        seed=subject.seeds.training,
        weight_decay=training.weight_decay,
        schedule=_schedule(training),
        physical_batch=training.physical_batch,
        grad_sample_mode=training.grad_sample_mode,
        precision=training.precision,
        norm=training.norm,
        weights=weights_file(training),
    )


def _schedule(training: TrainingConfig) -> Schedule:
    warmup = training.warmup
    match training.schedule:
        case "constant":
            return Constant(warmup=warmup)
        case "poly":
            return Poly(training.schedule_power, warmup=warmup)
        case "cosine":
            return Cosine(warmup=warmup)
        case "steps":
            if training.schedule_every is None:  # the configuration has made sure of it
                raise TypeError("schedule steps without schedule_every")
            return Steps(training.schedule_every, training.schedule_factor, warmup=warmup)

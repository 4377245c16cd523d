"""What a run is made of: the head of its tape, the way of its gradients, its update."""

import math

import numpy as np
import torch
from torch import nn

from cropaudit.accounting.geometry import Size
from cropaudit.training.data import SegmentationData
from cropaudit.training.grad_modes import ALL_MODES, ModeChoice, choose_mode
from cropaudit.training.mode_support import Offered, offered_mode
from cropaudit.training.models import GradSampleMode
from cropaudit.training.private_step import PrivateStep
from cropaudit.training.run_spec import DpSgdSpec
from cropaudit.training.samplers import expected_batch
from cropaudit.training.schedules import learning_rates
from cropaudit.training.streams import spawn_seeds
from cropaudit.training.tape import RunSeeds, TapeFacts, names_digest

__all__ = ["chosen_mode", "mode_choice", "planned_mode", "private_step", "run_facts"]


def run_facts(data: SegmentationData, spec: DpSgdSpec, device: torch.device) -> TapeFacts:
    """Returns what is the same in all steps of a run: the head of its tape."""
    return TapeFacts(
        seeds=RunSeeds(*spawn_seeds(np.random.SeedSequence(spec.seed), 4)),
        sampling=spec.sampling,
        crop=spec.crop,
        records=len(data),
        names=names_digest(data.names),
        expected_batch=expected_batch(spec.sampling, len(data)),
        noise_multiplier=spec.noise_multiplier,
        max_grad_norm=spec.max_grad_norm,
        learning_rates=learning_rates(spec.schedule, spec.learning_rate, spec.steps),
        crops_per_image=spec.crops_per_image,
        clipped=spec.clipped,
        device=device.type,
    )


def chosen_mode(
    spec: DpSgdSpec, model: nn.Module, shown: Size, classes: int, expected: float
) -> GradSampleMode:
    """Returns how Opacus is to take per-sample gradients; see `mode_choice`."""
    return mode_choice(spec, model, shown, classes, expected).mode


def planned_mode(spec: DpSgdSpec, model: nn.Module) -> Offered:
    """Returns the way of the gradients where none is measured: it is exact for the model.

    Args:
        spec: The run; where "auto" would measure, the recipe's way is planned.
        model: As built.

    Raises:
        InputError: If the configured way is not exact for this model.
    """
    wanted = spec.grad_sample_mode
    if wanted is not None and wanted != "auto":
        return offered_mode(spec.model, model, wanted)
    if spec.precision == "bf16":
        found = offered_mode(spec.model, model, "hooks")
        return Offered(found.mode, "the only other way of bf16 is slower")
    return offered_mode(spec.model, model)


def mode_choice(
    spec: DpSgdSpec, model: nn.Module, shown: Size, classes: int, expected: float
) -> ModeChoice:
    """Returns how Opacus is to take per-sample gradients, and why.

    Args:
        spec: The run; "auto" measures the ways that are exact for this model.
        model: As built, on the device of the run.
        shown: What the model is shown of an image.
        classes: Number of classes.
        expected: Expected batch.

    Raises:
        InputError: If the configured way, or every way, is not exact for this model.
    """
    planned = planned_mode(spec, model)
    if spec.grad_sample_mode != "auto" or spec.precision == "bf16":
        return ModeChoice(planned.mode, planned.reason)
    crops = math.ceil(expected) * spec.crops_per_image
    batch = min(crops, spec.physical_batch or crops)
    device = next(model.parameters()).device
    # Ghost clipping knows no gradient of a crop that could be averaged.
    able = tuple(mode for mode in ALL_MODES if mode != "ghost" or spec.averaged == 1)
    return choose_mode(
        model,
        (shown.height, shown.width),
        classes,
        batch,
        default=planned.mode,
        device=device,
        modes=able,
    )


def private_step(
    model: nn.Module,
    mode: GradSampleMode,
    spec: DpSgdSpec,
    facts: TapeFacts,
    noise: torch.Generator,
) -> PrivateStep:
    """Returns the update of a run.

    Args:
        model: To be trained.
        mode: As chosen.
        spec: The run.
        facts: Of the run.
        noise: Draws on the device of the model; to be seeded before each step.
    """
    return PrivateStep(
        model,
        mode,
        noise_multiplier=spec.noise_multiplier,
        max_grad_norm=spec.max_grad_norm,
        learning_rate=spec.learning_rate,
        expected_batch=facts.expected_batch,
        momentum=spec.momentum,
        noise=noise,
        weight_decay=spec.weight_decay,
        physical_batch=spec.physical_batch,
        precision=spec.precision,
        averaged=spec.averaged,
    )

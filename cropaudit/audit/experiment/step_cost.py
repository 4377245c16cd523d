"""What one DP-SGD step of a configured model costs on this machine: measured on random images.

Assumes that a step takes a fixed time (noise, update) and the same time again for every crop. Both
come from two steps of different numbers of crops. A large crop is timed by a smaller one and
scaled by its pixels, which is marked.
"""

import time
from dataclasses import dataclass

import torch

from cropaudit.accounting.geometry.shapes import Size
from cropaudit.audit.config.sections import TrainingConfig
from cropaudit.audit.experiment.initial_model import initial_model
from cropaudit.training.dpsgd.grad_modes import exact_mode
from cropaudit.training.dpsgd.loop import pick_device
from cropaudit.training.dpsgd.mode_trials import Images, drawn
from cropaudit.training.dpsgd.peak_memory import PeakMemory
from cropaudit.training.dpsgd.private_step import PrivateStep
from cropaudit.training.models.build import GradSampleMode

__all__ = ["StepCost", "measure_step"]

_FLOAT = 4  # bytes
_SIDE = 256  # of the crops that are timed, at most
_MOST = 8  # crops of the larger step


@dataclass(frozen=True)
class StepCost:
    """The cost of a step.

    Attributes:
        device: Where it was measured.
        threads: CPU threads that torch used.
        mode: How per-sample gradients were taken.
        parameters: Trainable ones.
        weights_bytes: Of the whole model.
        crop: What was shown to the model.
        scaled: Whether that is smaller than the configured crop, and times were scaled up.
        fixed_seconds: Of a step, whatever its batch.
        crop_seconds: Of every crop in a step.
        crop_bytes: Peak memory of a step on one crop, beside the model; None if it was scaled.
    """

    device: str
    threads: int
    mode: GradSampleMode
    parameters: int
    weights_bytes: int
    crop: str
    scaled: bool
    fixed_seconds: float
    crop_seconds: float
    crop_bytes: int | None

    def step_seconds(self, crops: float) -> float:
        """Returns the seconds of a step over so many crops."""
        return self.fixed_seconds + crops * self.crop_seconds

    def gradient_bytes(self, crops: int) -> int:
        """Returns the memory of the per-sample gradients of so many crops."""
        return 0 if self.mode == "ghost" else crops * self.parameters * _FLOAT


def measure_step(training: TrainingConfig, crop: Size, classes: int) -> StepCost:
    """Times two real steps of the configured model on random images, on one crop and on a few.

    Args:
        training: The run.
        crop: What the model is shown.
        classes: Number of classes.

    Raises:
        InputError: If the model cannot be built, or its weights file not be used.
    """
    device = pick_device()
    model = initial_model(training, classes, 0).to(device)
    shown = Size(min(crop.height, _SIDE), min(crop.width, _SIDE))
    mode = _mode(training, model)
    update = PrivateStep(
        model,
        mode,
        noise_multiplier=training.noise_multiplier,
        max_grad_norm=training.max_grad_norm,
        learning_rate=training.learning_rate,
        expected_batch=training.batch,
        momentum=training.momentum,
        noise=torch.Generator(device).manual_seed(0),
        weight_decay=training.weight_decay,
        physical_batch=training.physical_batch,
        precision=training.precision,
    )
    size, count = (shown.height, shown.width), max(2, min(_MOST, training.physical_batch or _MOST))
    one, several = (drawn(number, size, classes, device=device) for number in (1, count))
    with PeakMemory() as memory:  # warms up as well
        _timed(update, one)
    alone, together = _timed(update, one), _timed(update, several)
    each = max((together - alone) / (count - 1), together / count / 10)
    ratio = (crop.height * crop.width) / (shown.height * shown.width)
    return StepCost(
        device=device.type,
        threads=torch.get_num_threads(),
        mode=mode,
        parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        weights_bytes=sum(t.numel() * t.element_size() for t in model.state_dict().values()),
        crop=str(shown),
        scaled=shown != crop,
        fixed_seconds=max(0.0, alone - each),
        crop_seconds=each * ratio,
        crop_bytes=None if shown != crop else int(memory.peak),
    )


def _timed(update: PrivateStep, images: Images) -> float:
    """Returns the seconds of a step; what it does to the model is of no interest."""
    start = time.perf_counter()
    update(images.pixels, images.labels)
    if images.pixels.is_cuda:
        torch.cuda.synchronize(images.pixels.device)
    return time.perf_counter() - start


def _mode(training: TrainingConfig, model: torch.nn.Module) -> GradSampleMode:
    """Returns the way of the gradients; where training would look at the memory, the recipe's."""
    wanted = training.grad_sample_mode
    half = training.precision == "bf16" and (wanted is None or wanted == "auto")
    given = None if wanted == "auto" else wanted
    return exact_mode(training.model, model, "hooks" if half else given).mode

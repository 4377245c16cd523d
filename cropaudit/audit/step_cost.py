"""What one DP-SGD step of a configured model costs on this machine: measured on random images.

Assumes that a step takes a fixed time (noise, update) and the same time again for every crop. Both
come from two steps of different numbers of crops. Where one crop would take longer than the time
allowed, a smaller crop is timed instead and scaled by its pixels, which is marked.
"""

import time
from dataclasses import dataclass

import torch

from cropaudit.accounting.geometry import Size
from cropaudit.audit.config_sections import TrainingConfig
from cropaudit.audit.initial_model import initial_model
from cropaudit.training.dpsgd import pick_device
from cropaudit.training.mode_support import offered_mode
from cropaudit.training.mode_trials import Images, drawn
from cropaudit.training.models import GradSampleMode
from cropaudit.training.peak_memory import PeakMemory
from cropaudit.training.private_step import PrivateStep

__all__ = ["StepCost", "measure_step"]

_FLOAT = 4  # bytes
_FORWARDS = 5  # a DP step takes about so many forward passes
_LEAST_SIDE = 64
_MOST = 16  # crops of the larger step


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


def measure_step(
    training: TrainingConfig, crop: Size, classes: int, *, seconds: float = 20.0
) -> StepCost:
    """Times real steps of the configured model on random images.

    Args:
        training: The run.
        crop: What the model is shown.
        classes: Number of classes.
        seconds: About how long to measure.

    Raises:
        InputError: If the model cannot be built, or its weights file not be used.
    """
    device = pick_device()
    model = initial_model(training, classes, 0).to(device)
    shown = _affordable(model, crop, classes, seconds / 4)
    step = _Step(model, training, _mode(training, model), device)
    one = drawn(1, (shown.height, shown.width), classes, device=device)
    with PeakMemory() as memory:  # warms up as well
        first = step.timed(one)
    alone = min(first, step.timed(one)) if first < seconds / 4 else first
    count = max(2, min(_MOST, training.physical_batch or _MOST, int(seconds / 2 / alone)))
    # Two crops must fit where one does; a machine too small for that is told by its own error.
    several = step.timed(drawn(count, (shown.height, shown.width), classes, device=device))
    each = max((several - alone) / (count - 1), several / count / 10)
    ratio = (crop.height * crop.width) / (shown.height * shown.width)
    return StepCost(
        device=device.type,
        threads=torch.get_num_threads(),
        mode=step.mode,
        parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        weights_bytes=sum(t.numel() * t.element_size() for t in model.state_dict().values()),
        crop=str(shown),
        scaled=shown != crop,
        fixed_seconds=max(0.0, alone - each),
        crop_seconds=each * ratio,
        crop_bytes=None if shown != crop else int(memory.peak),
    )


class _Step:
    """The configured update; steps are real, and what they do to the model is of no interest."""

    def __init__(
        self,
        model: torch.nn.Module,
        training: TrainingConfig,
        mode: GradSampleMode,
        device: torch.device,
    ) -> None:
        self.mode: GradSampleMode = mode
        self._update = PrivateStep(
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

    def timed(self, images: Images) -> float:
        start = time.perf_counter()
        self._update(images.pixels, images.labels)
        _wait(images)
        return time.perf_counter() - start


def _mode(training: TrainingConfig, model: torch.nn.Module) -> GradSampleMode:
    """Returns the way of the gradients; where training would measure, the recipe's."""
    wanted = training.grad_sample_mode
    half = training.precision == "bf16" and (wanted is None or wanted == "auto")
    given = None if wanted == "auto" else wanted
    return offered_mode(training.model, model, "hooks" if half else given).mode


def _affordable(model: torch.nn.Module, crop: Size, classes: int, seconds: float) -> Size:
    """Returns the crop, or a smaller one on which a step takes at most about so long."""
    side = max(_LEAST_SIDE, min(crop.height, crop.width) // 4)
    small = Size(min(side, crop.height), min(side, crop.width))
    images = drawn(1, (small.height, small.width), classes, device=next(model.parameters()).device)
    took = float("inf")
    with torch.no_grad():
        for _ in range(2):  # the first one warms up
            start = time.perf_counter()
            model(images.pixels)
            _wait(images)
            took = min(took, time.perf_counter() - start)
    pixel = took * _FORWARDS / (small.height * small.width)
    if pixel * crop.height * crop.width <= seconds:
        return crop
    share = (seconds / (pixel * crop.height * crop.width)) ** 0.5
    height, width = (
        max(min(_LEAST_SIDE, full), int(full * share)) for full in (crop.height, crop.width)
    )
    return Size(height, width)


def _wait(images: Images) -> None:
    if images.pixels.is_cuda:
        torch.cuda.synchronize(images.pixels.device)

"""DP-SGD on random crops, with Opacus, watched step by step.

Each update is a `PrivateStep`. Sampler, crops, noise and initial weights draw from independent
streams of one seed, so a run without noise sees the same batches and windows as one with it.

The whole batch is held at once: there is no limit on its physical size, so per-sample gradients of
the largest Poisson batch must fit the memory.
"""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from cropaudit.accounting.geometry import Crop
from cropaudit.errors import require
from cropaudit.training.crops import JointRandomCrop, Window
from cropaudit.training.data import SegmentationData
from cropaudit.training.losses import prepare
from cropaudit.training.models import build_model, recipe
from cropaudit.training.private_step import PrivateStep
from cropaudit.training.samplers import Sampling, batches, expected_batch
from cropaudit.training.streams import spawn_seeds

__all__ = ["DpSgdSpec", "StepView", "Trained", "pick_device", "train"]


@dataclass(frozen=True)
class DpSgdSpec:
    """One DP-SGD run.

    Attributes:
        model: A name that `build_model` knows.
        crop: The window cut from each picked image.
        sampling: Which images take part in each step.
        steps: Number of noisy sums, also of those over an empty batch.
        noise_multiplier: Deviation of the noise in units of ``max_grad_norm``; 0 for no noise.
        max_grad_norm: C, the l2 bound on one image's gradient.
        learning_rate: Of plain SGD.
        momentum: Of SGD; post-processing of the noisy mean.
        seed: Of every random draw.
    """

    model: str
    crop: Crop
    sampling: Sampling
    steps: int
    noise_multiplier: float
    max_grad_norm: float
    learning_rate: float
    momentum: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.steps >= 1, "steps", "at least 1", self.steps)
        sigma = self.noise_multiplier
        require(0 <= sigma < float("inf"), "noise_multiplier", "at least 0 and finite", sigma)
        norm, rate = self.max_grad_norm, self.learning_rate
        require(0 < norm < float("inf"), "max_grad_norm", "above 0 and finite", norm)
        require(0 < rate < float("inf"), "learning_rate", "above 0 and finite", rate)
        require(0 <= self.momentum < 1, "momentum", "at least 0 and below 1", self.momentum)
        require(self.seed >= 0, "seed", "at least 0", self.seed)


@dataclass(frozen=True, eq=False)
class StepView:
    """What a white-box adversary sees of one step, and what only the auditor knows.

    Attributes:
        step: From 0.
        indices: The records of the batch.
        windows: Their windows, in the same order.
        noisy_sum: Shape (P,), float32: the sum of the clipped gradients plus noise, before the
            division by the expected batch size, over the trainable parameters in their order.
        model: The plain module, its parameters as before the update; to be read only, and live:
            the update changes it once the observer returns.
    """

    step: int
    indices: tuple[int, ...]
    windows: tuple[Window, ...]
    noisy_sum: Tensor
    model: nn.Module


@dataclass(frozen=True, eq=False)
class Trained:
    """The result of a run.

    Attributes:
        model: The plain module in evaluation mode, on the device of the run.
        steps: Number of updates.
        losses: Mean loss of each step's batch, not private; NaN where the batch was empty.
        seconds: Wall-clock time.
        device: Where it ran.
    """

    model: nn.Module
    steps: int
    losses: tuple[float, ...]
    seconds: float
    device: str


def pick_device() -> torch.device:
    """Returns the GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train(
    data: SegmentationData,
    spec: DpSgdSpec,
    *,
    device: torch.device | None = None,
    observe: Callable[[StepView], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Trained:
    """Trains a model; bit for bit reproducible on the CPU with the same number of threads.

    Args:
        data: Images, of any sizes that the crop fits.
        spec: The run.
        device: `pick_device` unless given.
        observe: Called in each step, before the update.
        progress: Called after each step with the number of steps done.

    Raises:
        InputError: If the model is unknown, the crop does not fit an image, or the batch the data.
    """
    for size in data.sizes():
        spec.crop.origins(size)
    start = time.perf_counter()
    where = device or pick_device()
    streams = _streams(spec.seed, where)
    run = _Run(data, spec, where, streams)
    losses = []
    plan = batches(spec.sampling, len(data), spec.steps, streams.sampler)
    for step, indices in enumerate(plan):
        losses.append(run.step(step, indices, observe))
        if progress is not None:
            progress(step + 1)
    seconds = time.perf_counter() - start
    return Trained(run.plain.eval(), spec.steps, tuple(losses), seconds, str(where))


@dataclass(frozen=True, eq=False)
class _Streams:
    """Independent sources of randomness; ``noise`` draws on the device."""

    weights: int
    sampler: torch.Generator
    crops: torch.Generator
    noise: torch.Generator


def _streams(seed: int, device: torch.device) -> _Streams:
    weights, sampler, crops, noise = spawn_seeds(np.random.SeedSequence(seed), 4)
    return _Streams(
        weights,
        torch.Generator().manual_seed(sampler),
        torch.Generator().manual_seed(crops),
        torch.Generator(device).manual_seed(noise),
    )


class _Run:
    """The model under Opacus and its twin, whose parameters are the same memory.

    The twin bears no hooks, so observers can call it, differentiate it and vmap over it.
    """

    def __init__(
        self, data: SegmentationData, spec: DpSgdSpec, device: torch.device, streams: _Streams
    ) -> None:
        self.data = data
        self.device = device
        self.crop = JointRandomCrop(spec.crop)
        self.crop_stream = streams.crops
        model = build_model(spec.model, len(data.classes), streams.weights).to(device)
        self.plain = copy.deepcopy(model)
        for theirs, ours in zip(self.plain.parameters(), model.parameters(), strict=True):
            theirs.data = ours.data
        self.update = PrivateStep(
            model,
            recipe(spec.model).mode,
            noise_multiplier=spec.noise_multiplier,
            max_grad_norm=spec.max_grad_norm,
            learning_rate=spec.learning_rate,
            expected_batch=expected_batch(spec.sampling, len(data)),
            momentum=spec.momentum,
            noise=streams.noise,
        )

    def step(
        self, step: int, indices: Sequence[int], observe: Callable[[StepView], None] | None
    ) -> float:
        """Does one update and returns the batch's mean loss."""
        images, masks, windows = self._cut(indices)
        if observe is not None:
            view = partial(StepView, step, tuple(indices), windows)
            return self.update(images, masks, lambda total: observe(view(total, self.plain)))
        return self.update(images, masks)

    def _cut(self, indices: Sequence[int]) -> tuple[Tensor, Tensor, tuple[Window, ...]]:
        """Returns the batch on the device: scaled pixels, labels, and their windows."""
        cuts = [
            self.crop(self.data.images[i], self.data.masks[i], self.crop_stream) for i in indices
        ]
        if not cuts:
            return torch.zeros(0, 3, 1, 1), torch.zeros(0, 1, 1), ()
        images, masks, windows = zip(*cuts, strict=True)
        pixels = prepare(torch.stack(images).to(self.device))
        return pixels, torch.stack(masks).to(self.device), tuple(windows)

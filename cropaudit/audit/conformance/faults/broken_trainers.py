"""DP-SGD steps with one fault each, most of them Opacus put to wrong use."""

from collections.abc import Callable
from dataclasses import replace

import torch
from opacus.optimizers import DPPerLayerOptimizer
from torch import Tensor, nn

from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.faults.fault import Fault
from cropaudit.audit.conformance.faults.loop_steps import (
    BATCH,
    BOUND,
    RATE,
    SIGMA,
    LoopStep,
    Step,
)
from cropaudit.audit.conformance.faults.trainers import CLAIMED, OpacusStep
from cropaudit.audit.conformance.subjects import Subjects

__all__ = [
    "FAULTS",
    "make_clip_after_accumulation",
    "make_clip_of_mean",
    "make_clip_off",
    "make_clip_per_layer",
    "make_ema_side_channel",
    "make_noise_divided_twice",
    "make_noise_halved",
    "make_noise_off",
    "make_noise_per_microbatch",
    "make_noise_repeated",
    "make_noise_skipped_on_empty",
    "make_noise_unit",
    "make_running_statistics",
]

_SMALL_BOUND = 0.5
_BOUNDLESS = 1e30
_DECAY = 0.9
_PHYSICAL = 8


def make_noise_off(model: nn.Module) -> Step:
    """The noise multiplier is left at 0."""
    return OpacusStep(model, sigma=0.0)


def make_noise_halved(model: nn.Module) -> Step:
    """Half of the noise that is claimed."""
    return OpacusStep(model, sigma=SIGMA / 2)


def make_noise_unit(model: nn.Module) -> Step:
    """Noise of deviation sigma instead of sigma C, at C = 0.5."""
    return OpacusStep(model, sigma=SIGMA / _SMALL_BOUND, bound=_SMALL_BOUND)


def make_noise_skipped_on_empty(model: nn.Module) -> Step:
    """No step is done where the Poisson batch is empty."""
    step = OpacusStep(model)

    def skipping(images: Tensor, masks: Tensor) -> None:
        if len(images):
            step(images, masks)

    return skipping


def make_noise_repeated(model: nn.Module) -> Step:
    """The random state is set anew in each step, so each step adds the same noise."""
    step = OpacusStep(model)

    def reseeding(images: Tensor, masks: Tensor) -> None:
        torch.manual_seed(0)
        step(images, masks)

    return reseeding


def make_noise_divided_twice(model: nn.Module) -> Step:
    """The noise is divided by the batch size before it joins the sum, and again with it."""
    return _DividedTwice(model)


def make_noise_per_microbatch(model: nn.Module) -> Step:
    """Every microbatch is noised for itself: batches get noise by their size."""
    step = OpacusStep(model)
    zero = [torch.zeros_like(p) for p in model.parameters()]

    def accumulating(images: Tensor, masks: Tensor) -> None:
        total = zero
        parts = torch.split(images, _PHYSICAL), torch.split(masks, _PHYSICAL)
        for some, labels in zip(*parts, strict=True):
            step.optimizer.zero_grad()
            step.backward(some, labels)
            step.optimizer.pre_step()
            found = [p.grad for p in model.parameters() if p.grad is not None]
            total = [t + g for t, g in zip(total, found, strict=True)]
        for parameter, part in zip(model.parameters(), total, strict=True):
            parameter.grad = part
        step.optimizer.original_optimizer.step()

    return accumulating


def make_clip_off(model: nn.Module) -> Step:
    """Gradients are noised but not clipped."""
    return OpacusStep(model, bound=_BOUNDLESS, sigma=SIGMA * BOUND / _BOUNDLESS)


def make_clip_of_mean(model: nn.Module) -> Step:
    """The batch's mean gradient is clipped, with noise fit for one image of it."""
    return _ClipOfMean(model)


def make_clip_after_accumulation(model: nn.Module) -> Step:
    """The sum of the batch is clipped instead of each image's gradient."""
    return _ClipOfSum(model)


def make_clip_per_layer(model: nn.Module) -> Step:
    """Opacus clips each layer to C of its own; the noise is that for C in all."""
    step = OpacusStep(model)
    count = len(list(model.parameters()))
    step.optimizer = DPPerLayerOptimizer(
        torch.optim.SGD(model.parameters(), lr=RATE),
        noise_multiplier=SIGMA / count**0.5,
        max_grad_norm=[BOUND] * count,
        expected_batch_size=BATCH,
    )
    return step


def make_ema_side_channel(model: nn.Module) -> Step:
    """A running average of the raw gradients is mixed into the weights after the noisy step."""
    step = OpacusStep(model)
    plain = LoopStep(model)
    average = torch.zeros(sum(p.numel() for p in model.parameters()))

    def mixing(images: Tensor, masks: Tensor) -> None:
        raw = plain.rows(images, masks).sum(dim=0) / BATCH
        average.mul_(_DECAY).add_((1 - _DECAY) * raw)
        step(images, masks)
        plain.update(average / BATCH)

    return mixing


def make_running_statistics(model: nn.Module) -> Step:
    """The mean image of the batches is kept in a buffer, which is released with the weights."""
    step = OpacusStep(model)

    def keeping(images: Tensor, masks: Tensor) -> None:
        if not hasattr(model, "mean_image"):
            model.register_buffer("mean_image", torch.zeros(images.shape[1:]))
        if len(images):
            model.mean_image.lerp_(images.mean(dim=0), 1 - _DECAY)  # type: ignore[operator]
        step(images, masks)

    return keeping


class _DividedTwice(LoopStep):
    def noisy(self, total: Tensor, count: int) -> Tensor:
        return total + (super().noisy(total, count) - total) / BATCH


class _ClipOfSum(LoopStep):
    def summed(self, rows: Tensor) -> Tensor:
        return self.clipped(rows.sum(dim=0, keepdim=True))[0]


class _ClipOfMean(LoopStep):
    def __call__(self, images: Tensor, masks: Tensor) -> None:
        total = self.gradient(images, masks) if len(images) else self.rows(images, masks).sum(dim=0)
        clipped = BATCH * self.clipped(total[None])[0]
        self.update(self.noisy(clipped, len(images)))


_HERE = "cropaudit.audit.conformance.faults.broken_trainers"
_SMALL = replace(CLAIMED, max_grad_norm=_SMALL_BOUND)


def _of(
    name: str, check: str, factory: Callable[[nn.Module], Step], claimed: Claimed = CLAIMED
) -> Fault:
    words = (factory.__doc__ or "").rstrip(".")
    return Fault(name, words, check, Subjects(trainer=f"{_HERE}:{factory.__name__}"), claimed)


FAULTS: tuple[Fault, ...] = (
    _of("noise-off", "noise", make_noise_off),
    _of("noise-halved", "noise", make_noise_halved),
    _of("noise-unit", "noise", make_noise_unit, _SMALL),
    _of("noise-skipped-on-empty", "noise", make_noise_skipped_on_empty),
    _of("noise-repeated", "noise", make_noise_repeated),
    _of("noise-divided-twice", "noise", make_noise_divided_twice),
    _of("noise-per-microbatch", "noise", make_noise_per_microbatch),
    _of("clip-off", "clipping", make_clip_off),
    _of("clip-of-mean", "clipping", make_clip_of_mean),
    _of("clip-after-accumulation", "clipping", make_clip_after_accumulation),
    _of("clip-per-layer", "clipping", make_clip_per_layer),
    _of("ema-side-channel", "update", make_ema_side_channel),
    _of("running-statistics", "update", make_running_statistics),
)

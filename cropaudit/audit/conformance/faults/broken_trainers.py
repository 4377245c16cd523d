"""DP-SGD steps with one fault each, most of them Opacus put to wrong use."""

from collections.abc import Callable
from dataclasses import replace

import torch
from opacus.optimizers import DPPerLayerOptimizer
from torch import Tensor, nn
from torch.nn import functional

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
from cropaudit.training.data import IGNORE

__all__ = [
    "FAULTS",
    "make_clean_top",
    "make_clip_after_accumulation",
    "make_clip_late",
    "make_clip_of_mean",
    "make_clip_off",
    "make_clip_per_layer",
    "make_deviation_for_multiplier",
    "make_ema_side_channel",
    "make_feature_memory",
    "make_loss_guard",
    "make_noise_by_parameter",
    "make_noise_divided_twice",
    "make_noise_halved",
    "make_noise_off",
    "make_noise_per_microbatch",
    "make_noise_repeated",
    "make_noise_skipped_on_empty",
    "make_noise_unit",
    "make_outlier_guard",
    "make_realised_batch",
    "make_running_statistics",
    "make_stacked_passes",
    "make_unlabelled_nan",
]

_SMALL_BOUND, _LARGE_BOUND = 0.5, 2.0
_BOUNDLESS = 1e30
_TOP, _JUMP, _OUTLIER, _LATE = 0.1, 1.05, 1e7, 10.0
_DECAY = 0.9
_PHYSICAL = 8


def make_noise_off(model: nn.Module) -> Step:
    """The noise multiplier is left at 0."""
    return OpacusStep(model, sigma=0.0)


def make_noise_halved(model: nn.Module) -> Step:
    """Half of the noise that is claimed."""
    return OpacusStep(model, sigma=SIGMA / 2)


def make_noise_unit(model: nn.Module) -> Step:
    """Noise of deviation sigma instead of sigma C, at C = 2."""
    return OpacusStep(model, sigma=SIGMA / _LARGE_BOUND, bound=_LARGE_BOUND)


def make_deviation_for_multiplier(model: nn.Module) -> Step:
    """The deviation sigma C is handed over as the noise multiplier, at C = 0.5."""
    return OpacusStep(model, sigma=SIGMA * _SMALL_BOUND, bound=_SMALL_BOUND)


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


def make_noise_by_parameter(model: nn.Module) -> Step:
    """Biases and scales of normalisation layers, of one dimension, get no noise."""
    return _ByParameter(model)


def make_clean_top(model: nn.Module) -> Step:
    """The coordinates that images pull at the most leave clipped, but without noise."""
    return _CleanTop(model)


def make_loss_guard(model: nn.Module) -> Step:
    """A step is left out, noise and all, where the loss jumps above its average."""
    return _LossGuard(model)


def make_outlier_guard(model: nn.Module) -> Step:
    """A step is left out where one image's gradient is far above the usual norm."""
    return _OutlierGuard(model)


def make_clip_late(model: nn.Module) -> Step:
    """Only what is beyond ten times C is clipped to C."""
    return _ClipLate(model)


def make_realised_batch(model: nn.Module) -> Step:
    """The noisy sum is divided by the number of images that came, which the noise then shows."""
    return _RealisedBatch(model)


def make_stacked_passes(model: nn.Module) -> Step:
    """Opacus is called backward twice for a step of two images or more, and halves the update."""
    step = OpacusStep(model)

    def stacking(images: Tensor, masks: Tensor) -> None:
        step.optimizer.zero_grad()
        half = max(1, len(images) // 2)
        for part in (slice(0, half), slice(half, None)):
            if len(images[part]) or not len(images):
                step.backward(images[part], masks[part])
                if not len(images):
                    break
        step.optimizer.step()

    return stacking


def make_unlabelled_nan(model: nn.Module) -> Step:
    """The loss of an image without a labelled pixel is 0 / 0, which clipping does not bound."""
    return _UnlabelledNaN(model)


def make_feature_memory(model: nn.Module) -> Step:
    """The features of the last batch are kept in a buffer, scaled to one."""
    step = OpacusStep(model)

    def keeping(images: Tensor, masks: Tensor) -> None:
        if len(images):
            features = functional.normalize(images.flatten(1).mean(dim=0), dim=0)
            model.register_buffer("memory", features)
        step(images, masks)

    return keeping


class _ByParameter(LoopStep):
    def noisy(self, total: Tensor, count: int) -> Tensor:
        noised = [torch.full_like(p, p.ndim > 1).flatten() for p in self.parameters]
        return total + (super().noisy(total, count) - total) * torch.cat(noised)


class _CleanTop(LoopStep):
    def noisy(self, total: Tensor, count: int) -> Tensor:
        quiet = total.abs() <= _TOP * total.abs().max()
        return total + (super().noisy(total, count) - total) * quiet


class _LossGuard(LoopStep):
    usual: float | None = None

    def __call__(self, images: Tensor, masks: Tensor) -> None:
        if len(images):
            loss = functional.cross_entropy(self.model(images), masks).item()
            if self.usual is not None and loss > _JUMP * self.usual:
                return
            self.usual = self.usual or loss
        super().__call__(images, masks)


class _OutlierGuard(LoopStep):
    def __call__(self, images: Tensor, masks: Tensor) -> None:
        if not len(images) or self.rows(images, masks).norm(dim=1).max() < _OUTLIER:
            super().__call__(images, masks)


class _ClipLate(LoopStep):
    def clipped(self, rows: Tensor) -> Tensor:
        beyond = rows.norm(dim=1, keepdim=True) > _LATE * self.bound
        return torch.where(beyond, super().clipped(rows), rows)


class _RealisedBatch(LoopStep):
    def noisy(self, total: Tensor, count: int) -> Tensor:
        return super().noisy(total, count) * BATCH / max(1, count)


class _UnlabelledNaN(LoopStep):
    def gradient(self, images: Tensor, masks: Tensor) -> Tensor:
        known = masks != IGNORE
        losses = functional.cross_entropy(self.model(images), masks * known, reduction="none")
        loss = (losses * known).sum() / known.sum()
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, self.parameters)])


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
_LARGE = replace(CLAIMED, max_grad_norm=_LARGE_BOUND)


def _of(
    name: str, check: str, factory: Callable[[nn.Module], Step], claimed: Claimed = CLAIMED
) -> Fault:
    words = (factory.__doc__ or "").rstrip(".")
    return Fault(name, words, check, Subjects(trainer=f"{_HERE}:{factory.__name__}"), claimed)


FAULTS: tuple[Fault, ...] = (
    _of("noise-off", "noise", make_noise_off),
    _of("noise-halved", "noise", make_noise_halved),
    _of("noise-unit", "noise", make_noise_unit, _LARGE),
    _of("deviation-for-multiplier", "noise", make_deviation_for_multiplier, _SMALL),
    _of("noise-skipped-on-empty", "noise", make_noise_skipped_on_empty),
    _of("noise-repeated", "noise", make_noise_repeated),
    _of("noise-divided-twice", "noise", make_noise_divided_twice),
    _of("noise-per-microbatch", "noise", make_noise_per_microbatch),
    _of("clip-off", "clipping", make_clip_off),
    _of("clip-of-mean", "clipping", make_clip_of_mean),
    _of("clip-after-accumulation", "clipping", make_clip_after_accumulation),
    _of("clip-per-layer", "clipping", make_clip_per_layer),
    _of("ema-side-channel", "update", make_ema_side_channel),
    _of("running-statistics", "kept state", make_running_statistics),
    _of("feature-memory", "kept state", make_feature_memory),
    _of("noise-by-parameter", "noise", make_noise_by_parameter),
    _of("clean-top", "noise", make_clean_top),
    _of("loss-guard", "noise", make_loss_guard),
    _of("outlier-guard", "noise", make_outlier_guard),
    _of("realised-batch", "noise", make_realised_batch),
    _of("stacked-passes", "noise", make_stacked_passes),
    _of("clip-late", "clipping", make_clip_late),
    _of("unlabelled-nan", "finite updates", make_unlabelled_nan),
)

"""Tries one of Opacus' grad-sample modes: is it exact, what memory does it take, how long.

A mode is exact if, for a few random images in float64, it gives autograd's answer for each image
alone: the norm of every parameter's gradient, image by image, and the sum of the clipped gradients.
Ghost clipping never has the gradients themselves, and these two are all that a step uses of them.
"""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from opacus.grad_sample.utils import wrap_model
from torch import Tensor, nn

from cropaudit.training.losses import pixel_losses
from cropaudit.training.models import GradSampleMode
from cropaudit.training.peak_memory import PeakMemory
from cropaudit.training.private_step import quiet_backward

__all__ = ["Images", "Taken", "Truth", "distance", "drawn", "peak_bytes", "take", "timed", "truth"]

# Opacus adds this to the norm that it divides by.
_SLACK = 1e-6


@dataclass(frozen=True, eq=False)
class Images:
    """A batch: scaled pixels (B, 3, H, W) and labels (B, H, W)."""

    pixels: Tensor
    labels: Tensor


@dataclass(frozen=True, eq=False)
class Taken:
    """What a step needs of a batch's gradients.

    Attributes:
        norms: Of each parameter's gradient, image by image: (B, parameters).
        total: The sum of the clipped gradients, parameter by parameter.
    """

    norms: Tensor
    total: Sequence[Tensor]


@dataclass(frozen=True, eq=False)
class Truth:
    """Autograd's answer for each image alone, and the bound that clips all of them."""

    taken: Taken
    bound: float


def drawn(
    count: int,
    crop: tuple[int, int],
    classes: int,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> Images:
    """Draws random images and labels, the same ones in every call."""
    stream = torch.Generator().manual_seed(0)
    pixels = torch.randn(count, 3, *crop, generator=stream, dtype=torch.float64)
    labels = torch.randint(classes, (count, *crop), generator=stream)
    return Images(pixels.to(device, dtype), labels.to(device))


def truth(model: nn.Module, images: Images) -> Truth:
    """Returns what one backward pass for each image alone gives; the slow way, sure to be right."""
    parameters = _trainable(model)
    rows = []
    for i in range(len(images.pixels)):
        loss = pixel_losses(model(images.pixels[i : i + 1]), images.labels[i : i + 1]).sum()
        rows.append(torch.autograd.grad(loss, parameters, materialize_grads=True))
    norms = torch.stack([torch.stack([part.norm() for part in row]) for row in rows])
    whole = norms.norm(dim=1)
    # Below every norm, so that each image is clipped, and by a factor of its own.
    bound = float(whole.min()) / 2 or 1.0
    factors = bound / (whole + _SLACK)
    total = [
        sum((f * part for f, part in zip(factors, parts, strict=True)), torch.zeros_like(parts[0]))
        for parts in zip(*rows, strict=True)
    ]
    return Truth(Taken(norms, total), bound)


def take(model: nn.Module, mode: GradSampleMode, images: Images, bound: float) -> Taken:
    """Takes clipped gradients in one mode, as a DP-SGD step does; ``model`` is copied."""
    return _take(_wrapped(model, mode, bound), mode, images, bound)


def distance(taken: Taken, right: Taken) -> float:
    """Returns the largest error in a norm or in the sum, relative to the whole gradient's norm."""
    whole = right.norms.norm(dim=1, keepdim=True)
    by_norm = ((taken.norms - right.norms).abs() / whole).max()
    misses = torch.stack([(a - b).norm() for a, b in zip(taken.total, right.total, strict=True)])
    scale = torch.stack([part.norm() for part in right.total]).norm()
    worst = torch.stack([by_norm, misses.norm() / scale])
    return float(worst.nan_to_num(float("inf")).max())


def peak_bytes(model: nn.Module, mode: GradSampleMode, images: Images) -> int:
    """Returns the most memory that a step takes beside the model, in bytes."""
    wrapped = _wrapped(model, mode, 1.0)
    with PeakMemory() as memory:
        _take(wrapped, mode, images, 1.0)
    return int(memory.peak)


def timed(model: nn.Module, mode: GradSampleMode, images: Images, repeats: int = 2) -> float:
    """Returns the seconds of a step, the least of a few."""
    wrapped = _wrapped(model, mode, 1.0)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        _take(wrapped, mode, images, 1.0)
        _synchronise(images)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _wrapped(model: nn.Module, mode: GradSampleMode, bound: float) -> Any:
    """Puts a copy of the model under Opacus."""
    extra = {"max_grad_norm": bound} if mode == "ghost" else {}
    return wrap_model(copy.deepcopy(model), mode, loss_reduction="sum", **extra)


def _take(wrapped: Any, mode: GradSampleMode, images: Images, bound: float) -> Taken:
    parameters = _trainable(wrapped)
    for parameter in parameters:
        parameter.grad, parameter.grad_sample = None, None
    losses = pixel_losses(wrapped(images.pixels), images.labels)
    with quiet_backward():
        return (
            _ghost(wrapped, parameters, losses)
            if mode == "ghost"
            else _materialised(parameters, losses, bound)
        )


def _materialised(parameters: list[Any], losses: Tensor, bound: float) -> Taken:
    torch.autograd.backward(losses.sum())
    rows = [parameter.grad_sample for parameter in parameters]
    norms = torch.stack([row.flatten(1).norm(dim=1) for row in rows], dim=1)
    factors = (bound / (norms.norm(dim=1) + _SLACK)).clamp(max=1)
    return Taken(norms, [torch.einsum("i,i...", factors, row) for row in rows])


def _ghost(wrapped: Any, parameters: list[Any], losses: Tensor) -> Taken:
    """Takes norms in a first backward pass, and the sum of the scaled losses in a second."""
    torch.autograd.backward(losses.sum(), retain_graph=True)
    norms = torch.stack([parameter._norm_sample for parameter in parameters], dim=1)
    for parameter in parameters:
        parameter.grad = None
    wrapped.disable_hooks()
    torch.autograd.backward((wrapped.get_clipping_coef() * losses).sum())
    wrapped.enable_hooks()
    return Taken(norms, [parameter.grad for parameter in parameters])


def _trainable(model: nn.Module) -> list[Any]:
    return [p for p in model.parameters() if p.requires_grad]


def _synchronise(images: Images) -> None:
    if images.pixels.is_cuda:
        torch.cuda.synchronize(images.pixels.device)

"""DP-SGD steps by hand: per-sample gradients by autograd or torch.func, own clipping and noise."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

__all__ = [
    "BATCH",
    "BOUND",
    "RATE",
    "SIGMA",
    "AutoScaledStep",
    "DroppingStep",
    "LoopStep",
    "MomentumStep",
    "Step",
    "VmapStep",
]

Step = Callable[[Tensor, Tensor], Any]

SIGMA = 1.0
BOUND = 1.0
RATE = 0.1
BATCH = 16
_MOMENTUM = 0.9
_STABLE = 0.01
# Keeps a gradient of 0 from dividing by 0.
_TINY = 1e-12


class LoopStep:
    """One update by hand: autograd for one image after the other; the parts can be overridden."""

    def __init__(self, model: nn.Module, sigma: float = SIGMA, bound: float = BOUND) -> None:
        self.model, self.sigma, self.bound = model, sigma, bound
        self.parameters = list(model.parameters())

    def __call__(self, images: Tensor, masks: Tensor) -> None:
        """Does one step."""
        rows = self.rows(images, masks)
        self.update(self.noisy(self.summed(rows), len(images)))

    def rows(self, images: Tensor, masks: Tensor) -> Tensor:
        """Returns one gradient a row."""
        rows = [self.gradient(images[i : i + 1], masks[i : i + 1]) for i in range(len(images))]
        size = sum(p.numel() for p in self.parameters)
        return torch.stack(rows) if rows else torch.zeros(0, size)

    def gradient(self, images: Tensor, masks: Tensor) -> Tensor:
        """Returns the gradient of the mean loss."""
        loss = functional.cross_entropy(self.model(images), masks)
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, self.parameters)])

    def summed(self, rows: Tensor) -> Tensor:
        """Returns the sum of the clipped rows."""
        return self.clipped(rows).sum(dim=0)

    def clipped(self, rows: Tensor) -> Tensor:
        """Returns the rows, each of norm C at most."""
        norms = rows.norm(dim=1, keepdim=True).clamp(min=_TINY)
        factors: Tensor = (self.bound / norms).clamp(max=1)
        return rows * factors

    def noisy(self, total: Tensor, count: int) -> Tensor:
        """Returns the sum with its noise."""
        return total + self.sigma * self.bound * torch.randn(total.shape)

    def update(self, total: Tensor) -> None:
        """Moves the parameters."""
        parts = torch.split(total, [p.numel() for p in self.parameters])
        with torch.no_grad():
            for parameter, part in zip(self.parameters, parts, strict=True):
                parameter.sub_(RATE * part.view_as(parameter) / BATCH)


class VmapStep(LoopStep):
    """The same with torch.func: all images at once."""

    def rows(self, images: Tensor, masks: Tensor) -> Tensor:
        """Returns one gradient a row."""
        if not len(images):
            return super().rows(images, masks)
        weights = {name: p.detach() for name, p in self.model.named_parameters()}

        def loss(weights: dict[str, Tensor], image: Tensor, mask: Tensor) -> Tensor:
            logits = functional_call(self.model, weights, (image.unsqueeze(0),))
            return functional.cross_entropy(logits, mask.unsqueeze(0))

        found = vmap(grad(loss), in_dims=(None, 0, 0))(weights, images, masks)
        rows: Tensor = torch.cat([part.flatten(1) for part in found.values()], dim=1)
        return rows


class AutoScaledStep(LoopStep):
    """By hand with AUTO-S: each gradient is scaled by C / (norm + a little)."""

    def clipped(self, rows: Tensor) -> Tensor:
        """Returns the rows, each of norm below C."""
        found: Tensor = rows * self.bound / (rows.norm(dim=1, keepdim=True) + _STABLE)
        return found


class DroppingStep(LoopStep):
    """By hand, with what is above C left out."""

    def clipped(self, rows: Tensor) -> Tensor:
        """Returns the rows, each of norm C at most."""
        kept: Tensor = rows * (rows.norm(dim=1, keepdim=True) <= self.bound)
        return kept


class MomentumStep(LoopStep):
    """By hand with momentum: post-processing of the noisy mean."""

    velocity: Tensor | float = 0.0

    def update(self, total: Tensor) -> None:
        """Moves the parameters by a running sum."""
        self.velocity = _MOMENTUM * self.velocity + total
        super().update(self.velocity)

"""The user's loss as a sum over images, whatever its reduction, and whether images cross in it."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cropaudit.audit.conformance.worker.guard import Guard
from cropaudit.training.data import IGNORE
from cropaudit.training.losses import pixel_losses

__all__ = ["UserLoss", "cross_entropy", "main_output", "tensors_of"]

# A mean and a sum over two equal images are 1 and 2 times that of one, up to the loss's rounding.
_RATIO_TOLERANCE = 1e-4


class UserLoss:
    """A loss in the form that per-sample gradients need.

    Attributes:
        reduction: each, mean, sum, or crossing if it is none of them.
    """

    def __init__(self, loss: Any | None, guard: Guard, outputs: Any, masks: Tensor) -> None:
        """Finds the reduction from one image and the same image twice.

        Args:
            loss: The user's, of (outputs, masks); the pixels' cross-entropy if none.
            guard: Watches its calls.
            outputs: The model's, for one image or more; only the first is used.
            masks: Theirs.

        Raises:
            UserError: If the loss raises, or returns neither a scalar nor one number an image.
        """
        self._loss: Callable[..., Any] = cross_entropy if loss is None else loss
        if isinstance(self._loss, nn.Module):
            self._loss = self._loss.to(main_output(outputs).dtype)
        self._guard = guard
        one, mask = _rows(outputs, 0, 1), masks[:1]
        alone = self._call(one, mask)
        twice = self._call(_joined(one, one), torch.cat([mask, mask]))
        self.reduction = _reduction(alone, twice)

    def fresh(self) -> "UserLoss":
        """Returns one whose loss is a copy, with a state of its own."""
        found = copy.copy(self)
        found._loss = copy.deepcopy(self._loss)
        return found

    @property
    def module(self) -> nn.Module | None:
        """The loss, if it is a module."""
        return self._loss if isinstance(self._loss, nn.Module) else None

    def total(self, outputs: Any, masks: Tensor) -> Tensor:
        """Returns the sum of the images' losses; times their number for a mean."""
        value = self._call(outputs, masks)
        if self.reduction in ("each", "sum"):
            return value.sum()
        return value.sum() * len(masks)

    def shift(self, outputs: Any, masks: Tensor, others: Any, other_masks: Tensor) -> float:
        """Returns how far the pull on output 0 moves, relative, between two fillings of the rest.

        Output and mask 0 must be the same in both.
        """
        here, there = self._pull(outputs, masks), self._pull(others, other_masks)
        scale = max(float(here.norm()), float(there.norm()))
        return float((here - there).norm()) / scale if scale else 0.0

    def _pull(self, outputs: Any, masks: Tensor) -> Tensor:
        live = _mapped(outputs, lambda t: t.detach().clone().requires_grad_())
        leaves = tensors_of(live)
        value = self._call(live, masks).sum()
        if not value.requires_grad:
            raise self._guard.fail("type", "the loss must depend on the outputs it is given")
        pulls = torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)
        return torch.cat([pull[0].flatten() for pull in pulls])

    def _call(self, outputs: Any, masks: Tensor) -> Tensor:
        value = self._guard.call(self._loss, outputs, masks)
        fits = isinstance(value, Tensor) and value.shape in ((), (1,), (len(masks),))
        if not fits:
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            words = f"the loss must return a scalar or one number for each image, got {found}"
            raise self._guard.fail("type", words)
        return torch.as_tensor(value)


def cross_entropy(outputs: Any, masks: Tensor) -> Tensor:
    """Returns each image's cross-entropy of labels, or of pixels resized to the masks."""
    logits = main_output(outputs)
    if logits.ndim == 2:
        labels = masks if masks.ndim == 1 else masks[:, 0, 0]
        return functional.cross_entropy(logits, labels, reduction="none", ignore_index=IGNORE)
    if logits.shape[-2:] != masks.shape[-2:]:
        logits = functional.interpolate(logits, size=masks.shape[-2:], mode="bilinear")
    if logits.shape[1] == 1:
        known = (masks != IGNORE).to(logits.dtype)
        losses = functional.binary_cross_entropy_with_logits(
            logits[:, 0], masks.to(logits.dtype) * known, weight=known, reduction="none"
        )
        return losses.mean(dim=(1, 2))
    return pixel_losses(logits, masks)


def main_output(outputs: Any) -> Tensor:
    """Returns the logits: of a dict ``out``, else what comes first."""
    if isinstance(outputs, dict) and isinstance(outputs.get("out"), Tensor):
        found: Tensor = outputs["out"]
        return found
    return tensors_of(outputs)[0]


def tensors_of(outputs: Any) -> list[Tensor]:
    """Returns all tensors in a tensor, or in nested dicts, lists and tuples."""
    if isinstance(outputs, Tensor):
        return [outputs]
    if isinstance(outputs, dict):
        return [found for item in outputs.values() for found in tensors_of(item)]
    if isinstance(outputs, list | tuple):
        return [found for item in outputs for found in tensors_of(item)]
    return []


def _mapped(outputs: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(outputs, Tensor):
        return change(outputs)
    if isinstance(outputs, dict):
        # The dict's own class is kept: torchvision and transformers read theirs by attribute.
        copied = {name: _mapped(item, change) for name, item in outputs.items()}
        return copied if type(outputs) is dict else type(outputs)(copied)
    if isinstance(outputs, list | tuple):
        parts = [_mapped(item, change) for item in outputs]
        named = hasattr(outputs, "_fields")
        return type(outputs)(*parts) if named else type(outputs)(parts)
    return outputs


def _rows(outputs: Any, start: int, stop: int) -> Any:
    return _mapped(outputs, lambda t: t[start:stop].detach())


def _joined(first: Any, second: Any) -> Any:
    queue = iter(tensors_of(second))
    return _mapped(first, lambda t: torch.cat([t, next(queue)]))


def _reduction(alone: Tensor, twice: Tensor) -> str:
    if len(twice.shape) == 1 and len(twice) == 2:
        return "each"
    one, two = float(alone.sum().detach()), float(twice.sum().detach())
    for name, factor in (("mean", 1), ("sum", 2)):
        if abs(two - factor * one) <= _RATIO_TOLERANCE * abs(factor * one):
            return name
    return "crossing"

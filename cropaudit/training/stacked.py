"""Per-sample gradients of many models in one vectorised pass: one row, one image at one model.

The parameters of a model are a row of a matrix, in the order of ``model.parameters()``, trainable
ones only: the order of the noisy sum that an observer of a run sees. Every model has the shape of
one skeleton; parameters that it freezes are the skeleton's own.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from cropaudit.training.losses import logit_gradients, prepare

__all__ = ["StackedModels"]

_ROWS = 512  # differentiated at once: their activations still fit a processor's cache


class StackedModels:
    """One architecture at any number of parameter vectors.

    Attributes:
        skeleton: The architecture; its own trainable parameters are not used.
        shapes: Of the trainable parameters, by name, in their order.
        size: P, the number of trainable parameters.
    """

    def __init__(self, skeleton: nn.Module) -> None:
        """Reads the layout of a model's parameters."""
        self.skeleton = skeleton
        named = list(skeleton.named_parameters())
        self.shapes = {name: p.shape for name, p in named if p.requires_grad}
        self._fixed = {name: p.detach() for name, p in named if not p.requires_grad}
        self._counts = [shape.numel() for shape in self.shapes.values()]
        self.size = sum(self._counts)
        self._logits = vmap(self._forward)

    def flatten(self, model: nn.Module) -> Tensor:
        """Returns a model's trainable parameters as one vector, shape (P,)."""
        return torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])

    def pieces(self, rows: Tensor) -> dict[str, Tensor]:
        """Returns views of parameter vectors (R, P) by name, each (R, *shape)."""
        parts = torch.split(rows, self._counts, dim=1)
        return {
            name: part.reshape(len(part), *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def load(self, row: Tensor) -> None:
        """Puts one parameter vector (P,) into the skeleton."""
        own = dict(self.skeleton.named_parameters())
        with torch.no_grad():
            for name, value in self.pieces(row[None]).items():
                own[name].copy_(value[0])

    def gradients(self, rows: Tensor, images: Tensor, masks: Tensor) -> Tensor:
        """Returns each row's gradient of its own loss.

        Args:
            rows: Parameter vectors, shape (R, P).
            images: uint8, one for each row, shape (R, 3, h, w).
            masks: Labels, shape (R, h, w).

        Returns:
            Shape (R, P), not clipped.
        """
        parts = [
            self._chunk(*(x[start : start + _ROWS] for x in (rows, images, masks)))
            for start in range(0, len(rows), _ROWS)
        ]
        return torch.cat(parts) if parts else rows.new_zeros(0, self.size)

    def _chunk(self, rows: Tensor, images: Tensor, masks: Tensor) -> Tensor:
        # Rows do not touch each other, so one plain backward pass through all of them gives each
        # row's own gradient; the loss, whose gradient is known, stays out of the graph.
        leaf = rows.detach().requires_grad_()
        pixels = prepare(images.to(rows.device)).to(rows.dtype)
        with torch.enable_grad():
            logits = self._logits(self.pieces(leaf), pixels)
        weights = logit_gradients(logits.detach(), masks.to(rows.device))
        found: Tensor = torch.autograd.grad(logits, leaf, weights)[0]
        return found

    def clipped(self, rows: Tensor, images: Tensor, masks: Tensor, max_grad_norm: float) -> Tensor:
        """Returns `gradients` clipped as Opacus clips them, shape (R, P)."""
        found = self.gradients(rows, images, masks)
        factors: Tensor = max_grad_norm / (found.norm(dim=1) + 1e-6)
        return found * factors.clamp(max=1.0)[:, None]

    def logits(self, rows: Tensor, images: Tensor) -> Tensor:
        """Returns each row's logits on its own image, shape (R, K, h, w)."""
        parts = []
        with torch.no_grad():
            for start in range(0, len(rows), _ROWS):
                piece = slice(start, start + _ROWS)
                pixels = prepare(images[piece].to(rows.device)).to(rows.dtype)
                parts.append(self._logits(self.pieces(rows[piece]), pixels))
        return torch.cat(parts)

    def _forward(self, parameters: dict[str, Tensor], image: Tensor) -> Tensor:
        whole = {**parameters, **self._fixed}
        logits: Tensor = functional_call(self.skeleton, whole, (image[None],))
        return logits[0]

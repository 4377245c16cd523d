"""Projections of clipped per-image gradients on one vector, without a table of the gradients.

A white-box adversary sees the noisy sum y of a step, P numbers, and asks for <c_i, y> where c_i is
the gradient of canary i's loss l_i, clipped to C. For all canaries at once <grad l_i, y> is the
derivative of the vector of losses along y: one forward-mode pass, that of `Projector.dots`. The
clip factor min(1, C / |grad l_i|) needs norms as well, for which gradients are taken, a few at a
time, and let go (`Projector.project`).

Norms drift slowly while y is new in every step: an adversary may take them every few steps only.
That makes the clip factors approximate, which costs power and never validity.

Memory is that of a few images' activations and gradients: it does not grow with the canaries.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, vmap

from cropaudit.attacks.white_box.double_sums import inner, squares
from cropaudit.errors import require
from cropaudit.training.models.losses import pixel_losses

__all__ = ["Projected", "Projector", "clip_factors"]

_PIXELS = 16 * 96 * 96  # differentiated forwards at once
_ENTRIES = 2**24  # of gradients held at once; never less than one image's


@dataclass(frozen=True, eq=False)
class Projected:
    """What is known of each image's gradient, in float64 and on the CPU.

    Attributes:
        dot: <grad l_i, y>, unclipped, shape (N,).
        norm: |grad l_i|, shape (N,).
        max_grad_norm: C.
    """

    dot: Tensor
    norm: Tensor
    max_grad_norm: float

    @property
    def clipped(self) -> Tensor:
        """Projections of the clipped gradients, shape (N,)."""
        return self.dot * clip_factors(self.norm, self.max_grad_norm)


def clip_factors(norm: Tensor, max_grad_norm: float) -> Tensor:
    """Returns min(1, C / norm), 1 where the norm is 0.

    >>> clip_factors(torch.tensor([0.0, 0.5, 4.0]), 1.0)
    tensor([1.0000, 1.0000, 0.2500])
    """
    return (max_grad_norm / norm.clamp(min=torch.finfo(norm.dtype).tiny)).clamp(max=1.0)


@contextmanager
def _quiet_forward() -> Iterator[None]:
    """Silences what torch says of itself when it first takes a derivative forwards."""
    with warnings.catch_warnings():
        message = "`torch.jit.script` is deprecated"
        warnings.filterwarnings("ignore", message=message, category=FutureWarning)
        yield


class Projector:
    """Projects the per-image gradients of one model, as its parameters are at each call.

    Attributes:
        model: Maps scaled images (N, 3, H, W) to logits; left as it is.
        max_grad_norm: C.
    """

    def __init__(self, model: nn.Module, *, max_grad_norm: float) -> None:
        legal = "above 0 and finite"
        require(0 < max_grad_norm < float("inf"), "max_grad_norm", legal, max_grad_norm)
        self.model, self.max_grad_norm = model, max_grad_norm

    def project(self, images: Tensor, masks: Tensor, y: Tensor) -> Projected:
        """Returns projections and norms of all images' gradients.

        Args:
            images: Scaled, shape (N, 3, h, w), on any device.
            masks: Integers, shape (N, h, w).
            y: Shape (P,), over the trainable parameters in their order, as `StepView.noisy_sum`.

        Raises:
            InputError: If a shape does not fit.
        """
        self._directions(y)  # checks y
        dots = norms = torch.zeros(0, dtype=torch.float64)
        for rows in self._gradients(images, masks):
            along = inner(rows, y.detach().to(rows.device)[None])[:, 0]
            dots = torch.cat([dots, along.cpu()])
            norms = torch.cat([norms, squares(rows).sqrt().cpu()])
        return Projected(dots, norms, self.max_grad_norm)

    def dots(self, images: Tensor, masks: Tensor, y: Tensor) -> Tensor:
        """Returns <grad l_i, y>, unclipped, shape (N,), float64: one forward-mode pass.

        An operation that lacks a forward derivative sends it through `project`; see there.
        """
        directions = self._directions(y)
        parts = [torch.zeros(0, dtype=torch.float64)]
        step = max(1, _PIXELS // max(1, images.shape[2] * images.shape[3]))
        for pixels, labels in self._pieces(images, masks, step):
            try:
                parts.append(self._forward_mode(pixels, labels, directions))
            except NotImplementedError:
                parts.append(self.project(pixels, labels, y).dot)
        return torch.cat(parts)

    def clipped_sum(self, images: Tensor, masks: Tensor) -> Tensor:
        """Returns the sum of the clipped gradients, shape (P,).

        Float64 over the images: what it is taken from is nearly the same.
        """
        trainable = list(self._trainable().values())
        total = trainable[0].new_zeros(sum(p.numel() for p in trainable), dtype=torch.float64)
        for rows in self._gradients(images, masks):
            factors = clip_factors(squares(rows).sqrt(), self.max_grad_norm)
            total += (factors.to(rows) @ rows).double()
        return total

    def _gradients(self, images: Tensor, masks: Tensor) -> Iterator[Tensor]:
        """Yields gradients (n, P), as many at once as are few."""
        wanted = {name: p.detach() for name, p in self._trainable().items()}
        fixed = {name: p.detach() for name, p in self.model.named_parameters()}

        def loss(parameters: dict[str, Tensor], image: Tensor, mask: Tensor) -> Tensor:
            logits = functional_call(self.model, {**fixed, **parameters}, (image[None],))
            return pixel_losses(logits, mask[None])[0]

        each: Callable[..., dict[str, Tensor]] = vmap(grad(loss), in_dims=(None, 0, 0))
        step = max(1, _ENTRIES // sum(p.numel() for p in wanted.values()))
        for pixels, labels in self._pieces(images, masks, min(step, 32)):
            try:
                found = each(wanted, pixels, labels)
            except RuntimeError:  # what vmap does not know is differentiated image by image
                yield from self._one_by_one(pixels, labels)
                continue
            yield torch.cat([found[name].flatten(1) for name in wanted], dim=1)

    def _one_by_one(self, images: Tensor, masks: Tensor) -> Iterator[Tensor]:
        leaves = {
            name: p.detach().requires_grad_(p.requires_grad)
            for name, p in self.model.named_parameters()
        }
        wanted = [leaf for leaf in leaves.values() if leaf.requires_grad]
        for pixels, labels in zip(torch.split(images, 1), torch.split(masks, 1), strict=True):
            with torch.enable_grad():
                loss = pixel_losses(functional_call(self.model, leaves, (pixels,)), labels).sum()
                taken = torch.autograd.grad(loss, wanted, materialize_grads=True)
            yield torch.cat([one.flatten() for one in taken])[None]

    def _forward_mode(self, images: Tensor, masks: Tensor, directions: dict[str, Tensor]) -> Tensor:
        parameters = {name: p.detach() for name, p in self.model.named_parameters()}
        with _quiet_forward(), torch.no_grad(), forward_ad.dual_level():
            for name, direction in directions.items():
                dual = forward_ad.make_dual(parameters[name], direction)  # type: ignore[no-untyped-call]
                parameters[name] = dual
            losses = pixel_losses(functional_call(self.model, parameters, (images,)), masks)
            tangent = forward_ad.unpack_dual(losses)[1]  # type: ignore[no-untyped-call]
            return (torch.zeros_like(losses) if tangent is None else tangent).double().cpu()

    def _trainable(self) -> dict[str, nn.Parameter]:
        found = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        require(bool(found), "model", "one with a trainable parameter", "none")
        return found

    def _directions(self, y: Tensor) -> dict[str, Tensor]:
        """Returns ``y`` cut into the trainable parameters' shapes, on their device."""
        trainable = self._trainable()
        size = sum(p.numel() for p in trainable.values())
        require(y.shape == (size,), "y", f"of shape ({size},)", tuple(y.shape))
        first = next(iter(trainable.values()))
        pieces = torch.split(y.detach().to(first), [p.numel() for p in trainable.values()])
        pairs = zip(trainable.items(), pieces, strict=True)
        return {name: piece.view_as(p) for (name, p), piece in pairs}

    def _pieces(self, images: Tensor, masks: Tensor, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields chunks of images and masks on the model's device, in its precision."""
        expected = (len(images), *images.shape[2:])
        require(masks.shape == expected, "masks", f"of shape {expected}", tuple(masks.shape))
        first = next(iter(self._trainable().values()))
        for start in range(0, len(images), step):
            piece = slice(start, start + step)
            yield images[piece].to(first), masks[piece].to(first.device)

"""Projections of clipped per-image gradients on one vector, without the gradients.

A white-box adversary sees the noisy sum y of a step, P numbers, and asks for <c_i, y> where c_i is
the gradient of canary i's loss l_i, clipped to C. For all canaries at once <grad l_i, y> is the
derivative of the vector of losses along y: one forward-mode pass, that of `Projector.dots`. The
clip factor min(1, C / |grad l_i|) needs norms as well: ghost norms, from one backward pass, that of
`Projector.norms`. The same pass gives the projection too (see `layer_terms`), so that
`Projector.project`, which wants both, needs no forward mode.

Norms drift slowly while y is new in every step: an adversary may take them every few steps only.
That makes the clip factors approximate, which costs power and never validity.

Memory is that of ``chunk`` images' activations plus scratch of fixed size and a few vectors of P:
it grows with neither the number of canaries nor canaries times parameters.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call

from cropaudit.attacks.ghost_norms import ghost_terms
from cropaudit.errors import require
from cropaudit.training.losses import pixel_losses

__all__ = ["Projected", "Projector", "clip_factors"]

_PIXELS = 16 * 96 * 96  # differentiated at once unless the user says how many images
_TOLERANCE = 1e-3  # of a norm in float32, where two ways of taking it must agree


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


def _weighed(weights: Tensor, losses: Tensor) -> Tensor:
    return losses @ weights.to(losses)


class Projector:
    """Projects the per-image gradients of one model, as its parameters are at each call.

    Attributes:
        model: Maps scaled images (N, 3, H, W) to logits; left as it is.
        max_grad_norm: C.
        chunk: Images differentiated at once; None for as many as make about 150,000 pixels.
    """

    def __init__(self, model: nn.Module, *, max_grad_norm: float, chunk: int | None = None) -> None:
        legal = "above 0 and finite"
        require(0 < max_grad_norm < float("inf"), "max_grad_norm", legal, max_grad_norm)
        require(chunk is None or chunk >= 1, "chunk", "at least 1", chunk)
        self.model, self.max_grad_norm, self.chunk = model, max_grad_norm, chunk
        self._verified = False

    def project(self, images: Tensor, masks: Tensor, y: Tensor) -> Projected:
        """Returns projections and norms of all images' gradients, in one backward pass.

        Args:
            images: Scaled, shape (N, 3, h, w), on any device.
            masks: Integers, shape (N, h, w).
            y: Shape (P,), over the trainable parameters in their order, as `StepView.noisy_sum`.

        Raises:
            InputError: If a shape does not fit, or the model computes what its hooks do not show.
        """
        directions = self._directions(y)
        parts = [self._ghost(*piece, directions) for piece in self._pieces(images, masks)]
        empty = torch.zeros(0, dtype=torch.float64)
        dot = torch.cat([empty, *(part.dot for part in parts)])
        norm = torch.cat([empty, *(part.norm for part in parts)])
        return Projected(dot, norm, self.max_grad_norm)

    def norms(self, images: Tensor, masks: Tensor) -> Tensor:
        """Returns the norm of each image's gradient, shape (N,), float64; see `project`."""
        return self.project(images, masks, self._flat_zeros()).norm

    def dots(self, images: Tensor, masks: Tensor, y: Tensor) -> Tensor:
        """Returns <grad l_i, y>, unclipped, shape (N,), float64: one forward-mode pass.

        An operation that lacks a forward derivative sends it through `project`; see there.
        """
        directions = self._directions(y)
        parts = [torch.zeros(0, dtype=torch.float64)]
        for pixels, labels in self._pieces(images, masks):
            try:
                parts.append(self._forward_mode(pixels, labels, directions))
            except NotImplementedError:
                parts.append(self._ghost(pixels, labels, directions).dot)
        return torch.cat(parts)

    def clipped_sum(self, images: Tensor, masks: Tensor) -> Tensor:
        """Returns the sum of the clipped gradients, shape (P,): one gradient of weighted losses.

        Float64 over the chunks: what it is taken from is nearly the same.

        The weights are the clip factors; a gradient of sum_i f_i l_i is sum_i f_i grad l_i.
        """
        zeros = self._directions(self._flat_zeros())
        total = self._flat_zeros().double()
        for pixels, labels in self._pieces(images, masks):
            norm = self._ghost(pixels, labels, zeros).norm
            factors = clip_factors(norm, self.max_grad_norm)
            total += self._gradient(pixels, labels, partial(_weighed, factors))
        return total

    def _ghost(self, images: Tensor, masks: Tensor, directions: dict[str, Tensor]) -> Projected:
        terms = ghost_terms(self.model, images, masks, directions)
        found = Projected(terms.dot.cpu(), terms.square.cpu().sqrt(), self.max_grad_norm)
        self._verify(images, masks, directions, found)
        return found

    def _verify(
        self, images: Tensor, masks: Tensor, directions: dict[str, Tensor], found: Projected
    ) -> None:
        """Compares one image with plain autograd, once: hooks see modules and nothing else."""
        pick = int(found.norm.argmax())
        if self._verified or found.norm[pick] == 0:
            return
        one = slice(pick, pick + 1)
        plain = self._gradient(images[one], masks[one], torch.sum)
        y = torch.cat([direction.flatten() for direction in directions.values()])
        error = abs(float(plain.norm()) - float(found.norm[pick])) / float(found.norm[pick])
        spread = float(plain.norm() * y.norm()) or 1.0
        error = max(error, abs(float(plain @ y) - float(found.dot[pick])) / spread)
        legal = "one whose weights are used by their own modules alone (hooks must see them)"
        require(error <= _TOLERANCE, "model", legal, f"gradients off by {error:.2g} of their norm")
        self._verified = True

    def _forward_mode(self, images: Tensor, masks: Tensor, directions: dict[str, Tensor]) -> Tensor:
        parameters = {name: p.detach() for name, p in self.model.named_parameters()}
        with _quiet_forward(), torch.no_grad(), forward_ad.dual_level():
            for name, direction in directions.items():
                dual = forward_ad.make_dual(parameters[name], direction)  # type: ignore[no-untyped-call]
                parameters[name] = dual
            losses = pixel_losses(functional_call(self.model, parameters, (images,)), masks)
            tangent = forward_ad.unpack_dual(losses)[1]  # type: ignore[no-untyped-call]
            return (torch.zeros_like(losses) if tangent is None else tangent).double().cpu()

    def _gradient(self, images: Tensor, masks: Tensor, weigh: Callable[[Tensor], Tensor]) -> Tensor:
        """Returns the gradient of the weighed losses, shape (P,), on the model's device."""
        leaves = {
            name: p.detach().requires_grad_(p.requires_grad)
            for name, p in self.model.named_parameters()
        }
        wanted = [leaf for leaf in leaves.values() if leaf.requires_grad]
        with torch.enable_grad():
            losses = pixel_losses(functional_call(self.model, leaves, (images,)), masks)
            taken = torch.autograd.grad(weigh(losses), wanted, allow_unused=True)
        pairs = zip(taken, wanted, strict=True)
        return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])

    def _trainable(self) -> dict[str, nn.Parameter]:
        found = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        require(bool(found), "model", "one with a trainable parameter", "none")
        return found

    def _flat_zeros(self) -> Tensor:
        trainable = list(self._trainable().values())
        return trainable[0].new_zeros(sum(p.numel() for p in trainable))

    def _directions(self, y: Tensor) -> dict[str, Tensor]:
        """Returns ``y`` cut into the trainable parameters' shapes, on their device."""
        trainable = self._trainable()
        size = sum(p.numel() for p in trainable.values())
        require(y.shape == (size,), "y", f"of shape ({size},)", tuple(y.shape))
        first = next(iter(trainable.values()))
        pieces = torch.split(y.detach().to(first), [p.numel() for p in trainable.values()])
        pairs = zip(trainable.items(), pieces, strict=True)
        return {name: piece.view_as(p) for (name, p), piece in pairs}

    def _pieces(self, images: Tensor, masks: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields chunks of images and masks on the model's device, in its precision."""
        expected = (len(images), *images.shape[2:])
        require(masks.shape == expected, "masks", f"of shape {expected}", tuple(masks.shape))
        first = next(iter(self._trainable().values()))
        step = self.chunk or max(1, _PIXELS // max(1, images.shape[2] * images.shape[3]))
        for start in range(0, len(images), step):
            piece = slice(start, start + step)
            yield images[piece].to(first), masks[piece].to(first.device)

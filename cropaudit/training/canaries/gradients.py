"""Clipped per-sample gradients as one function of pixels and labels, differentiable once more.

Assumes a model that fits `torch.func` (all of cropaudit's do) and the loss of `losses`, one sample
at a time. Every gradient is held: this is for models of some hundred thousand parameters.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from cropaudit.training.losses import pixel_losses, prepare

__all__ = ["Gradients", "clip", "flat_gradients", "in_chunks"]

# Maps images (B, 3, h, w) in 0 to 255 and masks (B, h, w) to gradients (B, P).
Gradients = Callable[[Tensor, Tensor], Tensor]

_CHUNK_ENTRIES = 50_000_000  # numbers held at once


def flat_gradients(model: nn.Module) -> Gradients:
    """Returns the function that takes per-sample gradients, unclipped, at the model's weights."""
    trainable = {k: p.detach() for k, p in model.named_parameters() if p.requires_grad}
    frozen = {k: p.detach() for k, p in model.named_parameters() if not p.requires_grad}
    like = next(iter(trainable.values()))

    def loss(parameters: dict[str, Tensor], image: Tensor, mask: Tensor) -> Tensor:
        logits = functional_call(model, {**parameters, **frozen}, (image[None],))
        return pixel_losses(logits, mask[None])[0]

    each = vmap(grad(loss), in_dims=(None, 0, 0))

    def gradients(images: Tensor, masks: Tensor) -> Tensor:
        pixels = prepare(images.to(like.device)).to(like.dtype)
        found = each(trainable, pixels, masks.to(like.device))
        return torch.cat([found[name].flatten(1) for name in trainable], dim=1)

    return gradients


def clip(gradients: Tensor, max_grad_norm: float) -> Tensor:
    """Scales rows (B, P) to a norm of at most C, in units of C; a zero row stays zero."""
    squares = gradients.square().sum(dim=1, keepdim=True)
    # The root has no derivative at 0, and an empty overlap has a gradient of exactly 0.
    return gradients / squares.clamp(min=max_grad_norm**2).sqrt()


def in_chunks(gradients: Gradients, images: Tensor, masks: Tensor, model: nn.Module) -> Tensor:
    """Returns unclipped gradients on the CPU, a few samples at a time."""
    entries = sum(p.numel() for p in model.parameters())
    size = max(1, min(32, _CHUNK_ENTRIES // entries))
    with torch.no_grad():
        parts = [
            gradients(images[start : start + size], masks[start : start + size]).cpu()
            for start in range(0, len(images), size)
        ]
    return torch.cat(parts)

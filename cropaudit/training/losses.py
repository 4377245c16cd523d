"""One loss per image, and the constant scaling of pixels.

Assumes that nothing is computed across the images of a batch, nor across the pixels of an image
outside the crop: per-batch or per-image statistics would let a patch act where the crop misses it.
"""

import torch
from torch import Tensor
from torch.nn import functional

from cropaudit.training.data import IGNORE

__all__ = ["pixel_losses", "prepare"]


def pixel_losses(logits: Tensor, masks: Tensor) -> Tensor:
    """Returns each image's cross-entropy, averaged over its labelled pixels.

    Args:
        logits: Shape (B, K, H, W).
        masks: Integers of shape (B, H, W), below K or `IGNORE`.

    Returns:
        Shape (B,), in nats; exactly 0, with a gradient of exactly 0, where no pixel is labelled.
    """
    labels = masks.long()
    losses = functional.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
    # Unlabelled pixels add 0, so only the division needs care.
    labelled = (labels != IGNORE).sum(dim=(1, 2)).clamp(min=1)
    return losses.sum(dim=(1, 2)) / labelled


def prepare(images: Tensor) -> Tensor:
    """Returns uint8 images (B, 3, H, W) as float32 in about [-2, 2], by one constant scaling.

    >>> prepare(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([-2.,  2.])
    """
    return (images.to(torch.float32) / 255 - 0.5) / 0.25

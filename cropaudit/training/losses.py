"""One loss per image, and the constant scaling of pixels.

Assumes that nothing is computed across the images of a batch, nor across the pixels of an image
outside the crop: per-batch or per-image statistics would let a patch act where the crop misses it.
"""

import torch
from torch import Tensor
from torch.nn import functional

from cropaudit.training.data import IGNORE

__all__ = ["logit_gradients", "pixel_losses", "prepare"]


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


def logit_gradients(logits: Tensor, masks: Tensor) -> Tensor:
    """Returns the gradient of each image's `pixel_losses` in its own logits.

    At a labelled pixel it is (softmax - onehot) over the number of labelled pixels.

    Args:
        logits: Shape (B, K, H, W).
        masks: Integers of shape (B, H, W), below K or `IGNORE`.

    Returns:
        Shape (B, K, H, W), without a graph.
    """
    with torch.no_grad():
        labels = masks.long()[:, None]
        labelled = labels != IGNORE
        found = logits.softmax(dim=1)
        minus = found.new_full((1, 1, 1, 1), -1.0).expand_as(labels)
        found.scatter_add_(1, labels.masked_fill(~labelled, 0), minus)
        count = labelled.sum(dim=(2, 3), keepdim=True).clamp(min=1)
        return found.mul_(labelled.to(found.dtype) / count)


def prepare(images: Tensor) -> Tensor:
    """Returns uint8 images (B, 3, H, W) as float32 in about [-2, 2], by one constant scaling.

    >>> prepare(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([-2.,  2.])
    """
    return (images.to(torch.float32) / 255 - 0.5) / 0.25

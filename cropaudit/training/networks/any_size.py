"""Images of any size, for networks that want multiples of 8 or more pixels.

Assumes inputs scaled to about [-2, 2], so that the zeros of the padding are mid-grey.
"""

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["AnySize", "pad_to_multiple"]


class AnySize(nn.Module):
    """Runs a network on any height and width; logits come back in the size of the images.

    Attributes:
        network: Maps (B, 3, H, W) to (B, K, H, W) where ``multiple`` divides H and W.
        multiple: In pixels.
    """

    def __init__(self, network: nn.Module, multiple: int) -> None:
        super().__init__()
        self.network = network
        self.multiple = multiple

    def forward(self, images: Tensor) -> Tensor:
        """Maps scaled images (B, 3, H, W) to logits (B, K, H, W)."""
        height, width = images.shape[-2:]
        logits: Tensor = self.network(pad_to_multiple(images, self.multiple))
        return logits[..., :height, :width]


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Pads below and to the right with zeros, mid-grey after scaling, or returns ``images`` itself.

    >>> import torch
    >>> pad_to_multiple(torch.ones(1, 3, 17, 32), 16).shape
    torch.Size([1, 3, 32, 32])
    """
    height, width = images.shape[-2:]
    below, right = -height % multiple, -width % multiple
    return functional.pad(images, (0, right, 0, below)) if below or right else images

"""The default subject: a U-Net small enough to be trained a thousand times on two cores."""

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["SmallUnet", "small_unet"]


class SmallUnet(nn.Module):
    """A U-Net of about 41,000 parameters whose skips are added, not concatenated.

    Full resolution bears 8 channels only, where the memory of per-sample gradients is spent; the
    logits are upsampled rather than the features, which is the same for 1x1 convolutions.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.level1 = _block(3, 8)
        self.level2 = nn.Sequential(_block(8, 16, stride=2), _block(16, 16))
        self.level3 = nn.Sequential(_block(16, 32, stride=2), _block(32, 32))
        self.level4 = _block(32, 32, stride=2)
        self.up3 = nn.Conv2d(32, 32, 1)
        self.mix3 = _block(32, 32)
        self.up2 = nn.Conv2d(32, 16, 1)
        self.mix2 = _block(16, 16)
        self.head2 = nn.Conv2d(16, classes, 1)
        self.head1 = nn.Conv2d(8, classes, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Maps scaled images (B, 3, H, W) to logits (B, K, H, W)."""
        level1: Tensor = self.level1(images)
        level2: Tensor = self.level2(level1)
        level3: Tensor = self.level3(level2)
        level4: Tensor = self.level4(level3)
        mixed3: Tensor = self.mix3(level3 + _resize(self.up3(level4), level3))
        mixed2: Tensor = self.mix2(level2 + _resize(self.up2(mixed3), level2))
        logits: Tensor = self.head1(level1) + _resize(self.head2(mixed2), level1)
        return logits


def small_unet(classes: int, encoder: str) -> nn.Module:
    """Builds a `SmallUnet`; it has no encoders to choose from."""
    return SmallUnet(classes)


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
    return nn.Sequential(convolution, nn.GroupNorm(outputs // 4, outputs), nn.ReLU())


def _resize(features: Tensor, like: Tensor) -> Tensor:
    size = [*like.shape[-2:]]
    return functional.interpolate(features, size=size, mode="bilinear", align_corners=False)

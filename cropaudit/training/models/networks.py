"""The networks before they are mended, and how each kind of them is built.

cropaudit's own are small enough to be trained a thousand times on two cores. Those of
segmentation_models_pytorch and torchvision are untrained and without dropout; nothing is
downloaded, and both libraries, which take seconds to import, are imported when one of their
networks is asked for. Assumes inputs scaled to about [-2, 2]: zeros of padding are mid-grey.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from cropaudit.errors import InputError, require

__all__ = [
    "AnySize",
    "GradSampleMode",
    "ModelRecipe",
    "SmallUnet",
    "TinyNet",
    "pad_to_multiple",
    "smp",
    "torchvision",
]

GradSampleMode = Literal["hooks", "ew", "functorch", "ghost"]


@dataclass(frozen=True)
class ModelRecipe:
    """How to build a model, and how Opacus is to take its per-sample gradients.

    Attributes:
        build: Makes the raw network from the number of classes and an encoder's name.
        mode: Opacus' grad-sample mode where none is measured: exact for the default encoder.
        multiple: Height and width are padded to a multiple of this many pixels inside the model.
        encoder: The default encoder; empty if the model has no choice of encoders.
        encoders: The legal encoders; empty if ``build`` itself knows which are.
    """

    build: Callable[[int, str], nn.Module]
    mode: GradSampleMode
    multiple: int
    encoder: str = ""
    encoders: tuple[str, ...] = ()

    def chosen_encoder(self, name: str) -> str:
        """Returns the encoder of ``base`` or ``base:encoder``; raises InputError if illegal."""
        base, colon, encoder = name.partition(":")
        require(bool(self.encoder) or not colon, "model", f"{base}: it has no other encoders", name)
        require(bool(encoder) or not colon, "model", f"{base} or {base}:encoder", name)
        if encoder and self.encoders:
            legal = f"one of {', '.join(self.encoders)} for {base}"
            require(encoder in self.encoders, "encoder", legal, encoder)
        return encoder or self.encoder


class TinyNet(nn.Module):
    """Three convolutions with GroupNorm and a linear head; 2,706 parameters for ten classes.

    For games that train thousands of models at once. It downsamples by four and enlarges its logits
    by a pair of small matrix products rather than `interpolate`, which gives the same numbers and,
    where a thousand copies of the network are differentiated together, costs a third of the whole
    less.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, 2, padding=1), nn.GroupNorm(2, 8), nn.ReLU()),
            *(nn.Conv2d(8, 16, 3, 2, padding=1), nn.GroupNorm(4, 16), nn.ReLU()),
            *(nn.Conv2d(16, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU()),
        )
        self.head = nn.Linear(8, classes)  # a 1x1 convolution; faster where thousands are stacked

    def forward(self, images: Tensor) -> Tensor:
        """Maps scaled images (B, 3, H, W) to logits (B, K, H, W)."""
        features: Tensor = self.features(images)
        # One axis of places: Opacus' norms of a linear layer know no more.
        places: Tensor = self.head(features.flatten(2).mT)
        logits: Tensor = places.mT.reshape(*places.mT.shape[:2], *features.shape[-2:])
        height, width = images.shape[-2:]
        rows = _stretch(logits.shape[-2], height, images.device, images.dtype)
        columns = _stretch(logits.shape[-1], width, images.device, images.dtype)
        return rows.T @ logits @ columns


@lru_cache(maxsize=64)
def _stretch(short: int, long: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Returns bilinear interpolation along one axis as a matrix, shape (short, long)."""
    with torch.no_grad():
        unit = torch.eye(short, dtype=torch.float64)[None]
        found = functional.interpolate(unit, size=long, mode="linear", align_corners=False)[0]
    return found.to(device, dtype)


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


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
    return nn.Sequential(convolution, nn.GroupNorm(outputs // 4, outputs), nn.ReLU())


def _resize(features: Tensor, like: Tensor) -> Tensor:
    size = [*like.shape[-2:]]
    return functional.interpolate(features, size=size, mode="bilinear", align_corners=False)


def smp(kind: str) -> Callable[[int, str], nn.Module]:
    """Returns the builder of a class of segmentation_models_pytorch, such as PSPNet."""
    return partial(_smp, kind)


def torchvision(kind: str) -> Callable[[int, str], nn.Module]:
    """Returns the builder of a family of torchvision's, such as deeplabv3; no auxiliary head."""
    return partial(_torchvision, kind)


def _smp(kind: str, classes: int, encoder: str) -> nn.Module:
    import segmentation_models_pytorch

    make = getattr(segmentation_models_pytorch, kind)
    try:
        network: nn.Module = make(encoder, encoder_weights=None, classes=classes)
    # The library refuses a name in as many ways as it has encoders.
    except (AssertionError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        legal = f"one that segmentation_models_pytorch has for {kind}, such as resnet18"
        raise InputError(f"encoder must be {legal}, got {encoder}") from error
    return network


def _torchvision(kind: str, classes: int, encoder: str) -> nn.Module:
    from torchvision.models import segmentation

    options = {} if kind == "lraspp" else {"aux_loss": False}
    make = getattr(segmentation, f"{kind}_{encoder}")
    network: nn.Module = make(weights=None, weights_backbone=None, num_classes=classes, **options)
    network.register_forward_hook(_main_output)
    return network


def _main_output(network: nn.Module, inputs: object, outputs: dict[str, Tensor]) -> Tensor:
    return outputs["out"]


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

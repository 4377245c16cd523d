"""The segmentation models, made fit for per-sample gradients, under the names that users give.

Assumes Opacus' demands: no statistic crosses the images of a batch (GroupNorm, no BatchNorm), no
operation in place, contiguous inputs to every convolution, and no trainable parameter that the
output does not depend on. Dropout is off: an audit compares runs that differ in the patch alone.
Weights start at random from the seed; nothing is ever downloaded.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import torch
from opacus.validators import ModuleValidator
from torch import Tensor, nn
from torch.nn import functional

from cropaudit.errors import InputError, require

__all__ = [
    "MODELS",
    "AnySize",
    "GradSampleMode",
    "ModelRecipe",
    "SmallUnet",
    "build_model",
    "mend",
    "pad_to_multiple",
    "recipe",
]

GradSampleMode = Literal["hooks", "ew", "functorch"]

# The legal names of encoders are many and their libraries slow to import: this one is the default.
_ENCODER = "resnet18"


@dataclass(frozen=True)
class ModelRecipe:
    """How to build a model, and how Opacus is to take its per-sample gradients.

    Attributes:
        build: Makes the raw network from the number of classes and an encoder's name.
        mode: Opacus' grad-sample mode: of those that are exact for this model, the fastest.
        multiple: Height and width are padded to a multiple of this many pixels inside the model.
        encoders: Whether the name may be followed by ``:encoder``.
        summary: One line for users.
    """

    build: Callable[[int, str], nn.Module]
    mode: GradSampleMode
    multiple: int
    encoders: bool
    summary: str


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

    >>> pad_to_multiple(torch.ones(1, 3, 17, 32), 16).shape
    torch.Size([1, 3, 32, 32])
    """
    height, width = images.shape[-2:]
    below, right = -height % multiple, -width % multiple
    return functional.pad(images, (0, right, 0, below)) if below or right else images


def recipe(name: str) -> ModelRecipe:
    """Returns the recipe of ``model`` or ``model:encoder``.

    Raises:
        InputError: If there is no such model, or it takes no encoder.
    """
    base, _, encoder = name.partition(":")
    found = MODELS.get(base)
    legal = ", ".join(sorted(MODELS))
    if found is None:
        raise InputError(f"model must be one of {legal}, got {name}")
    require(found.encoders or ":" not in name, "model", f"{base}: it has no other encoders", name)
    require(bool(encoder) or ":" not in name, "model", f"{base} or {base}:encoder", name)
    return found


def build_model(name: str, classes: int, seed: int) -> nn.Module:
    """Builds a model, mended and in training mode, on the CPU.

    Args:
        name: A key of `MODELS`; where its recipe allows, an encoder follows a colon, as in
            ``pspnet:mobilenet_v2``.
        classes: Number of classes, K.
        seed: Fixes the initial weights; the global random state is left alone.

    Returns:
        A module that maps scaled images (B, 3, H, W) to logits (B, K, H, W), any H, W >= 16.

    Raises:
        InputError: If the model or the encoder is unknown.
    """
    chosen = recipe(name)
    require(classes >= 1, "classes", "at least 1", classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = chosen.build(classes, name.partition(":")[2] or _ENCODER)
        return mend(AnySize(network, chosen.multiple))


def mend(model: nn.Module) -> nn.Module:
    """Makes ``model`` fit for per-sample gradients, in training mode; it is not to be used after.

    Replaces BatchNorm by GroupNorm, turns operations in place off, makes convolutions' inputs
    contiguous and freezes the parameters that the output does not depend on.
    """
    fixed: nn.Module = ModuleValidator.fix(model)
    for module in fixed.modules():
        if hasattr(module, "inplace"):
            setattr(module, "inplace", False)  # noqa: B010 - not every module has one
        if isinstance(module, nn.Conv2d):
            # Opacus' unfold2d reads the strides wrongly on channels_last or transposed inputs.
            module.register_forward_pre_hook(_contiguous)
    _replace_residuals(fixed)
    _freeze_unused(fixed)
    return fixed.train()


def _contiguous(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.contiguous() for x in inputs)


def _freeze_unused(model: nn.Module) -> None:
    """Freezes what a probe's gradient does not reach: DPOptimizer refuses such parameters."""
    with torch.enable_grad():
        model.train()(torch.zeros(2, 3, 64, 64)).sum().backward()
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.requires_grad and parameter.grad is not None)
        parameter.grad = None


def _replace_residuals(model: nn.Module) -> None:
    """Gives torchvision's residual blocks, which add in place, a forward that does not."""
    from torchvision.models import resnet

    for module in model.modules():
        if isinstance(module, resnet.BasicBlock | resnet.Bottleneck):
            # A partial, unlike a bound method, survives a copy and a pickle of the model.
            module.forward = partial(_residual, module)


def _residual(block: Any, x: Tensor) -> Tensor:
    out = block.bn2(block.conv2(block.relu(block.bn1(block.conv1(x)))))
    if hasattr(block, "conv3"):
        out = block.bn3(block.conv3(block.relu(out)))
    added: Tensor = out + (x if block.downsample is None else block.downsample(x))
    relu: Callable[[Tensor], Tensor] = block.relu
    return relu(added)


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


def _small_unet(classes: int, encoder: str) -> nn.Module:
    return SmallUnet(classes)


def _pspnet(classes: int, encoder: str) -> nn.Module:
    return _smp("PSPNet", classes, encoder, psp_dropout=0.0)


def _deeplabv3plus(classes: int, encoder: str) -> nn.Module:
    return _smp("DeepLabV3Plus", classes, encoder, decoder_aspp_dropout=0.0)


def _smp(kind: str, classes: int, encoder: str, **options: float) -> nn.Module:
    import segmentation_models_pytorch as smp  # takes seconds: only when such a model is asked for

    try:
        network: nn.Module = getattr(smp, kind)(
            encoder, encoder_weights=None, classes=classes, **options
        )
    except (KeyError, ValueError, NotImplementedError, RuntimeError) as error:
        legal = f"one that segmentation_models_pytorch has for {kind}, such as {_ENCODER}"
        raise InputError(f"encoder must be {legal}, got {encoder}") from error
    return network


MODELS: Mapping[str, ModelRecipe] = MappingProxyType(
    {
        "small-unet": ModelRecipe(_small_unet, "hooks", 1, False, "41,000 parameters; for audits"),
        "pspnet": ModelRecipe(_pspnet, "ew", 8, True, "PSPNet; encoder resnet18 unless given"),
        "deeplabv3plus": ModelRecipe(
            _deeplabv3plus, "ew", 16, True, "DeepLabV3+; encoder resnet18 unless given"
        ),
    }
)

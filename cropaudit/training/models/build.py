"""The segmentation models, made fit for per-sample gradients, under the names that users give.

Assumes Opacus' demands: no statistic crosses the images of a batch, no operation in place,
contiguous inputs to every convolution, and no trainable parameter that the output does not depend
on. Dropout is off: an audit compares runs that differ in the patch alone. Weights start at random
from the seed, or from a local file; nothing is ever downloaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn

from cropaudit.errors import InputError, require
from cropaudit.training.models.mending import mend_layers
from cropaudit.training.models.networks import (
    AnySize,
    GradSampleMode,
    ModelRecipe,
    SmallUnet,
    TinyNet,
    pad_to_multiple,
    smp,
    torchvision,
)
from cropaudit.training.models.normalisation import (
    FrozenBatchNorm2d,
    Norm,
    replace_batch_norms,
)
from cropaudit.training.models.plugin import is_plugin, make_plugin
from cropaudit.training.models.weights import WeightsFile, WeightsReport, start_from

__all__ = [
    "MODELS",
    "AnySize",
    "Built",
    "FrozenBatchNorm2d",
    "GradSampleMode",
    "ModelRecipe",
    "ModelSpec",
    "Norm",
    "SmallUnet",
    "WeightsFile",
    "WeightsReport",
    "build",
    "build_model",
    "mend",
    "pad_to_multiple",
    "recipe",
]

_RESNETS, _MOBILE = ("resnet50", "resnet101"), ("mobilenet_v3_large",)
# Of segmentation_models_pytorch: our name, its class, the mode for resnet18, and the multiple.
_SMP: tuple[tuple[str, str, GradSampleMode, int], ...] = (
    ("pspnet", "PSPNet", "ew", 8),
    ("deeplabv3plus", "DeepLabV3Plus", "ew", 16),
    ("unet", "Unet", "ew", 32),
    ("unetplusplus", "UnetPlusPlus", "ew", 32),
    ("linknet", "Linknet", "hooks", 32),
    ("fpn", "FPN", "ew", 32),
    ("manet", "MAnet", "hooks", 32),
    ("upernet", "UPerNet", "ew", 32),
    ("segformer", "Segformer", "ew", 32),
)

MODELS: Mapping[str, ModelRecipe] = MappingProxyType(
    {
        "tiny-net": ModelRecipe(lambda classes, _: TinyNet(classes), "hooks", 1),
        "small-unet": ModelRecipe(lambda classes, _: SmallUnet(classes), "hooks", 1),
        **{name: ModelRecipe(smp(kind), mode, by, "resnet18") for name, kind, mode, by in _SMP},
        "deeplabv3": ModelRecipe(
            torchvision("deeplabv3"), "hooks", 1, _RESNETS[0], _RESNETS + _MOBILE
        ),
        "fcn": ModelRecipe(torchvision("fcn"), "hooks", 1, _RESNETS[0], _RESNETS),
        "lraspp": ModelRecipe(torchvision("lraspp"), "ew", 1, _MOBILE[0], _MOBILE),
    }
)


@dataclass(frozen=True)
class ModelSpec:
    """A model to be built.

    Attributes:
        name: A key of `MODELS`; where its recipe allows, an encoder follows a colon, as in
            ``pspnet:mobilenet_v2``. Or a user's own, as in ``nets.py:make_model``.
        norm: What takes the place of BatchNorm.
        weights: Where the weights start, if not at random; to be public, most of all for
            ``frozen-batch``.
    """

    name: str
    norm: Norm = "group"
    weights: WeightsFile | None = None

    def __post_init__(self) -> None:
        recipe(self.name)
        require(self.norm in ("group", "frozen-batch"), "norm", "group or frozen-batch", self.norm)
        # At its start a BatchNorm's statistics are 0 and 1: frozen, it would do nothing.
        given = self.norm == "group" or self.weights is not None
        require(given, "weights", "given for norm frozen-batch, whose statistics they hold", None)


@dataclass(frozen=True, eq=False)
class Built:
    """A model, and what it has from its weights file.

    Attributes:
        model: As `build_model` returns it.
        weights: None if the weights are random.
    """

    model: nn.Module
    weights: WeightsReport | None


def recipe(name: str) -> ModelRecipe:
    """Returns the recipe of ``model``, ``model:encoder`` or a user's ``file.py:function``.

    Raises:
        InputError: If there is no such model, or it takes no such encoder.
    """
    if is_plugin(name):
        return ModelRecipe(lambda classes, _: make_plugin(name, classes), "hooks", 1, "your own")
    found = MODELS.get(name.partition(":")[0])
    if found is None:
        legal = f"one of {', '.join(sorted(MODELS))}, or path/to/file.py:function"
        raise InputError(f"model must be {legal}, got {name}")
    found.chosen_encoder(name)
    return found


def build_model(
    name: str,
    classes: int,
    seed: int,
    *,
    norm: Norm = "group",
    weights: WeightsFile | None = None,
) -> nn.Module:
    """Builds a model, mended and in training mode, on the CPU.

    Args:
        name: As `ModelSpec` has it.
        classes: Number of classes, K.
        seed: Fixes the initial weights; the global random state is left alone.
        norm: What takes the place of BatchNorm.
        weights: Where the weights start, if not at random.

    Returns:
        A module that maps scaled images (B, 3, H, W) to logits (B, K, H, W), any H, W >= 16.

    Raises:
        InputError: If the model, the encoder or the weights file cannot be used.
    """
    return build(ModelSpec(name, norm, weights), classes, seed).model


def build(spec: ModelSpec, classes: int, seed: int) -> Built:
    """Builds a model as `build_model` does, and says what came from its weights file."""
    chosen = recipe(spec.name)
    require(classes >= 1, "classes", "at least 1", classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = "" if is_plugin(spec.name) else chosen.chosen_encoder(spec.name)
        network = chosen.build(classes, encoder)
        raw = AnySize(network, chosen.multiple)
        if spec.weights is None:
            return Built(mend(raw), None)
        normalised, report = start_from(raw, spec.norm, spec.weights)
        return Built(mend_layers(normalised), report)


def mend(model: nn.Module) -> nn.Module:
    """Makes ``model`` fit for per-sample gradients, in training mode; it is not to be used after.

    Replaces BatchNorm by GroupNorm, turns operations in place off, makes convolutions' inputs
    contiguous and freezes the parameters that the output does not depend on.
    """
    return mend_layers(replace_batch_norms(model))

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
from cropaudit.training.networks.any_size import AnySize, pad_to_multiple
from cropaudit.training.networks.libraries import smp, torchvision
from cropaudit.training.networks.mending import mend_layers
from cropaudit.training.networks.normalisation import (
    FrozenBatchNorm2d,
    Norm,
    replace_batch_norms,
)
from cropaudit.training.networks.pretrained import WeightsReport, start_from
from cropaudit.training.networks.recipe import GradSampleMode, ModelRecipe
from cropaudit.training.networks.small_unet import SmallUnet, small_unet
from cropaudit.training.networks.tiny_net import tiny_net
from cropaudit.training.networks.weights import WeightsFile

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

_RESNETS = ("resnet50", "resnet101")
_MOBILE = ("mobilenet_v3_large",)
_SMP = "with segmentation_models_pytorch's encoders, resnet18 unless given"
_TV = "torchvision's, resnet50 unless given"

MODELS: Mapping[str, ModelRecipe] = MappingProxyType(
    {
        "tiny-net": ModelRecipe(tiny_net, "hooks", 1, "2,700 parameters; for thousands of runs"),
        "small-unet": ModelRecipe(small_unet, "hooks", 1, "41,000 parameters; for audits"),
        "pspnet": ModelRecipe(smp("PSPNet"), "ew", 8, f"PSPNet {_SMP}", "resnet18"),
        "deeplabv3plus": ModelRecipe(
            smp("DeepLabV3Plus"), "ew", 16, f"DeepLabV3+ {_SMP}", "resnet18"
        ),
        "unet": ModelRecipe(smp("Unet"), "ew", 32, f"U-Net {_SMP}", "resnet18"),
        "unetplusplus": ModelRecipe(smp("UnetPlusPlus"), "ew", 32, f"U-Net++ {_SMP}", "resnet18"),
        "linknet": ModelRecipe(smp("Linknet"), "hooks", 32, f"LinkNet {_SMP}", "resnet18"),
        "fpn": ModelRecipe(smp("FPN"), "ew", 32, f"FPN {_SMP}", "resnet18"),
        "manet": ModelRecipe(smp("MAnet"), "hooks", 32, f"MA-Net {_SMP}", "resnet18"),
        "upernet": ModelRecipe(smp("UPerNet"), "ew", 32, f"UPerNet {_SMP}", "resnet18"),
        "segformer": ModelRecipe(smp("Segformer"), "ew", 32, f"SegFormer {_SMP}", "resnet18"),
        "deeplabv3": ModelRecipe(
            torchvision("deeplabv3"),
            "hooks",
            1,
            f"DeepLabV3, {_TV}",
            _RESNETS[0],
            _RESNETS + _MOBILE,
        ),
        "fcn": ModelRecipe(torchvision("fcn"), "hooks", 1, f"FCN, {_TV}", _RESNETS[0], _RESNETS),
        "lraspp": ModelRecipe(
            torchvision("lraspp"), "ew", 1, "LR-ASPP, torchvision's", _MOBILE[0], _MOBILE
        ),
    }
)


@dataclass(frozen=True)
class ModelSpec:
    """A model to be built.

    Attributes:
        name: A key of `MODELS`; where its recipe allows, an encoder follows a colon, as in
            ``pspnet:mobilenet_v2``.
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
    """Returns the recipe of ``model`` or ``model:encoder``.

    Raises:
        InputError: If there is no such model, or it takes no such encoder.
    """
    found = MODELS.get(name.partition(":")[0])
    if found is None:
        raise InputError(f"model must be one of {', '.join(sorted(MODELS))}, got {name}")
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
        name: A key of `MODELS`; where its recipe allows, an encoder follows a colon, as in
            ``pspnet:mobilenet_v2``.
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
        network = chosen.build(classes, chosen.chosen_encoder(spec.name))
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

"""Normalisation under which no statistic crosses images: GroupNorm, or BatchNorm frozen for good.

A frozen BatchNorm is a constant scale and shift for each channel. Its four tensors come from a
weights file and no step moves them, so **the file must have been made without the private data**:
statistics measured on them are released without noise, outside every bound that is stated here.

Scale and shift are frozen with the statistics, as torchvision and Detectron do it in detection:
the convolution before it can learn the scale, only the shift is lost; in return two parameters a
channel need no noise, and the layer has no per-sample gradient that a mode could take wrongly.
Where the file gives a BatchNorm no statistics (in decoders and heads, mostly) it would be no
normalisation at all, so there GroupNorm takes its place.
"""

import math
from collections.abc import Collection
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cropaudit.errors import require

__all__ = ["STATISTICS", "FrozenBatchNorm2d", "Norm", "batch_norms", "replace_batch_norms"]

Norm = Literal["group", "frozen-batch"]

# What a file must hold of a BatchNorm for it to be frozen.
STATISTICS = ("weight", "bias", "running_mean", "running_var")

_MOST_GROUPS = 32


class FrozenBatchNorm2d(nn.Module):
    """BatchNorm in evaluation mode, whatever mode the model is in.

    Its four tensors bear BatchNorm's names and are buffers, so they are saved, loaded and moved
    with the model; they have no gradient and `train` does not reach them.

    Attributes:
        eps: Added to the variance.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        for name in STATISTICS:
            start = torch.ones if name in ("weight", "running_var") else torch.zeros
            self.register_buffer(name, start(channels))

    def forward(self, features: Tensor) -> Tensor:
        """Scales and shifts each channel of (B, C, H, W) by its constants."""
        scale = self.weight * torch.rsqrt(self.running_var + self.eps)
        shift = self.bias - self.running_mean * scale
        return features * scale[:, None, None] + shift[:, None, None]

    def extra_repr(self) -> str:
        """Names the channels, for the print of a model."""
        return f"{len(self.weight)}, eps={self.eps}"


def batch_norms(model: nn.Module) -> list[str]:
    """Returns the paths of the BatchNorms of ``model``."""
    return [path for path, module in model.named_modules() if isinstance(module, _BatchNorm)]


def replace_batch_norms(model: nn.Module, frozen: Collection[str] = ()) -> nn.Module:
    """Replaces each BatchNorm in place: by a frozen one where its path is in ``frozen``.

    The others become GroupNorm with Opacus' choice of groups (the greatest common divisor of 32 and
    the channels), which keeps their scale and shift. Returns ``model``, or what replaces it.
    """
    for path in batch_norms(model):
        old = model.get_submodule(path)
        new = _kept_activation(old, _frozen(old) if path in frozen else _grouped(old))
        if not path:
            return new
        model.set_submodule(path, new)
    return model


def _grouped(norm: Any) -> nn.Module:
    # Not by ModuleValidator.fix, which passes over BatchNorms whose scale and shift are frozen.
    channels = norm.num_features
    grouped = nn.GroupNorm(math.gcd(_MOST_GROUPS, channels), channels, affine=norm.affine)
    if norm.affine:
        kept = {name: getattr(norm, name).detach() for name in ("weight", "bias")}
        grouped.load_state_dict(kept)
    return grouped


def _frozen(norm: Any) -> nn.Module:
    legal = "BatchNorms with scale, shift and statistics of their own"
    require(norm.affine and norm.track_running_stats, "norm", legal, type(norm).__name__)
    frozen = FrozenBatchNorm2d(norm.num_features, norm.eps)
    frozen.load_state_dict({name: getattr(norm, name).detach() for name in STATISTICS})
    return frozen


def _kept_activation(old: nn.Module, new: nn.Module) -> nn.Module:
    """Keeps the activation that timm's BatchNormAct2d has inside it."""
    after = [getattr(old, name) for name in ("drop", "act") if hasattr(old, name)]
    return nn.Sequential(new, *after) if after else new

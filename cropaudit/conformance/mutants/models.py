"""Models and losses that break the assumption of one gradient for each image, and sound ones.

Each is a factory that a user could have written. Where Opacus is at fault, it is Opacus that runs:
nothing is imitated. Input is (B, 3, H, W), output (B, `CLASSES`, H, W).
"""

from typing import Any

import torch
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from torch import Tensor, nn
from torch.nn import functional

from cropaudit.conformance.mutants.mutant import Shelf
from cropaudit.conformance.pipeline_claim import PipelineClaim
from cropaudit.training.data.images import IGNORE

__all__ = ["CLASSES", "MUTANTS", "batch_loss", "small_net"]

CLASSES, _WIDTH, _SEED = 4, 8, 0


def small_net(norm: nn.Module | None = None) -> nn.Module:
    """Returns a small network; it normalises each image by itself unless given another layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        return nn.Sequential(
            nn.Conv2d(3, _WIDTH, 3, padding=1),
            norm or nn.GroupNorm(2, _WIDTH),
            nn.ReLU(),
            nn.Conv2d(_WIDTH, _WIDTH, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(_WIDTH, CLASSES, 3, padding=1),
            nn.Upsample(scale_factor=2, mode="nearest"),
        )


def batch_loss(outputs: Tensor, masks: Tensor) -> Tensor:
    """Averages over the labelled pixels of the whole batch: images share the denominator."""
    return functional.cross_entropy(outputs, masks, ignore_index=IGNORE)


class _FrozenBatchNorm(nn.BatchNorm2d):
    """A BatchNorm that knows evaluation mode only."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> "_FrozenBatchNorm":
        return super().train(False)


class _Remembering(nn.Module):
    """Keeps a running average of its input in a buffer, and subtracts it if told to."""

    def __init__(self, name: str, keep: float, *, subtract: bool) -> None:
        super().__init__()
        self.name, self.keep, self.subtract = name, keep, subtract
        self.register_buffer(name, torch.zeros(_WIDTH))

    def forward(self, features: Tensor) -> Tensor:
        old = getattr(self, self.name)
        mean = features.detach().mean(dim=(0, 2, 3)).to(old.dtype)
        setattr(self, self.name, self.keep * old + (1 - self.keep) * mean)
        return features - old.to(features.dtype)[:, None, None] if self.subtract else features


def _frozen_once() -> nn.Module:
    model = small_net(nn.BatchNorm2d(_WIDTH))
    model[1].eval().requires_grad_(False)  # type: ignore[index]
    return model


def _ghost() -> nn.Module:
    wrapped: nn.Module = GradSampleModuleFastGradientClipping(
        small_net(), max_grad_norm=1.0, use_ghost_clipping=True
    )
    return wrapped


def _mended_pspnet() -> nn.Module:
    from cropaudit.training.models.build import build_model

    return build_model("pspnet", CLASSES, _SEED)


_CODE: dict[str, Any] = {
    "batchnorm-train": lambda: small_net(nn.BatchNorm2d(_WIDTH)),
    "revived-batchnorm": _frozen_once,
    "channels-last": small_net,
    "batch-loss": small_net,
    "feature-bank": lambda: small_net(_Remembering("bank", 0.0, subtract=False)),
    "prototypes": lambda: small_net(_Remembering("prototype", 0.9, subtract=True)),
    "groupnorm": small_net,
    "frozen-batchnorm": lambda: small_net(_FrozenBatchNorm(_WIDTH)).train(),
    "ghost-model": _ghost,
    "mended-pspnet": _mended_pspnet,
}
MUTANTS = Shelf(
    __name__,
    "model",
    PipelineClaim(max_grad_norm=1.0),
    _CODE,
    subjects={
        "channels-last": {"channels_last": True},
        "batch-loss": {"loss": f"{__name__}:batch_loss"},
    },
)
__getattr__ = MUTANTS.code

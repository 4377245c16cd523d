"""Models and losses that break the assumption of one gradient for each image, and sound ones.

Each is a factory that a user could have written. Where Opacus is at fault, it is Opacus that runs:
nothing is imitated. Input is (B, 3, H, W), output (B, `CLASSES`, H, W).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.faults.fault import Fault
from cropaudit.audit.conformance.subjects import Subjects
from cropaudit.training.data import IGNORE

__all__ = [
    "CLASSES",
    "CLEAN",
    "FAULTS",
    "batch_loss",
    "make_batchnorm",
    "make_batchnorm_kept_frozen",
    "make_convolutions",
    "make_feature_bank",
    "make_frozen_batchnorm",
    "make_ghost",
    "make_groupnorm",
    "make_mended_pspnet",
    "make_prototypes",
]

CLASSES = 4
_WIDTH = 8
_SEED = 0


def make_groupnorm() -> nn.Module:
    """Returns a small network that normalises each image by itself."""
    return _small(nn.GroupNorm(2, _WIDTH))


def make_batchnorm() -> nn.Module:
    """Returns one that normalises by the batch: every image moves the gradients of the others."""
    return _small(nn.BatchNorm2d(_WIDTH))


def make_frozen_batchnorm() -> nn.Module:
    """Returns one whose BatchNorm was frozen by ``eval()``: a trainer's ``train()`` revives it."""
    model = _small(nn.BatchNorm2d(_WIDTH))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval().requires_grad_(False)
    return model


def make_batchnorm_kept_frozen() -> nn.Module:
    """Returns one whose BatchNorm stays frozen when a trainer calls ``train()``."""
    model = _small(_FrozenBatchNorm(_WIDTH))
    return model.train()


def make_convolutions() -> nn.Module:
    """Returns convolutions without a guard for the layout of their input."""
    return _small(nn.GroupNorm(2, _WIDTH))


def make_ghost() -> nn.Module:
    """Returns a network wrapped for Opacus' ghost clipping."""
    from opacus.grad_sample import GradSampleModuleFastGradientClipping

    wrapped: nn.Module = GradSampleModuleFastGradientClipping(
        make_groupnorm(), max_grad_norm=1.0, use_ghost_clipping=True
    )
    return wrapped


def make_mended_pspnet() -> nn.Module:
    """Returns segmentation-models-pytorch's PSPNet, made fit for per-sample gradients."""
    from cropaudit.training.models import build_model

    return build_model("pspnet", CLASSES, _SEED)


def make_feature_bank() -> nn.Module:
    """Returns one that pushes the features of each batch into a buffer, as memory banks do."""
    return _small(_FeatureBank())


def make_prototypes() -> nn.Module:
    """Returns one that subtracts a running average of the features of earlier batches."""
    return _small(_Prototypes())


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


class _FeatureBank(nn.Module):
    """Hands its input on, and keeps its mean."""

    bank: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bank", torch.zeros(_WIDTH))

    def forward(self, features: Tensor) -> Tensor:
        self.bank = features.detach().mean(dim=(0, 2, 3)).to(self.bank.dtype)
        return features


class _Prototypes(nn.Module):
    """Subtracts what earlier batches looked like."""

    prototype: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("prototype", torch.zeros(_WIDTH))

    def forward(self, features: Tensor) -> Tensor:
        found = features - self.prototype.to(features.dtype)[:, None, None]
        mean = features.detach().mean(dim=(0, 2, 3)).to(self.prototype.dtype)
        self.prototype = 0.9 * self.prototype + 0.1 * mean
        return found


def _small(norm: nn.Module) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        return nn.Sequential(
            nn.Conv2d(3, _WIDTH, 3, padding=1),
            norm,
            nn.ReLU(),
            nn.Conv2d(_WIDTH, _WIDTH, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(_WIDTH, CLASSES, 3, padding=1),
            nn.Upsample(scale_factor=2, mode="nearest"),
        )


_HERE = "cropaudit.audit.conformance.faults.models"


def _of(name: str, summary: str, check: str, subjects: Subjects) -> Fault:
    return Fault(name, summary, check, subjects, Claimed(max_grad_norm=1.0))


FAULTS: tuple[Fault, ...] = (
    _of(
        "batchnorm-train",
        "BatchNorm in training mode normalises each image by the whole batch",
        "isolation",
        Subjects(model=f"{_HERE}:make_batchnorm"),
    ),
    _of(
        "revived-batchnorm",
        "BatchNorm is frozen by eval(), and the trainer's train() revives it",
        "isolation",
        Subjects(model=f"{_HERE}:make_frozen_batchnorm"),
    ),
    _of(
        "channels-last",
        "Opacus' hooks take wrong gradients of convolutions that are fed channels-last images",
        "per-sample gradients",
        Subjects(model=f"{_HERE}:make_convolutions", channels_last=True),
    ),
    _of(
        "batch-loss",
        "the loss is divided by the labelled pixels of the whole batch",
        "isolation",
        Subjects(model=f"{_HERE}:make_groupnorm", loss=f"{_HERE}:batch_loss"),
    ),
    _of(
        "feature-bank",
        "the features of each batch are pushed into a buffer, which the checkpoint holds",
        "kept state",
        Subjects(model=f"{_HERE}:make_feature_bank"),
    ),
    _of(
        "prototypes",
        "a running average of the features of earlier batches moves the features of later ones",
        "kept state",
        Subjects(model=f"{_HERE}:make_prototypes"),
    ),
)

CLEAN: tuple[Fault, ...] = (
    _of("groupnorm", "GroupNorm", "", Subjects(model=f"{_HERE}:make_groupnorm")),
    _of(
        "frozen-batchnorm",
        "BatchNorm that stays frozen under train()",
        "",
        Subjects(model=f"{_HERE}:make_batchnorm_kept_frozen"),
    ),
    _of("ghost-model", "ghost clipping", "", Subjects(model=f"{_HERE}:make_ghost")),
    _of(
        "mended-pspnet",
        "PSPNet mended for per-sample gradients",
        "",
        Subjects(model=f"{_HERE}:make_mended_pspnet"),
    ),
)

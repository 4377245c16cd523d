"""Whole trainings with Opacus that break one assumption each, and sound ones.

Each is a function that a user could have written: it is given a model and a data set of pairs
(image, mask), and trains the one on the other.
"""

from collections.abc import Callable
from typing import Any

import torch
from opacus import PrivacyEngine
from opacus.utils.batch_memory_manager import BatchMemoryManager
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from torchvision.tv_tensors import Image

from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.faults.fault import Fault
from cropaudit.audit.conformance.faults.loader_parts import BATCH, CROP, Cropped
from cropaudit.audit.conformance.subjects import Subjects

__all__ = [
    "CLEAN",
    "FAULTS",
    "train_in_pieces",
    "train_one_epoch_more",
    "train_private",
    "train_shuffled",
    "train_twice_the_batch",
]

RECORDS = 64
EPOCHS = 14
_NOISE = 1.0
_CLIP = 1.0
_RATE = 0.1
_PIECE = 4  # images that are in memory at once


def train_private(model: nn.Module, dataset: Dataset[Any]) -> None:
    """Trains as Opacus' guide says: Poisson batches, an expected size of `BATCH`."""
    _train(model, dataset, BATCH, EPOCHS)


def train_in_pieces(model: nn.Module, dataset: Dataset[Any]) -> None:
    """Trains on the same batches, which a BatchMemoryManager splits into pieces."""
    model, optimizer, loader = _private(model, dataset, BATCH)
    for _ in range(EPOCHS):
        with BatchMemoryManager(
            data_loader=loader, max_physical_batch_size=_PIECE, optimizer=optimizer
        ) as pieces:
            _epoch(model, optimizer, pieces)


def train_one_epoch_more(model: nn.Module, dataset: Dataset[Any]) -> None:
    """Counts the epochs from 0 to `EPOCHS` and takes them all."""
    _train(model, dataset, BATCH, EPOCHS + 1)


def train_twice_the_batch(model: nn.Module, dataset: Dataset[Any]) -> None:
    """Draws batches of twice the size that the accountant is told."""
    _train(model, dataset, 2 * BATCH, EPOCHS)


def train_shuffled(model: nn.Module, dataset: Dataset[Any]) -> None:
    """Keeps the plain loader, and so no Poisson sampling, beside Opacus' optimiser."""
    _train(model, dataset, BATCH, EPOCHS, poisson=False)


def _train(
    model: nn.Module, dataset: Dataset[Any], batch: int, epochs: int, poisson: bool = True
) -> None:
    model, optimizer, loader = _private(model, dataset, batch, poisson)
    for _ in range(epochs):
        _epoch(model, optimizer, loader)


def _private(
    model: nn.Module, dataset: Dataset[Any], batch: int, poisson: bool = True
) -> tuple[nn.Module, Any, DataLoader[Any]]:
    plain = DataLoader(Cropped(dataset, _transform()), batch_size=batch, shuffle=True)
    private, optimizer, loader = PrivacyEngine().make_private(
        module=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=_RATE),
        data_loader=plain,
        noise_multiplier=_NOISE,
        max_grad_norm=_CLIP,
        poisson_sampling=poisson,
    )
    return private, optimizer, loader


def _transform() -> Callable[..., Any]:
    scaled = v2.ToDtype({Image: torch.float32, "others": None}, scale=True)
    composed: Callable[..., Any] = v2.Compose([v2.RandomCrop(CROP), scaled])
    return composed


def _epoch(model: nn.Module, optimizer: Any, loader: DataLoader[Any]) -> None:
    for images, masks in loader:
        optimizer.zero_grad()
        _loss(model(images), masks).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _loss(logits: Tensor, masks: Tensor) -> Tensor:
    if not len(logits):
        return logits.sum()
    return functional.cross_entropy(logits, masks)


def _planted(name: str, train: Callable[..., None], check: str, summary: str) -> Fault:
    claimed = Claimed(
        image=Size(48, 64),
        patch=Rectangle(Size(8, 8)),
        crop=Crop(Size(CROP, CROP)),
        sampler="poisson",
        batch=BATCH,
        records=RECORDS,
        steps=EPOCHS * RECORDS // BATCH,
        epochs=EPOCHS,
        noise_multiplier=_NOISE,
        max_grad_norm=_CLIP,
    )
    subjects = Subjects(pipeline=f"{__name__}:{train.__name__}")
    return Fault(name, summary, check, subjects, claimed)


FAULTS: tuple[Fault, ...] = (
    _planted(
        "one-epoch-more",
        train_one_epoch_more,
        "steps and rate",
        "The loop runs for one epoch more than the accountant was told.",
    ),
    _planted(
        "wrong-rate",
        train_twice_the_batch,
        "steps and rate",
        "Batches are twice as large as the accountant was told.",
    ),
    _planted(
        "shuffled-training",
        train_shuffled,
        "batch law",
        "Opacus' optimiser runs on a shuffled list, accounted as Poisson sampling.",
    ),
)

CLEAN: tuple[Fault, ...] = (
    _planted("private-training", train_private, "", "Opacus' make_private as its guide says."),
    _planted("training-in-pieces", train_in_pieces, "", "The same with a BatchMemoryManager."),
)

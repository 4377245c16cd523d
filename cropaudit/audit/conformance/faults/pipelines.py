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
from cropaudit.audit.conformance.faults.loader_parts import BATCH, CROP, CachedCrops, Cropped
from cropaudit.audit.conformance.subjects import Subjects
from cropaudit.training.data import IGNORE

__all__ = ["CLEAN", "FAULTS"]

RECORDS = 32
EPOCHS = 10
_NOISE = 1.0
_CLIP = 1.0
_RATE = 0.1
_PIECE = 4  # images that are in memory at once


_CAR = 8  # a label
_TRIES = 5
_HUGE = 1e6  # a norm that no gradient reaches


def train_private(model: nn.Module, dataset: Dataset[Any]) -> None:
    """Trains as Opacus' guide says: Poisson batches, an expected size of `BATCH`."""
    _train(model, dataset)


def train_functorch(model: nn.Module, dataset: Dataset[Any]) -> None:
    """Does the same with per-sample gradients by functorch."""
    _train(model, dataset, mode="functorch")


def train_expanded(model: nn.Module, dataset: Dataset[Any]) -> None:
    """Does the same with per-sample gradients by expanded weights."""
    _train(model, dataset, mode="ew")


def _ghost(model: nn.Module, dataset: Dataset[Any]) -> Any:
    """Returns what Opacus makes of a training with ghost clipping."""
    engine = PrivacyEngine()
    return engine.make_private(
        module=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=_RATE),
        data_loader=_plain(Cropped(dataset, _transform()), BATCH),
        criterion=_ImageMeans(),
        noise_multiplier=_NOISE,
        max_grad_norm=_CLIP,
        grad_sample_mode="ghost",
    )


def train_ghost(model: nn.Module, dataset: Dataset[Any]) -> None:
    """Does the same with ghost clipping and the loss that Opacus made for it."""
    private, optimizer, criterion, loader = _ghost(model, dataset)
    for _ in range(EPOCHS):
        for images, masks in loader:
            optimizer.zero_grad()
            criterion(private(images), masks).backward()
            optimizer.step()


def train_ghost_plain(model: nn.Module, dataset: Dataset[Any]) -> None:
    """Asks for ghost clipping, and keeps a loss of its own: nothing is clipped."""
    private, optimizer, _, loader = _ghost(model, dataset)
    for _ in range(EPOCHS):
        _epoch(private, optimizer, loader, _loss)


def train_in_pieces(model: nn.Module, dataset: Dataset[Any]) -> None:
    """Trains on the same batches, which a BatchMemoryManager splits into pieces."""
    model, optimizer, loader = _private(model, Cropped(dataset, _transform()))
    for _ in range(EPOCHS):
        with BatchMemoryManager(
            data_loader=loader, max_physical_batch_size=_PIECE, optimizer=optimizer
        ) as pieces:
            _epoch(model, optimizer, pieces, _loss)


def train_one_epoch_more(model: nn.Module, dataset: Dataset[Any]) -> None:
    """Counts the epochs from 0 to `EPOCHS` and takes them all."""
    _train(model, dataset, epochs=EPOCHS + 1)


def train_twice_the_batch(model: nn.Module, dataset: Dataset[Any]) -> None:
    """Draws batches of twice the size that the accountant is told."""
    _train(model, dataset, batch=2 * BATCH)


def train_shuffled(model: nn.Module, dataset: Dataset[Any]) -> None:
    """Keeps the plain loader, and so no Poisson sampling, beside Opacus' optimiser."""
    _train(model, dataset, poisson_sampling=False)


def train_half_noise(model: nn.Module, dataset: Dataset[Any]) -> None:
    """Asks Opacus for half the noise."""
    _train(model, dataset, noise=_NOISE / 2)


def train_noise_removed(model: nn.Module, dataset: Dataset[Any]) -> None:
    """Takes the noise away after Opacus was asked for it."""

    def change(optimizer: Any) -> None:
        optimizer.noise_multiplier = 0.0

    _train(model, dataset, change=change)


def train_open(model: nn.Module, dataset: Dataset[Any]) -> None:
    """Has Opacus' optimiser neither clip nor add noise, and cuts one fixed corner."""
    _train(model, dataset, noise=0.0, clip=_HUGE, data=_Corner(dataset))


def train_cached(model: nn.Module, dataset: Dataset[Any]) -> None:
    """Keeps the crops of the first epoch."""
    _train(model, dataset, data=CachedCrops(dataset, _transform()))


def train_drawn_to_objects(model: nn.Module, dataset: Dataset[Any]) -> None:
    """Takes the crop of several that shows most of one label."""
    _train(model, dataset, data=_MostCar(dataset, _transform()))


def train_normalised_first(model: nn.Module, dataset: Dataset[Any]) -> None:
    """Normalises each image by its own mean and deviation before it is cropped."""
    _train(model, dataset, data=_NormalisedFirst(dataset))


def train_mean_of_batch(model: nn.Module, dataset: Dataset[Any]) -> None:
    """Takes the mean over all pixels of the batch that are not ignored."""

    def loss(logits: Tensor, masks: Tensor) -> Tensor:
        return functional.cross_entropy(logits, masks, ignore_index=IGNORE)

    _train(model, dataset, loss=loss)


class _Corner(Dataset[Any]):
    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        image, mask = self.dataset[index]
        return image[:, :CROP, :CROP] / 255, mask[:CROP, :CROP]


class _MostCar(Cropped):
    def __getitem__(self, index: int) -> Any:
        crops = [super(_MostCar, self).__getitem__(index) for _ in range(_TRIES)]
        return max(crops, key=lambda crop: int((crop[1] == _CAR).sum()))


class _NormalisedFirst(Cropped):
    def __getitem__(self, index: int) -> Any:
        image, mask = self.dataset[index]
        pixels = image.float()
        return self.transform((pixels - pixels.mean()) / pixels.std(), mask)


class _ImageMeans(nn.CrossEntropyLoss):
    """One loss for each image, which Opacus' ghost clipping asks for."""

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        each = functional.cross_entropy(logits, masks, ignore_index=IGNORE, reduction="none")
        means = each.flatten(1).mean(dim=1)
        return means if self.reduction == "none" else means.mean()


def _train(
    model: nn.Module,
    dataset: Dataset[Any],
    *,
    epochs: int = EPOCHS,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    data: Dataset[Any] | None = None,
    change: Callable[[Any], None] | None = None,
    **settings: Any,
) -> None:
    data = Cropped(dataset, _transform()) if data is None else data
    model, optimizer, loader = _private(model, data, **settings)
    if change is not None:
        change(optimizer)
    for _ in range(epochs):
        _epoch(model, optimizer, loader, loss or _loss)


def _plain(data: Dataset[Any], batch: int) -> DataLoader[Any]:
    return DataLoader(data, batch_size=batch, shuffle=True)


def _private(
    model: nn.Module,
    data: Dataset[Any],
    *,
    batch: int = BATCH,
    noise: float = _NOISE,
    clip: float = _CLIP,
    mode: str = "hooks",
    poisson_sampling: bool = True,
) -> tuple[nn.Module, Any, DataLoader[Any]]:
    private, optimizer, loader = PrivacyEngine().make_private(
        module=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=_RATE),
        data_loader=_plain(data, batch),
        noise_multiplier=noise,
        max_grad_norm=clip,
        grad_sample_mode=mode,
        poisson_sampling=poisson_sampling,
    )
    return private, optimizer, loader


def _transform() -> Callable[..., Any]:
    scaled = v2.ToDtype({Image: torch.float32, "others": None}, scale=True)
    composed: Callable[..., Any] = v2.Compose([v2.RandomCrop(CROP), scaled])
    return composed


def _epoch(
    model: nn.Module,
    optimizer: Any,
    loader: DataLoader[Any],
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    for images, masks in loader:
        optimizer.zero_grad()
        loss(model(images), masks).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Takes the mean of each image over all its pixels, and the mean over images."""
    if not len(logits):
        return logits.sum()
    each = functional.cross_entropy(logits, masks, ignore_index=IGNORE, reduction="none")
    return each.flatten(1).mean(dim=1).mean()


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
        "half-noise-training",
        train_half_noise,
        "noise",
        "Opacus is asked for half the noise that the accountant was told.",
    ),
    _planted(
        "noise-removed",
        train_noise_removed,
        "noise",
        "The noise multiplier is set to 0 after make_private.",
    ),
    _planted(
        "open-training",
        train_open,
        "noise",
        "Nothing is clipped, no noise is added, and one fixed corner is cut.",
    ),
    _planted(
        "ghost-without-its-loss",
        train_ghost_plain,
        "clipping",
        "Ghost clipping is asked for, and a loss is used that knows nothing of it.",
    ),
    _planted(
        "cached-crops-in-training",
        train_cached,
        "independence",
        "The crop of an image is made once and used in all epochs.",
    ),
    _planted(
        "drawn-to-objects",
        train_drawn_to_objects,
        "non-interference",
        "Of several crops the one that shows most of a label is taken.",
    ),
    _planted(
        "normalised-first",
        train_normalised_first,
        "non-interference",
        "Each image is normalised by its own statistics before it is cropped.",
    ),
    _planted(
        "mean-of-the-batch",
        train_mean_of_batch,
        "isolation",
        "The loss is a mean over all valid pixels of a batch, so that images share a divisor.",
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
    _planted("training-functorch", train_functorch, "", "The same, gradients by functorch."),
    _planted("training-expanded", train_expanded, "", "The same, gradients by expanded weights."),
    _planted("training-ghost", train_ghost, "", "The same with ghost clipping and its loss."),
)

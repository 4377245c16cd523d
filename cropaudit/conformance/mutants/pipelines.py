"""Whole trainings with Opacus that break one assumption each, and sound ones.

Each is what a user could have written: a function that is given a model and a data set of pairs
(image, mask), and trains the one on the other.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from opacus import PrivacyEngine
from opacus.utils.batch_memory_manager import BatchMemoryManager
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision.transforms import v2
from torchvision.tv_tensors import Image

from cropaudit.accounting.geometry.shapes import Crop, Rectangle, Size
from cropaudit.conformance.mutants.loaders import BATCH, CROP, CachedCrops, Cropped
from cropaudit.conformance.mutants.mutant import Shelf
from cropaudit.conformance.pipeline_claim import PipelineClaim
from cropaudit.training.data.images import IGNORE

__all__ = [
    "CLAIMED",
    "MUTANTS",
    "DrawnToObjects",
    "FixedCorner",
    "NormalisedFirst",
    "loss_by_image",
    "loss_over_batch",
    "private",
    "training",
]

RECORDS, EPOCHS = 32, 10
_NOISE, _CLIP, _RATE = 1.0, 1.0, 0.1
_CAR, _TRIES = 8, 5  # a label, and crops among which the one with most of it is taken
_HUGE = 1e6  # a norm that no gradient reaches

Train = Callable[[nn.Module, Any], None]


def training(
    *,
    data: Callable[[Any], Any] | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.SGD,
    rate: float = _RATE,
    epochs: int = EPOCHS,
    batch: int = BATCH,
    piece: int | None = None,
    collate: Callable[[list[Any]], Any] | None = None,
    change: Callable[[Any], None] | None = None,
    **settings: Any,
) -> Train:
    """Returns a training as Opacus' guide says, but for what is given.

    Args:
        data: From the data set to one of crops.
        loss: Of logits and masks; the mean of the images' means if none.
        optimizer: Torch's own.
        rate: Of learning.
        epochs: Passes through the loader.
        batch: Expected batch.
        piece: Images in memory at once; the whole batch if none.
        collate: Of the loader.
        change: What is done to Opacus' optimiser before the first step.
        **settings: Of Opacus' ``make_private``.
    """

    def train(model: nn.Module, dataset: Any) -> None:
        found = (data or scaled_crops)(dataset)
        wrapped, steps, loader, *criterion = private(
            model, found, optimizer, rate, batch=batch, collate=collate, **settings
        )
        if change is not None:
            change(steps)
        asks = loss or (criterion[0] if criterion else loss_by_image)
        for _ in range(epochs):
            with _pieces(loader, steps, piece) as batches:
                for images, masks in batches:
                    steps.zero_grad()
                    asks(wrapped(images), masks).backward()
                    steps.step()

    return train


def private(
    model: nn.Module,
    data: Any,
    optimizer: Callable[..., torch.optim.Optimizer],
    rate: float,
    *,
    batch: int = BATCH,
    collate: Callable[[list[Any]], Any] | None = None,
    **settings: Any,
) -> tuple[Any, ...]:
    """Returns what Opacus makes of them: module, optimiser, loader, and of ghost clipping a loss.

    The arguments are those of `training`.
    """
    module, steps, *criterion, loader = PrivacyEngine().make_private(
        module=model,
        optimizer=optimizer(model.parameters(), lr=rate),
        data_loader=DataLoader(data, batch_size=batch, shuffle=True, collate_fn=collate),
        criterion=_ImageMeans(),
        **{"noise_multiplier": _NOISE, "max_grad_norm": _CLIP, **settings},
    )
    return module, steps, loader, *criterion


def _pieces(loader: Any, optimizer: Any, piece: int | None) -> Any:
    if piece is None:
        return nullcontext(loader)
    return BatchMemoryManager(
        data_loader=loader, max_physical_batch_size=piece, optimizer=optimizer
    )


def scaled_crops(dataset: Any) -> Cropped:
    """Returns fresh crops of floats in [0, 1]."""
    return Cropped(dataset, _transform())


def _transform() -> Any:
    scaled = v2.ToDtype({Image: torch.float32, "others": None}, scale=True)
    return v2.Compose([v2.RandomCrop(CROP), scaled])


def loss_by_image(logits: Tensor, masks: Tensor) -> Tensor:
    """Takes the mean of each image over all its pixels, and the mean over images."""
    if not len(logits):
        return logits.sum()
    return _each(logits, masks).mean()


def loss_over_batch(logits: Tensor, masks: Tensor) -> Tensor:
    """Takes the mean over all pixels of the batch that are not ignored."""
    return functional.cross_entropy(logits, masks, ignore_index=IGNORE)


def _each(logits: Tensor, masks: Tensor) -> Tensor:
    losses = functional.cross_entropy(logits, masks, ignore_index=IGNORE, reduction="none")
    return losses.flatten(1).mean(dim=1)


class _ImageMeans(nn.CrossEntropyLoss):
    """One loss for each image, which Opacus' ghost clipping asks for."""

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        means = _each(logits, masks)
        return means if self.reduction == "none" else means.mean()


class FixedCorner(Cropped):
    """Cuts one corner, always."""

    def __getitem__(self, index: int) -> Any:
        image, mask = self.dataset[index]
        return image[:, :CROP, :CROP] / 255, mask[:CROP, :CROP]


class DrawnToObjects(Cropped):
    """Takes the crop of several that shows most of one label."""

    def __getitem__(self, index: int) -> Any:
        crops = [super(DrawnToObjects, self).__getitem__(index) for _ in range(_TRIES)]
        return max(crops, key=lambda crop: int((crop[1] == _CAR).sum()))


class NormalisedFirst(Cropped):
    """Normalises each image by its own mean and deviation before it is cropped."""

    def __getitem__(self, index: int) -> Any:
        image, mask = self.dataset[index]
        pixels = image.float()
        return self.transform(Image((pixels - pixels.mean()) / pixels.std()), mask)


def _silenced(optimizer: Any) -> None:
    optimizer.noise_multiplier = 0.0


CLAIMED = PipelineClaim(
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
_CODE: dict[str, Any] = {
    "one-epoch-more": training(epochs=EPOCHS + 1),
    "wrong-rate": training(batch=2 * BATCH),
    "half-noise-training": training(noise_multiplier=_NOISE / 2),
    "noise-removed": training(change=_silenced),
    "open-training": training(data=FixedCorner, noise_multiplier=0.0, max_grad_norm=_HUGE),
    "ghost-without-its-loss": training(loss=loss_by_image, grad_sample_mode="ghost"),
    "cached-crops-in-training": training(data=lambda dataset: CachedCrops(dataset, _transform())),
    "drawn-to-objects": training(data=lambda dataset: DrawnToObjects(dataset, _transform())),
    "normalised-first": training(data=NormalisedFirst),
    "mean-of-the-batch": training(loss=loss_over_batch),
    "shuffled-training": training(poisson_sampling=False),
    "private-training": training(),
    "training-in-pieces": training(piece=4),
    "training-functorch": training(grad_sample_mode="functorch"),
    "training-expanded": training(grad_sample_mode="ew"),
    "training-ghost": training(grad_sample_mode="ghost"),
}
MUTANTS = Shelf(__name__, "pipeline", CLAIMED, _CODE)
__getattr__ = MUTANTS.code

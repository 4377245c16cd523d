"""How well a model segments: intersection over union, counted over whole images.

Assumes one count over the pixels of all images, as Cityscapes and Pascal VOC do it, rather than a
mean of one figure an image. Pixels labelled `IGNORE` count nowhere, also not as predictions.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cropaudit.accounting.geometry import Size
from cropaudit.errors import InputError
from cropaudit.training.data import IGNORE, SegmentationData
from cropaudit.training.losses import prepare

__all__ = ["IntersectionOverUnion", "constant_iou", "mean_iou"]

# Pixels in one forward pass; bounds the memory whatever the size of the images.
_PIXELS = 2**20


@dataclass(frozen=True)
class IntersectionOverUnion:
    """Intersection over union of a model on a data set.

    Attributes:
        miou: Mean over the classes that occur.
        per_class: Each class's figure; None where neither labels nor predictions have it.
        images: Number of images.
    """

    miou: float
    per_class: dict[str, float | None]
    images: int


def mean_iou(
    model: nn.Module, data: SegmentationData, *, device: torch.device | None = None
) -> IntersectionOverUnion:
    """Measures ``model`` in evaluation mode; its own mode is restored.

    Args:
        model: Maps scaled images to logits.
        data: Images of any sizes; those of one size go through together.
        device: Where to compute; the model is moved there. Where the model is, unless given.

    Raises:
        InputError: If no pixel is labelled.
    """
    where = device or next((p.device for p in model.parameters()), torch.device("cpu"))
    training = model.training
    model.to(where).eval()
    counts = torch.zeros(len(data.classes), len(data.classes), dtype=torch.int64)
    with torch.no_grad():
        for images, masks in _batches(data):
            predicted = model(prepare(images.to(where))).argmax(dim=1).cpu()
            counts += _confusion(predicted, masks, len(data.classes))
    model.train(training)
    return _summarise(counts, data)


def constant_iou(data: SegmentationData) -> float:
    """Returns the mean over classes of a model that says one class everywhere, the commonest one.

    Raises:
        InputError: If no pixel is labelled.
    """
    shown = sum(
        torch.bincount(mask[mask != IGNORE].long(), minlength=len(data.classes))
        for mask in data.masks
    )
    counts = torch.zeros(len(data.classes), len(data.classes), dtype=torch.int64)
    counts[:, int(torch.as_tensor(shown).argmax())] = torch.as_tensor(shown)
    return _summarise(counts, data).miou


def _batches(data: SegmentationData) -> Iterator[tuple[Tensor, Tensor]]:
    by_size: dict[Size, list[int]] = {}
    for index in range(len(data)):
        by_size.setdefault(data.size(index), []).append(index)
    for size, indices in by_size.items():
        count = max(1, _PIXELS // (size.height * size.width))
        for start in range(0, len(indices), count):
            chosen = data.take(indices[start : start + count])
            yield torch.stack(chosen.images), torch.stack(chosen.masks)


def _confusion(predicted: Tensor, masks: Tensor, classes: int) -> Tensor:
    """Returns how often label i was predicted as j, at [i, j]."""
    labelled = masks != IGNORE
    pairs = masks[labelled].long() * classes + predicted[labelled]
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def _summarise(counts: Tensor, data: SegmentationData) -> IntersectionOverUnion:
    common = counts.diagonal()
    union = counts.sum(dim=0) + counts.sum(dim=1) - common
    if not union.any():
        raise InputError(f"masks must have a labelled pixel, got none in {data.source}")
    per_class = {
        name: int(both) / int(either) if either else None
        for name, both, either in zip(data.classes, common, union, strict=True)
    }
    present = [figure for figure in per_class.values() if figure is not None]
    return IntersectionOverUnion(sum(present) / len(present), per_class, len(data))

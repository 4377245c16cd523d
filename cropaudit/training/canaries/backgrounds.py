"""What a slot's record bears outside its patches: the gradient of a window that misses them.

Assumes the mean cross-entropy over labelled pixels. A step's worst case under Poisson sampling is
the pair P = (1-q) phi_0 + q (1-rho) phi_-1 + q rho phi_+1 against Q = (1-q) phi_0 + q phi_-1, where
a missing crop gives the replaced patch's gradient; where it gives none the pair is P = (1 - q rho)
phi_0 + q rho phi_+1 against the same with phi_-1, which is easier to see in practice and worth less
in theory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from cropaudit.accounting.geometry.crop_laws import CropLaw
from cropaudit.accounting.geometry.shapes import Crop
from cropaudit.errors import InputError
from cropaudit.training.canaries.slots import CanarySlot, footprint
from cropaudit.training.canaries.windows import window_sums
from cropaudit.training.crops.joint import Window, cut
from cropaudit.training.data.images import IGNORE

__all__ = ["BACKGROUNDS", "Background", "Ignore", "Natural", "Sparse", "empty_mask"]

Around = tuple[Sequence[CanarySlot], CropLaw, np.random.Generator]


class Background:
    """One kind of background; the plain one keeps the record's own labels.

    Attributes:
        miss_gradient: What a missing window ideally gives, as `CanarySlot.miss_gradient` has it.
    """

    miss_gradient: ClassVar[float | None] = None

    def labels(self, mask: Tensor, around: Around) -> Tensor:
        """Returns the record's labels, uint8 (H, W), given its own; those of patches are unused."""
        return mask.clone()


@dataclass(frozen=True)
class Natural(Background):
    """The record keeps its own labels, which dilute the patch and make windows differ."""

    def __str__(self) -> str:
        return "own labels"


@dataclass(frozen=True)
class Ignore(Background):
    """No pixel outside the patch is labelled: a missing crop gives a gradient of exactly 0.

    The patch is the only source of its record's gradient, so that even a thin overlap fills the
    clip.
    """

    miss_gradient: ClassVar[float | None] = 0.0

    def __str__(self) -> str:
        return "ignored background"

    def labels(self, mask: Tensor, around: Around) -> Tensor:  # noqa: D102
        return torch.full_like(mask, IGNORE)


@dataclass(frozen=True)
class Sparse(Background):
    """Few pixels outside are labelled, as in world B: a missing crop gives B's gradient.

    They form a lattice whose spacing is the crop, so that every window holds exactly one pixel of
    each label of world B, wherever it is, and hitting windows are hardly diluted. Padding cuts
    windows short, and more pixels are labelled until each window holds at least one; a window that
    reads nothing but constant padding gives 0 all the same. How near B's gradient that comes hangs
    on the texture: pixels elsewhere in a photograph have other features, on a flat record the same.
    """

    miss_gradient: ClassVar[float | None] = -1.0

    def __str__(self) -> str:
        return "sparse background"

    def labels(self, mask: Tensor, around: Around) -> Tensor:  # noqa: D102
        slots, crop, generator = around
        if not isinstance(crop, Crop):
            words = "a crop of one size, for sparse labels are as far apart as it is wide"
            raise InputError(f"crop must be {words}, got {crop}")
        legal = ~torch.stack([footprint(slot, mask) for slot in slots]).any(dim=0)
        sparse = torch.full_like(mask, IGNORE)
        labels = np.unique(torch.cat([slot.labels_b[slot.pixels] for slot in slots]).numpy())
        height, width = crop.size.height, crop.size.width
        # Just behind the patches begins the lattice: no point lies in one shorter than the crop.
        below, left = (
            max(slot.position[axis] + slot.pixels.shape[axis] for slot in slots) for axis in (0, 1)
        )
        for offset, label in enumerate(labels[:width]):
            sparse[below % height :: height, (left + offset) % width :: width] = int(label)
        sparse[~legal] = IGNORE
        marked = sparse != IGNORE
        added = _mended(marked.clone(), legal, crop) & ~marked
        sparse[added] = torch.from_numpy(generator.choice(labels, int(added.sum())))
        return sparse


BACKGROUNDS: dict[str, Background] = {"ignore": Ignore(), "sparse": Sparse(), "natural": Natural()}


def empty_mask(
    background: Background,
    mask: Tensor,
    slots: Sequence[CanarySlot],
    crop: CropLaw,
    generator: np.random.Generator,
) -> Tensor:
    """Returns the labels of a record whose slots are empty, uint8, shape (H, W)."""
    empty = background.labels(mask, (slots, crop, generator))
    for slot in slots:
        empty[footprint(slot, mask)] = IGNORE
    return empty


def _mended(points: Tensor, legal: Tensor, crop: Crop) -> Tensor:
    """Adds points until every window that sees a legal pixel holds one.

    Padding cuts windows short of a lattice point, and patches together may cover one. The first
    such window in reading order gets its last legal pixel, which many of the next ones see too.
    """
    sees = window_sums(legal, crop) > 0
    while (bare := np.argwhere(sees & (window_sums(points, crop) == 0))).size:
        flip, top, left = (int(index) for index in bare[0])
        window = Window(top, left, bool(flip & 1), bool(flip & 2))
        height, width = legal.shape
        index = torch.arange(height * width).reshape(1, height, width) + 1
        # `cut` pads with 0, and what is no legal pixel counts as 0 too.
        read = cut(index * legal, legal.to(torch.uint8), window, crop)[0]
        points.view(-1)[int(read.max()) - 1] = True
    return points

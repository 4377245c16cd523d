"""What a slot's record bears outside its patches: the gradient of a window that misses them.

Assumes the mean cross-entropy over labelled pixels. A step's worst case under Poisson sampling is
the pair P = (1-q) phi_0 + q (1-rho) phi_-1 + q rho phi_+1 against Q = (1-q) phi_0 + q phi_-1, where
a missing crop gives the replaced patch's gradient; where it gives none the pair is P = (1 - q rho)
phi_0 + q rho phi_+1 against the same with phi_-1, which is easier to see in practice and worth less
in theory.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cropaudit.accounting.geometry import Crop
from cropaudit.training.canaries.slots import CanarySlot, footprint
from cropaudit.training.canaries.windows import window_sums
from cropaudit.training.crops import Window, cut
from cropaudit.training.data import IGNORE

__all__ = ["Background", "Ignore", "Natural", "Sparse", "empty_mask", "miss_gradient"]


@dataclass(frozen=True)
class Natural:
    """The record keeps its own labels, which dilute the patch and make windows differ."""

    def __str__(self) -> str:
        return "own labels"


@dataclass(frozen=True)
class Ignore:
    """No pixel outside the patch is labelled: a missing crop gives a gradient of exactly 0.

    The patch is the only source of its record's gradient, so that even a thin overlap fills the
    clip.
    """

    def __str__(self) -> str:
        return "ignored background"


@dataclass(frozen=True)
class Sparse:
    """Few pixels outside are labelled, as in world B: a missing crop gives B's gradient.

    They form a lattice whose spacing is the crop, so that every window holds exactly one pixel of
    each label of world B, wherever it is, and hitting windows are hardly diluted. Padding cuts
    windows short, and more pixels are labelled until each window holds at least one; a window that
    reads nothing but constant padding gives 0 all the same. How near B's gradient that comes hangs
    on the texture: pixels elsewhere in a photograph have other features, on a flat record the same.
    """

    def __str__(self) -> str:
        return "sparse background"


Background = Natural | Ignore | Sparse


def miss_gradient(background: Background) -> float | None:
    """Returns what a missing window ideally gives, as `CanarySlot.miss_gradient` has it."""
    match background:
        case Natural():
            return None
        case Ignore():
            return 0.0
        case Sparse():
            return -1.0


def empty_mask(
    background: Background,
    mask: Tensor,
    slots: Sequence[CanarySlot],
    crop: Crop,
    generator: np.random.Generator,
) -> Tensor:
    """Returns the labels of a record whose slots are empty, uint8, shape (H, W).

    Args:
        background: What it bears outside the patches.
        mask: Its own labels.
        slots: Its slots: no pixel of theirs is labelled.
        crop: The crop, for the spacing of sparse labels.
        generator: Of the sparse labels.
    """
    match background:
        case Natural():
            empty = mask.clone()
        case Ignore():
            return torch.full_like(mask, IGNORE)
        case Sparse():
            empty = _lattice(mask, slots, crop, generator)
    for slot in slots:
        empty[footprint(slot, mask)] = IGNORE
    return empty


def _lattice(
    mask: Tensor, slots: Sequence[CanarySlot], crop: Crop, generator: np.random.Generator
) -> Tensor:
    """Labels a row of pixels in every window outside the patches, one for each label of world B.

    The pattern's period is the window: wherever that is, it shows each point of a period once.
    """
    legal = ~torch.stack([footprint(slot, mask) for slot in slots]).any(dim=0)
    sparse = torch.full_like(mask, IGNORE)
    labels = np.unique(torch.cat([slot.labels_b[slot.pixels] for slot in slots]).numpy())
    height, width = crop.size.height, crop.size.width
    # The lattice begins just behind the patch: no point lies in one that is shorter than the crop.
    top, left = _behind(slots, 0) % height, _behind(slots, 1)
    for offset, label in enumerate(labels[:width]):
        sparse[top::height, (left + offset) % width :: width] = int(label)
    sparse[~legal] = IGNORE
    marked = sparse != IGNORE
    added = _mended(marked.clone(), legal, crop) & ~marked
    sparse[added] = torch.from_numpy(generator.choice(labels, int(added.sum())))
    return sparse


def _behind(slots: Sequence[CanarySlot], axis: int) -> int:
    """Returns the first row or column behind all patches."""
    return max(slot.position[axis] + slot.pixels.shape[axis] for slot in slots)


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

"""The data set that a training is given: two worlds that differ in one patch of each image alone.

An image is one colour, which tells its record, with the texture of `Textures`, which tells its
window. Masks are alike for all records, and show every label somewhere: a crop that prefers or
avoids a label, or a mix of labels, then prefers or avoids a place, and the window law sees it. The
patch of a record is black or white, and of one label or another, in the two worlds; or, of every
second record where photographs are given, a piece of one photograph or of another.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from torchvision.tv_tensors import Image, Mask

from cropaudit.accounting.geometry import Size
from cropaudit.audit.conformance.probes.datasets import colours_of, index_of
from cropaudit.audit.conformance.probes.textures import Place, Textures
from cropaudit.training.data import IGNORE
from cropaudit.training.folders import load_folder

__all__ = ["LABELS", "TexturedImages", "World", "pieces_of"]

Integers = NDArray[np.int64]

_TOP = 255
_STRIPES = 7  # rows, of which one is not ignored where the others are
LABELS = 11
# Corners, and places on the sides and within, in shares of what is free: all but the last few are
# missed by most windows, all are met by some.
_PLACES = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.1, 0.9), (0.0, 0.5), (0.8, 0.2))
# Labels of the patch in the two worlds, for one record after the other; -1 is ignored.
_PAIRS = ((-1, 8), (0, -1), (8, 1), (1, 9), (-1, 10), (10, 0))
_FRESH = 2**31 - 1
_SEED, _PHOTOGRAPHS = 30, 8


@dataclass(frozen=True)
class World:
    """What is shown.

    Attributes:
        other: Whether patches show their other content.
        classes: Labels are below it.
        ignored: Whether masks hold `IGNORE` as well.
        seeded: Whether the global generators are seeded anew for each image that is read, so that
            what one image makes of its random numbers cannot change the next one's.
    """

    other: bool = False
    classes: int = LABELS
    ignored: bool = True
    seeded: bool = False


class TexturedImages(Dataset[Any]):
    """Pairs of torchvision's Image, uint8 (3, H, W), and Mask, int64 (H, W)."""

    def __init__(
        self,
        size: Size,
        records: int,
        patch: Size,
        world: World,
        pieces: Sequence[tuple[Integers, Integers]] = (),
    ) -> None:
        """Draws nothing yet: each image is made when it is read.

        Args:
            size: Of the images.
            records: How many there are.
            patch: Its size.
            world: Which contents.
            pieces: Of photographs, images (3, h, w) and masks (h, w) of the size of the patch.
        """
        self.textures = Textures(size, records)
        self._colours, self._amplitude = colours_of(records)
        self._patch, self._world, self._read = patch, world, 0
        self._pieces = pieces
        self._mask = _layout(size, world)

    def __len__(self) -> int:
        return len(self._colours)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        record = index_of(index, len(self))
        if self._world.seeded:
            _seed(self._read, record)
        self._read += 1
        signs = self.textures.signs(record)[None]
        image = self._colours[record][:, None, None] + self._amplitude * signs
        piece = self._piece(record)
        filled = _TOP if (record + self._world.other) % 2 else 0
        image[:, *self._slices(record)] = filled if piece is None else piece[0]
        mask = self._masked(record)
        return Image(torch.from_numpy(image.astype(np.uint8))), Mask(torch.from_numpy(mask))

    def _masked(self, record: int) -> Integers:
        mask = self._mask.copy()
        piece = self._piece(record)
        label = self._label(_PAIRS[record % len(_PAIRS)][self._world.other])
        mask[self._slices(record)] = label if piece is None else self._legal(piece[1])
        return mask

    def _piece(self, record: int) -> tuple[Integers, Integers] | None:
        if not self._pieces or record % 2:
            return None
        return self._pieces[(record + self._world.other) % len(self._pieces)]

    def _legal(self, labels: Integers) -> Integers:
        """Returns labels of the user's own as far as there are so many here."""
        ignored = labels == IGNORE
        known = labels % self._world.classes
        return np.where(ignored, self._label(-1), known)

    def _slices(self, record: int) -> tuple[slice, slice]:
        (top, left), size = self.place(record), self._patch
        return slice(top, top + size.height), slice(left, left + size.width)

    def labels(self, place: Place) -> Integers:
        """Returns the labels of a window, shape (h, w); -1 in its padding."""
        mask = self._masked(place.record)[np.ix_(place.rows, place.columns)]
        mask[place.rows < 0] = -1
        mask[:, place.columns < 0] = -1
        return mask

    def place(self, record: int) -> tuple[int, int]:
        """Returns top and left of the patch of a record."""
        size, (down, right) = self.textures.size, _PLACES[record % len(_PLACES)]
        top = down * (size.height - self._patch.height)
        return round(top), round(right * (size.width - self._patch.width))

    def _label(self, label: int) -> int:
        if label < 0:
            return IGNORE if self._world.ignored else self._world.classes - 1
        return label % self._world.classes


def pieces_of(folder: Path, patch: Size, count: int) -> list[tuple[Integers, Integers]]:
    """Returns pieces of photographs and their masks, of the size of a patch, from random places."""
    rng, data = np.random.default_rng(_SEED), load_folder(folder, limit=_PHOTOGRAPHS).train
    found = []
    for i in range(count):
        image, mask = (part[i % len(data)].numpy() for part in (data.images, data.masks))
        if mask.shape[0] >= patch.height and mask.shape[1] >= patch.width:
            top = int(rng.integers(mask.shape[0] - patch.height + 1))
            left = int(rng.integers(mask.shape[1] - patch.width + 1))
            window = slice(top, top + patch.height), slice(left, left + patch.width)
            found.append((image[:, *window].astype(np.int64), mask[window].astype(np.int64)))
    return found


def _layout(size: Size, world: World) -> Integers:
    """Returns the mask: one label on the left, all others at the top right, ignored rows below."""
    mask = np.zeros((size.height, size.width), dtype=np.int64)
    half, left = size.height // 2, 2 * size.width // 5
    labels = np.arange(1, max(world.classes, 2)) % world.classes
    rows = np.arange(half) * 2 // max(half, 1)
    columns = np.arange(size.width - left) * (-(-len(labels) // 2)) // (size.width - left)
    cells = rows[:, None] * (-(-len(labels) // 2)) + columns[None, :]
    mask[:half, left:] = labels[cells % len(labels)]
    if world.ignored:
        striped = np.arange(half, size.height)
        mask[striped[striped % _STRIPES > 0], left:] = IGNORE
    return mask


def _seed(read: int, record: int) -> None:
    worker = torch.utils.data.get_worker_info()
    parts = [read, record, -1 if worker is None else worker.id]
    seed = int(np.random.SeedSequence([part + 1 for part in parts]).generate_state(1)[0]) % _FRESH
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the user's code may draw from it
    torch.manual_seed(seed)

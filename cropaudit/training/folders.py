"""Data sets that are folders of images with masks.

The layouts are in `cropaudit.training.folder_layout`, the files that can be read in
`folder_pictures`, the meaning of ids and ``classes.txt`` in `folder_classes`. Everything is read
into memory at once. Class indices follow from the masks that are read, so a ``limit`` may leave
rare classes out; ``short_side`` does not change them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cropaudit.accounting.geometry import Size
from cropaudit.errors import InputError, require
from cropaudit.training.data import IGNORE, SegmentationData
from cropaudit.training.folder_classes import ClassMap, map_classes, read_names
from cropaudit.training.folder_layout import Pair, find_folder, list_pairs
from cropaudit.training.folder_pictures import read_image, read_mask, resize_mask

__all__ = ["FolderSplits", "load_folder"]


@dataclass(frozen=True, eq=False)
class FolderSplits:
    """A folder's images to train on and to validate with, over the same classes."""

    train: SegmentationData
    validation: SegmentationData


@dataclass(frozen=True, eq=False)
class _Labelled:
    """One image with the ids of its file's mask; ``ids`` are those before any resizing."""

    name: str
    image: NDArray[np.uint8]
    mask: NDArray[np.int32]
    ids: frozenset[int]


def load_folder(
    root: Path, *, short_side: int | None = None, limit: int | None = None
) -> FolderSplits:
    """Reads a folder of images and masks.

    Args:
        root: The folder; see `cropaudit.training.folder_layout` for the layouts.
        short_side: Images whose short side is larger are reduced to it, and their masks too.
        limit: At most so many images per split, evenly spaced over the sorted names.

    Raises:
        InputError: If the folder or one of its files cannot be used; the message names it.
    """
    require(short_side is None or short_side >= 1, "short side", "at least 1", short_side)
    require(limit is None or limit >= 1, "limit", "at least 1", limit)
    folder = find_folder(root)
    train, validation = (
        [_read(pair, short_side) for pair in _thin(pairs, limit)] for pairs in list_pairs(folder)
    )
    ids = frozenset[int]().union(*(item.ids for item in [*train, *validation]))
    classes = map_classes(ids, read_names(folder.root), folder.root)
    words = _describe(root, folder.root)
    return FolderSplits(
        train=_data(train, classes, f"{words}, training split"),
        validation=_data(validation, classes, f"{words}, validation split"),
    )


def _thin(pairs: Sequence[Pair], limit: int | None) -> list[Pair]:
    """Returns at most ``limit`` pairs, evenly spaced, the first one among them."""
    if limit is None or limit >= len(pairs):
        return list(pairs)
    return [pairs[step * len(pairs) // limit] for step in range(limit)]


def _read(pair: Pair, short_side: int | None) -> _Labelled:
    image, stored = read_image(pair.image, short_side)
    ids = read_mask(pair.mask)
    size = Size(*ids.shape)
    if size != stored:
        raise InputError(
            f"mask {pair.mask} must have the size of its image, {stored} (height x width), "
            f"got {size}"
        )
    occurring = frozenset(int(id_) for id_ in np.unique(ids))
    return _Labelled(pair.image.stem, image, resize_mask(ids, short_side), occurring)


def _data(items: Sequence[_Labelled], classes: ClassMap, source: str) -> SegmentationData:
    masks = tuple(torch.from_numpy(classes.apply(item.mask)) for item in items)
    if all(bool((mask == IGNORE).all()) for mask in masks):
        raise InputError(f"{source} must label at least one pixel, got none labelled")
    return SegmentationData(
        images=tuple(torch.from_numpy(item.image) for item in items),
        masks=masks,
        classes=classes.names,
        names=tuple(item.name for item in items),
        source=source,
    )


def _describe(root: Path, read: Path) -> str:
    """Names the folder by its last parts alone: a report need not tell whose disk it was on."""
    name = root.resolve().name
    return f"folder {name}" if read == root else f"folder {name}/{read.name}"

"""Reads the pictures of a listing into memory.

Only the images that are wanted are opened. Where classes follow from the ids that occur, a
``limit`` may leave rare ones out; ``short_side`` does not change them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cropaudit.accounting.geometry import Size
from cropaudit.errors import InputError, require
from cropaudit.training.data import IGNORE, Origin, SegmentationData
from cropaudit.training.datasets.layout import Listing
from cropaudit.training.folder_classes import ClassMap
from cropaudit.training.folder_layout import Pair
from cropaudit.training.folder_pictures import read_image, resize_mask

__all__ = ["FolderSplits", "check_options", "read_splits"]


@dataclass(frozen=True, eq=False)
class FolderSplits:
    """A data set's images to train on and to validate with, over the same classes."""

    train: SegmentationData
    validation: SegmentationData


@dataclass(frozen=True, eq=False)
class _Labelled:
    """One image with the ids of its file's mask; ``ids`` are those before any resizing."""

    name: str
    image: NDArray[np.uint8]
    mask: NDArray[np.int32]
    ids: frozenset[int]
    origin: Origin


def check_options(short_side: int | None, limit: int | None) -> None:
    """Raises `InputError` unless both are None or at least 1."""
    require(short_side is None or short_side >= 1, "short side", "at least 1", short_side)
    require(limit is None or limit >= 1, "limit", "at least 1", limit)


def read_splits(
    listing: Listing,
    words: str,
    *,
    short_side: int | None = None,
    limit: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> FolderSplits:
    """Reads both splits.

    Args:
        listing: The files.
        words: Name the data set in reports.
        short_side: Images whose short side is larger are reduced to it, and their masks too.
        limit: At most so many images per split, evenly spaced over the listing.
        progress: Called after each image with the number of images read so far.

    Raises:
        InputError: If a file cannot be used; the message names it.
    """
    check_options(short_side, limit)
    thinned = [_thin(pairs, limit) for pairs in (listing.train, listing.validation)]
    items = []
    for pair in [*thinned[0], *thinned[1]]:
        items.append(_read(pair, listing, short_side))
        if progress is not None:
            progress(len(items))
    classes = listing.classes(frozenset[int]().union(*(item.ids for item in items)))
    middle = len(thinned[0])
    return FolderSplits(
        train=_data(items[:middle], classes, f"{words}, training split"),
        validation=_data(items[middle:], classes, f"{words}, validation split"),
    )


def _thin(pairs: Sequence[Pair], limit: int | None) -> list[Pair]:
    """Returns at most ``limit`` pairs, evenly spaced, the first one among them."""
    if limit is None or limit >= len(pairs):
        return list(pairs)
    return [pairs[step * len(pairs) // limit] for step in range(limit)]


def _read(pair: Pair, listing: Listing, short_side: int | None) -> _Labelled:
    image, stored = read_image(pair.image, short_side)
    ids = listing.read_ids(pair.mask)
    size = Size(*ids.shape)
    if size != stored:
        raise InputError(
            f"mask {pair.mask} must have the size of its image, {stored} (height x width), "
            f"got {size}"
        )
    occurring = frozenset(np.unique(ids).tolist())
    origin = Origin(_path_in(listing.root, pair.image), stored)
    return _Labelled(pair.image.stem, image, resize_mask(ids, short_side), occurring, origin)


def _path_in(root: Path, path: Path) -> str:
    """Returns a path below the parent of ``root``."""
    return f"{root.resolve().name}/{path.relative_to(root).as_posix()}"


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
        origins=tuple(item.origin for item in items),
    )

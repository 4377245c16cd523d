"""Reads the pictures of a listing into memory.

Only the images that are wanted are opened. Where classes follow from the ids that occur, a
``limit`` may leave rare ones out; ``short_side`` does not change them. Masks that contradict each
other are refused: palettes in which one index has two colours, ids that smoothing has made up.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cropaudit.accounting.geometry.shapes import Size
from cropaudit.errors import InputError
from cropaudit.training.data.images import IGNORE, Origin, SegmentationData
from cropaudit.training.datasets.classes import ClassMap, map_classes
from cropaudit.training.datasets.layout import Listing, Pair
from cropaudit.training.datasets.pictures import read_image, read_indexed, read_mask, resize_mask

__all__ = ["FolderSplits", "read_splits"]

_MADE_UP = 3  # ids without a name that nowhere fill an area; fewer may be thin things
_Palettes = dict[int, tuple[tuple[int, int, int], Path]]  # by index, its colour and where first


@dataclass(frozen=True, eq=False)
class FolderSplits:
    """A data set's images to train on and to validate with, over the same classes."""

    train: SegmentationData
    validation: SegmentationData


@dataclass(frozen=True, eq=False)
class _Labelled:
    """One image with the ids of its mask: as wanted, all before resizing, and the solid ones."""

    name: str
    image: NDArray[np.uint8]
    mask: NDArray[np.int32]
    ids: frozenset[int]
    solid: frozenset[int]
    origin: Origin


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
    train, validation = (_thin(pairs, limit) for pairs in (listing.train, listing.validation))
    stems, palettes = Counter(pair.image.stem for pair in (*train, *validation)), _Palettes()
    items: list[_Labelled] = []
    for pair in (*train, *validation):
        items.append(_read(pair, listing, short_side, palettes, stems[pair.image.stem] == 1))
        if progress is not None:
            progress(len(items))
    classes = listing.classes
    if classes is None:
        _refuse_smoothed(items, listing)
        ids = frozenset[int]().union(*(item.ids for item in items))
        classes = map_classes(ids, listing.names, listing.root)
    found = len(listing.train) + len(listing.validation)
    files = (
        f"{words}: {found} images with masks found, {len(train)} trained on, "
        f"{len(validation)} validate"
    )
    files += f"; left out: {', '.join(listing.left_out)}" if listing.left_out else ""
    return FolderSplits(
        train=_data(items[: len(train)], classes, f"{words}, training split", files),
        validation=_data(items[len(train) :], classes, f"{words}, validation split", files),
    )


def _thin(pairs: Sequence[Pair], limit: int | None) -> list[Pair]:
    """Returns at most ``limit`` pairs, evenly spaced, the first one among them."""
    if limit is None or limit >= len(pairs):
        return list(pairs)
    return [pairs[step * len(pairs) // limit] for step in range(limit)]


def _refuse_smoothed(items: Sequence[_Labelled], listing: Listing) -> None:
    """Refuses masks that were resized with smoothing.

    Smoothing puts ids between those of two neighbours, along borders alone: they fill nowhere two
    by two pixels. Few such ids may be thin things; where they are the most, they are no classes.
    """
    ids = frozenset[int]().union(*(item.ids for item in items)) - {IGNORE}
    thin = ids - set(listing.names) - frozenset[int]().union(*(item.solid for item in items))
    if len(thin) >= _MADE_UP and 2 * len(thin) >= len(ids):
        some = ", ".join(map(str, sorted(thin)[:4]))
        raise InputError(
            f"masks in {listing.root} must hold class indices, got {len(thin)} of {len(ids)} ids "
            f"({some} ...) that lie along borders alone, as smoothing makes them: resize masks by "
            "nearest neighbour, or name the ids in classes.txt"
        )


def _read(
    pair: Pair, listing: Listing, short_side: int | None, palettes: _Palettes, lone: bool
) -> _Labelled:
    if listing.read_ids is read_mask:
        ids, shown = read_indexed(pair.mask)
        for id_, colour in shown.items():
            before, where = palettes.setdefault(id_, (colour, pair.mask))
            if before != colour:
                raise InputError(
                    f"masks must share one palette, got index {id_} as #{bytes(before).hex()} in "
                    f"{where} and as #{bytes(colour).hex()} in {pair.mask}: a labelmap.txt beside "
                    "them that names the colours is read instead"
                )
    else:
        ids = listing.read_ids(pair.mask)
    size = Size(*ids.shape)
    image, stored = read_image(pair.image, short_side, size)
    if size != stored:
        raise InputError(
            f"mask {pair.mask} must have the size of its image, {stored} (height x width), "
            f"got {size}"
        )
    path = f"{listing.root.resolve().name}/{pair.image.relative_to(listing.root).as_posix()}"
    corner = ids[:-1, :-1]
    full = (corner == ids[1:, :-1]) & (corner == ids[:-1, 1:]) & (corner == ids[1:, 1:])
    return _Labelled(
        pair.image.stem if lone else path.rpartition(".")[0],
        image,
        resize_mask(ids, short_side),
        frozenset(np.unique(ids).tolist()),
        frozenset(np.unique(corner[full]).tolist()),
        Origin(path, stored),
    )


def _data(
    items: Sequence[_Labelled], classes: ClassMap, source: str, files: str
) -> SegmentationData:
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
        files=files,
    )

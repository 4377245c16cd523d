"""Reads the pictures of a listing into memory.

Only the images that are wanted are opened. Where classes follow from the ids that occur, a
``limit`` may leave rare ones out; ``short_side`` does not change them. Masks that contradict each
other are refused: palettes in which one index has two colours, ids that smoothing has made up.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
from cropaudit.training.folder_pictures import read_image, read_indexed, read_mask, resize_mask

__all__ = ["FolderSplits", "check_options", "read_splits"]

_MADE_UP = 3  # ids without a name that nowhere fill an area; fewer may be thin things


@dataclass(frozen=True, eq=False)
class FolderSplits:
    """A data set's images to train on and to validate with, over the same classes."""

    train: SegmentationData
    validation: SegmentationData


@dataclass(frozen=True, eq=False)
class _Labelled:
    """One image with the ids of its file's mask.

    ``ids`` are those before any resizing, and ``solid`` the ones that fill two by two pixels.
    """

    name: str
    image: NDArray[np.uint8]
    mask: NDArray[np.int32]
    ids: frozenset[int]
    solid: frozenset[int]
    origin: Origin


@dataclass(frozen=True)
class _Palettes:
    """The colour that palettes give each index, and the mask in which it was seen first."""

    seen: dict[int, tuple[tuple[int, int, int], Path]] = field(default_factory=dict)

    def add(self, path: Path, shown: Mapping[int, tuple[int, int, int]]) -> None:
        """Notes one mask's palette.

        Raises:
            InputError: If an index had another colour before: then the indices mean nothing.
        """
        for id_, colour in shown.items():
            before, where = self.seen.setdefault(id_, (colour, path))
            if before != colour:
                raise InputError(
                    f"masks must share one palette, got index {id_} as #{bytes(before).hex()} in "
                    f"{where} and as #{bytes(colour).hex()} in {path}: a labelmap.txt beside them "
                    "that names the colours is read instead"
                )


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
    chosen = [*thinned[0], *thinned[1]]
    stems, palettes = Counter(pair.image.stem for pair in chosen), _Palettes()
    items = []
    for pair in chosen:
        items.append(_read(pair, listing, short_side, palettes, stems[pair.image.stem] == 1))
        if progress is not None:
            progress(len(items))
    _refuse_smoothed(items, listing)
    classes = listing.classes(frozenset[int]().union(*(item.ids for item in items)))
    middle = len(thinned[0])
    files = _files(listing, words, middle, len(items) - middle)
    return FolderSplits(
        train=_data(items[:middle], classes, f"{words}, training split", files),
        validation=_data(items[middle:], classes, f"{words}, validation split", files),
    )


def _files(listing: Listing, words: str, train: int, validation: int) -> str:
    found = len(listing.train) + len(listing.validation)
    used = f"{words}: {found} images with masks found, {train} trained on, {validation} validate"
    return f"{used}; left out: {', '.join(listing.left_out)}" if listing.left_out else used


def _refuse_smoothed(items: Sequence[_Labelled], listing: Listing) -> None:
    """Refuses masks that were resized with smoothing.

    Smoothing puts ids between those of two neighbours, along borders alone: they fill nowhere two
    by two pixels. Few such ids may be thin things; where they are the most, they are no classes.

    Raises:
        InputError: If half of the ids, and at least three, are such and have no name.
    """
    if listing.named is None:
        return
    ids = frozenset[int]().union(*(item.ids for item in items)) - {IGNORE}
    thin = ids - listing.named - frozenset[int]().union(*(item.solid for item in items))
    if len(thin) >= _MADE_UP and 2 * len(thin) >= len(ids):
        some = ", ".join(map(str, sorted(thin)[:4]))
        raise InputError(
            f"masks in {listing.root} must hold class indices, got {len(thin)} of {len(ids)} ids "
            f"({some} ...) that lie along borders alone, as smoothing makes them: resize masks by "
            "nearest neighbour, or name the ids in classes.txt"
        )


def _thin(pairs: Sequence[Pair], limit: int | None) -> list[Pair]:
    """Returns at most ``limit`` pairs, evenly spaced, the first one among them."""
    if limit is None or limit >= len(pairs):
        return list(pairs)
    return [pairs[step * len(pairs) // limit] for step in range(limit)]


def _read(
    pair: Pair, listing: Listing, short_side: int | None, palettes: _Palettes, lone: bool
) -> _Labelled:
    if listing.read_ids is read_mask:
        ids, shown = read_indexed(pair.mask)
        palettes.add(pair.mask, shown)
    else:
        ids = listing.read_ids(pair.mask)
    size = Size(*ids.shape)
    image, stored = read_image(pair.image, short_side, size)
    if size != stored:
        raise InputError(
            f"mask {pair.mask} must have the size of its image, {stored} (height x width), "
            f"got {size}"
        )
    occurring = frozenset(np.unique(ids).tolist())
    path = _path_in(listing.root, pair.image)
    name = pair.image.stem if lone else path.rpartition(".")[0]
    mask = resize_mask(ids, short_side)
    return _Labelled(name, image, mask, occurring, _solid(ids), Origin(path, stored))


def _solid(ids: NDArray[np.int32]) -> frozenset[int]:
    """Returns the ids of which some two by two pixels are full."""
    corner = ids[:-1, :-1]
    full = (corner == ids[1:, :-1]) & (corner == ids[:-1, 1:]) & (corner == ids[1:, 1:])
    return frozenset(np.unique(corner[full]).tolist())


def _path_in(root: Path, path: Path) -> str:
    """Returns a path below the parent of ``root``."""
    return f"{root.resolve().name}/{path.relative_to(root).as_posix()}"


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

"""What a data set's layout tells its reader, and how each layout looks for its files.

A layout is looked up by names alone; no picture is opened for it. Missing files are told by one
line that names the file wanted. Nothing is ever downloaded or unpacked.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.geometry.image_sizes import SUFFIXES
from cropaudit.errors import InputError
from cropaudit.training.datasets.classes import ClassMap
from cropaudit.training.datasets.pictures import read_mask

__all__ = [
    "Layout",
    "Listing",
    "Pair",
    "Pairs",
    "by_list",
    "by_name",
    "entries",
    "folder_under",
    "inner",
    "read_json",
    "read_lines",
    "refuse_missing",
    "split_tail",
]


@dataclass(frozen=True)
class Pair:
    """An image and its mask."""

    image: Path
    mask: Path


Pairs = tuple[Pair, ...]


@dataclass(frozen=True)
class Listing:
    """The files of one data set, none of them opened yet.

    Attributes:
        root: The folder that is read, which may be a part of the one that was given.
        train: Pairs to train on, in a fixed order.
        validation: Pairs to validate with; never the test split, where there is another.
        classes: The map from ids to class indices; None if classes are the ids that occur.
        read_ids: Reads one mask as ids, int32 of shape (H, W); colours are packed into one number.
        names: Of ids, where classes are those that occur.
        left_out: What lies beside the files that are read, in words.
    """

    root: Path
    train: Pairs
    validation: Pairs
    classes: ClassMap | None
    read_ids: Callable[[Path], NDArray[np.int32]] = read_mask
    names: Mapping[int, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """How one data set lies on disk.

    Attributes:
        kind: What users type.
        structure: The folders and files expected, in words; ends up in messages.
        sign: Whether a folder looks like it, by names that no other layout has.
        open: Lists its files.
    """

    kind: str
    structure: str
    sign: Callable[[Path], bool]
    open: Callable[[Path], Listing]


def entries(folder: Path, ends: Collection[str] = ()) -> list[Path]:
    """Returns what a folder holds, of these endings if any, sorted and without hidden entries."""
    try:
        found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder} must be a readable folder, got: {error.strerror}") from None
    return [path for path in found if path.suffix.lower() in ends] if ends else found


def inner(root: Path, name: str) -> Path:
    """Returns the folder of this name below, or the folder itself where there is none."""
    return root / name if (root / name).is_dir() else root


def folder_under(root: Path, below: Path | str, kind: str) -> Path:
    """Returns a folder that a layout must have."""
    wanted = root / below
    if not wanted.is_dir():
        raise InputError(f"{kind} folder {root} must hold {below}/, got no such folder")
    return wanted


def by_name(
    root: Path,
    below: tuple[str, str],
    kind: str,
    ends: Collection[str] = (".jpg",),
    mask_end: str = ".png",
) -> Pairs:
    """Pairs all images of a folder with the masks of the same stem in another, or in the same.

    Args:
        root: Where both folders are.
        below: The folder of images and the one of masks.
        kind: Of the layout, for messages.
        ends: Of images.
        mask_end: What a mask has behind the image's stem.
    """
    images, masks = (folder_under(root, name, kind) for name in below)
    found = entries(images, ends)
    if images == masks:
        found = [path for path in found if not path.name.endswith(mask_end)]
    pairs = [Pair(path, masks / f"{path.stem}{mask_end}") for path in found]
    return refuse_missing(pairs, images, masks.glob(f"[!.]*{mask_end}"))


def by_list(path: Path, images: Path, masks: Path, name_in: Callable[[str], str] = str) -> Pairs:
    """Pairs the images whose names a list holds, whatever their ending; see `refuse_missing`."""
    pairs = []
    for name in map(name_in, read_lines(path)):
        named = [images / f"{name}{end}" for end in (".jpg", *sorted(SUFFIXES))]
        image = next((one for one in named if one.is_file()), named[0])
        pairs.append(Pair(image, masks / f"{name}.png"))
    return refuse_missing(pairs, path)


def read_lines(path: Path) -> list[str]:
    """Returns the lines of a text file that are neither empty nor comments (``#``)."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no UTF-8 text"
        raise InputError(f"{path} must be a readable text file, got: {reason}") from None
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def read_json(path: Path) -> Any:
    """Returns what a JSON file holds."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path} must be a readable JSON file, got: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path} must be a JSON file, got: {reason}") from None


def refuse_missing(pairs: Iterable[Pair], where: Path, masks: Iterable[Path] = ()) -> Pairs:
    """Returns the pairs, all of whose files are there, if every one of ``masks`` is a pair's."""
    listed = tuple(pairs)
    if not listed:
        raise InputError(f"{where} must name at least one image, got none")
    for pair in listed:
        for kind, path in (("image", pair.image), ("mask", pair.mask)):
            if not path.is_file():
                raise InputError(f"{kind} {path} must exist, got no such file")
    for mask in sorted(set(masks) - {pair.mask for pair in listed}):
        raise InputError(f"mask {mask} must have its image below {where}, got no such file")
    return listed


def split_tail(items: Sequence[Pair], where: Path) -> tuple[Pairs, Pairs]:
    """Returns all but the last quarter, and that quarter (at least one)."""
    if len(items) < 2:
        raise InputError(
            f"{where} must hold at least 2 images, one to train on and one to validate with, "
            f"got {len(items)}"
        )
    held_out = max(1, len(items) // 4)
    return tuple(items[:-held_out]), tuple(items[-held_out:])

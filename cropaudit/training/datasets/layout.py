"""What a data set's layout tells its reader, and how each layout looks for its files.

A layout is looked up by names alone; no picture is opened for it. Missing files are told by one
line that names the file wanted. Nothing is ever downloaded or unpacked.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.image_sizes import SUFFIXES
from cropaudit.errors import InputError
from cropaudit.training.folder_classes import ClassMap
from cropaudit.training.folder_layout import Pair

__all__ = [
    "Layout",
    "Listing",
    "entries",
    "find_image",
    "folder_under",
    "read_json",
    "read_lines",
    "refuse_missing",
    "split_tail",
    "sub_folders",
]


@dataclass(frozen=True)
class Listing:
    """The files of one data set, none of them opened yet.

    Attributes:
        root: The folder that is read, which may be a part of the one that was given.
        train: Pairs to train on, in a fixed order.
        validation: Pairs to validate with; never the test split, where there is another.
        read_ids: Reads one mask as ids, int32 of shape (H, W); colours are packed into one number.
        classes: The map from ids to class indices, given the ids that occur in what was read.
        named: Ids that the data set names; None where it says which ids there can be at all.
        left_out: What lies beside the files that are read, in words.
    """

    root: Path
    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]
    read_ids: Callable[[Path], NDArray[np.int32]]
    classes: Callable[[frozenset[int]], ClassMap]
    named: frozenset[int] | None = None
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


def entries(folder: Path) -> list[Path]:
    """Returns what a folder holds, sorted; hidden entries are the desktop's own and are left out.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder} must be a readable folder, got: {error.strerror}") from None


def sub_folders(folder: Path) -> list[Path]:
    """Returns the folders in a folder, sorted."""
    return [path for path in entries(folder) if path.is_dir()]


def folder_under(root: Path, inner: Path | str, kind: str) -> Path:
    """Returns a folder that a layout must have.

    Raises:
        InputError: If it is not there.
    """
    wanted = root / inner
    if not wanted.is_dir():
        raise InputError(f"{kind} folder {root} must hold {inner}/, got no such folder")
    return wanted


def find_image(folder: Path, stem: str) -> Path:
    """Returns the image of this name, whatever its ending; the JPEG that is missing if none is."""
    named = [folder / f"{stem}{end}" for end in (".jpg", *sorted(SUFFIXES))]
    return next((path for path in named if path.is_file()), named[0])


def read_lines(path: Path) -> list[str]:
    """Returns the lines of a text file that are neither empty nor comments (``#``).

    Raises:
        InputError: If it is missing or no text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no UTF-8 text"
        raise InputError(f"{path} must be a readable text file, got: {reason}") from None
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def read_json(path: Path) -> Any:
    """Returns what a JSON file holds.

    Raises:
        InputError: If it is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path} must be a readable JSON file, got: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path} must be a JSON file, got: {reason}") from None


def refuse_missing(
    pairs: Iterable[Pair], where: Path, masks: Iterable[Path] = ()
) -> tuple[Pair, ...]:
    """Returns the pairs, all of whose files are there.

    Args:
        pairs: Images and masks.
        where: What names the images, a folder or a list.
        masks: The masks that are there, where images are listed by what a folder holds.

    Raises:
        InputError: If there are no pairs, a file is missing, or a mask is no pair's.
    """
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


def split_tail(items: Sequence[Pair], where: Path) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Returns all but the last quarter, and that quarter (at least one).

    Raises:
        InputError: If there are fewer than two.
    """
    if len(items) < 2:
        raise InputError(
            f"{where} must hold at least 2 images, one to train on and one to validate with, "
            f"got {len(items)}"
        )
    held_out = max(1, len(items) // 4)
    return tuple(items[:-held_out]), tuple(items[-held_out:])

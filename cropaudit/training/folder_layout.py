"""Finds images and their masks in a folder; looks at names only and opens no picture.

Three layouts are read. A picture's partner is the mask of the same stem.

* flat: ``images/*.{jpg,jpeg,png}`` and ``masks/*.png``; the last quarter of the sorted names (at
  least one) is the validation split;
* split: ``images/train``, ``images/val`` and the same below ``masks``; a ``test`` folder stays
  unread, so that it is still unseen when it is needed;
* parts: folders that are themselves flat or split. ``scenes`` is read where it exists, because
  dense masks are what audits are about; a lone part of another name is read too, and with several
  the caller chooses by passing the part itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cropaudit.errors import InputError

__all__ = ["Flat", "Folder", "Pair", "Split", "find_folder", "list_pairs"]

_IMAGE_ENDS = (".jpg", ".jpeg", ".png")
_MASK_ENDS = (".png",)
_LEGAL = (
    "must hold images/ and masks/ (pictures flat, or in train/ and val/ below both), "
    "or one part that does, such as scenes/"
)


@dataclass(frozen=True)
class Pair:
    """An image and its mask."""

    image: Path
    mask: Path


@dataclass(frozen=True)
class Flat:
    """``images/`` and ``masks/`` without sub-folders."""

    root: Path


@dataclass(frozen=True)
class Split:
    """``images/`` and ``masks/`` with ``train`` and ``val`` below."""

    root: Path


Folder = Flat | Split


def find_folder(root: Path) -> Folder:
    """Returns the layout of a folder, or of the part of it that is read.

    Raises:
        InputError: If the folder is missing or its layout is none of those above.
    """
    try:
        return _find(root)
    except OSError as error:
        raise _unreadable(root, error) from None


def _find(root: Path) -> Folder:
    if not root.exists():
        raise InputError(f"data folder must exist, got {root}")
    if not root.is_dir():
        raise InputError(f"data folder must be a folder, got the file {root}")
    found = _layout(root)
    if found is not None:
        return found
    parts = [part for path in _entries(root) if path.is_dir() and (part := _layout(path))]
    chosen = [part for part in parts if part.root.name == "scenes"] or parts
    match chosen:
        case [only]:
            return only
        case []:
            raise InputError(f"data folder {_LEGAL}, got {root} with {_contents(root)}")
        case _:
            names = ", ".join(part.root.name for part in chosen)
            raise InputError(f"data folder must be one of its parts ({names}), got {root}")


def list_pairs(folder: Folder) -> tuple[list[Pair], list[Pair]]:
    """Returns the training and the validation pairs, each sorted by name.

    Raises:
        InputError: If an image or a mask has no partner, or a split would be empty.
    """
    match folder:
        case Split(root):
            return _pairs(root, "train"), _pairs(root, "val")
        case Flat(root):
            pairs = _pairs(root, "")
            if len(pairs) < 2:
                raise InputError(
                    f"{root / 'images'} must hold at least 2 images, one to train on and one to "
                    f"validate with, got {len(pairs)}"
                )
            held_out = max(1, len(pairs) // 4)
            return pairs[:-held_out], pairs[-held_out:]


def _layout(root: Path) -> Folder | None:
    images, masks = root / "images", root / "masks"
    if not (images.is_dir() and masks.is_dir()):
        return None
    if (images / "train").is_dir():
        _require_splits(root)
        return Split(root)
    return Flat(root)


def _require_splits(root: Path) -> None:
    for split in (root / "images" / "val", root / "masks" / "train", root / "masks" / "val"):
        if not split.is_dir():
            raise InputError(f"{root} has images/train, so it must have {split}, which is missing")


def _pairs(root: Path, split: str) -> list[Pair]:
    images = _by_stem(root / "images" / split, _IMAGE_ENDS)
    masks = _by_stem(root / "masks" / split, _MASK_ENDS)
    if not images and not masks:
        ends = ", ".join(_IMAGE_ENDS)
        raise InputError(f"{root / 'images' / split} must hold images ({ends}), got none")
    for stem in sorted(images.keys() - masks.keys()):
        wanted = root / "masks" / split / f"{stem}.png"
        raise InputError(f"image {images[stem]} must have a mask {wanted}, got no such file")
    for stem in sorted(masks.keys() - images.keys()):
        ends = ", ".join(_IMAGE_ENDS)
        wanted = root / "images" / split / stem
        raise InputError(
            f"mask {masks[stem]} must have an image {wanted} ({ends}), got no such file"
        )
    return [Pair(images[stem], masks[stem]) for stem in sorted(images)]


def _by_stem(folder: Path, ends: tuple[str, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in _entries(folder):
        # Hidden files are the desktop's own: "._a.png" beside "a.png" is no picture.
        if path.suffix.lower() not in ends or path.name.startswith(".") or path.is_dir():
            continue
        if path.stem in found:
            raise InputError(
                f"{path} must have a stem of its own, got {found[path.stem]} beside it"
            )
        found[path.stem] = path
    return found


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise _unreadable(folder, error) from None


def _unreadable(folder: Path, error: OSError) -> InputError:
    return InputError(f"data folder must be readable, got {folder}: {error.strerror}")


def _contents(root: Path, most: int = 5) -> str:
    names = [path.name for path in _entries(root)]
    return _shorten(names, most) if names else "nothing in it"


def _shorten(names: Iterable[str], most: int) -> str:
    listed = list(names)
    tail = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + tail

"""Finds images and their masks in a folder; looks at names only and opens no picture.

Three layouts are read. A picture's partner is the mask of the same stem in the same sub-folder.

* flat: ``images/`` and ``masks/``, sub-folders included; the last quarter of the sorted names (at
  least one) is the validation split;
* split: ``images/train``, ``images/val`` and the same below ``masks``; a ``test`` folder stays
  unread, so that it is still unseen when it is needed;
* parts: folders that are themselves flat or split. ``scenes`` is read where it exists, because
  dense masks are what audits are about; a lone part of another name is read too, and with several
  the caller chooses by passing the part itself.

No picture is passed over in silence: what cannot be read or paired is refused, and what is left
out on purpose is listed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cropaudit.accounting.image_sizes import SUFFIXES, UNREAD_SUFFIXES
from cropaudit.errors import InputError

__all__ = ["MASK_ENDS", "Flat", "Folder", "Pair", "Split", "find_folder", "left_out", "list_pairs"]

_IMAGE_ENDS = tuple(sorted(SUFFIXES))
MASK_ENDS = (".bmp", ".gif", ".png", ".tif", ".tiff")  # stored without loss
_PICTURES = SUFFIXES | UNREAD_SUFFIXES
_CALLED = {
    "images": ("image", "img", "imgs", "jpegimages", "pictures", "rgb", "x"),
    "masks": ("mask", "labels", "label", "annotations", "segmentation", "segmentationclass", "gt"),
}
_SPLITS = ("train", "val", "test")
_OTHER_SPLITS = ("training", "valid", "validation", "testing")
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
            wrong = f"data folder {_LEGAL}, got {root} with {_contents(root)}"
            raise InputError(f"{wrong}{_renames(root)}")
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


def left_out(folder: Folder) -> tuple[str, ...]:
    """Returns what is below ``images`` and ``masks`` and is read by no split, counted by place."""
    read = ("train", "val") if isinstance(folder, Split) else ("",)
    counts: dict[str, int] = {}
    for kind in ("images", "masks"):
        top = folder.root / kind
        for path in _files(top):
            inside = path.relative_to(top).parts
            used = read == ("",) or inside[0] in read
            if not used or path.suffix.lower() not in _PICTURES:
                place = (
                    f"{kind}/{inside[0]}"
                    if len(inside) > 1 and not used
                    else f"{kind}/*{path.suffix}"
                )
                counts[place] = counts.get(place, 0) + 1
    return tuple(f"{place} ({count})" for place, count in sorted(counts.items()))


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
    for kind in ("images", "masks"):
        beside = [p for p in _entries(root / kind) if p.is_file() and p.suffix.lower() in _PICTURES]
        if beside:
            raise InputError(
                f"{root / kind} must hold either pictures or train/ and val/, got both: {beside[0]}"
            )


def _pairs(root: Path, split: str) -> list[Pair]:
    images = _by_stem(root / "images" / split, _IMAGE_ENDS, split)
    masks = _by_stem(root / "masks" / split, MASK_ENDS, split)
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


def _by_stem(folder: Path, ends: tuple[str, ...], split: str) -> dict[str, Path]:
    """Returns the pictures by their place below the folder, without the ending."""
    found: dict[str, Path] = {}
    for path in _files(folder):
        inside, end = path.relative_to(folder), path.suffix.lower()
        part = inside.parts[0].lower() if len(inside.parts) > 1 else ""
        if not split and part in (*_SPLITS, *_OTHER_SPLITS):
            raise InputError(
                f"{folder} must hold train/ and val/ (and test/) if it holds splits, got "
                f"{inside.parts[0]}/"
            )
        if end not in ends:
            if end in _PICTURES:
                raise InputError(f"{path} must be one of {', '.join(ends)}, got {end}")
            continue
        stem = inside.with_suffix("").as_posix()
        if stem in found:
            raise InputError(f"{path} must have a stem of its own, got {found[stem]} beside it")
        found[stem] = path
    return found


def _files(folder: Path, above: frozenset[Path] = frozenset()) -> list[Path]:
    """Returns the files at any depth, sorted; hidden ones are the desktop's own ("._a.png")."""
    real = folder.resolve()
    if real in above:
        raise InputError(f"{folder} must be a folder that does not hold itself, got a link to one")
    found: list[Path] = []
    for path in _entries(folder):
        if not path.name.startswith("."):
            found += _files(path, above | {real}) if path.is_dir() else [path]
    return sorted(found)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise _unreadable(folder, error) from None


def _unreadable(folder: Path, error: OSError) -> InputError:
    return InputError(f"data folder must be readable, got {folder}: {error.strerror}")


def _renames(root: Path) -> str:
    """Returns what to rename where a folder lies under another usual name, else nothing."""
    there = [path.name for path in _entries(root) if path.is_dir()]
    words = [
        f"{name}/ to {wanted}/"
        for wanted, others in _CALLED.items()
        for name in there
        if name != wanted and name.lower() in (wanted, *others)
    ]
    return f"; rename {' and '.join(words)}" if words else ""


def _contents(root: Path, most: int = 5) -> str:
    names = [path.name for path in _entries(root)]
    return _shorten(names, most) if names else "nothing in it"


def _shorten(names: Iterable[str], most: int) -> str:
    listed = list(names)
    tail = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + tail

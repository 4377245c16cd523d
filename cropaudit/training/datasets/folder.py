"""Any folder of images and masks; names alone are looked at, no picture is opened.

Three layouts are read. A picture's partner is the mask of the same stem in the same sub-folder.

* flat: ``images/`` and ``masks/``, sub-folders included; the last quarter of the sorted names (at
  least one) is the validation split;
* split: ``images/train``, ``images/val`` and the same below ``masks``; a ``test`` folder stays
  unread, so that it is still unseen when it is needed;
* parts: folders that are themselves flat or split. ``scenes`` is read where it exists, because
  dense masks are what audits are about; a lone part of another name is read too, and with several
  the caller chooses by passing the part itself.

Classes are the ids that occur in what is read, named by ``classes.txt`` where there is one. Where a
``labelmap.txt`` names colours, masks are read as colours. No picture is passed over in silence:
what cannot be read or paired is refused, and what is left out on purpose is listed.
"""

from collections import Counter
from pathlib import Path

from cropaudit.accounting.geometry.image_sizes import SUFFIXES, UNREAD_SUFFIXES
from cropaudit.errors import InputError
from cropaudit.training.datasets.classes import read_names
from cropaudit.training.datasets.layout import Layout, Listing, Pair, Pairs, entries, split_tail
from cropaudit.training.datasets.voc import LABELMAP, colour_listing

__all__ = ["FOLDER"]

_IMAGE_ENDS = tuple(sorted(SUFFIXES))
_MASK_ENDS = (".bmp", ".gif", ".png", ".tif", ".tiff")  # stored without loss
_PICTURES = SUFFIXES | UNREAD_SUFFIXES
_CALLED = {
    "images": ("image", "img", "imgs", "jpegimages", "pictures", "rgb", "x"),
    "masks": ("mask", "labels", "label", "annotations", "segmentation", "segmentationclass", "gt"),
}
_SPLITS = {"train", "val", "test", "training", "valid", "validation", "testing"}
_STRUCTURE = (
    "images/ and masks/ (pictures flat, or in train/ and val/ below both), or one part that does, "
    "such as scenes/"
)


def _open(root: Path) -> Listing:
    top = _read_part(root)
    splits = ("train", "val") if (top / "images" / "train").is_dir() else ("",)
    if len(splits) == 2:
        _require_splits(top)
    parts = [_pairs(top, split) for split in splits]
    train, validation = parts if len(parts) == 2 else split_tail(parts[0], top / "images")
    left = _left_out(top, splits)
    if (top / LABELMAP).is_file():
        return colour_listing(top, train, validation, left)
    return Listing(top, train, validation, None, names=read_names(top), left_out=left)


def _read_part(root: Path) -> Path:
    """Returns the folder, or the part of it that is read."""
    if _is_part(root):
        return root
    parts = [path for path in entries(root) if path.is_dir() and _is_part(path)]
    chosen = [part for part in parts if part.name == "scenes"] or parts
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        names = ", ".join(part.name for part in chosen)
        raise InputError(f"data folder must be one of its parts ({names}), got {root}")
    raise InputError(f"data folder must hold {_STRUCTURE}, got {root} with {_contents(root)}")


def _is_part(root: Path) -> bool:
    return (root / "images").is_dir() and (root / "masks").is_dir()


def _require_splits(root: Path) -> None:
    for split in (root / "images" / "val", root / "masks" / "train", root / "masks" / "val"):
        if not split.is_dir():
            raise InputError(f"{root} has images/train, so it must have {split}, which is missing")
    for kind in ("images", "masks"):
        beside = [path for path in entries(root / kind, _PICTURES) if path.is_file()]
        if beside:
            raise InputError(
                f"{root / kind} must hold either pictures or train/ and val/, got both: {beside[0]}"
            )


def _pairs(root: Path, split: str) -> Pairs:
    images = _by_stem(root / "images" / split, _IMAGE_ENDS, split)
    masks = _by_stem(root / "masks" / split, _MASK_ENDS, split)
    ends = ", ".join(_IMAGE_ENDS)
    if not images and not masks:
        raise InputError(f"{root / 'images' / split} must hold images ({ends}), got none")
    for stem in sorted(images.keys() - masks.keys()):
        wanted = root / "masks" / split / f"{stem}.png"
        raise InputError(f"image {images[stem]} must have a mask {wanted}, got no such file")
    for stem in sorted(masks.keys() - images.keys()):
        wanted = root / "images" / split / stem
        raise InputError(
            f"mask {masks[stem]} must have an image {wanted} ({ends}), got no such file"
        )
    return tuple(Pair(images[stem], masks[stem]) for stem in sorted(images))


def _by_stem(folder: Path, ends: tuple[str, ...], split: str) -> dict[str, Path]:
    """Returns the pictures by their place below the folder, without the ending."""
    found: dict[str, Path] = {}
    for path in _files(folder):
        inside, end = path.relative_to(folder), path.suffix.lower()
        if not split and len(inside.parts) > 1 and inside.parts[0].lower() in _SPLITS:
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


def _left_out(root: Path, splits: tuple[str, ...]) -> tuple[str, ...]:
    """Returns what is below ``images`` and ``masks`` and is read by no split, counted by place."""
    places: Counter[str] = Counter()
    for kind in ("images", "masks"):
        for path in _files(root / kind):
            first, *deeper = path.relative_to(root / kind).parts
            if splits != ("",) and first not in splits:
                places[f"{kind}/{first}" if deeper else f"{kind}/*{path.suffix}"] += 1
            elif path.suffix.lower() not in _PICTURES:
                places[f"{kind}/*{path.suffix}"] += 1
    return tuple(f"{place} ({count})" for place, count in sorted(places.items()))


def _files(folder: Path, above: frozenset[Path] = frozenset()) -> list[Path]:
    """Returns the files at any depth, sorted, hidden ones left out."""
    real = folder.resolve()
    if real in above:
        raise InputError(f"{folder} must be a folder that does not hold itself, got a link to one")
    found: list[Path] = []
    for path in entries(folder):
        found += _files(path, above | {real}) if path.is_dir() else [path]
    return sorted(found)


def _contents(root: Path, most: int = 5) -> str:
    """Returns what a folder holds, and what to rename where it lies under another usual name."""
    names = [path.name for path in entries(root)]
    tail = f" and {len(names) - most} more" if len(names) > most else ""
    words = [
        f"{path.name}/ to {wanted}/"
        for wanted, others in _CALLED.items()
        for path in entries(root)
        if path.is_dir() and path.name != wanted and path.name.lower() in (wanted, *others)
    ]
    renames = f"; rename {' and '.join(words)}" if words else ""
    return (", ".join(names[:most]) or "nothing in it") + tail + renames


FOLDER = Layout(kind="folder", structure=_STRUCTURE, sign=lambda root: True, open=_open)

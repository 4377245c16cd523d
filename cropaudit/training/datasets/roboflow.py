"""Roboflow's "Semantic Segmentation Masks": ``train`` and ``valid`` with pictures side by side.

``NAME.jpg`` has its mask in ``NAME_mask.png``, and ``_classes.csv`` names the pixel values; the
folder ``test`` stays unread.
"""

import csv
from pathlib import Path

from cropaudit.accounting.image_sizes import SUFFIXES
from cropaudit.errors import InputError
from cropaudit.training.datasets.layout import (
    Layout,
    Listing,
    entries,
    folder_under,
    read_lines,
    refuse_missing,
)
from cropaudit.training.folder_classes import ClassMap, is_class
from cropaudit.training.folder_layout import Pair
from cropaudit.training.folder_pictures import read_mask

__all__ = ["ROBOFLOW"]

_CLASSES = "_classes.csv"
_MASK = "_mask.png"


def _sign(root: Path) -> bool:
    return (root / "train" / _CLASSES).is_file()


def _open(root: Path) -> Listing:
    parts = [folder_under(root, split, "roboflow") for split in ("train", "valid")]
    names, others = (_names(part / _CLASSES) for part in parts)
    if names != others:
        raise InputError(
            f"{parts[1] / _CLASSES} must name the classes of {parts[0] / _CLASSES}, got others"
        )
    classes = ClassMap.of({id_: name for id_, name in names.items() if is_class(name)})
    train, validation = (_pairs(part) for part in parts)
    return Listing(root, train, validation, read_mask, lambda _: classes)


def _pairs(part: Path) -> tuple[Pair, ...]:
    pictures = [path for path in entries(part) if path.suffix.lower() in SUFFIXES]
    images = [path for path in pictures if not path.name.endswith(_MASK)]
    pairs = [Pair(path, path.with_name(f"{path.stem}{_MASK}")) for path in images]
    return refuse_missing(pairs, part, part.glob(f"[!.]*{_MASK}"))


def _names(path: Path) -> dict[int, str]:
    """Returns the names by pixel value; the first line is the table's head."""
    rows = list(csv.reader(read_lines(path), skipinitialspace=True))[1:]
    try:
        names = {int(value): name.strip() for value, name in rows}
    except ValueError:
        raise InputError(f'{path} must hold lines "pixel value, class", got others') from None
    if len(names) < 2:
        raise InputError(f"{path} must name at least 2 classes, got {len(names)}")
    return names


ROBOFLOW = Layout(
    kind="roboflow",
    structure=f"train/ and valid/, each with NAME.jpg, NAME{_MASK} and {_CLASSES}",
    sign=_sign,
    open=_open,
)

"""labelme's export in Pascal VOC's folders: ``class_names.txt``, JPEGImages and label PNG.

An index is the line of its name, from 0 (``_background_``); 255 is what was marked ``__ignore__``.
Older versions write the PNG to SegmentationClassPNG and arrays to SegmentationClass. There is no
split: the last quarter of the sorted names validates.
"""

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
    split_tail,
)
from cropaudit.training.folder_classes import ClassMap
from cropaudit.training.folder_layout import Pair
from cropaudit.training.folder_pictures import read_mask

__all__ = ["LABELME"]

_NAMES = "class_names.txt"
_MASKS = ("SegmentationClassPNG", "SegmentationClass")
_IGNORED = "__ignore__"


def _sign(root: Path) -> bool:
    return (root / _NAMES).is_file() and (root / "JPEGImages").is_dir()


def _open(root: Path) -> Listing:
    images = folder_under(root, "JPEGImages", "labelme")
    masks = next((root / name for name in _MASKS if list((root / name).glob("[!.]*.png"))), None)
    if masks is None:
        raise InputError(f"labelme folder {root} must hold SegmentationClass/*.png, got none")
    found = [path for path in entries(images) if path.suffix.lower() in SUFFIXES]
    matched = [Pair(path, masks / f"{path.stem}.png") for path in found]
    pairs = refuse_missing(matched, images, masks.glob("[!.]*.png"))
    names = [name for name in read_lines(root / _NAMES) if name != _IGNORED]
    classes = ClassMap.of(dict(enumerate(name.strip("_") for name in names)))
    return Listing(root, *split_tail(pairs, images), read_mask, lambda _: classes)


LABELME = Layout(
    kind="labelme",
    structure=f"{_NAMES}, JPEGImages/ and SegmentationClass/*.png",
    sign=_sign,
    open=_open,
)

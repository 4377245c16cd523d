"""labelme's export in Pascal VOC's folders: ``class_names.txt``, JPEGImages and label PNG.

An index is the line of its name, from 0 (``_background_``); 255 is what was marked ``__ignore__``.
Older versions write the PNG to SegmentationClassPNG and arrays to SegmentationClass. There is no
split: the last quarter of the sorted names validates.
"""

from pathlib import Path

from cropaudit.accounting.geometry.image_sizes import SUFFIXES
from cropaudit.errors import InputError
from cropaudit.training.datasets.classes import ClassMap
from cropaudit.training.datasets.layout import (
    Layout,
    Listing,
    by_name,
    read_lines,
    split_tail,
)

__all__ = ["LABELME"]

_NAMES, _IMAGES = "class_names.txt", "JPEGImages"
_MASKS = ("SegmentationClassPNG", "SegmentationClass")


def _open(root: Path) -> Listing:
    masks = next((name for name in _MASKS if list((root / name).glob("[!.]*.png"))), None)
    if masks is None:
        raise InputError(f"labelme folder {root} must hold SegmentationClass/*.png, got none")
    pairs = by_name(root, (_IMAGES, masks), "labelme", SUFFIXES)
    names = [name for name in read_lines(root / _NAMES) if name != "__ignore__"]
    classes = ClassMap.of(dict(enumerate(name.strip("_") for name in names)))
    return Listing(root, *split_tail(pairs, root / _IMAGES), classes)


LABELME = Layout(
    kind="labelme",
    structure=f"{_NAMES}, {_IMAGES}/ and SegmentationClass/*.png",
    sign=lambda root: (root / _NAMES).is_file() and (root / _IMAGES).is_dir(),
    open=_open,
)

"""Pascal VOC: ``VOCdevkit/VOC2012`` with JPEGImages, SegmentationClass and ImageSets/Segmentation.

Masks are palette PNG whose indices are the classes; 255, the outline of objects, is ignored. Lists
name the splits, as in torchvision's ``VOCSegmentation``. Where there are several years in one
devkit, the last is read.
"""

from pathlib import Path

from cropaudit.errors import InputError
from cropaudit.training.datasets.layout import (
    Layout,
    Listing,
    entries,
    folder_under,
    read_lines,
    refuse_missing,
)
from cropaudit.training.folder_classes import ClassMap
from cropaudit.training.folder_layout import Pair
from cropaudit.training.folder_pictures import read_mask

__all__ = ["VOC"]

_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat"),
    *("chair", "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant"),
    *("sheep", "sofa", "train", "tvmonitor"),
)
_LISTS = Path("ImageSets", "Segmentation")


def _sign(root: Path) -> bool:
    return (root / "VOCdevkit").is_dir() or bool(_years(root))


def _open(root: Path) -> Listing:
    years = _years(root)
    if not years:
        raise InputError(f"voc folder {root} must hold VOCdevkit/VOC2012/JPEGImages/, got none")
    year = years[-1]
    folder_under(year, "SegmentationClass", "voc")
    train, validation = (_pairs(year, split) for split in ("train", "val"))
    classes = ClassMap.of(dict(enumerate(_CLASSES)))
    return Listing(year, train, validation, read_mask, lambda _: classes)


def _years(root: Path) -> list[Path]:
    """Returns the folders of years, whether the root is one, holds some or holds the devkit."""
    if not root.is_dir():
        return []
    inner = [path for top in (root / "VOCdevkit", root) if top.is_dir() for path in entries(top)]
    return [
        path
        for path in (root, *sorted(inner, key=lambda path: path.name))
        if (path / "JPEGImages").is_dir()
    ]


def _pairs(year: Path, split: str) -> tuple[Pair, ...]:
    path = year / _LISTS / f"{split}.txt"
    pairs = [
        Pair(year / "JPEGImages" / f"{name}.jpg", year / "SegmentationClass" / f"{name}.png")
        for name in read_lines(path)
    ]
    return refuse_missing(pairs, path)


VOC = Layout(
    kind="voc",
    structure="VOCdevkit/VOC2012/ with JPEGImages/*.jpg, SegmentationClass/*.png and "
    "ImageSets/Segmentation/{train,val}.txt",
    sign=_sign,
    open=_open,
)

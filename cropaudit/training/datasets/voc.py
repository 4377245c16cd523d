"""Pascal VOC: ``VOCdevkit/VOC2012`` with JPEGImages, SegmentationClass and ImageSets/Segmentation.

Masks are palette PNG whose indices are the classes; 255, the outline of objects, is ignored. Lists
name the splits, as in torchvision's ``VOCSegmentation``. Where there are several years in one
devkit, the last is read.
"""

from pathlib import Path

from cropaudit.errors import InputError
from cropaudit.training.datasets.classes import ClassMap
from cropaudit.training.datasets.layout import Layout, Listing, by_list, entries, folder_under

__all__ = ["VOC"]

_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat"),
    *("chair", "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant"),
    *("sheep", "sofa", "train", "tvmonitor"),
)


def _open(root: Path) -> Listing:
    years = _years(root)
    if not years:
        raise InputError(f"voc folder {root} must hold VOCdevkit/VOC2012/JPEGImages/, got none")
    year = years[-1]
    masks, lists = folder_under(year, "SegmentationClass", "voc"), year / "ImageSets/Segmentation"
    train, validation = (
        by_list(lists / f"{split}.txt", year / "JPEGImages", masks) for split in ("train", "val")
    )
    return Listing(year, train, validation, ClassMap.of(dict(enumerate(_CLASSES))))


def _years(root: Path) -> list[Path]:
    """Returns the folders of years, whether the root is one, holds some or holds the devkit."""
    tops = [top for top in (root / "VOCdevkit", root) if top.is_dir()]
    below = sorted((path for top in tops for path in entries(top)), key=lambda path: path.name)
    return [path for path in (root, *below) if (path / "JPEGImages").is_dir()]


VOC = Layout(
    kind="voc",
    structure="VOCdevkit/VOC2012/ with JPEGImages/*.jpg, SegmentationClass/*.png and "
    "ImageSets/Segmentation/{train,val}.txt",
    sign=lambda root: (root / "VOCdevkit").is_dir() or bool(_years(root)),
    open=_open,
)

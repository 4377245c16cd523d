"""Cityscapes: ``leftImg8bit/{train,val}/CITY/*_leftImg8bit.png`` beside ``gtFine``.

Read are the fine annotations, ``*_gtFine_labelIds.png``: of the 34 ids in them the 19 that the
benchmark evaluates are classes, in its order, and the others are ignored. The table of ids is
torchvision's, whose own data set class lists the same files (but gives instances unless asked for
``target_type="semantic"``). The test split has no labels and is not read.
"""

from pathlib import Path

import torchvision

from cropaudit.errors import InputError
from cropaudit.training.datasets.layout import (
    Layout,
    Listing,
    entries,
    folder_under,
    refuse_missing,
    sub_folders,
)
from cropaudit.training.folder_classes import ClassMap
from cropaudit.training.folder_layout import Pair
from cropaudit.training.folder_pictures import read_mask

__all__ = ["CITYSCAPES", "benchmark_classes"]

_IMAGE = "_leftImg8bit.png"
_MASK = "_gtFine_labelIds.png"
_NO_CLASS = (-1, 255)


def _sign(root: Path) -> bool:
    return (root / "leftImg8bit").is_dir() or (root / "gtFine").is_dir()


def _open(root: Path) -> Listing:
    images = folder_under(root, "leftImg8bit", "cityscapes")
    masks = folder_under(root, "gtFine", "cityscapes")
    train, validation = (_pairs(images, masks, split) for split in ("train", "val"))
    return Listing(root, train, validation, read_mask, lambda _: benchmark_classes())


def _pairs(images: Path, masks: Path, split: str) -> tuple[Pair, ...]:
    cities = folder_under(images, split, "cityscapes")
    pairs = [
        Pair(image, masks / split / city.name / (image.name.removesuffix(_IMAGE) + _MASK))
        for city in sub_folders(cities)
        for image in entries(city)
        if image.name.endswith(_IMAGE)
    ]
    if not pairs:
        raise InputError(f"{cities} must hold CITY/*{_IMAGE}, got no such file")
    return refuse_missing(pairs, cities, (masks / split).glob(f"*/*{_MASK}"))


def benchmark_classes() -> ClassMap:
    """Returns the 19 classes that the benchmark evaluates, by their ids in label files."""
    kept = [c for c in torchvision.datasets.Cityscapes.classes if c.train_id not in _NO_CLASS]
    return ClassMap.of({c.id: c.name for c in sorted(kept, key=lambda c: c.train_id)})


CITYSCAPES = Layout(
    kind="cityscapes",
    structure="leftImg8bit/{train,val}/CITY/*_leftImg8bit.png and "
    "gtFine/{train,val}/CITY/*_gtFine_labelIds.png",
    sign=_sign,
    open=_open,
)

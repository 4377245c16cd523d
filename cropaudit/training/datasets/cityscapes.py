"""Cityscapes: ``leftImg8bit/{train,val}/CITY/*_leftImg8bit.png`` beside ``gtFine``.

Read are the fine annotations, ``*_gtFine_labelIds.png``: of the 34 ids in them the 19 that the
benchmark evaluates are classes, in its order, and the others are ignored. The table of ids is
torchvision's, whose own data set class lists the same files (but gives instances unless asked for
``target_type="semantic"``). The test split has no labels and is not read.
"""

from pathlib import Path

from cropaudit.errors import InputError
from cropaudit.training.datasets.classes import ClassMap
from cropaudit.training.datasets.layout import (
    Layout,
    Listing,
    Pair,
    Pairs,
    entries,
    folder_under,
    refuse_missing,
)

__all__ = ["CITYSCAPES", "benchmark_classes"]

_IMAGE, _MASK = "_leftImg8bit.png", "_gtFine_labelIds.png"


def _open(root: Path) -> Listing:
    images, masks = (folder_under(root, name, "cityscapes") for name in ("leftImg8bit", "gtFine"))
    train, validation = (_pairs(images, masks, split) for split in ("train", "val"))
    return Listing(root, train, validation, benchmark_classes())


def _pairs(images: Path, masks: Path, split: str) -> Pairs:
    cities = folder_under(images, split, "cityscapes")
    pairs = [
        Pair(image, masks / split / city.name / (image.name.removesuffix(_IMAGE) + _MASK))
        for city in entries(cities)
        if city.is_dir()
        for image in entries(city)
        if image.name.endswith(_IMAGE)
    ]
    if not pairs:
        raise InputError(f"{cities} must hold CITY/*{_IMAGE}, got no such file")
    return refuse_missing(pairs, cities, (masks / split).glob(f"*/*{_MASK}"))


def benchmark_classes() -> ClassMap:
    """Returns the 19 classes that the benchmark evaluates, by their ids in label files."""
    import torchvision

    kept = [c for c in torchvision.datasets.Cityscapes.classes if c.train_id not in (-1, 255)]
    return ClassMap.of({c.id: c.name for c in sorted(kept, key=lambda c: c.train_id)})


CITYSCAPES = Layout(
    kind="cityscapes",
    structure=f"leftImg8bit/{{train,val}}/CITY/*{_IMAGE} and gtFine/{{train,val}}/CITY/*{_MASK}",
    sign=lambda root: (root / "leftImg8bit").is_dir() or (root / "gtFine").is_dir(),
    open=_open,
)

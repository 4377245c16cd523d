"""Data sets with the classes of Cityscapes: its own folders, KITTI's and BDD100K's.

* Cityscapes: ``leftImg8bit/{train,val}/CITY/*_leftImg8bit.png`` beside ``gtFine``. Read are the
  fine annotations, ``*_gtFine_labelIds.png``: of the 34 ids in them the 19 that the benchmark
  evaluates are classes, in its order, and the others are ignored. The table of ids is
  torchvision's, whose own data set class lists the same files (but gives instances unless asked for
  ``target_type="semantic"``). The test split has no labels and is not read.
* KITTI's semantics: the same ids, in ``training``; of its 200 images the last quarter validates.
* BDD100K's semantic segmentation: masks hold the 19 training ids, and 255 is ignored.
"""

from pathlib import Path

from cropaudit.errors import InputError
from cropaudit.training.datasets.classes import ClassMap
from cropaudit.training.datasets.layout import (
    Layout,
    Listing,
    Pair,
    Pairs,
    by_name,
    entries,
    folder_under,
    inner,
    refuse_missing,
    split_tail,
)

__all__ = ["BDD100K", "CITYSCAPES", "KITTI"]

_IMAGE, _MASK = "_leftImg8bit.png", "_gtFine_labelIds.png"


def _open(root: Path) -> Listing:
    images, masks = (folder_under(root, name, "cityscapes") for name in ("leftImg8bit", "gtFine"))
    train, validation = (_pairs(images, masks, split) for split in ("train", "val"))
    return Listing(root, train, validation, _benchmark_classes())


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


def _benchmark_classes() -> ClassMap:
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


def _open_kitti(root: Path) -> Listing:
    pairs = by_name(root, ("training/image_2", "training/semantic"), "kitti", (".png",))
    return Listing(root, *split_tail(pairs, root / "training/image_2"), _benchmark_classes())


KITTI = Layout(
    kind="kitti",
    structure="training/image_2/*.png and training/semantic/*.png",
    sign=lambda root: (root / "training/semantic").is_dir(),
    open=_open_kitti,
)


def _open_bdd100k(root: Path) -> Listing:
    top = inner(root, "bdd100k")
    train, validation = (
        by_name(top, (f"images/10k/{split}", f"labels/sem_seg/masks/{split}"), "bdd100k")
        for split in ("train", "val")
    )
    return Listing(top, train, validation, ClassMap.of(dict(enumerate(_benchmark_classes().names))))


BDD100K = Layout(
    kind="bdd100k",
    structure="images/10k/{train,val}/*.jpg and labels/sem_seg/masks/{train,val}/*.png",
    sign=lambda root: (inner(root, "bdd100k") / "labels/sem_seg/masks").is_dir(),
    open=_open_bdd100k,
)

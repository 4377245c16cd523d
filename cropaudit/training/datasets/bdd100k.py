"""BDD100K's semantic segmentation: ``images/10k`` and ``labels/sem_seg/masks``, train and val.

Masks hold the 19 training ids of Cityscapes, and 255 is ignored. The test images have no labels.
"""

from pathlib import Path

from cropaudit.training.datasets.cityscapes import benchmark_classes
from cropaudit.training.datasets.layout import (
    Layout,
    Listing,
    entries,
    folder_under,
    refuse_missing,
)
from cropaudit.training.folder_classes import ClassMap
from cropaudit.training.folder_layout import Pair
from cropaudit.training.folder_pictures import read_mask

__all__ = ["BDD100K"]

_TOP = "bdd100k"
_IMAGES, _MASKS = Path("images", "10k"), Path("labels", "sem_seg", "masks")


def _sign(root: Path) -> bool:
    return any((top / _MASKS).is_dir() for top in (root, root / _TOP))


def _open(root: Path) -> Listing:
    top = root / _TOP if (root / _TOP).is_dir() else root
    classes = ClassMap.of(dict(enumerate(benchmark_classes().names)))
    train, validation = (_pairs(top, split) for split in ("train", "val"))
    return Listing(top, train, validation, read_mask, lambda _: classes)


def _pairs(top: Path, split: str) -> tuple[Pair, ...]:
    images = folder_under(top, _IMAGES / split, "bdd100k")
    masks = folder_under(top, _MASKS / split, "bdd100k")
    found = [path for path in entries(images) if path.suffix == ".jpg"]
    pairs = [Pair(path, masks / f"{path.stem}.png") for path in found]
    return refuse_missing(pairs, images, masks.glob("[!.]*.png"))


BDD100K = Layout(
    kind="bdd100k",
    structure=f"{_IMAGES.as_posix()}/{{train,val}}/*.jpg and "
    f"{_MASKS.as_posix()}/{{train,val}}/*.png",
    sign=_sign,
    open=_open,
)

"""BDD100K's semantic segmentation: ``images/10k`` and ``labels/sem_seg/masks``, train and val.

Masks hold the 19 training ids of Cityscapes, and 255 is ignored. The test images have no labels.
"""

from pathlib import Path

from cropaudit.training.datasets.cityscapes import benchmark_classes
from cropaudit.training.datasets.classes import ClassMap
from cropaudit.training.datasets.layout import Layout, Listing, by_name, inner

__all__ = ["BDD100K"]

_TOP = "bdd100k"
_IMAGES, _MASKS = "images/10k", "labels/sem_seg/masks"


def _open(root: Path) -> Listing:
    top = inner(root, _TOP)
    train, validation = (
        by_name(top, (f"{_IMAGES}/{split}", f"{_MASKS}/{split}"), "bdd100k")
        for split in ("train", "val")
    )
    return Listing(top, train, validation, ClassMap.of(dict(enumerate(benchmark_classes().names))))


BDD100K = Layout(
    kind="bdd100k",
    structure=f"{_IMAGES}/{{train,val}}/*.jpg and {_MASKS}/{{train,val}}/*.png",
    sign=lambda root: (inner(root, _TOP) / _MASKS).is_dir(),
    open=_open,
)

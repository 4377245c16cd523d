"""Oxford-IIIT Pet: ``images/*.jpg``, ``annotations/trimaps/*.png`` and two lists.

A trimap marks the pet by 1, its surroundings by 2 and what is not classified, the outline, by 3,
which is ignored. ``trainval.txt`` is trained on and ``test.txt`` validates: there is no third list.
The folder may be the one that holds ``oxford-iiit-pet``, as torchvision's class has it.
"""

from pathlib import Path

from cropaudit.training.datasets.layout import (
    Layout,
    Listing,
    folder_under,
    read_lines,
    refuse_missing,
)
from cropaudit.training.folder_classes import ClassMap
from cropaudit.training.folder_layout import Pair
from cropaudit.training.folder_pictures import read_mask

__all__ = ["OXFORD_PET"]

_INNER = "oxford-iiit-pet"
_TRIMAPS = Path("annotations", "trimaps")


def _sign(root: Path) -> bool:
    return any((place / _TRIMAPS).is_dir() for place in (root, root / _INNER))


def _open(root: Path) -> Listing:
    inner = root / _INNER if (root / _INNER).is_dir() else root
    folder_under(inner, "images", "oxford-pet")
    folder_under(inner, _TRIMAPS, "oxford-pet")
    train, validation = (_pairs(inner, split) for split in ("trainval", "test"))
    classes = ClassMap.of({2: "background", 1: "pet"})
    return Listing(inner, train, validation, read_mask, lambda _: classes)


def _pairs(root: Path, split: str) -> tuple[Pair, ...]:
    path = root / "annotations" / f"{split}.txt"
    names = [line.split()[0] for line in read_lines(path)]
    pairs = [
        Pair(root / "images" / f"{name}.jpg", root / _TRIMAPS / f"{name}.png") for name in names
    ]
    return refuse_missing(pairs, path)


OXFORD_PET = Layout(
    kind="oxford-pet",
    structure="images/*.jpg, annotations/trimaps/*.png and annotations/{trainval,test}.txt",
    sign=_sign,
    open=_open,
)

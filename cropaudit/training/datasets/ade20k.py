"""ADE20K as its scene parsing benchmark hands it out (``ADEChallengeData2016``).

``images`` and ``annotations``, each with ``training`` and ``validation``; 150 classes from 1 on, 0
is all others and ignored. ``objectInfo150.txt`` names them where it is there.
"""

from pathlib import Path

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

__all__ = ["ADE20K"]

_TOP = "ADEChallengeData2016"
_NAMES = "objectInfo150.txt"
_CLASSES = range(1, 151)


def _sign(root: Path) -> bool:
    return any((top / "annotations" / "training").is_dir() for top in (root, root / _TOP))


def _open(root: Path) -> Listing:
    top = root / _TOP if (root / _TOP).is_dir() else root
    names = _names(top / _NAMES)
    classes = ClassMap.of({id_: names.get(id_, f"class {id_}") for id_ in _CLASSES})
    train, validation = (_pairs(top, split) for split in ("training", "validation"))
    return Listing(top, train, validation, read_mask, lambda _: classes)


def _pairs(top: Path, split: str) -> tuple[Pair, ...]:
    images = folder_under(top, Path("images", split), "ade20k")
    masks = folder_under(top, Path("annotations", split), "ade20k")
    found = [path for path in entries(images) if path.suffix == ".jpg"]
    pairs = [Pair(path, masks / f"{path.stem}.png") for path in found]
    return refuse_missing(pairs, images, masks.glob("[!.]*.png"))


def _names(path: Path) -> dict[int, str]:
    """Returns the first of each class's names: tables part the id from them by tabulators."""
    if not path.is_file():
        return {}
    rows = [line.split("\t") for line in read_lines(path)]
    return {int(row[0]): row[-1].split(",")[0].strip() for row in rows if row[0].strip().isdigit()}


ADE20K = Layout(
    kind="ade20k",
    structure="images/{training,validation}/*.jpg and annotations/{training,validation}/*.png",
    sign=_sign,
    open=_open,
)

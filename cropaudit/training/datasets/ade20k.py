"""ADE20K as its scene parsing benchmark hands it out (``ADEChallengeData2016``).

150 classes from 1 on, 0 is all others and ignored. ``objectInfo150.txt`` names them where it is
there.
"""

from pathlib import Path

from cropaudit.training.datasets.classes import ClassMap
from cropaudit.training.datasets.layout import (
    Layout,
    Listing,
    by_name,
    inner,
    read_lines,
)

__all__ = ["ADE20K"]

_TOP = "ADEChallengeData2016"
_CLASSES = range(1, 151)


def _open(root: Path) -> Listing:
    top = inner(root, _TOP)
    names = _names(top / "objectInfo150.txt")
    train, validation = (
        by_name(top, (f"images/{split}", f"annotations/{split}"), "ade20k")
        for split in ("training", "validation")
    )
    table = {id_: names.get(id_, f"class {id_}") for id_ in _CLASSES}
    return Listing(top, train, validation, ClassMap.of(table))


def _names(path: Path) -> dict[int, str]:
    """Returns the first of each class's names: tables part the id from them by tabulators."""
    rows = [line.split("\t") for line in read_lines(path)] if path.is_file() else []
    return {int(row[0]): row[-1].split(",")[0].strip() for row in rows if row[0].strip().isdigit()}


ADE20K = Layout(
    kind="ade20k",
    structure="images/{training,validation}/*.jpg and annotations/{training,validation}/*.png",
    sign=lambda root: (inner(root, _TOP) / "annotations" / "training").is_dir(),
    open=_open,
)

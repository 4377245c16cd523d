"""Class names of a folder, and the map from ids in masks to contiguous indices.

Ids that occur in the read masks become 0, 1, 2... in their order; classes named unlabeled,
unlabelled, void or ignore become `IGNORE`, and so does 255 unless it has a name of its own. Where
only one class would be left beside an ignored 0, as in masks of 0 and 1 next to a class list with
"0 unlabeled", 0 is the background instead.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cropaudit.errors import InputError
from cropaudit.training.data import IGNORE

__all__ = ["ClassMap", "is_class", "map_classes", "read_names"]

_UNLABELLED = frozenset({"unlabeled", "unlabelled", "void", "ignore"})
_MOST = 255
# "3 Road", "1 'person' 'person' 1" or "0 unlabeled unlabeled 0": id, name, and what COCO's lists
# add behind it, a supercategory and whether the class is a thing.
_LINE = re.compile(r"""(\d+)\s+(?:'([^']+)'|"([^"]+)"|(.+?))(?:\s+(?:'[^']*'|\S+)\s+[01])?""")


@dataclass(frozen=True)
class ClassMap:
    """Which id in the files is which index in memory; all other ids are ignored.

    Attributes:
        ids: The ids that bear a class, ascending.
        indices: The class of each id; several ids may share one.
        names: Of the classes.
    """

    ids: tuple[int, ...]
    indices: tuple[int, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, table: Mapping[int, str]) -> "ClassMap":
        """Returns the map of a fixed table of ids and names; equal names are one class.

        Classes are numbered in the order in which the table names them first.

        >>> ClassMap.of({7: "car", 2: "road", 9: "car"})
        ClassMap(ids=(2, 7, 9), indices=(1, 0, 0), names=('car', 'road'))
        """
        names = tuple(dict.fromkeys(table.values()))
        number = {name: index for index, name in enumerate(names)}
        ids = tuple(sorted(table))
        return cls(ids, tuple(number[table[id_]] for id_ in ids), names)

    def apply(self, mask: NDArray[np.int32]) -> NDArray[np.uint8]:
        """Returns the mask with contiguous indices and `IGNORE`."""
        if not self.ids:
            return np.full(mask.shape, IGNORE, dtype=np.uint8)
        known = np.array(self.ids, dtype=np.int32)
        place = np.searchsorted(known, mask).clip(max=len(known) - 1)
        index = np.array(self.indices, dtype=np.uint8)[place]
        return np.where(known[place] == mask, index, np.uint8(IGNORE))


def map_classes(ids: Iterable[int], names: Mapping[int, str], where: Path) -> ClassMap:
    """Returns the map for the ids that occur.

    Args:
        ids: Ids that occur in any mask.
        names: Names of ids; an id without one is called "class 3".
        where: The folder, for messages.

    Raises:
        InputError: If more than 255 or fewer than 2 classes are left.
    """
    occurring = sorted(set(ids) - ({IGNORE} - set(names)))
    names = {id_: names.get(id_, f"class {id_}") for id_ in occurring}
    kept = [id_ for id_ in occurring if is_class(names[id_])]
    if not kept:
        raise InputError(f"masks in {where} must label at least one pixel, got none labelled")
    if len(kept) == 1 and kept != [0] and 0 in names:
        kept, names[0] = [0, *kept], "background"
    if not 2 <= len(kept) <= _MOST:
        means = f'{IGNORE} means ignore unless classes.txt names it, as "{IGNORE} person"'
        only = f" ({names[kept[0]]}; {means})" if len(kept) == 1 else ""
        raise InputError(
            f"masks in {where} must hold between 2 and {_MOST} classes, got {len(kept)}{only}"
        )
    return ClassMap(tuple(kept), tuple(range(len(kept))), tuple(names[id_] for id_ in kept))


def is_class(name: str) -> bool:
    """Returns whether a name is a class and no word for pixels without one.

    >>> is_class("road"), is_class(" Void ")
    (True, False)
    """
    return name.strip().lower() not in _UNLABELLED


def read_names(root: Path) -> dict[int, str]:
    """Reads ``classes.txt`` of a folder or of its parent; returns nothing where neither has one.

    Raises:
        InputError: If a line is not "id name", or an id stands twice.
    """
    for path in (root / "classes.txt", root.parent / "classes.txt"):
        if path.is_file():
            return _parse(path)
    return {}


def _parse(path: Path) -> dict[int, str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path} must be a readable UTF-8 text, got another file") from None
    names: dict[int, str] = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise InputError(f'{path} line {number} must be "id name", got {text[:60]!r}')
        if int(match[1]) in names:
            raise InputError(f"{path} line {number} must name a new id, got {match[1]} again")
        names[int(match[1])] = match[2] or match[3] or match[4]
    return names

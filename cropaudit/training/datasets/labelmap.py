"""``labelmap.txt``, ``name:red,green,blue`` a line, as CVAT writes it, and masks in its colours.

What follows the colour, parts and actions, is left unread; so are lines that begin with ``#``.
"""

import re
from functools import partial
from pathlib import Path

from cropaudit.errors import InputError
from cropaudit.training.datasets.colours import pack, read_known
from cropaudit.training.datasets.layout import Listing, read_lines
from cropaudit.training.folder_classes import ClassMap, is_class
from cropaudit.training.folder_layout import Pair

__all__ = ["LABELMAP", "colour_listing"]

LABELMAP = "labelmap.txt"
_LINE = re.compile(r"([^:]+):(\d{1,3}),\s*(\d{1,3}),\s*(\d{1,3})(?::.*)?")
_BYTE = 255


def colour_listing(
    root: Path,
    train: tuple[Pair, ...],
    validation: tuple[Pair, ...],
    left_out: tuple[str, ...] = (),
) -> Listing:
    """Returns the listing of a folder whose ``labelmap.txt`` names the colours of its masks.

    Args:
        root: The folder that holds it.
        train: Pairs to train on.
        validation: Pairs to validate with.
        left_out: What is read by neither, in words.

    Raises:
        InputError: If a line is none of a label, or a colour stands twice.
    """
    table = _table(root / LABELMAP)
    classes = ClassMap.of({colour: name for colour, name in table.items() if is_class(name)})
    read = partial(read_known, known=frozenset(table))
    return Listing(root, train, validation, read, lambda _: classes, left_out=left_out)


def _table(path: Path) -> dict[int, str]:
    table: dict[int, str] = {}
    for line in read_lines(path):
        match = _LINE.fullmatch(line)
        if match is None or max(int(match[c]) for c in (2, 3, 4)) > _BYTE:
            raise InputError(f'{path} must hold lines "name:red,green,blue", got {line[:60]!r}')
        colour = pack(int(match[2]), int(match[3]), int(match[4]))
        if colour in table:
            raise InputError(
                f"{path} must give each label a colour of its own, got #{colour:06x} for "
                f"{table[colour]} and {match[1]}"
            )
        table[colour] = match[1].strip()
    if len(table) < 2:
        raise InputError(f"{path} must name at least 2 labels, got {len(table)}")
    return table

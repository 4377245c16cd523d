"""CVAT's "Segmentation mask": Pascal VOC's folders, but masks in the colours of ``labelmap.txt``.

``labelmap.txt`` has ``name:red,green,blue`` a line; what follows the colour, parts and actions, is
left unread. Lists in ImageSets/Segmentation name the subsets; a lone ``default.txt`` is split, its
last quarter validates. The images are there only if they were saved with the annotations.
"""

import re
from functools import partial
from pathlib import Path

from cropaudit.errors import InputError
from cropaudit.training.datasets.classes import ClassMap, is_class
from cropaudit.training.datasets.layout import (
    Layout,
    Listing,
    Pairs,
    by_list,
    folder_under,
    read_lines,
    split_tail,
)
from cropaudit.training.datasets.pictures import pack, read_known

__all__ = ["CVAT", "LABELMAP", "colour_listing"]

LABELMAP = "labelmap.txt"
_LINE = re.compile(r"([^:]+):(\d{1,3}),\s*(\d{1,3}),\s*(\d{1,3})(?::.*)?")
_LISTS, _MASKS = "ImageSets/Segmentation", "SegmentationClass"
_TRAIN, _VALIDATION = ("train", "Train"), ("val", "Validation", "validation")


def _open(root: Path) -> Listing:
    images = folder_under(root, "JPEGImages", "cvat (exported with its images saved)")
    lists = {path.stem: path for path in folder_under(root, _LISTS, "cvat").glob("*.txt")}
    train, held = (
        next((lists[name] for name in names if name in lists), None)
        for names in (_TRAIN, _VALIDATION)
    )
    if train is not None and held is not None:
        first, second = (by_list(path, images, root / _MASKS) for path in (train, held))
        return colour_listing(root, first, second)
    if len(lists) != 1:
        names = ", ".join(sorted(lists)) or "none"
        raise InputError(
            f"{root / _LISTS} must hold one list, or train.txt and val.txt, got {names}"
        )
    (lone,) = lists.values()
    return colour_listing(root, *split_tail(by_list(lone, images, root / _MASKS), lone))


def colour_listing(
    root: Path, train: Pairs, validation: Pairs, left_out: tuple[str, ...] = ()
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
    return Listing(root, train, validation, classes, read, left_out=left_out)


def _table(path: Path) -> dict[int, str]:
    table: dict[int, str] = {}
    for line in read_lines(path):
        match = _LINE.fullmatch(line)
        if match is None or max(int(match[c]) for c in (2, 3, 4)) > 255:
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


CVAT = Layout(
    kind="cvat",
    structure=f"{LABELMAP}, JPEGImages/, {_MASKS}/*.png and {_LISTS}/*.txt",
    sign=lambda root: (root / LABELMAP).is_file() and (root / _MASKS).is_dir(),
    open=_open,
)

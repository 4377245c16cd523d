"""CamVid, in the two forms in which it is handed round.

* SegNet's: ``train``, ``val`` with masks of 0 to 11 in ``trainannot``, ``valannot``; 11 classes,
  and 11 is unlabelled. The test split stays unread.
* The 701 stills: a folder of frames, one of colour-coded ``*_L.png``, and ``label_colors.txt``; 31
  classes, and Void is ignored. Frames are split as in SegNet's form: the clip 0016E5_07959 to
  0016E5_08159 validates; Seq05VD and the second half of 0001TP are the test split, unread.

Folders of ``images`` and ``masks`` are the generic layout.
"""

import re
from functools import partial
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
    read_lines,
)
from cropaudit.training.datasets.pictures import pack, read_known

__all__ = ["CAMVID"]

_COLOURS, _LABEL, _PNG = "label_colors.txt", "_L.png", (".png",)
_LINE = re.compile(r"(\d+)\s+(\d+)\s+(\d+)\s+(\S.*)")
_SEGNET = (
    *("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence"),
    *("Car", "Pedestrian", "Bicyclist"),
)


def _open(root: Path) -> Listing:
    if (root / _COLOURS).is_file():
        return _open_stills(root)
    train, validation = (
        by_name(root, (split, f"{split}annot"), "camvid", _PNG) for split in ("train", "val")
    )
    return Listing(root, train, validation, ClassMap.of(dict(enumerate(_SEGNET))))


def _open_stills(root: Path) -> Listing:
    table, pairs = _table(root / _COLOURS), _stills(root)
    classes = ClassMap.of({id_: name for id_, name in table.items() if name.lower() != "void"})
    splits = {split: tuple(p for p in pairs if _split(p) == split) for split in ("train", "val")}
    for split, frames in (
        ("train", "other than the test split's"),
        ("val", "0016E5_07959 to 08159"),
    ):
        if not splits[split]:
            raise InputError(f"camvid folder {root} must hold frames {frames}, got none")
    read = partial(read_known, known=frozenset(table))
    return Listing(root, splits["train"], splits["val"], classes, read)


def _table(path: Path) -> dict[int, str]:
    table = {}
    for line in read_lines(path):
        match = _LINE.fullmatch(line)
        if match is None or max(int(match[c]) for c in (1, 2, 3)) > 255:
            raise InputError(f'{path} must hold lines "red green blue name", got {line[:60]!r}')
        table[pack(int(match[1]), int(match[2]), int(match[3]))] = match[4]
    return table


def _stills(root: Path) -> Pairs:
    """Pairs the frames and the labels, wherever among the folders below they are."""
    folders = (root, *(path for path in entries(root) if path.is_dir()))
    pictures = {path.name: path for folder in folders for path in entries(folder, _PNG)}
    labels = [name for name in sorted(pictures) if name.endswith(_LABEL)]
    if not labels:
        raise InputError(f"camvid folder {root} must hold LabeledApproved_full/*{_LABEL}, got none")
    for name in sorted(pictures):
        stem = name.removesuffix(".png")
        partner = _frame(name) if name.endswith(_LABEL) else f"{stem}{_LABEL}"
        if partner not in pictures:
            raise InputError(f"{pictures[name]} must have a partner {partner}, got no such file")
    return tuple(Pair(pictures[_frame(name)], pictures[name]) for name in labels)


def _frame(label: str) -> str:
    return label.removesuffix(_LABEL) + ".png"


def _split(pair: Pair) -> str:
    """Returns SegNet's split of a frame."""
    stem = pair.image.stem
    if stem.startswith("Seq05VD") or "0001TP_008550" <= stem < "0001TP_~":
        return "test"
    return "val" if "0016E5_07959" <= stem <= "0016E5_08159" else "train"


CAMVID = Layout(
    kind="camvid",
    structure=f"train/, trainannot/, val/ and valannot/ with *.png, or {_COLOURS} beside "
    f"701_StillsRaw_full/*.png and LabeledApproved_full/*{_LABEL}",
    sign=lambda root: (root / "trainannot").is_dir() or (root / _COLOURS).is_file(),
    open=_open,
)

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
from cropaudit.training.datasets.colours import pack, read_known
from cropaudit.training.datasets.layout import (
    Layout,
    Listing,
    entries,
    folder_under,
    read_lines,
    refuse_missing,
    sub_folders,
)
from cropaudit.training.folder_classes import ClassMap
from cropaudit.training.folder_layout import Pair
from cropaudit.training.folder_pictures import read_mask

__all__ = ["CAMVID"]

_COLOURS = "label_colors.txt"
_LABEL = "_L.png"
_LINE = re.compile(r"(\d+)\s+(\d+)\s+(\d+)\s+(\S.*)")
_SEGNET = (
    *("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence"),
    *("Car", "Pedestrian", "Bicyclist"),
)


def _sign(root: Path) -> bool:
    return (root / "trainannot").is_dir() or (root / _COLOURS).is_file()


def _open(root: Path) -> Listing:
    return _open_stills(root) if (root / _COLOURS).is_file() else _open_segnet(root)


def _open_segnet(root: Path) -> Listing:
    train, validation = (_segnet_pairs(root, split) for split in ("train", "val"))
    classes = ClassMap.of(dict(enumerate(_SEGNET)))
    return Listing(root, train, validation, read_mask, lambda _: classes)


def _segnet_pairs(root: Path, split: str) -> tuple[Pair, ...]:
    images = folder_under(root, split, "camvid")
    masks = folder_under(root, f"{split}annot", "camvid")
    frames = [path for path in entries(images) if path.suffix == ".png"]
    pairs = [Pair(path, masks / path.name) for path in frames]
    return refuse_missing(pairs, images, masks.glob("[!.]*.png"))


def _open_stills(root: Path) -> Listing:
    table = _table(root / _COLOURS)
    classes = ClassMap.of({id_: name for id_, name in table.items() if name.lower() != "void"})
    read = partial(read_known, known=frozenset(table))
    pairs = _stills(root)
    splits = {split: [p for p in pairs if _split(p.image.stem) == split] for split in ("", "val")}
    for split, frames in (("", "other than the test split's"), ("val", "0016E5_07959 to 08159")):
        if not splits[split]:
            raise InputError(f"camvid folder {root} must hold frames {frames}, got none")
    return Listing(root, tuple(splits[""]), tuple(splits["val"]), read, lambda _: classes)


def _table(path: Path) -> dict[int, str]:
    table = {}
    for line in read_lines(path):
        match = _LINE.fullmatch(line)
        if match is None or max(int(match[c]) for c in (1, 2, 3)) > 255:
            raise InputError(f'{path} must hold lines "red green blue name", got {line[:60]!r}')
        table[pack(int(match[1]), int(match[2]), int(match[3]))] = match[4]
    return table


def _stills(root: Path) -> tuple[Pair, ...]:
    """Pairs the frames and the labels, wherever among the folders below they are."""
    found = [path for folder in (root, *sub_folders(root)) for path in entries(folder)]
    pictures = {path.name: path for path in found if path.suffix == ".png"}
    labels = [name for name in sorted(pictures) if name.endswith(_LABEL)]
    if not labels:
        raise InputError(f"camvid folder {root} must hold LabeledApproved_full/*{_LABEL}, got none")
    for name in sorted(pictures):
        partner = _frame(name) if name.endswith(_LABEL) else name.removesuffix(".png") + _LABEL
        if partner not in pictures:
            raise InputError(f"{pictures[name]} must have a partner {partner}, got no such file")
    return tuple(Pair(pictures[_frame(name)], pictures[name]) for name in labels)


def _frame(label: str) -> str:
    return label.removesuffix(_LABEL) + ".png"


def _split(stem: str) -> str:
    """Returns SegNet's split of a frame: train is ""."""
    if stem.startswith("Seq05VD") or "0001TP_008550" <= stem < "0001TP_~":
        return "test"
    return "val" if "0016E5_07959" <= stem <= "0016E5_08159" else ""


CAMVID = Layout(
    kind="camvid",
    structure=f"train/, trainannot/, val/ and valannot/ with *.png, or {_COLOURS} beside "
    f"701_StillsRaw_full/*.png and LabeledApproved_full/*{_LABEL}",
    sign=_sign,
    open=_open,
)

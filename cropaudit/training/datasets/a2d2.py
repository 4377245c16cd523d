"""A2D2: ``camera_lidar_semantic/DRIVE/{camera,label}/cam_front_center/*.png`` and class_list.json.

Labels are colours; ``class_list.json`` names the 55 of them, which are 38 classes once the numbers
of instances are left out ("Car 1" to "Car 4" are cars). The data set has no split of its own.
Frames of one drive show the same streets and people, so drives are held out whole: the fifth, the
tenth and so on in the order of their dates. Of a lone drive the last quarter of the frames is.
"""

import re
from functools import partial
from pathlib import Path

from cropaudit.errors import InputError
from cropaudit.training.datasets.colours import parse, read_known
from cropaudit.training.datasets.layout import (
    Layout,
    Listing,
    entries,
    read_json,
    refuse_missing,
    split_tail,
    sub_folders,
)
from cropaudit.training.folder_classes import ClassMap
from cropaudit.training.folder_layout import Pair

__all__ = ["A2D2"]

_TOP = "camera_lidar_semantic"
_LIST = "class_list.json"
_CAMERA = "cam_front_center"
_EVERY = 5
_INSTANCE = re.compile(r"\s+\d+$")


def _sign(root: Path) -> bool:
    if root.name == _TOP or (root / _TOP).is_dir():
        return True
    return (root / _LIST).is_file()


def _open(root: Path) -> Listing:
    top = root / _TOP if (root / _TOP).is_dir() else root
    drives = [drive for drive in sub_folders(top) if (drive / "camera" / _CAMERA).is_dir()]
    if not drives:
        raise InputError(f"{top} must hold DRIVE/camera/{_CAMERA}/, got no such folder")
    table = _table(top if (top / _LIST).is_file() or top == root else root)
    train, validation = _split([_pairs(drive) for drive in drives], top)
    known = frozenset(table)
    return Listing(
        top, train, validation, partial(read_known, known=known), lambda _: ClassMap.of(table)
    )


def _table(folder: Path) -> dict[int, str]:
    path = folder / _LIST
    values = read_json(path)
    if not isinstance(values, dict) or not values:
        raise InputError(f"{path} must map colours to names, got {type(values).__name__}")
    return {parse(colour, path): _INSTANCE.sub("", str(name)) for colour, name in values.items()}


def _pairs(drive: Path) -> tuple[Pair, ...]:
    camera, label = drive / "camera" / _CAMERA, drive / "label" / _CAMERA
    frames = [path for path in entries(camera) if path.suffix == ".png"]
    pairs = [Pair(frame, label / frame.name.replace("_camera_", "_label_")) for frame in frames]
    return refuse_missing(pairs, camera, label.glob("[!.]*.png"))


def _split(drives: list[tuple[Pair, ...]], top: Path) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    if len(drives) == 1:
        return split_tail(drives[0], top)
    held_out = set(range(_EVERY - 1, len(drives), _EVERY)) or {len(drives) - 1}
    train = [pair for at, drive in enumerate(drives) if at not in held_out for pair in drive]
    return tuple(train), tuple(pair for at in sorted(held_out) for pair in drives[at])


A2D2 = Layout(
    kind="a2d2",
    structure=f"{_TOP}/{_LIST} and {_TOP}/DRIVE/camera/{_CAMERA}/*_camera_*.png with "
    f"{_TOP}/DRIVE/label/{_CAMERA}/*_label_*.png",
    sign=_sign,
    open=_open,
)

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
from cropaudit.training.datasets.classes import ClassMap
from cropaudit.training.datasets.layout import (
    Layout,
    Listing,
    Pair,
    Pairs,
    entries,
    inner,
    read_json,
    refuse_missing,
    split_tail,
)
from cropaudit.training.datasets.pictures import parse_colour, read_known

__all__ = ["A2D2"]

_TOP, _LIST, _CAMERA = "camera_lidar_semantic", "class_list.json", "cam_front_center"
_EVERY = 5


def _open(root: Path) -> Listing:
    top = inner(root, _TOP)
    drives = [drive for drive in entries(top) if (drive / "camera" / _CAMERA).is_dir()]
    if not drives:
        raise InputError(f"{top} must hold DRIVE/camera/{_CAMERA}/, got no such folder")
    table = _table((top if (top / _LIST).is_file() else root) / _LIST)
    train, validation = _split([_pairs(drive) for drive in drives], top)
    read = partial(read_known, known=frozenset(table))
    return Listing(top, train, validation, ClassMap.of(table), read)


def _table(path: Path) -> dict[int, str]:
    values = read_json(path)
    if not isinstance(values, dict) or not values:
        raise InputError(f"{path} must map colours to names, got {type(values).__name__}")
    return {
        parse_colour(colour, path): re.sub(r"\s+\d+$", "", str(name))
        for colour, name in values.items()
    }


def _pairs(drive: Path) -> Pairs:
    camera, label = drive / "camera" / _CAMERA, drive / "label" / _CAMERA
    frames = entries(camera, (".png",))
    pairs = [Pair(frame, label / frame.name.replace("_camera_", "_label_")) for frame in frames]
    return refuse_missing(pairs, camera, label.glob("[!.]*.png"))


def _split(drives: list[Pairs], top: Path) -> tuple[Pairs, Pairs]:
    if len(drives) == 1:
        return split_tail(drives[0], top)
    held_out = set(range(_EVERY - 1, len(drives), _EVERY)) or {len(drives) - 1}
    train = [pair for at, drive in enumerate(drives) if at not in held_out for pair in drive]
    return tuple(train), tuple(pair for at in sorted(held_out) for pair in drives[at])


A2D2 = Layout(
    kind="a2d2",
    structure=f"{_TOP}/{_LIST} and {_TOP}/DRIVE/camera/{_CAMERA}/*_camera_*.png with "
    f"{_TOP}/DRIVE/label/{_CAMERA}/*_label_*.png",
    sign=lambda root: _TOP in (root.name, inner(root, _TOP).name) or (root / _LIST).is_file(),
    open=_open,
)

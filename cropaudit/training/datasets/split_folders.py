"""Data sets whose splits are folders and whose pictures are paired by name.

* ADE20K as its scene parsing benchmark hands it out (``ADEChallengeData2016``): 150 classes from 1
  on, 0 is all others and ignored. ``objectInfo150.txt`` names them where it is there.
* Mapillary Vistas: indices are places in the config's list of labels; those that are not evaluated
  are ignored. Of version 2.0 the labels are a folder deeper (``v2.0/labels``), where 1.2 may stand
  beside it: the newest is read.
* Roboflow's "Semantic Segmentation Masks": ``NAME.jpg`` has its mask in ``NAME_mask.png`` beside
  it, and ``_classes.csv`` names the pixel values; the folder ``test`` stays unread.
"""

import csv
from pathlib import Path

from cropaudit.accounting.geometry.image_sizes import SUFFIXES
from cropaudit.errors import InputError
from cropaudit.training.datasets.classes import ClassMap, is_class
from cropaudit.training.datasets.layout import (
    Layout,
    Listing,
    by_name,
    folder_under,
    inner,
    read_json,
    read_lines,
)

__all__ = ["ADE20K", "ROBOFLOW", "VISTAS"]

_TOP = "ADEChallengeData2016"
_CLASSES = range(1, 151)


def _open_ade20k(root: Path) -> Listing:
    top = inner(root, _TOP)
    names = _ade20k_names(top / "objectInfo150.txt")
    train, validation = (
        by_name(top, (f"images/{split}", f"annotations/{split}"), "ade20k")
        for split in ("training", "validation")
    )
    table = {id_: names.get(id_, f"class {id_}") for id_ in _CLASSES}
    return Listing(top, train, validation, ClassMap.of(table))


def _ade20k_names(path: Path) -> dict[int, str]:
    """Returns the first of each class's names: tables part the id from them by tabulators."""
    rows = [line.split("\t") for line in read_lines(path)] if path.is_file() else []
    return {int(row[0]): row[-1].split(",")[0].strip() for row in rows if row[0].strip().isdigit()}


ADE20K = Layout(
    kind="ade20k",
    structure="images/{training,validation}/*.jpg and annotations/{training,validation}/*.png",
    sign=lambda root: (inner(root, _TOP) / "annotations" / "training").is_dir(),
    open=_open_ade20k,
)


_VERSIONS = (
    ("v2.0/labels", "config_v2.0.json"),
    ("v1.2/labels", "config_v1.2.json"),
    ("labels", "config.json"),
)


def _version(root: Path) -> tuple[str, str] | None:
    found = [item for item in _VERSIONS if (root / "training" / item[0]).is_dir()]
    return next((item for item in found if (root / item[1]).is_file()), None)


def _open_vistas(root: Path) -> Listing:
    version = _version(root)
    if version is None:
        raise InputError(f"vistas folder {root} must hold {VISTAS.structure}, got neither version")
    labels, config = version
    train, validation = (
        by_name(root, (f"{split}/images", f"{split}/{labels}"), "vistas")
        for split in ("training", "validation")
    )
    return Listing(root, train, validation, _vistas_classes(root / config))


def _vistas_classes(path: Path) -> ClassMap:
    try:
        labels = read_json(path)["labels"]
        kept = {n: str(item["readable"]) for n, item in enumerate(labels) if item["evaluate"]}
    except (KeyError, TypeError, IndexError) as error:
        reason = f"{type(error).__name__} {error}"
        raise InputError(
            f"{path} must hold labels with readable and evaluate, got {reason}"
        ) from None
    if len(kept) < 2:
        raise InputError(f"{path} must evaluate at least 2 labels, got {len(kept)}")
    return ClassMap.of(kept)


VISTAS = Layout(
    kind="vistas",
    structure="config_v2.0.json (or v1.2) and {training,validation}/images/*.jpg with "
    "{training,validation}/v2.0/labels/*.png",
    sign=lambda root: _version(root) is not None,
    open=_open_vistas,
)


_CSV, _MASK = "_classes.csv", "_mask.png"


def _open_roboflow(root: Path) -> Listing:
    parts = [folder_under(root, split, "roboflow") for split in ("train", "valid")]
    names, others = (_roboflow_names(part / _CSV) for part in parts)
    if names != others:
        raise InputError(
            f"{parts[1] / _CSV} must name the classes of {parts[0] / _CSV}, got others"
        )
    classes = ClassMap.of({id_: name for id_, name in names.items() if is_class(name)})
    train, validation = (
        by_name(root, (part.name, part.name), "roboflow", SUFFIXES, _MASK) for part in parts
    )
    return Listing(root, train, validation, classes)


def _roboflow_names(path: Path) -> dict[int, str]:
    """Returns the names by pixel value; the first line is the table's head."""
    rows = list(csv.reader(read_lines(path), skipinitialspace=True))[1:]
    try:
        names = {int(value): name.strip() for value, name in rows}
    except ValueError:
        raise InputError(f'{path} must hold lines "pixel value, class", got others') from None
    if len(names) < 2:
        raise InputError(f"{path} must name at least 2 classes, got {len(names)}")
    return names


ROBOFLOW = Layout(
    kind="roboflow",
    structure=f"train/ and valid/, each with NAME.jpg, NAME{_MASK} and {_CSV}",
    sign=lambda root: (root / "train" / _CSV).is_file(),
    open=_open_roboflow,
)

"""Mapillary Vistas: ``training`` and ``validation`` with images and labels, beside a config JSON.

Indices are places in the list of labels; those that are not evaluated are ignored. Of version 2.0
the labels are a folder deeper (``v2.0/labels``), where 1.2 may stand beside it: the newest is read.
"""

from pathlib import Path

from cropaudit.errors import InputError
from cropaudit.training.datasets.layout import (
    Layout,
    Listing,
    entries,
    folder_under,
    read_json,
    refuse_missing,
)
from cropaudit.training.folder_classes import ClassMap
from cropaudit.training.folder_layout import Pair
from cropaudit.training.folder_pictures import read_mask

__all__ = ["VISTAS"]

_VERSIONS = (
    (Path("v2.0", "labels"), "config_v2.0.json"),
    (Path("v1.2", "labels"), "config_v1.2.json"),
    (Path("labels"), "config.json"),
)


def _version(root: Path) -> tuple[Path, str] | None:
    found = [item for item in _VERSIONS if (root / "training" / item[0]).is_dir()]
    return next((item for item in found if (root / item[1]).is_file()), None)


def _open(root: Path) -> Listing:
    version = _version(root)
    if version is None:
        raise InputError(f"vistas folder {root} must hold {VISTAS.structure}, got neither version")
    labels, config = version
    classes = _classes(root / config)
    train, validation = (_pairs(root, split, labels) for split in ("training", "validation"))
    return Listing(root, train, validation, read_mask, lambda _: classes)


def _pairs(root: Path, split: str, labels: Path) -> tuple[Pair, ...]:
    images = folder_under(root, Path(split, "images"), "vistas")
    masks = folder_under(root, Path(split) / labels, "vistas")
    found = [path for path in entries(images) if path.suffix == ".jpg"]
    pairs = [Pair(path, masks / f"{path.stem}.png") for path in found]
    return refuse_missing(pairs, images, masks.glob("[!.]*.png"))


def _classes(path: Path) -> ClassMap:
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
    open=_open,
)

"""COCO panoptic: ``annotations/panoptic_{train,val}2017.json``, their PNG and the photographs.

A mask's colour is a segment, red + 256 green + 65536 blue, and the JSON file tells its category.
Read as categories, in the order of the file; pixels of no segment are ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropaudit.errors import InputError
from cropaudit.training.datasets.layout import (
    Layout,
    Listing,
    folder_under,
    read_json,
    refuse_missing,
)
from cropaudit.training.folder_classes import ClassMap
from cropaudit.training.folder_layout import Pair
from cropaudit.training.folder_pictures import read_colours

__all__ = ["COCO_PANOPTIC"]

_SPLITS = ("train", "val")
_NO_CATEGORY = -1  # no id in COCO


@dataclass(frozen=True)
class _Part:
    """One split: its files, the categories of segments by mask, and names by category."""

    pairs: tuple[Pair, ...]
    segments: Mapping[Path, Mapping[int, int]]
    names: Mapping[int, str]


def _sign(root: Path) -> bool:
    return any(_json(root, split).is_file() for split in _SPLITS)


def _json(root: Path, split: str) -> Path:
    return root / "annotations" / f"panoptic_{split}2017.json"


def _open(root: Path) -> Listing:
    train, validation = (_part(root, split) for split in _SPLITS)
    if train.names != validation.names:
        raise InputError(
            f"{_json(root, 'val')} must name the categories of {_json(root, 'train').name}, "
            "got others"
        )
    read = partial(_read_ids, segments={**train.segments, **validation.segments})
    classes = ClassMap.of(train.names)
    return Listing(root, train.pairs, validation.pairs, read, lambda _: classes)


def _part(root: Path, split: str) -> _Part:
    path = _json(root, split)
    values = read_json(path)
    try:
        return _parse(root, split, values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__} {error}"
        raise InputError(
            f"{path} must hold COCO panoptic images, annotations and categories, got {reason}"
        ) from None


def _parse(root: Path, split: str, values: Any) -> _Part:
    images = folder_under(root, f"{split}2017", "coco-panoptic")
    masks = _masks(root, split)
    names = {int(item["id"]): str(item["name"]) for item in values["categories"]}
    files = {item["id"]: str(item["file_name"]) for item in values["images"]}
    items = sorted(values["annotations"], key=lambda item: str(item["file_name"]))
    pairs = [Pair(images / files[i["image_id"]], masks / str(i["file_name"])) for i in items]
    segments = {
        pair.mask: {int(s["id"]): int(s["category_id"]) for s in item["segments_info"]}
        for pair, item in zip(pairs, items, strict=True)
    }
    return _Part(refuse_missing(pairs, _json(root, split)), segments, names)


def _masks(root: Path, split: str) -> Path:
    """Returns the folder of masks: the archive is unpacked beside its JSON file or at the root."""
    name = f"panoptic_{split}2017"
    beside = root / "annotations" / name
    return beside if beside.is_dir() else folder_under(root, name, "coco-panoptic")


def _read_ids(path: Path, segments: Mapping[Path, Mapping[int, int]]) -> NDArray[np.int32]:
    """Returns the category of each pixel."""
    packed = read_colours(path)
    # Colours are packed with red first, and segments with red last.
    ids = (packed >> 16) + (packed & 0xFF00) + ((packed & 0xFF) << 16)
    known = {0: _NO_CATEGORY, **segments[path]}
    present, inverse = np.unique(ids, return_inverse=True)
    unknown = [int(id_) for id_ in present if int(id_) not in known]
    if unknown:
        raise InputError(f"mask {path} must bear the segments of its JSON file, got {unknown[0]}")
    table = np.array([known[int(id_)] for id_ in present], dtype=np.int32)
    return table[inverse].reshape(ids.shape)


COCO_PANOPTIC = Layout(
    kind="coco-panoptic",
    structure="annotations/panoptic_{train,val}2017.json, panoptic_{train,val}2017/*.png and "
    "{train,val}2017/*.jpg",
    sign=_sign,
    open=_open,
)

"""Sets a patch beside the objects that pictures show: which ones it covers, how exposed they are.

Assumes annotated boxes, rounded outwards to whole pixels and cut to their image. Whether a patch
covers an object is judged by its box, so the background in the corners has to be covered as well.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.crop_laws import CropLaw
from cropaudit.accounting.geometry import Patch, Rectangle, Several, Size
from cropaudit.accounting.image_sizes import image_size
from cropaudit.accounting.inclusion import inclusion_map
from cropaudit.errors import InputError, require

__all__ = ["Coverage", "NameCoverage", "ObjectBox", "coverage", "object_inclusions", "read_objects"]

_SHARES = (0.5, 0.9, 1.0)
_MOST_BYTES = 1 << 30  # of a file; a million boxes take a tenth
_LONGEST = 1000  # letters of a name
_FARTHEST = 1e9  # coordinate of a box, in pixels


@dataclass(frozen=True)
class ObjectBox:
    """One object of one picture.

    Attributes:
        image: The picture, as its file of objects names it.
        name: What it shows; "face" for a face.
        size: Of its box, in whole pixels.
        position: Row and column of the box's top left.
        image_size: Of the picture, if it was found.
    """

    image: str
    name: str
    size: Size
    position: tuple[int, int]
    image_size: Size | None


@dataclass(frozen=True)
class NameCoverage:
    """How many objects of one name there are, and the share of them that the patch covers."""

    name: str
    objects: int
    share: float


@dataclass(frozen=True)
class Coverage:
    """Which objects lie within the patch, if it is put where they are.

    Attributes:
        objects: Their number.
        share: Of them that the patch covers.
        names: The same by name, most frequent first.
        squares: Pairs of a share, and the side of the smallest square that covers it.
        rectangle: The smallest rectangle that covers all of them. For lower shares no rectangle is
            smallest: quantiles of heights and of widths do not cover the share jointly.
    """

    objects: int
    share: float
    names: tuple[NameCoverage, ...]
    squares: tuple[tuple[float, int], ...]
    rectangle: Size


def read_objects(
    path: str | Path, image_sizes: Mapping[str, Size] | None = None
) -> tuple[ObjectBox, ...]:
    """Reads the boxes of objects.

    Args:
        path: JSON: {image path: [{"name" or "category", "xywh": [x, y, w, h] or "xyxy":
            [x0, y0, x1, y1] half-open, optionally "face_xyxy"}]}. A face becomes another object.
        image_sizes: Sizes by image path; of the others the headers are read where the pictures lie
            beside the file, directly or in a folder called images.

    Raises:
        InputError: If the file is not of this form, a box lies outside its image, or a picture that
            is there cannot be read.
    """
    source = Path(path)
    try:
        size = source.stat().st_size
        require(size <= _MOST_BYTES, f"objects {path}", f"of at most {_MOST_BYTES} bytes", size)
        values = json.loads(source.read_text("utf-8"))
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"objects {path} must be a JSON file: {reason}") from None
    legal = "a mapping of image paths to lists of objects"
    fits = isinstance(values, dict) and all(isinstance(item, list) for item in values.values())
    require(fits, f"objects {path}", legal, type(values).__name__)
    for image in values:
        _require_name(image, f"image path in {path}")
    given = image_sizes or {}
    return tuple(
        found
        for image, items in values.items()
        for size in [given.get(image) or _beside(source.parent, image)]
        for number, item in enumerate(items)
        for found in _boxes(image, size, item, f"object {number} of {image} in {path}")
    )


def coverage(
    objects: Sequence[ObjectBox], patch: Patch | Several | Sequence[Patch | Several]
) -> Coverage:
    """Returns which objects' boxes fit within a patch (within one copy, of several).

    Args:
        objects: The objects.
        patch: One patch, or alternatives: an object is covered if one of them covers it.

    Raises:
        InputError: If there are no objects.
    """
    require(bool(objects), "objects", "at least one", 0)
    patches = patch if isinstance(patch, Sequence) else [patch]
    shapes = [one.patch if isinstance(one, Several) else one for one in patches]
    sizes = {item.size for item in objects}
    fits = {size: any(_holds(shape, size) for shape in shapes) for size in sizes}
    covered = np.array([fits[item.size] for item in objects])
    names = np.array([item.name for item in objects])
    by_name = [
        NameCoverage(str(name), int(count), float(covered[names == name].mean()))
        for name, count in zip(*np.unique(names, return_counts=True), strict=True)
    ]
    sides = np.sort([max(item.size.height, item.size.width) for item in objects])
    return Coverage(
        objects=len(objects),
        share=float(covered.mean()),
        names=tuple(sorted(by_name, key=lambda item: (-item.objects, item.name))),
        squares=tuple((q, int(sides[math.ceil(q * len(sides)) - 1])) for q in _SHARES),
        rectangle=Size(
            max(item.size.height for item in objects), max(item.size.width for item in objects)
        ),
    )


def object_inclusions(objects: Sequence[ObjectBox], crop: CropLaw) -> NDArray[np.float64]:
    """Returns how likely a window is to meet each object's box.

    Args:
        objects: Boxes whose image size is known.
        crop: The law of the windows.

    Returns:
        Shape (objects, 2): at the object's own place, and at the worst place of its image.

    Raises:
        InputError: If an image's size is not known, or a window does not fit an image.
    """

    @lru_cache(maxsize=1)  # objects of one picture and one size stand together below
    def rates(image: Size, size: Size) -> tuple[NDArray[np.float64], float]:
        rho = inclusion_map(image, crop, Rectangle(size))
        return rho, float(rho.max())

    found = np.zeros((len(objects), 2))
    known = [(_known(item), item.size, number) for number, item in enumerate(objects)]
    for image, size, number in sorted(known):
        rho, worst = rates(image, size)
        found[number] = rho[objects[number].position], worst
    return found


def _require_name(name: str, where: str) -> None:
    """Refuses what no file of text could hold: lone surrogates, or pages of letters."""
    legal = len(name) <= _LONGEST and not any("\ud800" <= letter <= "\udfff" for letter in name)
    require(legal, where, f"text of at most {_LONGEST} letters", name)


def _known(item: ObjectBox) -> Size:
    if item.image_size is None:
        raise InputError(
            f"image size of {item.image} must be known: give it, or put the image there"
        )
    return item.image_size


def _beside(folder: Path, image: str) -> Size | None:
    """Returns the size of a picture beside the file of objects, if it is there."""
    parts = PurePosixPath(image).parts
    if PurePosixPath(image).is_absolute() or ".." in parts or not parts:
        raise InputError(f"image path must be relative and within its folder, got {image}")
    places = [parts, *((*parts[:at], "images", *parts[at:]) for at in range(len(parts)))]
    for place in places:
        path = folder.joinpath(*place)
        if _is_file(path):
            return image_size(path)
    return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long for any file
        return False


def _boxes(image: str, size: Size | None, item: Any, where: str) -> Iterator[ObjectBox]:
    require(isinstance(item, dict), where, "a mapping", type(item).__name__)
    name = item.get("name", item.get("category"))
    whole = isinstance(name, int) and abs(name) < _FARTHEST
    require(isinstance(name, str) or whole, where, "named by name or category", name)
    _require_name(str(name), f"name of {where}")
    boxes = [key for key in ("xywh", "xyxy") if item.get(key) is not None]
    require(len(boxes) == 1, where, "given one box, as xywh or xyxy", " and ".join(boxes) or "none")
    keys = [(boxes[0], str(name))] + [("face_xyxy", "face")] * (item.get("face_xyxy") is not None)
    for key, called in keys:
        left, top, right, bottom = _corners(item[key], key, where, size)
        box = Size(bottom - top, right - left)
        yield ObjectBox(image, called, box, (top, left), size)


def _corners(values: Any, key: str, where: str, image: Size | None) -> tuple[int, int, int, int]:
    """Returns left, top, right and bottom (half-open), rounded outwards and cut to the image."""
    numbers = isinstance(values, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) and abs(v) <= _FARTHEST
        for v in values
    )
    legal = f"given four numbers as {key}, right and bottom beyond left and top"
    require(numbers and len(values) == 4, where, legal, values)
    x0, y0, x1, y1 = values
    if key == "xywh":
        x1, y1 = x0 + x1, y0 + y1
    require(x1 > x0 and y1 > y0, where, legal, values)
    # A sum of decimals may end a hair beyond the whole pixel that is meant; it is not rounded back.
    left, top, right, bottom = math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1)
    left, top = max(left, 0), max(top, 0)
    if image is not None:
        right, bottom = min(right, image.width), min(bottom, image.height)
    within = f"within the image {image or 'from 0 on'}"
    require(right > left and bottom > top, f"{key} of {where}", within, values)
    return left, top, right, bottom


def _holds(patch: Patch, box: Size) -> bool:
    """Tells whether a box fits among the pixels of a patch."""
    if box.height > patch.size.height or box.width > patch.size.width:
        return False
    if isinstance(patch, Rectangle):
        return True
    table = np.pad(patch.mask().astype(np.int64), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    h, w = box.height, box.width
    inside = table[h:, w:] - table[:-h, w:] - table[h:, :-w] + table[:-h, :-w]
    return bool(inside.max() == h * w)

"""Finds the objects that an audit is to speak about: in masks, or as an objects file tells them.

In masks they are connected components of classes, 8-connected. Objects of one class that touch are
one component, and an object behind a pole is two: masks without instances cannot tell.

Boxes of a file are scaled to the loaded size, rounded outwards and cut to the image. Where the name
of an object is a class of the masks, its pixels are those of that class in its box, neighbours of
the same class included; else (a face in a mask of people) they are the whole box.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from cropaudit.accounting.geometry.shapes import Size
from cropaudit.accounting.inclusion.objects import ObjectBox, read_objects
from cropaudit.errors import InputError, require
from cropaudit.training.data.images import Origin, SegmentationData
from cropaudit.training.objects.patches import ObjectPatch, grown

__all__ = ["find_objects", "match_names"]

_NAMED = 40  # known names that a message lists
# Classes that are parts of the objects of another one, where masks tell them apart (scenes do).
_PARTS = {"person": "face", "car": "plate"}


def find_objects(
    data: SegmentationData,
    *,
    classes: Sequence[str],
    least: int = 1,
    most: Size | None = None,
    objects_file: Path | None = None,
    rim: int = 1,
) -> tuple[ObjectPatch, ...]:
    """Returns the objects that a claimed patch covers, in the order of images, rows and columns.

    Args:
        data: Images with masks.
        classes: Names wanted, in any case: of the file where one is given, else of the masks.
        least: Objects of fewer pixels are too small.
        most: The claimed patch, as a rectangle; objects whose box is larger are too large. None
            for no limit.
        objects_file: See `accounting.inclusion.objects.read_objects`; without one the connected
            components of the masks are the objects.
        rim: Pixels around an object that lens, annotator or resizing have mixed with it.

    Raises:
        InputError: If a name is not known, or the file cannot be used.
    """
    require(least >= 1, "least area", "at least 1 pixel", least)
    require(rim >= 0, "rim", "at least 0 pixels", rim)
    if objects_file is None:
        everything = _components(data, match_names(classes, data.classes), rim)
    else:
        boxes = read_objects(objects_file)
        names = match_names(classes, (box.name for box in boxes))
        chosen = [box for box in boxes if box.name in names]
        everything = _annotated(data, chosen, objects_file, rim)
    found = sorted(everything, key=lambda patch: (patch.record, patch.box))
    return tuple(patch for patch in found if patch.area >= least and _fits(patch.size, most))


def _fits(size: Size, most: Size | None) -> bool:
    return most is None or (size.height <= most.height and size.width <= most.width)


def match_names(wanted: Sequence[str], known: Iterable[str]) -> list[str]:
    """Returns the known names that are wanted, each once and in the order wanted.

    >>> match_names(["CAR", "plate"], ["Car", "Person", "plate"])
    ['Car', 'plate']
    """
    require(bool(wanted), "object classes", "at least one", "none")
    there = sorted(set(known), key=str.lower)
    listed = ", ".join(there[:_NAMED]) + (
        f" and {len(there) - _NAMED} more" if len(there) > _NAMED else ""
    )
    found: list[str] = []
    for name in wanted:
        same = [other for other in there if other.lower() == name.strip().lower()]
        require(bool(same), "object class", f"one of {listed}", repr(name))
        found += same
    return list(dict.fromkeys(found))


def _components(data: SegmentationData, names: Sequence[str], rim: int) -> Iterator[ObjectPatch]:
    """Yields the components of classes; a person's face and a car's plate belong to them."""
    for record, mask in enumerate(data.masks):
        for name in names:
            parts = {name, _PARTS.get(name.lower())}
            indices = [index for index, other in enumerate(data.classes) if other in parts]
            yield from _of_class(record, np.isin(mask.numpy(), indices), name, rim)


def _of_class(
    record: int, of_class: NDArray[np.bool_], name: str, rim: int
) -> Iterator[ObjectPatch]:
    numbered, _ = ndimage.label(of_class, structure=np.ones((3, 3)))
    for number, found in enumerate(ndimage.find_objects(numbered), start=1):
        rows, columns = (
            slice(max(0, part.start - rim), min(part.stop + rim, side))
            for part, side in zip(found, of_class.shape, strict=True)
        )
        own = numbered[rows, columns] == number
        pixels = torch.from_numpy(grown(own, rim))
        box = (rows.start, columns.start, *own.shape)
        yield ObjectPatch(record, name, box, pixels, int(own.sum()), "component")


def _annotated(
    data: SegmentationData, boxes: Sequence[ObjectBox], path: Path, rim: int
) -> Iterator[ObjectPatch]:
    """Yields objects in the pixels of the images; of images that are not loaded there are none."""
    records = _records(data, path, {box.image for box in boxes})
    for box in boxes:
        if (found := records.get(box.image)) is not None:
            record, origin = found
            yield _patch(data, record, origin, box, rim)


def _records(data: SegmentationData, path: Path, images: Set[str]) -> dict[str, tuple[int, Origin]]:
    """Returns which record each image of the file is, of those that are loaded."""
    by_stem: dict[str, list[tuple[int, Origin]]] = defaultdict(list)
    for record in range(len(data)):
        if (origin := data.origin(record)) is not None:
            by_stem[_parts(origin.path)[-1]].append((record, origin))
    found = {}
    for image in images:
        parts = _parts(image)
        same = [item for item in by_stem[parts[-1]] if _ends_alike(parts, _parts(item[1].path))]
        require(len(same) < 2, f"image {image} in {path}", "one image", f"{len(same)}")
        if same:
            found[image] = same[0]
    example = next((origin.path for origin in data.origins if origin), "images of no file")
    legal = f"of images of {data.source}, such as {example}"
    require(bool(found), f"objects {path}", legal, ", ".join(sorted(images)[:2]))
    return found


def _parts(path: str) -> tuple[str, ...]:
    """Returns the folders and the stem; files of objects leave a folder called images out."""
    pure = PurePosixPath(path)
    return (*(part for part in pure.parts[:-1] if part != "images"), pure.stem)


def _ends_alike(left: tuple[str, ...], right: tuple[str, ...]) -> bool:
    shared = min(len(left), len(right))
    return left[-shared:] == right[-shared:]


def _patch(
    data: SegmentationData, record: int, origin: Origin, item: ObjectBox, rim: int
) -> ObjectPatch:
    box = _scaled(item, origin, data.size(record))
    own = _own_pixels(data, record, item.name, box)
    pixels = torch.from_numpy(grown(own, rim))
    return ObjectPatch(record, item.name, box, pixels, int(own.sum()), "objects file")


def _scaled(item: ObjectBox, origin: Origin, loaded: Size) -> tuple[int, int, int, int]:
    """Returns a box of the stored image in the loaded one."""
    top, bottom = _span(item.position[0], item.size.height, origin.size.height, loaded.height)
    left, right = _span(item.position[1], item.size.width, origin.size.width, loaded.width)
    if bottom <= top or right <= left:
        raise InputError(
            f"box of {item.name} in {item.image} must lie within its image of {origin.size}, "
            f"got row {item.position[0]}, column {item.position[1]}"
        )
    return top, left, bottom - top, right - left


def _span(first: int, length: int, stored: int, loaded: int) -> tuple[int, int]:
    """Returns the pixels that an interval touches, half-open; in integers, so that it is exact."""
    start = first * loaded // stored
    end = -(-(first + length) * loaded // stored)
    return start, min(end, loaded)


def _own_pixels(
    data: SegmentationData, record: int, name: str, box: tuple[int, int, int, int]
) -> NDArray[np.bool_]:
    row, column, height, width = box
    inside = data.masks[record].numpy()[row : row + height, column : column + width]
    same = [index for index, other in enumerate(data.classes) if other.lower() == name.lower()]
    own = np.isin(inside, same)
    return own if own.any() else np.ones_like(own)

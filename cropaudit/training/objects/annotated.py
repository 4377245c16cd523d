"""Objects as an objects file tells them, in the pixels of images as they were loaded.

Boxes are scaled to the loaded size, rounded outwards and cut to the image. Where the name of an
object is a class of the masks, its pixels are those of that class in its box, neighbours of the
same class included; else (a face in a mask of people) they are the whole box.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray

from cropaudit.accounting.geometry import Size
from cropaudit.accounting.objects import ObjectBox
from cropaudit.errors import InputError, require
from cropaudit.training.data import Origin, SegmentationData
from cropaudit.training.objects.components import grown
from cropaudit.training.objects.patches import ObjectPatch

__all__ = ["annotated_objects"]

_Box = tuple[int, int, int, int]


def annotated_objects(
    data: SegmentationData, boxes: Sequence[ObjectBox], path: Path, rim: int
) -> Iterator[ObjectPatch]:
    """Yields objects in the pixels of the images; of images that are not loaded there are none.

    Args:
        data: Images that were read from files.
        boxes: The objects.
        path: The file that tells of them, for messages.
        rim: By how many pixels the pixels of a class are grown within the box.

    Raises:
        InputError: If no image is among the data set's, or a box lies outside its image.
    """
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


def _scaled(item: ObjectBox, origin: Origin, loaded: Size) -> _Box:
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


def _own_pixels(data: SegmentationData, record: int, name: str, box: _Box) -> NDArray[np.bool_]:
    row, column, height, width = box
    inside = data.masks[record].numpy()[row : row + height, column : column + width]
    same = [index for index, other in enumerate(data.classes) if other.lower() == name.lower()]
    own = np.isin(inside, same)
    return own if own.any() else np.ones_like(own)

"""Objects as connected components of classes in the masks.

Components are 8-connected. Objects of one class that touch are one component, and an object behind
a pole is two: masks without instances cannot tell.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from cropaudit.training.data import SegmentationData
from cropaudit.training.objects.patches import ObjectPatch

__all__ = ["EIGHT", "component_objects", "grown"]

EIGHT = np.ones((3, 3), dtype=bool)
# Classes that are parts of the objects of another one, where masks tell them apart (scenes do).
_PARTS = {"person": "face", "car": "plate"}


def component_objects(
    data: SegmentationData, names: Sequence[str], rim: int
) -> Iterator[ObjectPatch]:
    """Yields the components of the classes of these names, image after image.

    Args:
        data: Images with masks.
        names: Of classes of the data; a person's face and a car's plate belong to them.
        rim: By how many pixels components and their boxes are grown, within the image.
    """
    for record, mask in enumerate(data.masks):
        for name in names:
            parts = {name, _PARTS.get(name.lower())}
            indices = [index for index, other in enumerate(data.classes) if other in parts]
            yield from _components(record, np.isin(mask.numpy(), indices), name, rim)


def grown(pixels: NDArray[np.bool_], rim: int) -> NDArray[np.bool_]:
    """Returns pixels and those at most ``rim`` rows and columns away from one."""
    if rim == 0:  # which scipy would take for "until nothing changes"
        return pixels
    found: NDArray[np.bool_] = ndimage.binary_dilation(pixels, EIGHT, iterations=rim)
    return found


def _components(
    record: int, of_class: NDArray[np.bool_], name: str, rim: int
) -> Iterator[ObjectPatch]:
    numbered, _ = ndimage.label(of_class, structure=EIGHT)
    for number, found in enumerate(ndimage.find_objects(numbered), start=1):
        rows, columns = (
            slice(max(0, part.start - rim), min(part.stop + rim, side))
            for part, side in zip(found, of_class.shape, strict=True)
        )
        own = numbered[rows, columns] == number
        pixels = torch.from_numpy(grown(own, rim))
        box = (rows.start, columns.start, *own.shape)
        yield ObjectPatch(record, name, box, pixels, int(own.sum()), "component")

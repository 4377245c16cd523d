"""The description of one object of one image."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from cropaudit.accounting.geometry.shapes import Size

__all__ = ["ObjectPatch", "grown"]


@dataclass(frozen=True, eq=False)
class ObjectPatch:
    """One object of one image.

    Attributes:
        record: Index of the image.
        name: What it shows, such as face, person, car or plate.
        box: Row and column of its top left, height and width, in pixels of the image as loaded.
        pixels: Which pixels of the box show it, bool, shape (height, width), with a rim that the
            lens, the annotator or resizing has mixed with it.
        area: Number of its pixels without that rim.
        origin: Whether an objects file tells of it, or it is a connected component of a mask.
    """

    record: int
    name: str
    box: tuple[int, int, int, int]
    pixels: Tensor
    area: int
    origin: Literal["objects file", "component"]

    @property
    def size(self) -> Size:
        """Returns the size of the box."""
        return Size(self.box[2], self.box[3])

    @property
    def slices(self) -> tuple[slice, slice]:
        """Returns the rows and the columns of the box, to index an image or a mask with."""
        row, column, height, width = self.box
        return slice(row, row + height), slice(column, column + width)


def grown(pixels: NDArray[np.bool_], rim: int) -> NDArray[np.bool_]:
    """Returns pixels and those at most ``rim`` rows and columns away from one."""
    if rim == 0:  # which scipy would take for "until nothing changes"
        return pixels
    return np.asarray(ndimage.binary_dilation(pixels, np.ones((3, 3)), iterations=rim))

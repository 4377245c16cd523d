"""Descriptions: one object of one image, and how many objects a claimed patch covers."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from cropaudit.accounting.geometry import Size

__all__ = ["ObjectCount", "ObjectPatch", "Survey"]


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


@dataclass(frozen=True)
class ObjectCount:
    """What became of the objects of one name.

    Attributes:
        name: The name.
        found: All of them: the sum of the other three.
        covered: The claimed patch covers them.
        too_large: Their box is larger than the claimed patch, which protects only a part of them.
        too_small: They have fewer pixels than were asked for.
    """

    name: str
    found: int
    covered: int
    too_large: int
    too_small: int


@dataclass(frozen=True, eq=False)
class Survey:
    """The objects that a claimed patch covers, and how many there are in all.

    Attributes:
        patches: The covered ones, in the order of images, then of rows and columns.
        counts: By name, in the order in which names were asked for.
    """

    patches: tuple[ObjectPatch, ...]
    counts: tuple[ObjectCount, ...]

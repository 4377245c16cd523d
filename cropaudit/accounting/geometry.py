"""Descriptions of an image, a crop and a patch; nothing is computed here.

Assumes axis-aligned pixel grids, sizes in pixels as (height, width), and patch substitution: two
neighbouring images differ only inside one translate of the patch that lies within the image.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.names import PadMode
from cropaudit.errors import InputError, require

__all__ = ["Borders", "Crop", "Patch", "PixelMask", "Rectangle", "Several", "Size"]


@dataclass(frozen=True, order=True)
class Size:
    """Height and width in pixels, both at least 1."""

    height: int
    width: int

    def __post_init__(self) -> None:
        require(self.height >= 1 and self.width >= 1, "size", "at least 1x1", str(self))

    @classmethod
    def parse(cls, text: str | int, name: str = "size") -> "Size":
        """Reads ``HxW``, or one number for a square.

        Raises:
            InputError: If the text is neither.

        >>> Size.parse("1024x2048"), Size.parse(64)
        (Size(height=1024, width=2048), Size(height=64, width=64))
        """
        match = re.fullmatch(r"\s*(\d+)\s*(?:[xX]\s*(\d+)\s*)?", str(text))
        if match is None or int(match[1]) < 1 or int(match[2] or 1) < 1:
            raise InputError(f"{name} must be HxW or one number, each at least 1, got {text}")
        height = int(match[1])
        return cls(height, int(match[2]) if match[2] else height)

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"


@dataclass(frozen=True)
class Rectangle:
    """A patch in which every pixel of a ``size`` rectangle may change."""

    size: Size

    def mask(self) -> NDArray[np.bool_]:
        """Returns the pixels that may change, all true, shape (height, width)."""
        return np.ones((self.size.height, self.size.width), dtype=np.bool_)

    def __str__(self) -> str:
        return str(self.size)


@dataclass(frozen=True, eq=False)
class PixelMask:
    """A patch of any shape: the true pixels of ``pixels``, shape (height, width), may change."""

    pixels: NDArray[np.bool_]

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        require(self.pixels.ndim == 2, "patch mask", "a two-dimensional array", shape)
        require(bool(self.pixels.any()), "patch mask", "true in at least one pixel", "none")

    @property
    def size(self) -> Size:
        """The size of the mask's bounding array."""
        return Size(*self.pixels.shape)

    def mask(self) -> NDArray[np.bool_]:
        """Returns the pixels that may change, shape (height, width)."""
        return self.pixels

    def __str__(self) -> str:
        return f"mask of {int(self.pixels.sum())} pixels in {self.size}"


Patch = Rectangle | PixelMask


@dataclass(frozen=True)
class Several:
    """``count`` copies of one patch, each at a free unknown place of the same image.

    Copies may overlap. One person who shows more than once in a picture is such a group.
    """

    patch: Patch
    count: int

    def __post_init__(self) -> None:
        require(self.count >= 1, "patch count", "at least 1", self.count)

    def __str__(self) -> str:
        return f"{self.count}*{self.patch}"


@dataclass(frozen=True)
class Borders:
    """Pixels added on each side of an image, all at least 0."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def __post_init__(self) -> None:
        least = min(self.top, self.bottom, self.left, self.right)
        require(least >= 0, "padding", "at least 0", least)

    @classmethod
    def of_sequence(cls, padding: Sequence[int]) -> "Borders":
        """Reads one of torchvision's sequences.

        Args:
            padding: (all), or (left and right, top and bottom), or (left, top, right, bottom).

        Raises:
            InputError: If there are not 1, 2 or 4 numbers, or one is negative.

        >>> Borders.of_sequence((1, 2))
        Borders(top=2, bottom=2, left=1, right=1)
        """
        require(len(padding) in (1, 2, 4), "padding", "1, 2 or 4 numbers", tuple(padding))
        left, top, right, bottom = (list(padding) * 4)[:4]
        return cls(top, bottom, left, right)

    def __str__(self) -> str:
        if self.top == self.bottom == self.left == self.right:
            return str(self.top)
        return f"top {self.top}, bottom {self.bottom}, left {self.left}, right {self.right}"


@dataclass(frozen=True)
class Crop:
    """A window of ``size`` whose origin is uniform over all those of the padded image.

    Flips are of the image, before padding and crop; flips after the crop read the same pixels, so
    that they need no mention here.

    Attributes:
        size: The window.
        padding: Pixels added on every side of the image first, or on each.
        mode: What the added pixels show, as in `numpy.pad` and torchvision: ``constant`` nothing,
            ``reflect`` and ``symmetric`` the image mirrored, without and with its outermost pixel,
            ``edge`` that pixel. All but ``constant`` copy the patch.
        pad_if_needed: Whether a side that is then still shorter than the window by d is padded by d
            at both its ends, in the same mode, as by torchvision's `RandomCrop`. Every window then
            spans that whole side of the image. (Where a mode mirrors and ``padding`` is given too,
            `transforms.v2` mirrors the image once, by the sum, and the older class what is padded
            already: other copies, the same inclusion.)
        horizontal_flip: Probability that the image is mirrored left to right first.
        vertical_flip: Probability that it is turned upside down first.
    """

    size: Size
    padding: int | Borders = 0
    mode: PadMode = "constant"
    pad_if_needed: bool = False
    horizontal_flip: float = 0.0
    vertical_flip: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.padding, Borders):
            require(self.padding >= 0, "padding", "at least 0", self.padding)
        legal = get_args(PadMode)
        require(self.mode in legal, "padding mode", f"one of {', '.join(legal)}", self.mode)
        for name in ("horizontal_flip", "vertical_flip"):
            value = getattr(self, name)
            require(0 <= value <= 1, name.replace("_", " "), "in [0, 1]", value)

    def borders(self, image: Size) -> Borders:
        """Returns all the borders that this image gets; a place z is at (top, left) + z in them.

        Raises:
            InputError: If an image is too small to be mirrored so far, where torchvision refuses
                tensors as well: reflect needs borders below its length, symmetric at most that.
        """
        given, rows, columns = self.padding, 0, 0
        if not isinstance(given, Borders):
            given = Borders(given, given, given, given)
        if self.pad_if_needed:
            rows = max(0, self.size.height - image.height - given.top - given.bottom)
            columns = max(0, self.size.width - image.width - given.left - given.right)
        total = Borders(
            given.top + rows, given.bottom + rows, given.left + columns, given.right + columns
        )
        self._require_mirror(total, image)
        return total

    def origins(self, image: Size) -> Size:
        """Returns how many window origins the padded image has on each axis.

        Raises:
            InputError: If the window does not fit, or the image cannot be padded so.
        """
        border = self.borders(image)
        height = image.height + border.top + border.bottom
        width = image.width + border.left + border.right
        rows, columns = height - self.size.height + 1, width - self.size.width + 1
        legal = f"at most the padded image {Size(height, width)}"
        require(rows >= 1 and columns >= 1, "crop", legal, self.size)
        return Size(rows, columns)

    def _require_mirror(self, border: Borders, image: Size) -> None:
        if self.mode not in ("reflect", "symmetric"):
            return
        spare = 1 if self.mode == "reflect" else 0
        fits = max(border.top, border.bottom) <= image.height - spare
        fits = fits and max(border.left, border.right) <= image.width - spare
        legal = f"{'below' if spare else 'at most'} the sides of the image {image} in mode "
        require(fits, "padding", legal + self.mode, border)

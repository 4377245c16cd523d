"""Descriptions of an image, a crop and a patch; nothing is computed here.

Assumes axis-aligned pixel grids, sizes in pixels as (height, width), and patch substitution: two
neighbouring images differ only inside one translate of the patch that lies within the image.
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropaudit.errors import InputError, require

__all__ = ["Crop", "Patch", "PixelMask", "Rectangle", "Size"]


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
class Crop:
    """A window of ``size`` whose origin is uniform over all valid ones.

    Attributes:
        size: The window.
        padding: Constant (zero) pixels added on every side of the image first.
    """

    size: Size
    padding: int = 0

    def __post_init__(self) -> None:
        require(self.padding >= 0, "padding", "at least 0", self.padding)

    def origins(self, image: Size) -> Size:
        """Returns how many window origins the padded image has on each axis.

        Raises:
            InputError: If the window does not fit.
        """
        rows = image.height + 2 * self.padding - self.size.height + 1
        columns = image.width + 2 * self.padding - self.size.width + 1
        legal = f"at most the padded image {Size(*(n + 2 * self.padding for n in _pair(image)))}"
        require(rows >= 1 and columns >= 1, "crop", legal, self.size)
        return Size(rows, columns)


def _pair(size: Size) -> tuple[int, int]:
    return size.height, size.width

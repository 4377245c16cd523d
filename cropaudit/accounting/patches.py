"""Makes patches: discs, fixed layouts, masks from files, and any of them from one word.

Assumes pixels as the unit. Every patch is a set of pixels that may change together; where in the
image it lies is not part of it.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cropaudit.accounting.geometry import Patch, PixelMask, Rectangle, Several, Size
from cropaudit.accounting.image_sizes import opened
from cropaudit.errors import InputError, require

__all__ = ["Several", "disc", "parse_patch", "read_mask", "union"]

_MOST_PIXELS = 2**26  # of a mask: no image of this kind is larger, and a bomb is
_LARGEST_RADIUS = 4000
_FORMS = "HxW, N, disc:R, mask:FILE.png, or K*PATCH for K copies, as 2*10x10"


def disc(radius: int) -> PixelMask:
    """Returns a filled circle: row**2 + column**2 <= radius**2, of side 2 * radius + 1.

    Raises:
        InputError: If the radius is negative or huge.

    >>> print(disc(3))
    mask of 29 pixels in 7x7
    """
    legal = f"between 0 and {_LARGEST_RADIUS}"
    require(0 <= radius <= _LARGEST_RADIUS, "disc radius", legal, radius)
    offset = np.abs(np.arange(-radius, radius + 1))
    half = np.array([math.isqrt(radius**2 - int(row) ** 2) for row in offset])
    return PixelMask(np.less_equal.outer(offset, half).T)


def union(parts: Sequence[tuple[Patch, tuple[int, int]]]) -> PixelMask:
    """Returns patches in a fixed layout as one.

    Args:
        parts: Patches, each with the row and the column of its top left; any origin will do.

    Raises:
        InputError: If there are no parts, or they span a huge box.

    >>> print(union([(Rectangle(Size(1, 1)), (0, 0)), (Rectangle(Size(1, 2)), (0, 5))]))
    mask of 3 pixels in 1x7
    """
    require(bool(parts), "parts", "at least one", 0)
    top, left = (min(place[axis] for _, place in parts) for axis in (0, 1))
    height = max(place[0] - top + patch.size.height for patch, place in parts)
    width = max(place[1] - left + patch.size.width for patch, place in parts)
    fits = height * width <= _MOST_PIXELS
    require(fits, "layout", f"at most {_MOST_PIXELS} pixels", Size(height, width))
    pixels = np.zeros((height, width), dtype=np.bool_)
    for patch, (row, column) in parts:
        rows = slice(row - top, row - top + patch.size.height)
        columns = slice(column - left, column - left + patch.size.width)
        pixels[rows, columns] |= patch.mask()
    return PixelMask(pixels)


def read_mask(path: str | Path) -> PixelMask:
    """Reads a mask from a PNG: the pixels that are not zero are the patch.

    Args:
        path: A grey, palette or RGB file without transparency; of a palette the indices count.

    Raises:
        InputError: If the file is no such PNG, is huge, or zero throughout.
    """
    with opened(path, ("PNG",)) as picture:
        modes = ("1", "L", "P", "I", "I;16", "I;16B", "RGB")
        require(picture.mode in modes, f"mask {path}", "grey, palette or RGB", picture.mode)
        size = Size(picture.height, picture.width)
        fits = size.height * size.width <= _MOST_PIXELS
        require(fits, f"mask {path}", f"at most {_MOST_PIXELS} pixels", size)
        values = np.asarray(picture)
    pixels = (values != 0).reshape(size.height, size.width, -1).any(axis=2)
    require(bool(pixels.any()), f"mask {path}", "other than zero in at least one pixel", "none")
    return PixelMask(pixels)


def parse_patch(text: str | int) -> Patch | Several:
    """Reads a patch from one word.

    Args:
        text: ``HxW``, ``N`` for a square, ``disc:R``, ``mask:FILE.png``, or ``K*PATCH`` for K
            copies at free places of one image.

    Raises:
        InputError: If it is none of these, or the patch is not legal.

    >>> print(parse_patch("8x6"), parse_patch(5), parse_patch("2*10x10"), parse_patch("disc:1"))
    8x6 5x5 2*10x10 mask of 5 pixels in 3x3
    """
    words = str(text).strip()
    copies = re.fullmatch(r"(\d+)\s*\*\s*([^*]+)", words)
    if copies is None:
        return _parse_one(words)
    return Several(_parse_one(copies[2].strip()), int(copies[1]))


def _parse_one(words: str) -> Patch:
    kind, _, rest = words.partition(":")
    if kind == "mask" and rest:
        return read_mask(rest)
    if kind == "disc" and re.fullmatch(r"\d{1,9}", rest):
        return disc(int(rest))
    if re.fullmatch(r"\d{1,9}(\s*[xX]\s*\d{1,9})?", words):
        return Rectangle(Size.parse(words, "patch"))
    raise InputError(f"patch must be {_FORMS}, got {words}")

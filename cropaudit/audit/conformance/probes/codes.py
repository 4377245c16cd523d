"""Images and masks whose every pixel says where it is, and how that is read back.

A pixel of the mask holds `OFFSET` + record * H * W + row * W + column, a pixel of the image row + 1
and column + 1 in twelve bits each, in its three bytes. What a transform fills in itself (0, 255,
grey) is neither, and so is known to be no pixel of the source. An output is *axis-aligned* when
each of its rows shows one row of the source and each column one column: what crops, flips, paddings
and nearest-neighbour resizing leave.

Masks of bytes cannot hold such codes. Code that takes or makes bytes is given three masks in the
same random state instead, one for each digit of the code, and these are joined.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.geometry import Size
from cropaudit.errors import require

__all__ = [
    "DIGITS",
    "FEW",
    "OFFSET",
    "WIDE",
    "Labels",
    "Sources",
    "image_code",
    "mask_code",
    "plain_mask",
    "read_image",
    "read_mask",
    "record_of",
]

Integers = NDArray[np.int64]

OFFSET = 1000  # above what masks are filled with: 0, 255 and the like
_SIDE = 4095  # twelve bits
_CHECK = 3  # pixels a side of a block of plain masks
_NEAR = 1e-3  # of a byte: what scaling to floats and back may lose
_BASE = 250  # of the digits in masks of bytes, from 1 on: neither 0 nor 255 is one
_HIGH = 15  # of the higher digits of row and column in the third mask


@dataclass(frozen=True, eq=False)
class Sources:
    """Where the pixels of one output come from.

    Attributes:
        rows: Source row of each output row, -1 where none is shown; shape (h,).
        columns: Source column of each output column, likewise; shape (w,).
        skewed: Whether the output is not axis-aligned; rows and columns then mean nothing.
        shown: Share of the output's pixels that show the source.
        box: First row, last row, first column and last column of the source that are shown.
    """

    rows: Integers
    columns: Integers
    skewed: bool
    shown: float
    box: tuple[int, int, int, int] = (0, -1, 0, -1)

    @property
    def blank(self) -> bool:
        """Whether nothing of the source is shown."""
        return self.shown == 0


def image_code(size: Size) -> NDArray[np.uint8]:
    """Returns the coded image, shape (H, W, 3).

    Raises:
        InputError: If a side is longer than twelve bits can count.
    """
    legal = f"at most {_SIDE} pixels a side"
    require(max(size.height, size.width) < _SIDE, "image", legal, size)
    row = np.arange(1, size.height + 1)[:, None] + np.zeros(size.width, dtype=np.int64)
    column = np.arange(1, size.width + 1)[None, :] + np.zeros((size.height, 1), dtype=np.int64)
    high = (row >> 8) | ((column >> 8) << 4)
    return np.stack([row & 255, column & 255, high], axis=2).astype(np.uint8)


def mask_code(size: Size, record: int = 0) -> NDArray[np.int32]:
    """Returns the coded mask of one record, shape (H, W)."""
    area = size.height * size.width
    first = OFFSET + record * area
    codes = np.arange(first, first + area, dtype=np.int64)
    legal = "such that its codes are below 2^31"
    require(int(codes[-1]) < 2**31, "record", legal, record)
    return codes.reshape(size.height, size.width).astype(np.int32)


def plain_mask(size: Size) -> NDArray[np.uint8]:
    """Returns a mask of two labels that codes nothing, for code that takes few labels only.

    No window of it larger than one block is of one label, as padding is.
    """
    rows, columns = np.indices((size.height, size.width))
    return ((rows // _CHECK + columns // _CHECK) % 2).astype(np.uint8)


@dataclass(frozen=True)
class Labels:
    """A way in which masks say where their pixels are.

    Attributes:
        masks: The masks of a size that are handed in, one after the other in one random state.
        joined: From their outputs to one that `read_mask` reads; none if there is none.
        dtype: Of the masks.
    """

    masks: Callable[[Size], tuple[NDArray[Any], ...]]
    joined: Callable[[Sequence[NDArray[Any] | None], Size], NDArray[Any] | None]
    dtype: Any = np.int32


def _digits(size: Size) -> tuple[NDArray[np.uint8], ...]:
    legal = f"at most {_BASE * _HIGH} pixels a side for masks of bytes"
    require(max(size.height, size.width) <= _BASE * _HIGH, "image", legal, size)
    rows, columns = np.indices((size.height, size.width))
    high = 1 + rows // _BASE * _HIGH + columns // _BASE
    parts = (rows % _BASE + 1, columns % _BASE + 1, high)
    return tuple(part.astype(np.uint8) for part in parts)


def _joined(outputs: Sequence[NDArray[Any] | None], size: Size) -> NDArray[Any] | None:
    """Returns the codes of `mask_code` that three digits make; -1 where they make none."""
    known = [np.asarray(item, dtype=np.float64) for item in outputs if item is not None]
    if len(known) != 3 or len({item.shape for item in known}) != 1:
        return outputs[0]
    valid = np.all([(k == np.rint(k)) & (k >= 1) & (k <= _BASE) for k in known], axis=0)
    low_row, low_column, high = (np.where(valid, k, 1).astype(np.int64) - 1 for k in known)
    row, column = high // _HIGH * _BASE + low_row, high % _HIGH * _BASE + low_column
    valid &= (row < size.height) & (column < size.width)
    return np.where(valid, OFFSET + row * size.width + column, -1)


def _first(outputs: Sequence[NDArray[Any] | None], size: Size) -> NDArray[Any] | None:
    return outputs[0]


WIDE = Labels(lambda size: (mask_code(size),), _first)
DIGITS = Labels(_digits, _joined, np.uint8)
FEW = Labels(lambda size: (plain_mask(size),), _first, np.uint8)


def read_image(
    pixels: NDArray[np.generic], size: Size, *, negative: bool = False, factor: int = 1
) -> Sources:
    """Reads an output image (h, w, 3) of bytes, or of floats that are bytes / 255 or bytes.

    Args:
        pixels: The output.
        size: Of the coded image.
        negative: Whether the negative of the code, 255 less each byte, was handed in.
        factor: What each byte was multiplied by, modulo 256, before it was handed in; odd.
    """
    values = np.asarray(pixels, dtype=np.float64)
    values = np.where(np.isfinite(values), values, np.nan)
    if values.ndim != 3 or values.shape[2] != 3 or 0 in values.shape:
        return _unreadable(values.shape[:2])
    if not np.issubdtype(np.asarray(pixels).dtype, np.integer) and _top(values) <= 1 + _NEAR:
        values = values * 255
    if negative:
        values = 255 - values
    codes = np.rint(values)
    exact = (np.abs(values - codes) <= 255 * _NEAR) & (codes >= 0) & (codes <= 255)
    whole = np.where(exact, codes, 0).astype(np.int64)
    whole = whole * pow(factor, -1, 256) % 256
    row = (whole[..., 0] | ((whole[..., 2] & 15) << 8)) - 1
    column = (whole[..., 1] | ((whole[..., 2] >> 4) << 8)) - 1
    valid = exact.all(axis=2) & (row >= 0) & (row < size.height)
    valid &= (column >= 0) & (column < size.width)
    return _axes(row, column, valid)


def read_mask(labels: NDArray[np.generic], size: Size) -> Sources:
    """Reads an output mask (h, w) of any record."""
    codes, valid = _codes(labels)
    if codes.ndim != 2 or codes.size == 0:
        return _unreadable(codes.shape[:2])
    place = codes % (size.height * size.width)
    return _axes(place // size.width, place % size.width, valid)


def record_of(labels: NDArray[np.generic], size: Size) -> int | None:
    """Returns the record that a coded mask is of; none if it shows nothing of one, or of several.

    >>> size = Size(4, 6)
    >>> record_of(mask_code(size, 3)[1:3, 2:4], size)
    3
    """
    codes, valid = _codes(labels)
    records = np.unique(codes[valid] // (size.height * size.width))
    return int(records[0]) if len(records) == 1 else None


def _codes(labels: NDArray[np.generic]) -> tuple[Integers, NDArray[np.bool_]]:
    """Returns the codes from 0, and which are codes at all (and not what was filled in)."""
    values = np.asarray(labels, dtype=np.float64)
    near = np.rint(values)
    valid = np.isfinite(values) & (values == near) & (near >= OFFSET)
    return np.where(valid, near - OFFSET, 0).astype(np.int64), valid


def _top(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size else 0.0


def _unreadable(shape: tuple[int, ...]) -> Sources:
    height, width = (*shape, 0, 0)[:2]
    nowhere = np.full(height, -1, dtype=np.int64), np.full(width, -1, dtype=np.int64)
    return Sources(*nowhere, skewed=True, shown=0.0)


def _axes(row: Integers, column: Integers, valid: NDArray[np.bool_]) -> Sources:
    # The largest code of each output row is the code of all its pixels, or it is not axis-aligned.
    rows = np.where(valid, row, -1).max(axis=1, initial=-1)
    columns = np.where(valid, column, -1).max(axis=0, initial=-1)
    product = (rows >= 0)[:, None] & (columns >= 0)[None, :]
    same = (row == rows[:, None]) & (column == columns[None, :])
    aligned = bool(np.array_equal(valid, product) and same[valid].all())
    box = (0, -1, 0, -1)
    if valid.any():
        seen = row[valid], column[valid]
        box = (int(seen[0].min()), int(seen[0].max()), int(seen[1].min()), int(seen[1].max()))
    return Sources(rows, columns, skewed=not aligned, shown=float(valid.mean()), box=box)

"""The data sets that users' loaders and trainings are given: images that say who they are.

`CodedImages` shows in each pixel where it is, and in the mask of which record, for loaders that
crop. The colours of records survive any crop and resize, and any normalisation that is the same for
all images; they are told apart by their order.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from torchvision.tv_tensors import Image, Mask

from cropaudit.accounting.geometry import Size
from cropaudit.audit.conformance.probes.codes import image_code, mask_code, plain_mask

__all__ = ["CodedImages", "colours_of", "index_of", "records_of"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_TOP = 255
_CHANNELS = 3
_ORDERS = ((0, 1, 2), (2, 1, 0))  # of the channels: some libraries turn them round
_GOLDEN = 0.618  # of all colours, by which the next record's is further: spreads them evenly
_VARIED = 0.08  # of the distance of two levels, by which a texture may stray
_STRAY = 0.2  # of the distance of two levels, by which a colour may stray


class CodedImages(Dataset[Any]):
    """Pairs of torchvision's Image, uint8 (3, H, W), and Mask, int64 (H, W).

    Attributes:
        asked: Indices that were asked for in this process, in order.
    """

    def __init__(self, size: Size, records: int, *, plain: bool = False) -> None:
        """Holds one image and one mask.

        Args:
            size: Of the images.
            records: How many there are.
            plain: Whether masks hold two labels and code nothing, for code that takes few labels.
        """
        self._image = torch.from_numpy(image_code(size)).permute(2, 0, 1).contiguous()
        mask = plain_mask(size) if plain else mask_code(size)
        # Beyond 32 bits, which the code of one record would not stand.
        self._mask = torch.from_numpy(mask.astype(np.int64))
        self._area = 0 if plain else size.height * size.width
        self._records = records
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self._records

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        record = index_of(index, self._records)
        self.asked.append(record)
        return Image(self._image.clone()), Mask(self._mask + record * self._area)


def colours_of(records: int) -> tuple[Integers, int]:
    """Returns the colours of all records, shape (records, 3), and by how much pixels may vary."""
    levels = _levels(records)
    amplitude = max(int(_VARIED * _TOP / (levels - 1)), 2)
    step = (_TOP - 2 * amplitude) / (levels - 1)
    return np.rint(_digits(records) * step).astype(np.int64) + amplitude, amplitude


def records_of(colours: Floats, records: int) -> Integers | None:
    """Reads records from their colours, see `colours_of`, under any one affine map a channel.

    Args:
        colours: Shape (n, 3), of a whole training.
        records: Size of the data set.

    Returns:
        Indices, shape (n,); none if the colours are not on a grid, as when each image is
        normalised by itself or its colours are jittered.
    """
    if not len(colours):
        return np.zeros(0, dtype=np.int64)
    digits = _digits(records)
    for order in _ORDERS:
        places = _on_grid(colours[:, order], digits)
        if places is None:
            continue
        weights = _levels(records) ** np.arange(_CHANNELS)
        codes = digits @ weights
        ranks = np.argsort(codes)
        wanted = places @ weights
        found = ranks[np.clip(np.searchsorted(codes[ranks], wanted), 0, records - 1)]
        if np.array_equal(codes[found], wanted):
            return found.astype(np.int64)
    return None


def _on_grid(colours: Floats, digits: Integers) -> Integers | None:
    """Returns the digits that colours stand for, if they are evenly spaced in each channel."""
    low, high = colours.min(axis=0), colours.max(axis=0)
    least, most = digits.min(axis=0), digits.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    exact = least + (colours - low) / span * (most - least)
    places = np.rint(exact)
    return None if np.abs(exact - places).max() > _STRAY else places.astype(np.int64)


def _levels(records: int) -> int:
    """Returns how many levels of a channel tell the records apart: at least 2."""
    levels: int = math.ceil(round(float(records) ** (1 / _CHANNELS), 9))
    return max(levels, 2)


def _digits(records: int) -> Integers:
    """Returns the levels of each record's channels, shape (records, 3).

    Consecutive records are spread over all colours, so that every level of every channel is that of
    many records: what is white and what is black is then known even if some never come.
    """
    base = _levels(records)
    cube = base**_CHANNELS
    stride = next(a for a in range(int(_GOLDEN * cube), 2 * cube) if math.gcd(a, base) == 1)
    codes = np.arange(records) * stride % cube
    return np.stack([codes // base**place % base for place in range(_CHANNELS)], axis=1)


def index_of(index: int, records: int) -> int:
    """Returns an index from 0, or raises as a list does."""
    if not -records <= index < records:
        # What ends a plain loop over a data set without an iterator of its own.
        raise IndexError(f"index {index} of {records} records")
    return int(index) % records

"""Which source rows and columns the windows of a uniform crop read: one law for each axis.

Assumes `Crop`: a window whose origin is uniform over the padded image, independently on the two
axes. All four padding modes fold an axis onto the source by steps of at most one pixel and treat
the axes apart, so that what a window reads is a product of two intervals of the source (none, where
it lies within constant padding). A flip of the image mirrors these intervals; it changes the law
only where the borders are unequal, and since the two flips are independent as well the law is a
product still. Counts are whole numbers held in float64: exact below 2**53 windows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from cropaudit.accounting.geometry import Crop, Size

__all__ = [
    "ClippedFootprints",
    "Footprints",
    "axis_footprints",
    "clipped",
    "hits",
    "source_indices",
]

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Footprints:
    """The law of what the windows read on one axis of the source.

    Attributes:
        first: First index of each interval, shape (n,).
        last: Last index of each, shape (n,).
        weight: Number of window origins that read it, shape (n,); what is missing to ``origins``
            reads nothing. Whole numbers, unless flips mix two laws.
        origins: Number of window origins.
        length: Of the source, in pixels.
    """

    first: Integers
    last: Integers
    weight: Numbers
    origins: int
    length: int


@dataclass(frozen=True, eq=False)
class ClippedFootprints:
    """What the windows read of a patch on one axis, for every place of it.

    Attributes:
        first: First index of each interval that occurs, within the patch, shape (k,).
        last: Last index of each, shape (k,).
        counts: Window origins that read just this interval of the patch, shape (places, k).
    """

    first: Integers
    last: Integers
    counts: Numbers


def source_indices(image: Size, crop: Crop) -> tuple[Integers, Integers]:
    """Returns the source row and the source column of every one of the padded image.

    Returns:
        Two arrays as long as the sides of the padded image; -1 where the padding is constant.

    Raises:
        InputError: If the image cannot be padded so.
    """
    border = crop.borders(image)
    rows = _pad_axis(image.height, (border.top, border.bottom), crop)
    return rows, _pad_axis(image.width, (border.left, border.right), crop)


def axis_footprints(image: Size, crop: Crop) -> tuple[Footprints, Footprints]:
    """Returns the laws of the rows and of the columns that a window reads.

    Raises:
        InputError: If the window does not fit, or the image cannot be padded so.
    """
    crop.origins(image)
    rows, columns = source_indices(image, crop)
    return (
        _footprints(rows, crop.size.height, image.height, crop.vertical_flip),
        _footprints(columns, crop.size.width, image.width, crop.horizontal_flip),
    )


def hits(law: Footprints, patch: int) -> Numbers:
    """Counts the window origins that read a part of [z, z + patch), for every place z.

    Returns:
        Shape (length - patch + 1,).
    """
    begun = np.bincount(law.first, law.weight, law.length).cumsum()
    ended = np.bincount(law.last, law.weight, law.length).cumsum()
    before = np.concatenate([[0.0], ended[: law.length - patch]])
    return np.asarray(begun[patch - 1 :] - before)


def clipped(law: Footprints, patch: int) -> ClippedFootprints:
    """Counts the window origins by the part of [z, z + patch) that they read.

    An interval either starts inside the patch (first > 0), or covers its first pixel and ends
    inside, or covers all of it: three lists, the first two of one entry for each pair of a
    footprint and a pixel of the patch. The cost does not grow with the places times the origins.
    """
    places = law.length - patch + 1
    offset = np.arange(patch, dtype=np.int64)
    starts = _parts(law, law.first[:, None] - offset[None, 1:], patch)
    ends = _parts(law, law.last[:, None] - offset[None, :-1], patch, from_first=True)
    place, key, weight = (np.concatenate(pair) for pair in zip(starts, ends, strict=True))
    whole = _covering(law, patch)
    occurs = np.zeros(patch * patch, dtype=np.bool_)
    occurs[key] = True
    occurs[patch - 1] |= bool(whole.any())
    number = np.cumsum(occurs, dtype=np.int64) - 1
    found = np.flatnonzero(occurs)
    cells = np.bincount(place * len(found) + number[key], weight, places * len(found))
    counts = cells.astype(np.float64).reshape(places, len(found))
    if occurs[patch - 1]:
        counts[:, number[patch - 1]] += whole
    return ClippedFootprints(found // patch, found % patch, counts)


def _pad_axis(length: int, border: tuple[int, int], crop: Crop) -> Integers:
    index = np.arange(length, dtype=np.int64)
    if crop.mode == "constant":
        return np.pad(index, border, mode="constant", constant_values=-1)
    return np.pad(index, border, mode=crop.mode)


def _footprints(source: Integers, window: int, length: int, flip: float) -> Footprints:
    # Beyond any index, so that the constant padding never is the first one.
    first = sliding_window_view(np.where(source < 0, length, source), window).min(axis=1)
    last = sliding_window_view(source, window).max(axis=1)
    weight = np.ones(len(first))
    mirrored = np.where(source < 0, -1, length - 1 - source)[::-1]
    if flip > 0 and not np.array_equal(source, mirrored):
        turned = np.where(last < 0, length, length - 1 - last), length - 1 - first
        first, last = np.concatenate([first, turned[0]]), np.concatenate([last, turned[1]])
        weight = np.concatenate([(1 - flip) * weight, flip * weight])
    reads = last >= 0
    key = first[reads] * length + last[reads]
    found, number = np.unique(key, return_inverse=True)
    weight = np.bincount(number, weight[reads], len(found)).astype(np.float64)
    return Footprints(found // length, found % length, weight, len(source) - window + 1, length)


def _parts(
    law: Footprints, place: Integers, patch: int, *, from_first: bool = False
) -> tuple[Integers, Integers, Numbers]:
    """Lists which part of the patch each footprint reads, for the places (n, m) it is given.

    Args:
        law: The footprints.
        place: Places of the patch, one row for each footprint.
        patch: Its length.
        from_first: Whether only footprints that cover the patch's first pixel count.

    Returns:
        Places, keys first * patch + last, and weights, each of one dimension.
    """
    legal = (place >= 0) & (place <= law.length - patch)
    if from_first:
        legal &= place >= law.first[:, None]
    row = np.nonzero(legal)[0]
    at = place[legal]
    first = np.maximum(law.first[row] - at, 0)
    last = np.minimum(law.last[row] - at, patch - 1)
    return at, first * patch + last, law.weight[row]


def _covering(law: Footprints, patch: int) -> Numbers:
    """Counts the window origins that read all of [z, z + patch), for every place z."""
    long = law.last - law.first + 1 >= patch
    weight = law.weight[long]
    change = np.bincount(law.first[long], weight, law.length + 1)
    change = change - np.bincount(law.last[long] - patch + 2, weight, law.length + 1)
    return np.asarray(change.cumsum()[: law.length - patch + 1], dtype=np.float64)

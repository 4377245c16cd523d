"""How likely a uniformly placed crop window is to meet a patch, for every place of the patch.

Assumes a window whose origin is uniform over all valid origins of the zero-padded image, and a
patch that lies within the image. Counts are exact integers: the origins that hit are the dilation
of the patch by the window, cut to the valid origins; a box filter counts them for all places at
once.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.geometry import Crop, Patch, Rectangle, Size
from cropaudit.errors import require

__all__ = ["Inclusion", "inclusion", "inclusion_map", "worst_inclusion"]


@dataclass(frozen=True)
class Inclusion:
    """The worst case over all places of a patch.

    Attributes:
        probability: Largest probability that the window meets the patch.
        position: Row and column of the patch's top left there (the first of equals).
        image: The image size for which it holds.
    """

    probability: float
    position: tuple[int, int]
    image: Size


def inclusion_map(image: Size, crop: Crop, patch: Patch) -> NDArray[np.float64]:
    """Returns the inclusion probability rho(z) for every place of the patch.

    Args:
        image: Size of the image before padding.
        crop: Window and padding.
        patch: Rectangle or pixel mask; a mask is first trimmed to its bounding box.

    Returns:
        Array of shape (H - h + 1, W - w + 1); entry (i, j) is for the patch's top left at (i, j).

    Raises:
        InputError: If the window or the patch does not fit.

    >>> rho = inclusion_map(Size(4, 4), Crop(Size(2, 2)), Rectangle(Size(1, 1)))
    >>> float(rho[0, 0]), float(rho[1, 1])
    (0.1111111111111111, 0.4444444444444444)
    """
    origins = crop.origins(image)
    total = origins.height * origins.width
    if isinstance(patch, Rectangle):
        _require_fit(patch.size, image)
        rows = _axis_hits(image.height, crop.size.height, patch.size.height, crop.padding)
        columns = _axis_hits(image.width, crop.size.width, patch.size.width, crop.padding)
        return np.multiply.outer(rows, columns) / total
    pixels = _trim(patch.mask())
    _require_fit(Size(*pixels.shape), image)
    return _mask_hits(pixels, image, crop) / total


def inclusion(image: Size, crop: Crop, patch: Patch) -> Inclusion:
    """Returns the worst case of `inclusion_map`."""
    rho = inclusion_map(image, crop, patch)
    row, column = np.unravel_index(int(np.argmax(rho)), rho.shape)
    return Inclusion(float(rho[row, column]), (int(row), int(column)), image)


def worst_inclusion(images: Iterable[Size], crop: Crop, patch: Patch) -> Inclusion:
    """Returns the worst case over images of different sizes: the claim must cover each of them."""
    found = [inclusion(image, crop, patch) for image in sorted(set(images))]
    require(bool(found), "images", "at least one", 0)
    return max(found, key=lambda item: item.probability)


def _require_fit(patch: Size, image: Size) -> None:
    fits = patch.height <= image.height and patch.width <= image.width
    require(fits, "patch", f"at most the image {image}", patch)


def _axis_hits(length: int, window: int, patch: int, padding: int) -> NDArray[np.int64]:
    """Counts, on one axis, the origins whose window meets the patch, for each place of it."""
    last = length + 2 * padding - window
    place = np.arange(length - patch + 1, dtype=np.int64) + padding
    hits = np.minimum(last, place + patch - 1) - np.maximum(0, place - window + 1) + 1
    return np.asarray(np.maximum(hits, 0))


def _trim(pixels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    rows = np.flatnonzero(pixels.any(axis=1))
    columns = np.flatnonzero(pixels.any(axis=0))
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _integral(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the integral image with a leading row and column of zeros."""
    return np.pad(values, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)


def _mask_hits(pixels: NDArray[np.bool_], image: Size, crop: Crop) -> NDArray[np.int64]:
    """Counts the hitting origins for each place of a mask."""
    window = crop.size
    reach = _dilate(pixels, window)
    table = _integral(reach.astype(np.int64))
    height, width = pixels.shape
    origins = crop.origins(image)
    top, bottom = _origin_range(image.height - height + 1, window.height, origins.height, crop)
    left, right = _origin_range(image.width - width + 1, window.width, origins.width, crop)
    top, bottom = np.clip(top, 0, reach.shape[0]), np.clip(bottom, 0, reach.shape[0])
    left, right = np.clip(left, 0, reach.shape[1]), np.clip(right, 0, reach.shape[1])
    lower = table[bottom][:, right] - table[bottom][:, left]
    upper = table[top][:, right] - table[top][:, left]
    return np.asarray(lower - upper)


def _dilate(pixels: NDArray[np.bool_], window: Size) -> NDArray[np.bool_]:
    """Marks the origins, relative to the mask's top left less the window, that meet the mask."""
    rows, columns = window.height - 1, window.width - 1
    table = _integral(np.pad(pixels.astype(np.int64), ((rows, rows), (columns, columns))))
    h, w = window.height, window.width
    return np.asarray(table[h:, w:] - table[:-h, w:] - table[h:, :-w] + table[:-h, :-w] > 0)


def _origin_range(
    places: int, window: int, origins: int, crop: Crop
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns, for each place, the valid origins as a half-open range of dilation indices."""
    place = np.arange(places, dtype=np.int64) + crop.padding
    first = window - 1 - place
    return first, first + origins

"""Inclusion probabilities under `ResizedCrop`: a sum over all the window sizes.

Given its size, a window's origin is uniform and the two axes are independent, so that for a
rectangle rho = sum over (h, w) of P[h, w] A[h, row] B[w, column]: two matrix products, exact. Other
shapes get an upper bound. So does a rectangle where the filter reads only part of the window (the
whole window is counted), or where the image is resampled without being cut first (the window is
grown by the reach of the filter, rounded up and one pixel more for safety).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cropaudit.accounting.crop_laws import ResizedCrop
from cropaudit.accounting.geometry import Size
from cropaudit.accounting.window_sizes import SizeLaw, size_law

__all__ = ["resized_caveats", "resized_map"]

_SUPPORT = {"nearest": 1, "bilinear": 1, "bicubic": 2}  # source pixels on each side
_PARTS = 16  # connected parts of a mask that are worth a sum of their own

Numbers = NDArray[np.float64]
Integers = NDArray[np.int64]


def resized_map(image: Size, crop: ResizedCrop, pixels: NDArray[np.bool_]) -> Numbers:
    """Returns rho(z), or an upper bound on it, for every place of a patch.

    Args:
        image: The image.
        crop: The law of the windows.
        pixels: The patch, trimmed to its bounding box, shape (h, w), no larger than the image.

    Returns:
        Shape (H - h + 1, W - w + 1). The smallest of the value for the bounding box, the sum of
        those for the bounding boxes of the connected parts, and 1.
    """
    law = size_law(image, crop)
    box = _rectangle_map(image, crop, law, Size(*pixels.shape))
    labels, count = ndimage.label(pixels, structure=np.ones((3, 3)))
    if pixels.all() or not 2 <= count <= _PARTS:
        return box
    total = np.zeros_like(box)
    for rows, columns in ndimage.find_objects(labels):
        part = Size(rows.stop - rows.start, columns.stop - columns.start)
        rho = _rectangle_map(image, crop, law, part)
        total += rho[rows.start :, columns.start :][: box.shape[0], : box.shape[1]]
    return np.minimum(box, total)


def resized_caveats(image: Size, crop: ResizedCrop, pixels: NDArray[np.bool_]) -> tuple[str, ...]:
    """Returns why `resized_map` is an upper bound only; empty if it is exact."""
    caveats = []
    if not crop.cut_first:
        caveats.append("each window is grown by the reach of the filter")
    elif _skips(size_law(image, crop), crop):
        caveats.append("resizing skips pixels, yet the whole window is counted")
    if not pixels.all():
        caveats.append("the mask is covered by rectangles")
    return tuple(caveats)


def _skips(law: SizeLaw, crop: ResizedCrop) -> bool:
    """Tells whether some window may hold pixels that no output pixel depends on."""
    if crop.antialias and crop.interpolation != "nearest":
        return False
    tallest = max([law.fallback.height, *law.heights[-1:]])
    widest = max([law.fallback.width, *law.widths[-1:]])
    return bool(tallest > crop.output.height or widest > crop.output.width)


@dataclass(frozen=True)
class _Axis:
    """One axis of one pipeline: lengths in pixels, and the filter."""

    length: int
    output: int
    patch: int
    crop: ResizedCrop

    def reach(self, windows: Integers) -> Integers:
        """Returns how far beside windows of these lengths the filter reads."""
        if self.crop.cut_first:
            return np.zeros_like(windows)
        shrink = windows / self.output if self.crop.antialias else np.ones(len(windows))
        widest = _SUPPORT[self.crop.interpolation] * np.maximum(shrink, 1.0)
        return np.asarray(np.ceil(widest), dtype=np.int64) + 1

    def rates(self, windows: Integers) -> Numbers:
        """Returns the share of origins that hit, shape (windows, places)."""
        place = np.arange(self.length - self.patch + 1, dtype=np.int64)[None]
        window, reach = windows[:, None], self.reach(windows)[:, None]
        last = self.length - window
        hit = np.minimum(last, place + self.patch - 1 + reach)
        hit = hit - np.maximum(0, place - window + 1 - reach) + 1
        return np.asarray(hit / (last + 1))

    def at(self, first: int, window: int) -> Numbers:
        """Returns whether the window of this length at ``first`` hits, 0 or 1, shape (places,)."""
        place = np.arange(self.length - self.patch + 1, dtype=np.int64)
        reach = int(self.reach(np.array([window]))[0])
        hit = (place + self.patch > first - reach) & (place < first + window + reach)
        return np.asarray(hit.astype(np.float64))


def _rectangle_map(image: Size, crop: ResizedCrop, law: SizeLaw, patch: Size) -> Numbers:
    rows = _Axis(image.height, crop.output.height, patch.height, crop)
    columns = _Axis(image.width, crop.output.width, patch.width, crop)
    rho = (rows.rates(law.heights).T @ law.probability) @ columns.rates(law.widths)
    if law.fallback_probability > 0:
        top, left = law.fallback_origin
        at_centre = rows.at(top, law.fallback.height), columns.at(left, law.fallback.width)
        rho += law.fallback_probability * np.multiply.outer(*at_centre)
    return np.minimum(rho, 1.0)

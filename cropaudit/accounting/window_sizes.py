"""How likely each window size is under `ResizedCrop`: a closed form for every whole size.

Before rounding, w' = sqrt(A r) and h' = sqrt(A / r), where the area A is uniform on
[s0, s1] * area and ln r uniform on [ln r0, ln r1]. The Jacobian of (w'h', ln w'/h') is 2, so that
(w', h') has the constant density 2 / (area (s1 - s0) ln(r1 / r0)) on the region
{s0 area <= w'h' <= s1 area, r0 <= w'/h' <= r1}: a size's probability is the area of that region
within the unit cell around it. Where one range is a point the law lives on a curve. Assumes real
numbers: torch draws 24 binary digits and whole numbers modulo 2**32, which moves an inclusion
probability by less than a millionth.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.crop_laws import ResizedCrop
from cropaudit.accounting.geometry import Size
from cropaudit.errors import require

__all__ = ["SizeLaw", "size_law"]

_TRIES = 10
_CELLS = 2**18  # computed at once; bounds memory

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SizeLaw:
    """The window sizes of one image.

    Attributes:
        heights: Heights that may occur, shape (m,).
        widths: Widths that may occur, shape (n,).
        probability: Of each size, after all tries, shape (m, n).
        fallback: Size of the central window that is taken if no try fits.
        fallback_probability: Of that window.
        fallback_origin: Its first row and column; of all other windows the origin is uniform.
    """

    heights: Integers
    widths: Integers
    probability: Numbers
    fallback: Size
    fallback_probability: float
    fallback_origin: tuple[int, int]


@lru_cache(maxsize=8)
def size_law(image: Size, crop: ResizedCrop) -> SizeLaw:
    """Returns the law of the window size.

    Raises:
        InputError: If the central window would be empty.
    """
    area = float(image.height * image.width)
    low, high = (share * area for share in crop.scale)
    least, most = crop.ratio
    heights = _candidates(math.sqrt(low / most), math.sqrt(high / least), image.height)
    widths = _candidates(math.sqrt(low * least), math.sqrt(high * most), image.width)
    once = _one_try(heights, widths, (low, high), (least, most))
    accepted = min(float(once.sum()), 1.0)
    # 1 + (1 - p) + ... : the tries before the one that fits, without a division by p.
    tries = math.fsum((1 - accepted) ** k for k in range(_TRIES))
    failed = (1 - accepted) ** _TRIES
    fallback = _central(image, crop)
    origin = (image.height - fallback.height) // 2, (image.width - fallback.width) // 2
    return SizeLaw(heights, widths, once * tries, fallback, failed, origin)


def _candidates(low: float, high: float, most: int) -> Integers:
    """Returns the whole sizes that values in [low, high] may round to, within [1, most]."""
    first, last = max(1, math.floor(low)), min(most, math.ceil(high))
    return np.arange(first, last + 1, dtype=np.int64)


def _one_try(
    heights: Integers, widths: Integers, area: tuple[float, float], ratio: tuple[float, float]
) -> Numbers:
    """Returns the probability of each size in one try, shape (heights, widths)."""
    tops, sides = heights.astype(np.float64), widths.astype(np.float64)
    if area[0] == area[1] and ratio[0] == ratio[1]:
        height, width = math.sqrt(area[0] / ratio[0]), math.sqrt(area[0] * ratio[0])
        chosen = np.multiply.outer(heights == round(height), widths == round(width))
        return np.asarray(chosen.astype(np.float64))
    if area[0] == area[1]:  # on h'w' = A, ln w' is uniform
        ends = [math.log(area[0] * r) / 2 for r in ratio]
        by_width = np.log(sides - 0.5), np.log(sides + 0.5)
        whole = math.log(area[0])
        by_height = whole - np.log(tops + 0.5), whole - np.log(tops - 0.5)
        return _overlaps(by_height, by_width, ends)
    if ratio[0] == ratio[1]:  # on w' = r h', w'^2 is uniform
        ends = [value * ratio[0] for value in area]
        by_width = (sides - 0.5) ** 2, (sides + 0.5) ** 2
        by_height = (ratio[0] * (tops - 0.5)) ** 2, (ratio[0] * (tops + 0.5)) ** 2
        return _overlaps(by_height, by_width, ends)
    step = max(1, _CELLS // (len(tops) + 1))
    blocks = [sides[i : i + step] for i in range(0, len(sides), step)]
    cells = [_cells(tops, block, area, ratio) for block in blocks]
    empty = np.zeros((len(heights), 0))
    return np.concatenate([empty, *cells], axis=1)


def _overlaps(
    rows: tuple[Numbers, Numbers], columns: tuple[Numbers, Numbers], ends: list[float]
) -> Numbers:
    """Returns the share of [ends] that lies in a row's interval and in a column's as well."""
    low = np.maximum(np.maximum.outer(rows[0], columns[0]), ends[0])
    high = np.minimum(np.minimum.outer(rows[1], columns[1]), ends[1])
    return np.asarray(np.maximum(high - low, 0) / (ends[1] - ends[0]))


def _cells(
    heights: Numbers, widths: Numbers, area: tuple[float, float], ratio: tuple[float, float]
) -> Numbers:
    """Integrates the region over unit cells: strips of one width, cut at every half height.

    In a strip the region lies between max(A0 / x, x / r1) and min(A1 / x, x / r0); below y it is
    the integral of min(y, upper) - min(y, lower), for x where the two are in order.
    """
    left, right = math.sqrt(area[0] * ratio[0]), math.sqrt(area[1] * ratio[1])
    start = np.clip(widths - 0.5, left, right).astype(np.float64)
    stop = np.clip(widths + 0.5, left, right).astype(np.float64)
    level = np.append(heights - 0.5, heights[-1:] + 0.5)[:, None]
    below = _under_upper(level, start, stop, area[1], ratio[0])
    below -= _under_lower(level, start, stop, area[0], ratio[1])
    whole = (area[1] - area[0]) * math.log(ratio[1] / ratio[0]) / 2
    return np.asarray(np.maximum(np.diff(below, axis=0), 0) / whole)


def _under_upper(y: Numbers, a: Numbers, b: Numbers, area: float, ratio: float) -> Numbers:
    """Integrates min(y, x / ratio, area / x) over [a, b]: a slope, a level, a hyperbola."""
    rise = np.minimum(ratio * y, math.sqrt(area * ratio))
    one = np.clip(rise, a, b)
    two = np.clip(np.maximum(rise, area / y), a, b)
    below = (one**2 - a**2) / (2 * ratio) + y * (two - one) + area * np.log(b / two)
    return np.asarray(below)


def _under_lower(y: Numbers, a: Numbers, b: Numbers, area: float, ratio: float) -> Numbers:
    """Integrates min(y, max(area / x, x / ratio)) over [a, b]: level, hyperbola, slope, level."""
    middle = math.sqrt(area * ratio)
    one, two = np.clip(np.minimum(area / y, middle), a, b), np.clip(middle, a, b)
    three = np.clip(np.maximum(ratio * y, middle), a, b)
    flat = y * ((one - a) + (b - three))
    return np.asarray(flat + area * np.log(two / one) + (three**2 - two**2) / (2 * ratio))


def _central(image: Size, crop: ResizedCrop) -> Size:
    """Returns the largest window of a legal ratio, as torchvision rounds it."""
    height, width = image.height, image.width
    shape = width / height
    if shape < crop.ratio[0]:
        height = round(width / crop.ratio[0])
    elif shape > crop.ratio[1]:
        width = round(height * crop.ratio[1])
    legal = f"such that the central window of the image {image} is not empty"
    require(height >= 1 and width >= 1, "ratio", legal, crop.ratio)
    return Size(height, width)

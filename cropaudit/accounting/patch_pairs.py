"""The worst probability that a window meets one of two equal rectangles at two free places.

Assumes `Crop` with constant padding, where the origins that meet a rectangle form one interval on
each axis, [s(z), e(z)], with both ends nondecreasing in the place z. On one axis, for z1 <= z2, the
number of origins that meet either is a minimum of two sums of concave functions of z1 and of z2
(apart, and overlapping), whatever weights the other axis gives. Its maximum lies at the last z1
whose interval still starts first of all, and at the first z2 whose interval ends last of all: the
intervals are as long as they can be, and as far apart. So the worst pair sits at opposite corners.
"""

import numpy as np

from cropaudit.accounting.geometry import Borders, Crop, Size

__all__ = ["two_rectangles"]


def two_rectangles(image: Size, crop: Crop, patch: Size) -> tuple[float, tuple[int, int]] | None:
    """Returns the worst probability and the place of the upper left one, where that is exact.

    Args:
        image: The image.
        crop: The crop.
        patch: Size of both rectangles, no larger than the image; they may overlap.

    Returns:
        None where the padding copies the patch, or flips matter since the borders are unequal.
    """
    border = crop.borders(image)
    mixed = (crop.horizontal_flip > 0 and border.left != border.right) or (
        crop.vertical_flip > 0 and border.top != border.bottom
    )
    if mixed or (crop.mode != "constant" and border != Borders()):
        return None
    origins = crop.origins(image)
    down = _axis(image.height, crop.size.height, patch.height, border.top, origins.height)
    across = _axis(image.width, crop.size.width, patch.width, border.left, origins.width)
    total = down[0] * across[0] + down[1] * across[1] - down[2] * across[2]
    return total / (origins.height * origins.width), (down[3], across[3])


def _axis(
    length: int, window: int, patch: int, border: int, origins: int
) -> tuple[int, int, int, int]:
    """Returns how many origins meet the first, the second and both, and the first one's place."""
    place = np.arange(length - patch + 1, dtype=np.int64) + border
    start = np.maximum(0, place - window + 1)
    end = np.minimum(origins - 1, place + patch - 1)
    one = int(np.flatnonzero(start == start[0])[-1])
    two = max(one, int(np.flatnonzero(end == end[-1])[0]))
    both = max(0, int(end[one] - start[two]) + 1)
    return int(end[one] - start[one]) + 1, int(end[two] - start[two]) + 1, both, one

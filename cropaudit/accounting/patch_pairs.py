"""The worst probability that a window meets one of two equal rectangles at two free places.

Assumes `Crop` with constant padding, where the origins that meet a rectangle form one interval on
each axis, [s(z), e(z)], with both ends nondecreasing in the place z by at most one a step. On one
axis the best first place is the last whose interval still starts first of all, and the best second
place the first whose interval ends last of all, whatever the other axis does; docs/theory.md
(Two patches) has the proof. What is left is which rectangle of one axis goes with which of the
other: both ways are counted.
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
    both = down[2] * across[2]
    alike = down[0] * across[0] + down[1] * across[1] - both
    crossed = down[0] * across[1] + down[1] * across[0] - both  # more only if borders are unequal
    place = (down[3], across[3] if alike >= crossed else across[4])
    return max(alike, crossed) / (origins.height * origins.width), place


def _axis(
    length: int, window: int, patch: int, border: int, origins: int
) -> tuple[int, int, int, int, int]:
    """Returns how many origins meet the first, the second and both, and the places of the two."""
    place = np.arange(length - patch + 1, dtype=np.int64) + border
    start = np.maximum(0, place - window + 1)
    end = np.minimum(origins - 1, place + patch - 1)
    one = int(np.flatnonzero(start == start[0])[-1])
    two = max(one, int(np.flatnonzero(end == end[-1])[0]))
    both = max(0, int(end[one] - start[two]) + 1)
    return int(end[one] - start[one]) + 1, int(end[two] - start[two]) + 1, both, one, two

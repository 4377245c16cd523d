"""Finds the place of a picture that continues the surroundings of a hole best."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["best_shift"]

_RING = 3  # pixels around the hole that are compared
_MOST_POINTS = 300
_MOST_SHIFTS = 4000
# Grey levels by which a place must be better for each height or width of the hole that it is away:
# near places share the light and the perspective.
_DISTANCE = 10.0


def best_shift(
    pixels: NDArray[np.float64], hole: NDArray[np.bool_], usable: NDArray[np.bool_]
) -> tuple[int, int] | None:
    """Returns the rows and columns from where the hole is to be copied from to the hole.

    The copy of the hole's box must be usable throughout. Among those the one is best whose
    surroundings differ least (root mean square) from the hole's, near ones preferred.

    Args:
        pixels: Shape (3, H, W).
        hole: Pixels to fill, shape (H, W).
        usable: Pixels that may be copied and compared, shape (H, W).

    Returns:
        None if there is no such place.
    """
    ring = ndimage.binary_dilation(hole, iterations=_RING) & ~hole & usable
    points = _thin(np.argwhere(ring), _MOST_POINTS)
    shifts = _shifts(hole, usable, points)
    if len(points) == 0 or len(shifts) == 0:
        return None
    rows, columns = (points[:, None] - shifts[None]).transpose(2, 0, 1)
    here = pixels[:, points[:, 0], points[:, 1]][:, :, None]
    difference = np.sqrt(((pixels[:, rows, columns] - here) ** 2).mean(axis=(0, 1)))
    away = np.hypot(*(shifts / (np.ptp(np.argwhere(hole), axis=0) + 1)).T)
    best = shifts[int(np.argmin(difference + _DISTANCE * away))]
    return int(best[0]), int(best[1])


def _shifts(
    hole: NDArray[np.bool_], usable: NDArray[np.bool_], points: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Returns the shifts whose copy is usable and whose surroundings lie within the picture."""
    inside = np.argwhere(hole)
    (top, left), (bottom, right) = inside.min(axis=0), inside.max(axis=0) + 1
    height, width = bottom - top, right - left
    table = np.pad((~usable).astype(np.int64), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    unusable = (
        table[height:, width:] - table[:-height, width:] - table[height:, :-width]
        + table[:-height, :-width]
    )  # fmt: skip
    found = np.array([top, left]) - np.argwhere(unusable == 0)
    if len(points) and len(found):
        moved_low, moved_high = points.min(axis=0) - found, points.max(axis=0) - found
        fits = (moved_low >= 0).all(axis=1) & (moved_high < hole.shape).all(axis=1)
        found = found[fits]
    return _thin(found, _MOST_SHIFTS)


def _thin(items: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    return items[:: max(1, -(-len(items) // most))]

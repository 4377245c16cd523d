"""A picture without one of its objects.

World B of a real object: only pixels of the object change, all of them in its box, so that the two
pictures are neighbours under substitution of any patch that covers the box. The fill is a copy of
the place of the same picture that continues the surroundings best, with its labels, made to join
them smoothly (Perez, Gangnet, Blake, "Poisson image editing", 2003). Where there is no such place
it is smooth throughout, and each pixel takes the label of the nearest one outside. Everything is
deterministic.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.linalg import splu
from torch import Tensor

from cropaudit.errors import require
from cropaudit.training.data.images import IGNORE
from cropaudit.training.objects.patches import ObjectPatch, grown

__all__ = ["best_shift", "harmonic", "without"]

_GREY = 128.0
_TEXTURED = 8  # pixels of the shorter side
_REACH = 3  # sides of the box
_LEAST_REACH = 32
_RING = 3  # pixels around the hole that are compared
_MOST_POINTS, _MOST_SHIFTS = 300, 4000
# Grey levels by which a place must be better for each height or width of the hole that it is away:
# near places share the light and the perspective.
_DISTANCE = 10.0


def without(image: Tensor, mask: Tensor, patch: ObjectPatch) -> tuple[Tensor, Tensor]:
    """Returns copies of an image and its mask in which the object's pixels show what is around it.

    Args:
        image: uint8, shape (3, H, W).
        mask: uint8, shape (H, W).
        patch: An object of this image.

    Raises:
        InputError: If the object's box does not lie within the image.
    """
    row, column, height, width = patch.box
    fits = min(row, column) >= 0 and height <= mask.shape[0] - row
    require(
        fits and width <= mask.shape[1] - column,
        f"box of {patch.name}",
        f"within its image of {mask.shape[0]}x{mask.shape[1]}",
        f"row {row}, column {column}, {height}x{width}",
    )
    near = _surroundings(patch, mask)
    hole = np.zeros(mask.shape, dtype=bool)
    hole[patch.slices] = patch.pixels.numpy()
    new_image, new_mask = image.clone(), mask.clone()
    colours, labels = _fill(image[:, *near].numpy(), mask[near].numpy(), hole[near])
    new_image[:, *near] = torch.from_numpy(colours)
    new_mask[near] = torch.from_numpy(labels)
    return new_image, new_mask


def _fill(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], hole: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Returns both with the hole filled."""
    pixels = image.astype(np.float64)
    sides = np.ptp(np.argwhere(hole), axis=0) + 1
    whole = hole.sum() == sides.prod()
    usable = ~hole if whole else _of_other_classes(mask, hole)
    # Whole boxes are parts without a class of their own, such as faces: what looks like their
    # surroundings is no face. In small ones no texture is seen. Both become smooth.
    shift = None if whole or min(sides) < _TEXTURED else best_shift(pixels, hole, usable)
    if shift is None:
        base, labels = np.full_like(pixels, _GREY), _nearest(mask, usable)
    else:
        base, labels = np.roll(pixels, shift, axis=(1, 2)), np.roll(mask, shift, axis=(0, 1))
    # The pixels beside an object are mixed with it: the surface is bound one further out.
    colours = base + harmonic(pixels - base, grown(hole, 1), usable)
    filled = np.where(hole, colours.round().clip(0, 255), pixels).astype(np.uint8)
    return filled, np.where(hole, labels, mask)


def _of_other_classes(mask: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Returns the pixels outside the hole, if there are any without those of the hole's class.

    Beside a car there may be another, and neither is what is behind it.
    """
    others = ~hole & (mask != np.bincount(mask[hole]).argmax())
    return others if others.any() else ~hole


def _nearest(mask: NDArray[np.uint8], usable: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Returns at each pixel the label of the nearest usable one that has a label."""
    labelled = usable & (mask != IGNORE)
    if not labelled.any():
        return np.full_like(mask, IGNORE)
    rows, columns = ndimage.distance_transform_edt(
        ~labelled, return_distances=False, return_indices=True
    )
    nearest: NDArray[np.uint8] = mask[rows, columns]
    return nearest


def _surroundings(patch: ObjectPatch, mask: Tensor) -> tuple[slice, slice]:
    """Returns the part of the image from which the fill may come."""
    reach = max(_LEAST_REACH, _REACH * max(patch.box[2:]))
    rows, columns = (
        slice(max(0, part.start - reach), min(part.stop + reach, side))
        for part, side in zip(patch.slices, mask.shape, strict=True)
    )
    return rows, columns


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


def harmonic(
    values: NDArray[np.float64], hole: NDArray[np.bool_], usable: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Returns values that are harmonic in a hole, and as given beside it.

    Each pixel of the hole is the mean of its neighbours in the hole and of those that are usable;
    over other neighbours and the picture's edge no condition holds, as if the surface ended there.

    Args:
        values: Shape (channels, H, W).
        hole: The pixels to fill, shape (H, W); values there are not read.
        usable: Pixels outside the hole whose values bind the surface, shape (H, W).

    Returns:
        Shape (channels, H, W); parts of the hole that touch no usable pixel are 0.
    """
    places = np.argwhere(hole)
    number = np.full(hole.shape, -1)
    number[hole] = np.arange(len(places))
    # A trace of stiffness keeps parts that nothing binds at 0, and the matrix regular.
    degree = np.full(len(places), 1e-9)
    flow = np.zeros((len(places), len(values)))
    links = []
    for step in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        beside = places + step
        inside = ((beside >= 0) & (beside < hole.shape)).all(axis=1)
        at = np.flatnonzero(inside)
        rows, columns = beside[inside].T
        free, bound = hole[rows, columns], usable[rows, columns] & ~hole[rows, columns]
        links.append((at[free], number[rows[free], columns[free]]))
        degree[at[free | bound]] += 1
        flow[at[bound]] += values[:, rows[bound], columns[bound]].T
    start, end = (np.concatenate(part) for part in zip(*links, strict=True))
    ones = np.full(len(start), -1.0)
    matrix = sparse.coo_array((ones, (start, end)), shape=(len(places),) * 2)
    filled = values.copy()
    laplace = (matrix + sparse.diags_array(degree)).tocsc()
    filled[:, hole] = splu(laplace, permc_spec="MMD_AT_PLUS_A").solve(flow).T
    return filled

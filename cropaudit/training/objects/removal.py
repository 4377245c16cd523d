"""A picture without one of its objects, or with another object in its place.

World B of a real object: only pixels of the object change, all of them in its box, so that the two
pictures are neighbours under substitution of any patch that covers the box. The fill is a copy of
the place of the same picture that continues the surroundings best, with its labels, made to join
them smoothly (Perez, Gangnet, Blake, "Poisson image editing", 2003). Where there is no such place
it is smooth throughout, and each pixel takes the label of the nearest one outside. Everything is
deterministic.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from cropaudit.errors import require
from cropaudit.training.data import IGNORE
from cropaudit.training.objects.cloning import best_shift
from cropaudit.training.objects.components import grown
from cropaudit.training.objects.membrane import harmonic
from cropaudit.training.objects.patches import ObjectPatch

__all__ = ["exchanged", "without"]

_GREY = 128.0
_TEXTURED = 8  # pixels of the shorter side
_REACH = 3  # sides of the box
_LEAST_REACH = 32


def without(image: Tensor, mask: Tensor, patch: ObjectPatch) -> tuple[Tensor, Tensor]:
    """Returns copies of an image and its mask in which the object's pixels show what is around it.

    Args:
        image: uint8, shape (3, H, W).
        mask: uint8, shape (H, W).
        patch: An object of this image.

    Raises:
        InputError: If the object's box does not lie within the image.
    """
    _require_within(mask, patch)
    near = _surroundings(patch, mask)
    hole = np.zeros(mask.shape, dtype=bool)
    hole[patch.slices] = patch.pixels.numpy()
    new_image, new_mask = image.clone(), mask.clone()
    colours, labels = _fill(image[:, *near].numpy(), mask[near].numpy(), hole[near])
    new_image[:, *near] = torch.from_numpy(colours)
    new_mask[near] = torch.from_numpy(labels)
    return new_image, new_mask


def exchanged(
    image: Tensor,
    mask: Tensor,
    patch: ObjectPatch,
    other_image: Tensor,
    other_mask: Tensor,
    other: ObjectPatch,
) -> tuple[Tensor, Tensor]:
    """Returns copies of an image and its mask with another object of the same class in the box.

    The object is taken out as in `without`, and the other one, resized to the box, is put there.

    Args:
        image: uint8, shape (3, H, W).
        mask: uint8, shape (H, W).
        patch: An object of this image.
        other_image: The image of the other object, uint8.
        other_mask: Its mask, of the same classes.
        other: The other object.

    Raises:
        InputError: If the objects' names differ, or a box does not lie within its image.
    """
    _require_within(other_mask, other)
    require(other.name == patch.name, "other object", f"a {patch.name} too", other.name)
    new_image, new_mask = without(image, mask, patch)
    size = patch.box[2:]
    colours = _resized(other_image[:, *other.slices], size, "bilinear")
    shape = _resized(other.pixels[None].to(torch.uint8), size, "nearest-exact")[0].bool()
    labels = _resized(other_mask[other.slices][None], size, "nearest-exact")[0]
    new_image[:, *patch.slices] = torch.where(shape, colours, new_image[:, *patch.slices])
    new_mask[patch.slices] = torch.where(shape, labels, new_mask[patch.slices])
    return new_image, new_mask


def _resized(values: Tensor, size: Sequence[int], mode: str) -> Tensor:
    """Returns uint8 values of shape (C, H, W) at another size."""
    smooth = {"antialias": True, "align_corners": False} if mode == "bilinear" else {}
    wide = F.interpolate(values[None].to(torch.float32), tuple(size), mode=mode, **smooth)[0]
    return wide.round().clamp(0, 255).to(torch.uint8)


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


def _require_within(mask: Tensor, patch: ObjectPatch) -> None:
    row, column, height, width = patch.box
    fits = min(row, column) >= 0 and height <= mask.shape[0] - row
    require(
        fits and width <= mask.shape[1] - column,
        f"box of {patch.name}",
        f"within its image of {mask.shape[0]}x{mask.shape[1]}",
        f"row {row}, column {column}, {height}x{width}",
    )

"""Real objects of the photographs as slots: there in world A, taken away in world B."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cropaudit.accounting.geometry import Crop, Patch, PixelMask
from cropaudit.accounting.inclusion import inclusion_map
from cropaudit.errors import require
from cropaudit.training.canaries.designs import LooksLikeObject, RealObject
from cropaudit.training.canaries.slots import CanarySlot, fill_slots, footprint, trimmed
from cropaudit.training.data import IGNORE, SegmentationData

__all__ = ["covered", "plant_objects"]


def plant_objects(
    data: SegmentationData,
    design: RealObject[Any],
    count: int,
    crop: Crop,
    patch: Patch,
    per_image: int,
) -> tuple[SegmentationData, tuple[CanarySlot, ...]]:
    """Makes slots of the first ``count`` objects that fit into the patch and do not overlap.

    Args:
        data: The photographs.
        design: The objects, and how to take one away.
        count: Number of slots, at most.
        crop: The crop of training.
        patch: The accounted patch.
        per_image: Slots of one photograph, at most.

    Returns:
        The data set with every slot empty: the object taken away, its pixels unlabelled.

    Raises:
        InputError: If no object fits, or taking one away changes what is not in its pixels.
    """
    slots: list[CanarySlot] = []
    for found in design.objects if count else ():
        if len(slots) == count:
            break
        mask = data.masks[found.record]
        beside = [slot for slot in slots if slot.record == found.record]
        if len(beside) < per_image and covered(found, patch, mask) and _apart(found, beside, mask):
            slots.append(_slot(data, design, found, crop))
    require(count == 0 or bool(slots), "objects", f"at least one that fits into {patch}", "none")
    return _emptied(data, slots), tuple(slots)


def covered(found: LooksLikeObject, patch: Patch, mask: Tensor) -> bool:
    """Returns whether some place of the patch within the image covers all pixels of an object."""
    whole = trimmed(patch)
    (height, width), pixels = whole.shape, found.pixels
    rows, columns = _box(found)
    for row in range(max(0, rows.stop - height), min(rows.start, mask.shape[0] - height) + 1):
        first = max(0, columns.stop - width)
        for column in range(first, min(columns.start, mask.shape[1] - width) + 1):
            shown = whole[
                rows.start - row : rows.stop - row,
                columns.start - column : columns.stop - column,
            ]
            if not bool((pixels & ~shown).any()):
                return True
    return False


def _apart(found: LooksLikeObject, slots: Sequence[CanarySlot], mask: Tensor) -> bool:
    taken = [footprint(slot, mask)[_box(found)] for slot in slots]
    return not any(bool((pixels & found.pixels).any()) for pixels in taken)


def _box(found: LooksLikeObject) -> tuple[slice, slice]:
    row, column, height, width = found.box
    return slice(row, row + height), slice(column, column + width)


def _slot(
    data: SegmentationData, design: RealObject[Any], found: LooksLikeObject, crop: Crop
) -> CanarySlot:
    image, mask = data.images[found.record], data.masks[found.record]
    box = _box(found)
    without, unlabelled = design.without(image, mask, found)
    slot = CanarySlot(
        record=found.record,
        position=found.box[:2],
        pixels=found.pixels,
        texture_a=image[:, *box].clone(),
        texture_b=without[:, *box].clone(),
        labels_a=mask[box].clone(),
        labels_b=unlabelled[box].clone(),
        inclusion=_inclusion(data, found, crop),
        miss_gradient=None,
        design=str(design),
        name=f"{found.name} in {data.names[found.record]}",
    )
    outside = ~footprint(slot, mask)
    changed = (without != image).any(dim=0) | (unlabelled != mask)
    legal = "the same outside its pixels"
    require(not bool((changed & outside).any()), f"image without {slot.name}", legal, "changed")
    return slot


def _inclusion(data: SegmentationData, found: LooksLikeObject, crop: Crop) -> float:
    """Returns the inclusion probability of the object's own pixels, which no patch exceeds."""
    pixels = found.pixels.numpy()
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    place = found.box[0] + int(rows[0]), found.box[1] + int(columns[0])
    return float(inclusion_map(data.size(found.record), crop, PixelMask(pixels))[place])


def _emptied(data: SegmentationData, slots: Sequence[CanarySlot]) -> SegmentationData:
    blank = [replace(slot, labels_b=torch.full_like(slot.labels_b, IGNORE)) for slot in slots]
    return fill_slots(data, blank, np.zeros(len(slots), dtype=np.bool_))

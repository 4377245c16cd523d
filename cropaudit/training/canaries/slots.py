"""The slot: what stands at one place of one record in world A, and what in world B.

A data set with slots is *empty*: at each slot's place its labels are all ignored. Filling one slot
leaves the others as they are, so that an adversary who does not know their coins sees them empty,
and one who does fills them first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cropaudit.accounting.geometry import Patch
from cropaudit.training.data import SegmentationData

__all__ = ["CanarySlot", "fill_slots", "filled", "footprint", "trimmed"]


@dataclass(frozen=True, eq=False)
class CanarySlot:
    """One canary.

    Attributes:
        record: Index of the record that bears it.
        position: Row and column of the patch's top left.
        pixels: Which pixels of the bounding box belong to the patch, bool, shape (h, w).
        texture_a: Pixels of world A, uint8, shape (3, h, w).
        texture_b: Pixels of world B.
        labels_a: Labels of world A, uint8, shape (h, w).
        labels_b: Labels of world B.
        inclusion: Inclusion probability of this place.
        miss_gradient: What a window that misses the patch gives, in units of the clip along the
            direction from B to A: exactly 0 on an ignored background, ideally -1 on a sparse one,
            None where the record's own labels decide. Other slots of the record count as empty.
        design: The design, in words.
        name: Of the canary, for reports.
        natural_b: Whether world B is the photograph as it is: crafting leaves it alone.
    """

    record: int
    position: tuple[int, int]
    pixels: Tensor
    texture_a: Tensor
    texture_b: Tensor
    labels_a: Tensor
    labels_b: Tensor
    inclusion: float
    miss_gradient: float | None = 0.0
    design: str = ""
    name: str = ""
    natural_b: bool = False

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns of the patch's bounding box."""
        (row, column), (height, width) = self.position, self.pixels.shape
        return slice(row, row + height), slice(column, column + width)


def fill_slots(
    data: SegmentationData, slots: Sequence[CanarySlot], member: NDArray[np.bool_]
) -> SegmentationData:
    """Pastes each slot's content: world A where ``member`` holds, else world B.

    Args:
        data: What `plant` returned, or the same with other slots filled.
        slots: Its slots, or some of them.
        member: The coins, shape (slots,).
    """
    images, masks = list(data.images), list(data.masks)
    for record in {slot.record for slot in slots}:
        images[record], masks[record] = images[record].clone(), masks[record].clone()
    for slot, is_member in zip(slots, member, strict=True):
        _paste(images[slot.record], masks[slot.record], slot, bool(is_member))
    return replace(data, images=tuple(images), masks=tuple(masks))


def filled(data: SegmentationData, slot: CanarySlot, *, world_a: bool) -> tuple[Tensor, Tensor]:
    """Returns copies of one slot's image (3, H, W) and mask (H, W), holding a world's content.

    Other slots of the record stay as ``data`` has them: empty, or filled with what is known.
    """
    image, mask = data.images[slot.record].clone(), data.masks[slot.record].clone()
    _paste(image, mask, slot, world_a)
    return image, mask


def footprint(slot: CanarySlot, mask: Tensor) -> Tensor:
    """Returns which pixels of the slot's record, shaped as its mask, belong to the patch."""
    inside = torch.zeros(mask.shape, dtype=torch.bool)
    inside[slot.box] = slot.pixels
    return inside


def trimmed(patch: Patch) -> Tensor:
    """Returns a patch's pixels cut to their bounding box, whose places `inclusion_map` counts."""
    pixels = torch.from_numpy(patch.mask().copy())
    rows, columns = (torch.nonzero(pixels.any(dim=axis)).flatten() for axis in (1, 0))
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _paste(image: Tensor, mask: Tensor, slot: CanarySlot, world_a: bool) -> None:
    texture, labels = (
        (slot.texture_a, slot.labels_a) if world_a else (slot.texture_b, slot.labels_b)
    )
    rows, columns = slot.box
    image[:, rows, columns] = torch.where(slot.pixels, texture, image[:, rows, columns])
    mask[rows, columns] = torch.where(slot.pixels, labels, mask[rows, columns])

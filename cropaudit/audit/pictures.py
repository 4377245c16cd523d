"""Pictures of canary slots: the image in either world, crops that meet and that miss the patch.

One more shows the patch and what is around it enlarged, world A beside world B: a pasted canary
beside the photograph, or a real face beside the same place without it.
"""

import colorsys
import io
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cropaudit.accounting.geometry import Crop
from cropaudit.audit.result import CanaryPicture
from cropaudit.training.canaries.slots import CanarySlot, fill_slots, filled
from cropaudit.training.canaries.windows import windows_of
from cropaudit.training.crops import Window, cut
from cropaudit.training.data import IGNORE, SegmentationData

__all__ = ["draw_canaries", "neighbourhood"]

_KEYS = ("a", "b", "hit", "miss", "labels_a", "labels_b", "beside")
_ENLARGED = 192  # pixels: the longer side of a neighbourhood is enlarged to at least that
_GAP = 8  # pixels between the two worlds


def draw_canaries(
    data: SegmentationData,
    slots: Sequence[CanarySlot],
    member: NDArray[np.bool_],
    crop: Crop,
    count: int = 3,
) -> tuple[tuple[CanaryPicture, ...], dict[str, bytes]]:
    """Draws some slots, spread evenly over all of them.

    Args:
        data: The records with slots empty.
        slots: All slots.
        member: Their coins; other slots of a record are shown as their coins have it.
        crop: The crop of training.
        count: How many slots to draw.

    Returns:
        What was drawn, and PNG bytes by file name.
    """
    trained = fill_slots(data, slots, member)
    drawn, files = [], {}
    for number in np.unique(np.linspace(0, len(slots) - 1, min(count, len(slots))).astype(int)):
        slot = slots[number]
        names = {key: f"pictures/slot{number}_{key}.png" for key in _KEYS}
        shown = _slot_pictures(trained, slot, crop)
        files.update({names[key]: _png(pixels) for key, pixels in shown.items()})
        drawn.append(
            CanaryPicture(
                slot=int(number),
                name=slot.name or data.names[slot.record],
                position=slot.position,
                world="A" if member[number] else "B",
                world_a=names["a"],
                world_b=names["b"],
                crop_hit=names["hit"] if "hit" in shown else None,
                crop_miss=names["miss"] if "miss" in shown else None,
                labels_a=names["labels_a"],
                labels_b=names["labels_b"],
                beside=names["beside"],
            )
        )
    return tuple(drawn), files


def neighbourhood(data: SegmentationData, slot: CanarySlot) -> Tensor:
    """Returns the patch and as much again on every side, world A left of world B, enlarged.

    Args:
        data: The records; other slots are shown as they are in it.
        slot: The slot.

    Returns:
        uint8, shape (3, H, W); each pixel of the image is a square of whole pixels.
    """
    (row, column), (height, width) = slot.position, slot.pixels.shape
    views = []
    for world_a in (True, False):
        image, _ = filled(data, slot, world_a=world_a)
        rows = slice(max(0, row - height), row + 2 * height)
        views.append(image[:, rows, max(0, column - width) : column + 2 * width])
    scale = -(-_ENLARGED // max(views[0].shape[1:]))
    large = [view.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2) for view in views]
    gap = large[0].new_full((3, large[0].shape[1], _GAP), 255)
    return torch.cat([large[0], gap, large[1]], dim=2)


def _slot_pictures(data: SegmentationData, slot: CanarySlot, crop: Crop) -> dict[str, Tensor]:
    image, mask = filled(data, slot, world_a=True)
    image_b, mask_b = filled(data, slot, world_a=False)
    shown = {
        "a": image,
        "b": image_b,
        "labels_a": _colours(mask),
        "labels_b": _colours(mask_b),
        "beside": neighbourhood(data, slot),
    }
    for key, window in _two_windows(slot, mask, crop).items():
        shown[key] = cut(image, mask, window, crop)[0]
    return shown


def _two_windows(slot: CanarySlot, mask: Tensor, crop: Crop) -> dict[str, Window]:
    """Returns a window that shows as much of the patch as any, and one that shows none of it."""
    law = windows_of(slot, mask, crop)
    generator = np.random.default_rng(slot.record)
    wanted = {"hit": law.covers() & law.hits(), "miss": law.misses()}
    return {
        key: law.draw(chosen, 1, generator)[0]
        for key, chosen in wanted.items()
        if law.probability(chosen) > 0
    }


def _colours(mask: Tensor) -> Tensor:
    """Returns labels as colours, unlabelled pixels grey, shape (3, H, W)."""
    table = np.full((256, 3), 225, dtype=np.uint8)
    for label in range(IGNORE):
        rgb = colorsys.hsv_to_rgb((label * 0.61803) % 1, 0.65, 0.85)
        table[label] = [round(255 * value) for value in rgb]
    return torch.from_numpy(table[mask.numpy()]).permute(2, 0, 1)


def _png(pixels: Tensor) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(buffer, format="PNG")
    return buffer.getvalue()

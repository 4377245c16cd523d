"""Pictures of canary slots: the image in either world, crops that meet and that miss the patch."""

import colorsys
import io
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cropaudit.accounting.geometry import Crop, Size
from cropaudit.attacks.white_box import meeting_window
from cropaudit.audit.result import CanaryPicture
from cropaudit.training.canaries import CanarySlot, fill_slots
from cropaudit.training.crops import Window, cut
from cropaudit.training.data import IGNORE, SegmentationData

__all__ = ["draw_canaries"]


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
        member: Their coins.
        crop: The crop of training.
        count: How many slots to draw.

    Returns:
        What was drawn, and PNG bytes by file name.
    """
    worlds = [fill_slots(data, slots, np.full(len(slots), world)) for world in (True, False)]
    drawn, files = [], {}
    for number in np.unique(np.linspace(0, len(slots) - 1, min(count, len(slots))).astype(int)):
        slot = slots[number]
        names = {key: f"pictures/slot{number}_{key}.png" for key in _KEYS}
        shown = _slot_pictures(worlds, slot, crop)
        files.update({names[key]: _png(pixels) for key, pixels in shown.items()})
        drawn.append(
            CanaryPicture(
                slot=int(number),
                name=data.names[slot.record],
                position=slot.position,
                world="A" if member[number] else "B",
                world_a=names["a"],
                world_b=names["b"],
                crop_hit=names["hit"],
                crop_miss=names["miss"] if "miss" in shown else None,
                labels_a=names["labels_a"],
                labels_b=names["labels_b"],
            )
        )
    return tuple(drawn), files


_KEYS = ("a", "b", "hit", "miss", "labels_a", "labels_b")


def _slot_pictures(
    worlds: Sequence[SegmentationData], slot: CanarySlot, crop: Crop
) -> dict[str, Tensor]:
    image, mask = worlds[0].images[slot.record], worlds[0].masks[slot.record]
    generator = torch.Generator().manual_seed(slot.record)
    hit = meeting_window(slot, worlds[0], crop, generator, covering=True)
    miss = _missing_window(slot, worlds[0].size(slot.record), crop)
    shown = {
        "a": image,
        "b": worlds[1].images[slot.record],
        "hit": cut(image, mask, hit, crop)[0],
        "labels_a": _colours(mask),
        "labels_b": _colours(worlds[1].masks[slot.record]),
    }
    if miss is not None:
        shown["miss"] = cut(image, mask, miss, crop)[0]
    return shown


def _missing_window(slot: CanarySlot, size: Size, crop: Crop) -> Window | None:
    """Returns a window in a corner that shows none of the patch nor of its mirror images."""
    origins = crop.origins(size)
    inside = torch.zeros(size.height, size.width, dtype=torch.uint8)
    (row, column), (height, width) = slot.position, slot.pixels.shape
    inside[row : row + height, column : column + width] = slot.pixels
    for top in (0, origins.height - 1):
        for left in (0, origins.width - 1):
            window = Window(top, left)
            if not cut(inside[None], inside, window, crop)[0].any():
                return window
    return None


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

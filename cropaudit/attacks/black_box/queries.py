"""The crops that are shown for one slot, and which of their pixels belong to its patch."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cropaudit.accounting.geometry import Crop
from cropaudit.errors import require
from cropaudit.training.canaries import CanarySlot, filled
from cropaudit.training.canaries.windows import windows_of
from cropaudit.training.crops import cut
from cropaudit.training.data import SegmentationData

__all__ = ["Queries", "slot_queries"]


@dataclass(frozen=True, eq=False)
class Queries:
    """Crops of one slot: world A's pixels through each of W windows, then world B's.

    Attributes:
        images: uint8, shape (2 W, 3, h, w).
        labels: Of worlds A and B at every pixel, shape (2 W, 2, h, w).
        cells: 1 + the number of the cell of the patch that a pixel lies in, 0 outside the patch,
            shape (2 W, h, w).
    """

    images: Tensor
    labels: Tensor
    cells: Tensor

    def to(self, device: torch.device) -> "Queries":
        """Returns labels and cells on a device; images stay where they are."""
        return replace(self, labels=self.labels.to(device), cells=self.cells.to(device))


def slot_queries(
    empty: SegmentationData,
    slot: CanarySlot,
    crop: Crop,
    windows: int,
    generator: np.random.Generator,
    side: int,
    *,
    covering: bool,
) -> Queries:
    """Draws windows by the crop's law among those that cover (or meet) the patch, and cuts them.

    Args:
        empty: The records; other slots of this record are shown as they are there.
        slot: The canary.
        crop: The crop of training.
        windows: W.
        generator: Of the draw.
        side: Cells along each side of the patch's bounding box, at least 1.
        covering: Whether a window shows all of the patch, as far as any does.

    Raises:
        InputError: If no window meets the patch.
    """
    law = windows_of(slot, empty.masks[slot.record], crop)
    chosen = law.covers() & law.hits() if covering else law.hits()
    legal = "where some window of the crop meets it"
    require(law.probability(chosen) > 0, "canary", legal, slot.position)
    worlds = [filled(empty, slot, world_a=world_a) for world_a in (True, False)]
    cells = _cell_map(slot, empty.masks[slot.record], side)
    images, labels, places = [], [], []
    for window in law.draw(chosen, windows, generator):
        shown = [cut(image, mask, window, crop) for image, mask in worlds]
        images.append(torch.stack([pixels for pixels, _ in shown]))
        labels.append(torch.stack([marked for _, marked in shown]))
        places.append(cut(cells[None], worlds[0][1], window, crop)[0][0])
    return Queries(
        torch.stack(images, dim=1).flatten(0, 1),
        torch.stack(labels).repeat(2, 1, 1, 1),
        torch.stack(places).repeat(2, 1, 1),
    )


def _cell_map(slot: CanarySlot, mask: Tensor, side: int) -> Tensor:
    """Returns the cell of every pixel of the record, from 1, and 0 outside the patch."""
    height, width = slot.pixels.shape
    rows = torch.arange(height) * side // height
    columns = torch.arange(width) * side // width
    found = torch.zeros(mask.shape, dtype=torch.int64)
    found[slot.box] = (rows[:, None] * side + columns + 1) * slot.pixels
    return found

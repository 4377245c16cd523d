"""What crafting maximises: the distance between the mean clipped gradients of the two worlds.

That is the norm of mean_w c(g_A(w)) - mean_w c(g_B(w)), where w runs over windows drawn from those
that meet the patch and c clips to 1: 2 for gradients of full length that agree among the windows
and oppose between the worlds, the ideal pair. Where a missing window is to give B's gradient, the
mean for B is over all windows, missing ones among them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from cropaudit.accounting.geometry import Crop
from cropaudit.errors import require
from cropaudit.training.canaries.alignment import crops
from cropaudit.training.canaries.gradients import clip, flat_gradients, in_chunks
from cropaudit.training.canaries.slots import CanarySlot, filled
from cropaudit.training.canaries.windows import windows_of
from cropaudit.training.crops import Window, cut
from cropaudit.training.data import SegmentationData

__all__ = ["Matcher", "climbed", "free_textures", "with_textures"]

_Pair = tuple[list[Window], list[Window]]  # for world A and for world B
_FIRST, _LAST = 24.0, 2.0  # grey levels of the first and the last step


@dataclass(frozen=True, eq=False)
class Matcher:
    """A model and a crop to fit slots to.

    Attributes:
        model: The model, at the weights to fit to.
        crop: The crop of training.
        max_grad_norm: The clip C.
        generator: Of the windows.
    """

    model: nn.Module
    crop: Crop
    max_grad_norm: float
    generator: np.random.Generator

    def __post_init__(self) -> None:
        require(self.max_grad_norm > 0, "max_grad_norm", "above 0", self.max_grad_norm)

    def drawn(self, slot: CanarySlot, mask: Tensor, count: int) -> _Pair:
        """Draws windows of the slot's record for world A and for world B."""
        law = windows_of(slot, mask, self.crop)
        met = law.draw(law.hits(), count, self.generator)
        if slot.miss_gradient != -1.0:
            return met, met
        every = np.ones_like(law.shown, dtype=np.bool_)
        return met, law.draw(every, count, self.generator)

    def gap(self, data: SegmentationData, slot: CanarySlot, windows: _Pair) -> float:
        """Returns the distance as it is, other slots of the record as ``data`` has them."""
        gradients, means = flat_gradients(self.model), []
        for origins, world_a in zip(windows, (True, False), strict=True):
            found = in_chunks(
                gradients, *crops(data, slot, self.crop, origins, world_a), self.model
            )
            means.append(clip(found.double(), self.max_grad_norm).mean(dim=0))
        return float((means[0] - means[1]).norm())

    def matched(
        self,
        data: SegmentationData,
        slot: CanarySlot,
        image: Tensor,
        textures: Sequence[Tensor],
        windows: _Pair,
    ) -> Tensor:
        """Returns the distance as a function of pixels, to be differentiated.

        Args:
            data: The records, for the labels.
            slot: The slot.
            image: Pixels of its record outside the patch, float, shape (3, H, W).
            textures: Its free textures, float, see `free_textures`.
            windows: See `drawn`.
        """
        gradients, means, (rows, columns) = flat_gradients(self.model), [], slot.box
        worlds = zip(_of_worlds(slot, textures), windows, (True, False), strict=True)
        for texture, origins, world_a in worlds:
            pixels, (_, mask) = image.clone(), filled(data, slot, world_a=world_a)
            pixels[:, rows, columns] = torch.where(slot.pixels, texture, image[:, rows, columns])
            cuts = [cut(pixels, mask, window, self.crop) for window in origins]
            images, masks = (torch.stack(parts) for parts in zip(*cuts, strict=True))
            means.append(clip(gradients(images, masks), self.max_grad_norm).mean(dim=0))
        gap: Tensor = (means[0] - means[1]).norm()
        return gap


def climbed(
    pixels: Sequence[Tensor], slopes: Sequence[Tensor], step: int, steps: int
) -> list[Tensor]:
    """Moves pixels, float in 0 to 255, by the sign of their slopes; steps shrink as they go."""
    size = _FIRST + (_LAST - _FIRST) * step / max(1, steps - 1)
    return [
        (one + size * slope.sign()).clamp(0, 255) for one, slope in zip(pixels, slopes, strict=True)
    ]


def free_textures(slot: CanarySlot) -> tuple[Tensor, ...]:
    """Returns the textures that may change: of A alone, one for both worlds, or of each."""
    if slot.natural_b or torch.equal(slot.texture_a, slot.texture_b):
        return (slot.texture_a.float(),)
    return slot.texture_a.float(), slot.texture_b.float()


def with_textures(slot: CanarySlot, textures: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Returns the pixels of A and of B, uint8, given those that may change."""
    texture_a, texture_b = _of_worlds(slot, textures)
    return texture_a.round().to(torch.uint8), texture_b.round().to(torch.uint8)


def _of_worlds(slot: CanarySlot, textures: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    return textures[0], slot.texture_b.float() if slot.natural_b else textures[-1]

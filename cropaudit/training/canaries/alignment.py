"""How near a slot's gradients come to the ideal pair: +1 in world A, -1 in B, 0 or -1 if missed.

Windows are drawn from the crop's law, given that they meet the patch or miss it, the same ones for
both worlds. A gradient is projected on the unit direction of mean g_A - mean g_B, which is taken
over the *other* half of the windows: in a model's many dimensions a gradient would else agree with
itself, and even equal worlds would seem apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from cropaudit.accounting.geometry import Crop
from cropaudit.errors import require
from cropaudit.training.canaries.gradients import clip, flat_gradients, in_chunks
from cropaudit.training.canaries.slots import CanarySlot, filled
from cropaudit.training.canaries.windows import windows_of
from cropaudit.training.crops import Window, cut
from cropaudit.training.data import SegmentationData

__all__ = ["Alignment", "Projected", "alignment", "crops"]


@dataclass(frozen=True)
class Projected:
    """The projections of one kind of window, in units of the clip.

    Attributes:
        mean: Their mean.
        spread: Their standard deviation over windows.
        below: Share of windows whose gradient is shorter than the clip.
    """

    mean: float
    spread: float
    below: float


@dataclass(frozen=True)
class Alignment:
    """The gradients of one slot at one model; m_a, m_b and m_miss are ideally 1, -1 and 0 or -1.

    Attributes:
        a: World A, over the windows that meet the patch.
        b: World B, over the same windows.
        miss: Windows that miss it, alike in both worlds; None if every window meets it.
        covering: Means of A and B over the windows that show the whole patch; None if none was
            drawn.
        grazing: The same over those that show a part.
        cover: Probability that a window that meets the patch shows all of it.
    """

    a: Projected
    b: Projected
    miss: Projected | None
    covering: tuple[float, float] | None
    grazing: tuple[float, float] | None
    cover: float

    @property
    def m_a(self) -> float:
        """Mean projection in world A."""
        return self.a.mean

    @property
    def m_b(self) -> float:
        """Mean projection in world B."""
        return self.b.mean

    @property
    def m_miss(self) -> float | None:
        """Mean projection of windows that miss the patch."""
        return None if self.miss is None else self.miss.mean


def alignment(
    model: nn.Module,
    data: SegmentationData,
    slot: CanarySlot,
    crop: Crop,
    *,
    windows: int,
    max_grad_norm: float,
    seed: int,
) -> Alignment:
    """Measures a slot at a model's present weights.

    Args:
        model: The model.
        data: The records; other slots of this one's record count as they are in it.
        slot: The slot.
        crop: The crop of training.
        windows: Windows drawn that meet the patch, and as many that miss it; at least 4.
        max_grad_norm: The clip C.
        seed: Of the windows.

    Raises:
        InputError: If the numbers are out of range, or no window meets the patch.
    """
    require(windows >= 4, "windows", "at least 4", windows)
    require(max_grad_norm > 0, "max_grad_norm", "above 0", max_grad_norm)
    law = windows_of(slot, data.masks[slot.record], crop)
    generator = np.random.default_rng(seed)
    hits, covers = law.hits(), law.covers()
    require(law.probability(hits) > 0, "slot", "at a place that some window meets", slot.position)
    met = law.draw(hits, windows, generator)
    missed = law.draw(law.misses(), windows, generator) if law.probability(law.misses()) else []
    gradients = flat_gradients(model)

    def measured(world_a: bool, origins: Sequence[Window]) -> tuple[Tensor, Tensor]:
        found = in_chunks(gradients, *crops(data, slot, crop, origins, world_a), model)
        return clip(found, max_grad_norm), found.norm(dim=1) < max_grad_norm

    (g_a, short_a), (g_b, short_b) = measured(True, met), measured(False, met)
    directions = _other_halves(g_a - g_b)
    along_a, along_b = ((g * directions).sum(dim=1) for g in (g_a, g_b))
    miss = None
    if missed:
        g_miss, short = measured(False, missed)
        miss = _projected((g_miss * directions).sum(dim=1), short)
    whole = torch.tensor([bool(covers[_index(window)]) for window in met])
    return Alignment(
        _projected(along_a, short_a),
        _projected(along_b, short_b),
        miss,
        _means(along_a, along_b, whole),
        _means(along_a, along_b, ~whole),
        law.probability(covers & hits) / law.probability(hits),
    )


def crops(
    data: SegmentationData,
    slot: CanarySlot,
    crop: Crop,
    windows: Sequence[Window],
    world_a: bool,
) -> tuple[Tensor, Tensor]:
    """Cuts a slot's record in one world: images (n, 3, h, w) and masks (n, h, w) of the windows."""
    image, mask = filled(data, slot, world_a=world_a)
    shown = [cut(image, mask, window, crop) for window in windows]
    return torch.stack([pixels for pixels, _ in shown]), torch.stack(
        [labels for _, labels in shown]
    )


def _other_halves(differences: Tensor) -> Tensor:
    """Returns, for every window, the unit mean difference over the half that it is not in."""
    second = torch.arange(len(differences)) % 2 == 1
    means = torch.stack([differences[second].mean(dim=0), differences[~second].mean(dim=0)])
    units: Tensor = means / means.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return units[second.long()]


def _projected(along: Tensor, short: Tensor) -> Projected:
    return Projected(
        float(along.mean()), float(along.std(correction=0)), float(short.float().mean())
    )


def _means(along_a: Tensor, along_b: Tensor, chosen: Tensor) -> tuple[float, float] | None:
    if not bool(chosen.any()):
        return None
    return float(along_a[chosen].mean()), float(along_b[chosen].mean())


def _index(window: Window) -> tuple[int, int, int]:
    return window.flipped_rows + 2 * window.flipped_columns, window.top, window.left

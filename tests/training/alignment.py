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

from cropaudit.accounting.geometry.shapes import Crop
from cropaudit.training.canaries import CanarySlot, filled
from cropaudit.training.canaries.crafting import clip, flat_gradients, in_chunks
from cropaudit.training.canaries.windows import windows_of
from cropaudit.training.crops.cutting import cut_windows
from cropaudit.training.crops.joint import Window
from cropaudit.training.data.images import SegmentationData

__all__ = ["Alignment", "Projected", "alignment"]


@dataclass(frozen=True)
class Projected:
    """Mean and deviation of projections over windows, and the share shorter than the clip."""

    mean: float
    spread: float
    below: float


@dataclass(frozen=True)
class Alignment:
    """The gradients of one slot at one model, in units of the clip.

    Attributes:
        a: World A, over the windows that meet the patch.
        b: World B, over the same windows.
        miss: Windows that miss it, alike in both worlds; None if every window meets it.
    """

    a: Projected
    b: Projected
    miss: Projected | None

    @property
    def apart(self) -> float:
        return self.a.mean - self.b.mean


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
    """Measures a slot at a model's present weights, over so many windows that meet and miss it."""
    law = windows_of(slot, data.masks[slot.record], crop)
    generator = np.random.default_rng(seed)
    met = law.draw(law.hits(), windows, generator)
    missed = law.draw(law.misses(), windows, generator) if law.probability(law.misses()) else []

    def measured(world_a: bool, origins: Sequence[Window]) -> tuple[Tensor, Tensor]:
        shown = cut_windows([filled(data, slot, world_a=world_a)], origins, crop)
        found = in_chunks(flat_gradients(model), *shown, model)
        return clip(found, max_grad_norm), found.norm(dim=1) < max_grad_norm

    (g_a, short_a), (g_b, short_b) = measured(True, met), measured(False, met)
    directions = _other_halves(g_a - g_b)
    along_a, along_b = ((g * directions).sum(dim=1) for g in (g_a, g_b))
    miss = None
    if missed:
        g_miss, short = measured(False, missed)
        miss = _projected((g_miss * directions).sum(dim=1), short)
    return Alignment(_projected(along_a, short_a), _projected(along_b, short_b), miss)


def _other_halves(differences: Tensor) -> Tensor:
    """Returns, for every window, the unit mean difference over the half that it is not in."""
    second = torch.arange(len(differences)) % 2 == 1
    means = torch.stack([differences[second].mean(dim=0), differences[~second].mean(dim=0)])
    units: Tensor = means / means.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return units[second.long()]


def _projected(along: Tensor, short: Tensor) -> Projected:
    spread, below = float(along.std(correction=0)), float(short.float().mean())
    return Projected(float(along.mean()), spread, below)

"""The crops that an adversary tries: windows of each slot in both worlds, and natural crops.

Windows that meet the patch are a stratified sample of the crop's law: sorted by how much of the
patch they show, cut into strata of equal probability, one drawn from each. A plain mean over them
then estimates the law's mean, and grazing windows have their due weight. Where the record bears
labels outside the patch, windows that miss it are sampled too; elsewhere they give exactly 0.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cropaudit.accounting.geometry import Crop
from cropaudit.errors import require
from cropaudit.training.canaries.slots import CanarySlot, filled, footprint
from cropaudit.training.canaries.windows import Windows, windows_of
from cropaudit.training.crops import JointRandomCrop, Window, cut
from cropaudit.training.data import IGNORE, SegmentationData
from cropaudit.training.losses import prepare

__all__ = [
    "SlotViews",
    "background_crops",
    "in_groups",
    "log_worlds",
    "slot_views",
    "stratified",
]

_GROUP = 64  # crops cut at once, of whole slots


@dataclass(frozen=True, eq=False)
class SlotViews:
    """What is tried for one slot.

    Attributes:
        slot: The canary.
        inclusion: Probability that the crop's window meets its patch.
        hits: Windows that do, of equal weight.
        misses: Windows that do not, of equal weight; none where they give no gradient.
    """

    slot: CanarySlot
    inclusion: float
    hits: tuple[Window, ...]
    misses: tuple[Window, ...]

    def __len__(self) -> int:
        return 2 * len(self.hits) + len(self.misses)

    def crops(self, data: SegmentationData, crop: Crop) -> tuple[Tensor, Tensor]:
        """Cuts all views: hits in world A, hits in world B, misses.

        Args:
            data: Where the record lies; other slots of it stay as they are there.
            crop: The crop of the run.

        Returns:
            Scaled pixels (len(self), 3, h, w) and labels (len(self), h, w).
        """
        worlds = [filled(data, self.slot, world_a=world_a) for world_a in (True, False)]
        shown = [cut(*world, window, crop) for world in worlds for window in self.hits]
        shown += [cut(*worlds[1], window, crop) for window in self.misses]
        images, masks = (torch.stack(part) for part in zip(*shown, strict=True))
        return prepare(images), masks


def slot_views(
    data: SegmentationData, slots: Sequence[CanarySlot], crop: Crop, windows: int, seed: int
) -> tuple[SlotViews, ...]:
    """Chooses the windows, beforehand and for good.

    Args:
        data: The records with slots empty.
        slots: The canaries.
        crop: The crop of the run.
        windows: So many that meet the patch, and as many that miss it where those matter.
        seed: Of the choice.

    Raises:
        InputError: If no window is asked for, or none meets a patch.
    """
    require(windows >= 1, "windows", "at least 1", windows)
    generator = np.random.default_rng(seed)
    return tuple(_views(data, slot, crop, windows, generator) for slot in slots)


def _views(
    data: SegmentationData,
    slot: CanarySlot,
    crop: Crop,
    windows: int,
    generator: np.random.Generator,
) -> SlotViews:
    mask = data.masks[slot.record]
    law = windows_of(slot, mask, crop)
    inclusion = law.probability(law.hits())
    require(inclusion > 0, "canary", "where some window of the crop meets it", slot.position)
    labelled = bool(((mask != IGNORE) & ~footprint(slot, mask)).any())
    misses = windows if labelled and law.probability(law.misses()) > 0 else 0
    return SlotViews(
        slot,
        inclusion,
        stratified(law, law.hits(), windows, generator),
        stratified(law, law.misses(), misses, generator),
    )


def stratified(
    law: Windows, chosen: NDArray[np.bool_], count: int, generator: np.random.Generator
) -> tuple[Window, ...]:
    """Draws one window from each of ``count`` equally likely strata of those chosen.

    Strata follow the pixels of the patch that are shown, then flips, rows and columns.
    """
    if count == 0:
        return ()
    weights = (chosen * law.weights[:, None, None]).ravel()
    order = np.flatnonzero(weights)
    order = order[np.argsort(law.shown.ravel()[order], kind="stable")]
    reached = np.cumsum(weights[order])
    places = (np.arange(count) + generator.random(count)) / count * reached[-1]
    picks = order[np.searchsorted(reached, places).clip(max=len(order) - 1)]
    flips, tops, lefts = np.unravel_index(picks, chosen.shape)
    return tuple(
        Window(int(top), int(left), bool(flip & 1), bool(flip & 2))
        for flip, top, left in zip(flips, tops, lefts, strict=True)
    )


def background_crops(
    data: SegmentationData, crop: Crop, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, float]:
    """Draws records that bear a label, the others add nothing, and cuts a window of each.

    Args:
        data: The records with slots empty.
        crop: The crop of the run.
        count: Of the crops; none are cut where no record bears a label.
        generator: Of records and windows.

    Returns:
        Scaled pixels, labels, and the number of records that each crop stands for.
    """
    records = [i for i, mask in enumerate(data.masks) if bool((mask != IGNORE).any())]
    if not records:
        size = crop.size
        empty = torch.zeros(0, size.height, size.width)
        return empty[:, None].expand(-1, 3, -1, -1), empty.to(torch.uint8), 0.0
    picks = torch.randint(len(records), (count,), generator=generator).tolist()
    cuts, chosen = JointRandomCrop(crop), [records[pick] for pick in picks]
    shown = [cuts(data.images[i], data.masks[i], generator)[:2] for i in chosen]
    images, masks = (torch.stack(part) for part in zip(*shown, strict=True))
    return prepare(images), masks, len(records) / count


def in_groups(views: Sequence[SlotViews]) -> Iterator[list[SlotViews]]:
    """Yields the slots in turn, so many at once that few of their crops are held."""
    group: list[SlotViews] = []
    for one in views:
        if group and sum(map(len, group)) + len(one) > _GROUP:
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def log_worlds(exponents: Tensor, views: SlotViews, rate: float) -> tuple[Tensor, Tensor]:
    """Returns the log-likelihoods of worlds A and B, relative to the slot's absence.

    Args:
        exponents: Log of e(w) for each of the views, shape (len(views),), float64.
        views: What was tried.
        rate: q.
    """
    hits, misses = len(views.hits), len(views.misses)
    a, b, missed = torch.split(exponents, [hits, hits, misses])
    nothing = exponents.new_zeros(())
    missing = missed.logsumexp(dim=0) - math.log(misses) if misses else nothing
    weights = exponents.new_tensor([1 - rate, rate * (1 - views.inclusion), rate * views.inclusion])
    return _mixed(weights, nothing, missing, a), _mixed(weights, nothing, missing, b)


def _mixed(weights: Tensor, absent: Tensor, missing: Tensor, hit: Tensor) -> Tensor:
    parts = torch.stack([absent, missing, hit.logsumexp(dim=0) - math.log(len(hit))])
    return torch.logsumexp(weights.log() + parts, dim=0)

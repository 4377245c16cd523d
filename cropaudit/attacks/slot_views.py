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

from cropaudit.attacks.base import AttackedRun
from cropaudit.errors import require
from cropaudit.training.canaries.slots import CanarySlot, filled, footprint
from cropaudit.training.canaries.windows import Windows, windows_of
from cropaudit.training.crops.cutting import cut_windows, output_size, random_crop
from cropaudit.training.crops.joint import Window
from cropaudit.training.data.images import IGNORE
from cropaudit.training.models.losses import prepare

__all__ = [
    "SlotViews",
    "StratifiedWindows",
    "background_crops",
    "in_groups",
    "log_worlds",
    "slot_views",
]

_GROUP = 64  # crops cut at once, of whole slots


class StratifiedWindows:
    """Draws windows of one kind; each stands for the same share of the crop's law.

    Attributes:
        probability: That the crop's window is of this kind.
        strata: Windows in a draw; none if there is no window of this kind.
    """

    def __init__(self, law: Windows, chosen: NDArray[np.bool_], strata: int) -> None:
        """Sorts the chosen windows and splits them.

        Args:
            law: All windows of a record.
            chosen: Those of this kind, shape of ``law.shown``.
            strata: Windows wanted in a draw; fewer where there are fewer windows.
        """
        self.probability, self._law = law.probability(chosen), law
        weights = (chosen * law.weights[:, None, None]).ravel()
        places = np.flatnonzero(weights)
        self._places = places[np.argsort(law.shown.ravel()[places], kind="stable")]
        mass = np.cumsum(weights[self._places])
        self._ends = mass / mass[-1] if len(mass) else mass
        self.strata = min(strata, len(self._places))

    def draw(self, generator: np.random.Generator) -> list[Window]:
        """Returns one window of each stratum, from the least of the patch to the most."""
        shares = np.arange(self.strata) + generator.random(self.strata)
        picks = np.searchsorted(self._ends, shares / max(self.strata, 1))
        return [self._law.window(self._places[min(pick, len(self._places) - 1)]) for pick in picks]


@dataclass(frozen=True, eq=False)
class SlotViews:
    """What is tried for one slot.

    Attributes:
        slot: The canary.
        inclusion: Probability that a crop of its image meets its patch.
        loudness: Clipped gradients that it then adds, see `AttackedRun.loudness`.
        hits: Windows that do, of equal weight.
        misses: Windows that do not, of equal weight; none where they give no gradient.
    """

    slot: CanarySlot
    inclusion: float
    loudness: float
    hits: tuple[Window, ...]
    misses: tuple[Window, ...]

    def __len__(self) -> int:
        return 2 * len(self.hits) + len(self.misses)

    def crops(self, run: AttackedRun) -> tuple[Tensor, Tensor]:
        """Cuts all views: hits in world A, hits in world B, misses.

        Returns:
            Scaled pixels (len(self), 3, h, w) and labels (len(self), h, w), other slots of the
            record as they are in the run's data.
        """
        worlds = [filled(run.data, self.slot, world_a=world_a) for world_a in (True, False)]
        images, masks = cut_windows(worlds, self.hits, run.crop)
        if self.misses:
            missed = cut_windows(worlds[1:], self.misses, run.crop)
            images, masks = torch.cat([images, missed[0]]), torch.cat([masks, missed[1]])
        return prepare(images), masks


def slot_views(run: AttackedRun, windows: int, seed: int) -> tuple[SlotViews, ...]:
    """Chooses the windows, beforehand and for good.

    Args:
        run: What is attacked.
        windows: So many that meet the patch, and as many that miss it where those matter.
        seed: Of the choice.

    Raises:
        InputError: If no window is asked for, or none meets a patch.
    """
    require(windows >= 1, "windows", "at least 1", windows)
    generator = np.random.default_rng(seed)
    return tuple(_views(run, slot, windows, generator) for slot in run.slots)


def _views(
    run: AttackedRun, slot: CanarySlot, windows: int, generator: np.random.Generator
) -> SlotViews:
    mask = run.data.masks[slot.record]
    law = windows_of(slot, mask, run.crop)
    hits = StratifiedWindows(law, law.hits(), windows)
    inclusion = hits.probability
    require(inclusion > 0, "canary", "where some window of the crop meets it", slot.position)
    labelled = bool(((mask != IGNORE) & ~footprint(slot, mask)).any())
    misses = StratifiedWindows(law, law.misses(), windows if labelled else 0)
    return SlotViews(
        slot,
        run.shown(inclusion),
        run.loudness(inclusion),
        tuple(hits.draw(generator)),
        tuple(misses.draw(generator)),
    )


def background_crops(
    run: AttackedRun, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, float]:
    """Draws records that bear a label, the others add nothing, and cuts a window of each.

    Args:
        run: What is attacked.
        count: Of the crops; none are cut where no record bears a label.
        generator: Of records and windows.

    Returns:
        Scaled pixels, labels, and the number of gradients that each crop stands for, if all
        records take part.
    """
    data, crop = run.data, run.crop
    records = [i for i, mask in enumerate(data.masks) if bool((mask != IGNORE).any())]
    if not records:
        size = output_size(crop, data)
        empty = torch.zeros(0, size.height, size.width)
        return empty[:, None].expand(-1, 3, -1, -1), empty.to(torch.uint8), 0.0
    picks = torch.randint(len(records), (count,), generator=generator).tolist()
    chosen = [records[pick] for pick in picks]
    shown = [random_crop(data.images[i], data.masks[i], crop, generator) for i in chosen]
    images, masks = (torch.stack(part) for part in zip(*shown, strict=True))
    return prepare(images), masks, len(records) / count * run.apart


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

"""Plants canaries into a data set: copies of its images that bear slots, or slots in the images.

The accounted patch is one slot, wherever others stand beside it: with independent coins the rest of
the record is just the rest of the data set.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from cropaudit.accounting.geometry import Crop, Patch
from cropaudit.accounting.inclusion import inclusion_map
from cropaudit.errors import InputError, require
from cropaudit.training.canaries.backgrounds import empty_mask, miss_gradient
from cropaudit.training.canaries.contents import Ground, content, require_classes
from cropaudit.training.canaries.crafting import craft, craft_records
from cropaudit.training.canaries.designs import (
    Crafted,
    Design,
    Opposed,
    PatchPixels,
    Plain,
    RealObject,
    RecordPixels,
    background_of,
    texture_of,
)
from cropaudit.training.canaries.positions import Positions, Worst, choose, free_places
from cropaudit.training.canaries.real import plant_objects
from cropaudit.training.canaries.slots import CanarySlot, trimmed
from cropaudit.training.canaries.textures import canvas
from cropaudit.training.data import SegmentationData

__all__ = ["add_slots", "plant"]

_TRIES = 25  # of placing all slots of a record

Planted = tuple[SegmentationData, tuple[CanarySlot, ...]]


def plant(
    data: SegmentationData,
    design: Design,
    count: int,
    crop: Crop,
    patch: Patch,
    seed: int,
    *,
    positions: Positions | None = None,
    per_image: int = 1,
    margin: int = 0,
    added: bool = True,
) -> Planted:
    """Plants ``count`` empty slots, into copies of the images in turn or into the images.

    Args:
        data: Images to copy; of real objects, the images that bear them, which stay no copies.
        design: What stands in the slots.
        count: Number of slots; of real objects, at most that many.
        crop: The crop of training.
        patch: The accounted patch: the shape of a slot, or what an object must fit into.
        seed: Of places, textures and labels.
        positions: Where slots stand, `Worst` unless given; real objects stand where they are.
        per_image: Slots of one record, at most; they do not overlap.
        margin: Pixels between two slots of a record, at least.
        added: Whether slots stand in copies, which are further records; else they replace a patch
            of the images themselves, whose other pixels stay, and no record is added.

    Returns:
        The data set with its slots empty, and the slots.

    Raises:
        InputError: If an argument is out of its range, the slots do not fit, or the design needs
            images or classes that are not there.
    """
    require(count >= 0, "canary slots", "at least 0", count)
    require(per_image >= 1, "canaries per image", "at least 1", per_image)
    require(margin >= 0, "margin", "at least 0", margin)
    shape = data, crop, patch, positions or Worst(), per_image, margin, added
    match design:
        case RealObject():
            return plant_objects(data, design, count, crop, patch, per_image)
        case Crafted():
            plan = _Plan(design.base, *shape)
            empty, slots = plan.planted(count, np.random.default_rng(seed))
            return _crafted(design, empty, slots, crop, seed)
        case _:
            return _Plan(design, *shape).planted(count, np.random.default_rng(seed))


def add_slots(data: SegmentationData, count: int, crop: Crop, patch: Patch, seed: int) -> Planted:
    """Plants `Opposed` slots, one an image, near the worst place on an ignored background.

    Args:
        data: Images to copy.
        count: Number of slots.
        crop: The crop, for the places where its windows meet the patch most often.
        patch: Shape of the canary.
        seed: Of places, textures and labels.

    Returns:
        The larger data set, its slots empty, and the slots.

    Raises:
        InputError: If the count is negative, there are no images or fewer than two classes, or a
            patch or a window does not fit an image.
    """
    return plant(data, Opposed(), count, crop, patch, seed)


def _crafted(
    design: Crafted,
    empty: SegmentationData,
    slots: tuple[CanarySlot, ...],
    crop: Crop,
    seed: int,
) -> Planted:
    options: dict[str, Any] = {
        "steps": design.steps,
        "windows": design.windows,
        "max_grad_norm": design.max_grad_norm,
        "seed": seed,
    }
    match design.reach:
        case PatchPixels():
            return empty, craft(slots, design.model, crop, empty, **options)
        case RecordPixels():
            return craft_records(slots, design.model, crop, empty, **options)


@dataclass(frozen=True, eq=False)
class _Plan:
    """The arguments of `plant` that stay the same from slot to slot."""

    design: Plain
    data: SegmentationData
    crop: Crop
    patch: Patch
    positions: Positions
    per_image: int
    margin: int
    added: bool

    def planted(self, count: int, generator: np.random.Generator) -> Planted:
        data = self.data
        require_classes(self.design, data.classes)
        require(count == 0 or len(data) > 0, "images", "at least one", len(data))
        if not self.added:
            room = len(data) * self.per_image
            legal = f"at most {room}: {self.per_image} in each of {len(data)} images"
            require(count <= room, "canary slots", legal, count)
        slots, images, masks, names = [], list(data.images), list(data.masks), list(data.names)
        for first in range(0, count, self.per_image):
            numbers = range(first, min(first + self.per_image, count))
            source = (first // self.per_image) % len(data)
            record = len(images) if self.added else source
            image, mask, here = self._record(source, record, numbers, generator)
            if self.added:
                images.append(image)
                masks.append(mask)
                names.append(f"{_called(numbers)} in {data.names[source]}")
            else:
                masks[source] = mask  # the pixels around the patches stay
            slots.extend(here)
        enlarged = replace(data, images=tuple(images), masks=tuple(masks), names=tuple(names))
        return enlarged, tuple(slots)

    def _record(
        self, source: int, record: int, numbers: range, generator: np.random.Generator
    ) -> tuple[Tensor, Tensor, list[CanarySlot]]:
        """Returns a record with its slots empty, and them.

        The first slots may leave no place for the last one where others would: then all are drawn
        anew, a few times.
        """
        for _ in range(_TRIES - 1):
            try:
                return self._attempt(source, record, numbers, generator)
            except InputError:
                continue
        return self._attempt(source, record, numbers, generator)

    def _attempt(
        self, source: int, record: int, numbers: range, generator: np.random.Generator
    ) -> tuple[Tensor, Tensor, list[CanarySlot]]:
        mask = self.data.masks[source]
        image = canvas(texture_of(self.design), self.data.images[source], generator)
        rho = inclusion_map(self.data.size(source), self.crop, self.patch)
        height, width = trimmed(self.patch).shape
        slots: list[CanarySlot] = []
        for number in numbers:
            taken = [slot.position for slot in slots]
            free = free_places(rho.shape, (height, width), taken, self.margin)
            place = choose(self.positions, rho, free, number, generator)
            box = slice(place[0], place[0] + height), slice(place[1], place[1] + width)
            ground = Ground(image[:, *box], mask[box], mask, self.data.classes)
            slot = CanarySlot(
                record=record,
                position=place,
                pixels=trimmed(self.patch),
                inclusion=float(rho[place]),
                miss_gradient=miss_gradient(background_of(self.design)),
                design=str(self.design),
                name=f"canary {number} in {self.data.names[source]}",
                **vars(content(self.design, ground, generator)),
            )
            slots.append(slot)
        background = background_of(self.design)
        return image, empty_mask(background, mask, slots, self.crop, generator), slots


def _called(numbers: range) -> str:
    return (
        f"canary {numbers[0]}" if len(numbers) == 1 else f"canaries {numbers[0]} to {numbers[-1]}"
    )

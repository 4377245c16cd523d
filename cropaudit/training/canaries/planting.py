"""Plants canaries into a data set: copies of its images that bear slots, or slots in the images.

The accounted patch is one slot, wherever others stand beside it: with independent coins the rest of
the record is just the rest of the data set. Real objects of the photographs are slots too: there in
world A, taken away in world B.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cropaudit.accounting.geometry.crop_laws import CropLaw
from cropaudit.accounting.geometry.shapes import Patch, PixelMask
from cropaudit.accounting.inclusion.probability import inclusion_map
from cropaudit.errors import InputError, require
from cropaudit.training.canaries.backgrounds import empty_mask
from cropaudit.training.canaries.designs import Design, Ground, Opposed, RealObject
from cropaudit.training.canaries.positions import Positions, Worst, choose, free_places
from cropaudit.training.canaries.slots import CanarySlot, fill_slots, footprint, trimmed
from cropaudit.training.data.images import IGNORE, SegmentationData
from cropaudit.training.objects.patches import ObjectPatch

__all__ = ["add_slots", "covered", "plant"]

_TRIES = 25  # of placing all slots of a record

Planted = tuple[SegmentationData, tuple[CanarySlot, ...]]


def plant(
    data: SegmentationData,
    design: Design | RealObject,
    count: int,
    crop: CropLaw,
    patch: Patch,
    seed: int,
    *,
    positions: Positions | None = None,
    per_image: int = 1,
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
    if isinstance(design, RealObject):
        return _plant_objects(data, design, count, crop, patch, per_image)
    room = len(data) * per_image
    design.check(data.classes)
    require(count == 0 or len(data) > 0, "images", "at least one", len(data))
    legal = f"at most {room}: {per_image} in each of {len(data)} images"
    require(added or count <= room, "canary slots", legal, count)
    plan = _Plan(design, data, crop, patch, positions or Worst(), np.random.default_rng(seed))
    slots, images, masks, names = [], list(data.images), list(data.masks), list(data.names)
    for first in range(0, count, per_image):
        numbers = range(first, min(first + per_image, count))
        source = (first // per_image) % len(data)
        image, mask, here = plan.record(source, len(images) if added else source, numbers)
        if added:
            images.append(image)
            masks.append(mask)
            names.append(f"{_called(numbers)} in {data.names[source]}")
        else:
            masks[source] = mask  # the pixels around the patches stay
        slots.extend(here)
    enlarged = replace(data, images=tuple(images), masks=tuple(masks), names=tuple(names))
    return enlarged, tuple(slots)


def add_slots(
    data: SegmentationData, count: int, crop: CropLaw, patch: Patch, seed: int
) -> Planted:
    """Plants `Opposed` slots, one an image, near the worst place on an ignored background."""
    return plant(data, Opposed(), count, crop, patch, seed)


@dataclass(frozen=True, eq=False)
class _Plan:
    """The arguments of `plant` that stay the same from slot to slot."""

    design: Design
    data: SegmentationData
    crop: CropLaw
    patch: Patch
    positions: Positions
    generator: np.random.Generator

    def record(
        self, source: int, record: int, numbers: range
    ) -> tuple[Tensor, Tensor, list[CanarySlot]]:
        """Returns a record's pixels, its labels with the slots empty, and the slots.

        The first slots may leave no place for the last one where others would: then all are drawn
        anew, a few times.
        """
        for _ in range(_TRIES - 1):
            try:
                return self._attempt(source, record, numbers)
            except InputError:
                continue
        return self._attempt(source, record, numbers)

    def _attempt(
        self, source: int, record: int, numbers: range
    ) -> tuple[Tensor, Tensor, list[CanarySlot]]:
        design, generator, mask = self.design, self.generator, self.data.masks[source]
        image = design.texture.record(self.data.images[source], generator)
        rho = inclusion_map(self.data.size(source), self.crop, self.patch)
        pixels = trimmed(self.patch)
        height, width = pixels.shape
        slots: list[CanarySlot] = []
        for number in numbers:
            free = free_places(rho.shape, (height, width), [slot.position for slot in slots])
            place = choose(self.positions, rho, free, number, generator)
            box = slice(place[0], place[0] + height), slice(place[1], place[1] + width)
            ground = Ground(image[:, *box], mask[box], mask, self.data.classes)
            slot = CanarySlot(
                record=record,
                position=place,
                pixels=pixels,
                inclusion=float(rho[place]),
                miss_gradient=design.background.miss_gradient,
                design=str(design),
                name=f"canary {number} in {self.data.names[source]}",
                **vars(design.content(ground, generator)),
            )
            slots.append(slot)
        return image, empty_mask(design.background, mask, slots, self.crop, generator), slots


def _called(numbers: range) -> str:
    many = f"canaries {numbers[0]} to {numbers[-1]}"
    return f"canary {numbers[0]}" if len(numbers) == 1 else many


def _plant_objects(
    data: SegmentationData,
    design: RealObject,
    count: int,
    crop: CropLaw,
    patch: Patch,
    per_image: int,
) -> Planted:
    """Makes slots of the first ``count`` objects that fit into the patch and do not overlap."""
    slots: list[CanarySlot] = []
    for found in design.objects if count else ():
        if len(slots) == count:
            break
        mask = data.masks[found.record]
        beside = [slot for slot in slots if slot.record == found.record]
        taken = [footprint(slot, mask)[found.slices] & found.pixels for slot in beside]
        apart = not any(bool(pixels.any()) for pixels in taken)
        if len(beside) < per_image and covered(found, patch, mask) and apart:
            slots.append(_object_slot(data, design, found, crop))
    require(count == 0 or bool(slots), "objects", f"at least one that fits into {patch}", "none")
    blank = [replace(slot, labels_b=torch.full_like(slot.labels_b, IGNORE)) for slot in slots]
    return fill_slots(data, blank, np.zeros(len(slots), dtype=np.bool_)), tuple(slots)


def covered(found: ObjectPatch, patch: Patch, mask: Tensor) -> bool:
    """Returns whether some place of the patch within the image covers all pixels of an object."""
    whole = trimmed(patch)
    (height, width), pixels = whole.shape, found.pixels
    rows, columns = found.slices
    for row in range(max(0, rows.stop - height), min(rows.start, mask.shape[0] - height) + 1):
        first = max(0, columns.stop - width)
        for column in range(first, min(columns.start, mask.shape[1] - width) + 1):
            shown = whole[
                rows.start - row : rows.stop - row,
                columns.start - column : columns.stop - column,
            ]
            if not bool((pixels & ~shown).any()):
                return True
    return False


def _object_slot(
    data: SegmentationData, design: RealObject, found: ObjectPatch, crop: CropLaw
) -> CanarySlot:
    image, mask, box = data.images[found.record], data.masks[found.record], found.slices
    without, unlabelled = design.without(image, mask, found)
    # The inclusion is that of the object's own pixels, which no patch exceeds.
    pixels = found.pixels.numpy()
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    place = found.box[0] + int(rows[0]), found.box[1] + int(columns[0])
    slot = CanarySlot(
        record=found.record,
        position=found.box[:2],
        pixels=found.pixels,
        texture_a=image[:, *box].clone(),
        texture_b=without[:, *box].clone(),
        labels_a=mask[box].clone(),
        labels_b=unlabelled[box].clone(),
        inclusion=float(inclusion_map(data.size(found.record), crop, PixelMask(pixels))[place]),
        miss_gradient=None,
        design=str(design),
        name=f"{found.name} in {data.names[found.record]}",
    )
    changed = (without != image).any(dim=0) | (unlabelled != mask)
    beyond = bool((changed & ~footprint(slot, mask)).any())
    legal = "the same outside its pixels"
    require(not beyond, f"image without {slot.name}", legal, "changed")
    return slot

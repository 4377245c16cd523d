"""Canary patches: known place, known content, own labels, one coin flip a slot.

A slot is a record that is a copy of a photograph with a bright texture pasted in, one texture in
world A and another in world B. Labels are spread over one half of the classes in world A and over
the other half in world B, for at near-uniform predictions the gradients of two such labellings
oppose each other. Outside the patch the copy bears no labels, so that the patch is the only source
of its gradient and even a thin overlap fills the clip (an ignore-label background). Patch
substitution allows all of this: worlds differ inside the patch only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cropaudit.accounting.geometry import Crop, Patch
from cropaudit.accounting.inclusion import inclusion_map
from cropaudit.errors import require
from cropaudit.training.data import IGNORE, SegmentationData

__all__ = ["CanarySlot", "add_slots", "fill_slots", "filled", "trimmed"]

_NEAR_WORST = 0.98  # slots sit where the inclusion probability is at least this share of the worst
# Pixels. A coarse texture is seen by every layer; labels that change at every pixel average out
# over any overlap, so that gradients of different windows point the same way (cosine 0.8, not 0.7).
_GRAIN = 4


@dataclass(frozen=True, eq=False)
class CanarySlot:
    """One canary.

    Attributes:
        record: Index of the record that bears it.
        position: Row and column of the patch's top left.
        pixels: Which pixels of the bounding box belong to the patch, bool, shape (h, w).
        texture_a: Pixels of world A, uint8, shape (3, h, w).
        texture_b: Pixels of world B.
        labels_a: Labels of world A, uint8, shape (h, w).
        labels_b: Labels of world B.
        inclusion: Inclusion probability of this place.
    """

    record: int
    position: tuple[int, int]
    pixels: Tensor
    texture_a: Tensor
    texture_b: Tensor
    labels_a: Tensor
    labels_b: Tensor
    inclusion: float


def add_slots(
    data: SegmentationData, count: int, crop: Crop, patch: Patch, seed: int
) -> tuple[SegmentationData, tuple[CanarySlot, ...]]:
    """Appends ``count`` slot records: copies of the images, in turn, with no labels yet.

    Args:
        data: Images to copy.
        count: Number of slots.
        crop: The crop, for the places where its windows meet the patch most often.
        patch: Shape of the canary.
        seed: Of places, textures and labels.

    Returns:
        The larger data set, and the slots.

    Raises:
        InputError: If the count is negative, there are no images or fewer than two classes, or a
            patch or a window does not fit an image.
    """
    require(count >= 0, "canary slots", "at least 0", count)
    require(len(data.classes) >= 2, "classes", "at least 2", len(data.classes))
    require(count == 0 or len(data) > 0, "images", "at least one", len(data))
    generator = np.random.default_rng(seed)
    slots, images, masks, names = [], list(data.images), list(data.masks), list(data.names)
    for number in range(count):
        source = number % len(data)
        slots.append(_slot(data, source, len(images), crop, patch, generator))
        images.append(data.images[source])
        masks.append(torch.full_like(data.masks[source], IGNORE))
        names.append(f"canary {number} in {data.names[source]}")
    enlarged = replace(data, images=tuple(images), masks=tuple(masks), names=tuple(names))
    return enlarged, tuple(slots)


def fill_slots(
    data: SegmentationData, slots: Sequence[CanarySlot], member: NDArray[np.bool_]
) -> SegmentationData:
    """Pastes each slot's content: world A where ``member`` holds, else world B.

    Args:
        data: What `add_slots` returned.
        slots: Its slots.
        member: The coins, shape (slots,).
    """
    images, masks = list(data.images), list(data.masks)
    for slot, is_member in zip(slots, member, strict=True):
        images[slot.record], masks[slot.record] = filled(data, slot, world_a=bool(is_member))
    return replace(data, images=tuple(images), masks=tuple(masks))


def filled(data: SegmentationData, slot: CanarySlot, *, world_a: bool) -> tuple[Tensor, Tensor]:
    """Returns copies of one slot's image (3, H, W) and mask (H, W), holding a world's content."""
    texture, labels = (
        (slot.texture_a, slot.labels_a) if world_a else (slot.texture_b, slot.labels_b)
    )
    row, column = slot.position
    height, width = slot.pixels.shape
    box = (slice(row, row + height), slice(column, column + width))
    image, mask = data.images[slot.record].clone(), data.masks[slot.record].clone()
    image[:, *box] = torch.where(slot.pixels, texture, image[:, *box])
    mask[box] = torch.where(slot.pixels, labels, mask[box])
    return image, mask


def trimmed(patch: Patch) -> Tensor:
    """Returns a patch's pixels cut to their bounding box, whose places `inclusion_map` counts."""
    pixels = torch.from_numpy(patch.mask().copy())
    rows, columns = (torch.nonzero(pixels.any(dim=axis)).flatten() for axis in (1, 0))
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _slot(
    data: SegmentationData,
    source: int,
    record: int,
    crop: Crop,
    patch: Patch,
    generator: np.random.Generator,
) -> CanarySlot:
    pixels = trimmed(patch)
    rho = inclusion_map(data.size(source), crop, patch)
    places = np.argwhere(rho >= _NEAR_WORST * rho.max())
    row, column = places[generator.integers(len(places))]
    halves = generator.permutation(len(data.classes))
    middle = len(halves) // 2
    shape = (pixels.shape[0], pixels.shape[1])
    return CanarySlot(
        record=record,
        position=(int(row), int(column)),
        pixels=pixels,
        texture_a=_texture(generator, shape),
        texture_b=_texture(generator, shape),
        labels_a=_blocks(generator, halves[:middle], shape, 1),
        labels_b=_blocks(generator, halves[middle : 2 * middle], shape, 1),
        inclusion=float(rho[row, column]),
    )


def _texture(generator: np.random.Generator, shape: tuple[int, int]) -> Tensor:
    """Returns blocks of pure colours, shape (3, h, w)."""
    pure = np.array([0, 255])
    return torch.stack([_blocks(generator, pure, shape, _GRAIN) for _ in range(3)])


def _blocks(
    generator: np.random.Generator, values: NDArray[np.int64], shape: tuple[int, int], grain: int
) -> Tensor:
    """Returns random blocks in which every value covers nearly the same share."""
    rows, columns = -(-shape[0] // grain), -(-shape[1] // grain)
    cells = generator.permutation(np.resize(values, rows * columns)).reshape(rows, columns)
    full = np.kron(cells, np.ones((grain, grain), dtype=np.int64))
    return torch.from_numpy(full[: shape[0], : shape[1]].astype(np.uint8))

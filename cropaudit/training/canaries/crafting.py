"""Gradient-matched crafting: a slot's pixels and labels are fitted to a model.

What is maximised stands in `matching`. Pixels climb by the sign of the derivative (through the
per-sample gradient: twice backward) over windows drawn anew at each step, labels by trying
permutations of the classes. What is free depends on the slot: a world B that is the photograph
stays; pixels that are equal in both worlds stay equal. `craft` moves the patch alone, and suits
any design; `craft_records` moves the pixels about it too, alike in both worlds, which is what lets
windows that only graze the patch agree with those that cover it: the record is then a worst case,
and no photograph. A result that is no better on held-out windows is dropped.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from cropaudit.accounting.geometry import Crop
from cropaudit.errors import require
from cropaudit.training.canaries.labels import relabelled
from cropaudit.training.canaries.matching import Matcher, climbed, free_textures, with_textures
from cropaudit.training.canaries.slots import CanarySlot
from cropaudit.training.data import SegmentationData

__all__ = ["craft", "craft_records"]

_SPLITS = 8  # permutations of the classes tried
_HELD_OUT = 4  # times as many windows are held out as a step draws


def craft(
    slots: Sequence[CanarySlot],
    model: nn.Module,
    crop: Crop,
    data: SegmentationData,
    *,
    steps: int,
    windows: int,
    max_grad_norm: float,
    seed: int,
) -> tuple[CanarySlot, ...]:
    """Returns the slots with their content fitted to the model's present weights.

    Args:
        slots: The slots.
        model: The model; its weights are left alone.
        crop: The crop of training.
        data: The records with slots empty.
        steps: Steps of the pixels; 0 tries labels only.
        windows: Windows drawn for each step, at least 1.
        max_grad_norm: The clip C.
        seed: Of windows and labels.

    Raises:
        InputError: If a number is out of range.
    """
    _require(steps, windows)
    made = []
    for slot, stream in zip(slots, np.random.SeedSequence(seed).spawn(len(slots)), strict=True):
        matcher = Matcher(model, crop, max_grad_norm, np.random.default_rng(stream))
        made.append(_crafted(matcher, data, slot, steps, windows))
    return tuple(made)


def craft_records(
    slots: Sequence[CanarySlot],
    model: nn.Module,
    crop: Crop,
    data: SegmentationData,
    *,
    steps: int,
    windows: int,
    max_grad_norm: float,
    seed: int,
) -> tuple[SegmentationData, tuple[CanarySlot, ...]]:
    """Fits the slots and the pixels of their records about them; arguments as of `craft`.

    Returns:
        The data set with these records, their slots empty as before, and the slots.

    Raises:
        InputError: If a number is out of range, or world B of a slot is a photograph as it is.
    """
    _require(steps, windows)
    natural = [slot.name for slot in slots if slot.natural_b]
    require(not natural, "world B", "no photograph where records are crafted", ", ".join(natural))
    labelled = craft(
        slots, model, crop, data, steps=0, windows=windows, max_grad_norm=max_grad_norm, seed=seed
    )
    made = [
        replace(new, design=f"crafted record {old.design}")
        for new, old in zip(labelled, slots, strict=True)
    ]
    records = sorted({slot.record for slot in slots})
    for record, stream in zip(
        records, np.random.SeedSequence([seed, 1]).spawn(len(records)), strict=True
    ):
        matcher = Matcher(model, crop, max_grad_norm, np.random.default_rng(stream))
        numbers = [number for number, slot in enumerate(made) if slot.record == record]
        here = [made[number] for number in numbers]
        data, here = _crafted_record(matcher, data, here, steps, windows)
        for number, slot in zip(numbers, here, strict=True):
            made[number] = slot
    return data, tuple(made)


def _require(steps: int, windows: int) -> None:
    require(steps >= 0, "steps", "at least 0", steps)
    require(windows >= 1, "windows", "at least 1", windows)


def _crafted(
    matcher: Matcher, data: SegmentationData, slot: CanarySlot, steps: int, windows: int
) -> CanarySlot:
    image, mask = data.images[slot.record].float(), data.masks[slot.record]
    held_out = matcher.drawn(slot, mask, _HELD_OUT * windows)
    tried = _labellings(slot, len(data.classes), matcher.generator)
    best = max(tried, key=lambda one: matcher.gap(data, one, held_out))
    textures = [*free_textures(best)]
    for step in range(steps):
        leaves = [texture.requires_grad_() for texture in textures]
        gap = matcher.matched(data, best, image, leaves, matcher.drawn(best, mask, windows))
        slopes = torch.autograd.grad(gap, leaves)
        textures = climbed([leaf.detach() for leaf in leaves], slopes, step, steps)
    texture_a, texture_b = with_textures(best, textures)
    done = replace(best, texture_a=texture_a, texture_b=texture_b)
    check = matcher.drawn(slot, mask, _HELD_OUT * windows)
    found = max((slot, best, done), key=lambda one: matcher.gap(data, one, check))
    return replace(found, design=f"crafted {slot.design}")


def _crafted_record(
    matcher: Matcher,
    data: SegmentationData,
    slots: list[CanarySlot],
    steps: int,
    windows: int,
) -> tuple[SegmentationData, list[CanarySlot]]:
    """Fits one record and all its slots together, each with the others empty."""
    record = slots[0].record
    mask, counts = data.masks[record], [len(free_textures(slot)) for slot in slots]
    pixels = [data.images[record].float(), *(t for slot in slots for t in free_textures(slot))]
    for step in range(steps):
        leaves = [one.requires_grad_() for one in pixels]
        textures = iter(leaves[1:])
        gaps = [
            matcher.matched(
                data,
                slot,
                leaves[0],
                [next(textures) for _ in range(count)],
                matcher.drawn(slot, mask, windows),
            )
            for slot, count in zip(slots, counts, strict=True)
        ]
        slopes = torch.autograd.grad(torch.stack(gaps).sum(), leaves)
        pixels = climbed([leaf.detach() for leaf in leaves], slopes, step, steps)
    image, textures = pixels[0].round().to(torch.uint8), iter(pixels[1:])
    images = (*data.images[:record], image, *data.images[record + 1 :])
    made = []
    for slot, count in zip(slots, counts, strict=True):
        texture_a, texture_b = with_textures(slot, [next(textures) for _ in range(count)])
        made.append(replace(slot, texture_a=texture_a, texture_b=texture_b))
    crafted = replace(data, images=images)
    check = [matcher.drawn(slot, mask, _HELD_OUT * windows) for slot in slots]

    def score(records: SegmentationData, tried: list[CanarySlot]) -> float:
        return sum(matcher.gap(records, *pair) for pair in zip(tried, check, strict=True))

    return (crafted, made) if score(crafted, made) > score(data, slots) else (data, slots)


def _labellings(slot: CanarySlot, classes: int, generator: np.random.Generator) -> list[CanarySlot]:
    """Lists the slot with its classes permuted, as far as its labels are free."""
    tried = [slot]
    single = len(np.unique(slot.labels_a[slot.pixels].numpy())) == 1
    # A sparse background bears B's labels already, and an object's outline its own.
    if slot.miss_gradient == -1.0 or (slot.natural_b and not single):
        return tried
    for _ in range(_SPLITS):
        order = generator.permutation(classes)
        named = replace(slot, labels_a=relabelled(slot.labels_a, order))
        if not slot.natural_b:
            named = replace(named, labels_b=relabelled(slot.labels_b, order))
        tried.append(named)
    return tried

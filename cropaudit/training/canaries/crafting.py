"""Gradient-matched crafting: a slot's pixels and labels are fitted to a model.

What is maximised is the norm of mean_w c(g_A(w)) - mean_w c(g_B(w)), where g are the gradients of
the two worlds, w runs over windows drawn from those that meet the patch, and c clips to 1: 2 for
gradients of full length that agree among the windows and oppose between the worlds, the ideal pair.
Where a missing window is to give B's gradient, the mean for B is over all windows.

Pixels climb by the sign of the derivative (through the per-sample gradient: twice backward) over
windows drawn anew at each step, labels by trying permutations of the classes. What is free depends
on the slot: a world B that is the photograph stays; pixels that are equal in both worlds stay
equal. A result that is no better on held-out windows is dropped.

Assumes a model that fits `torch.func` (all of cropaudit's do) and the loss of `losses`, one sample
at a time. Every gradient is held: this is for models of some hundred thousand parameters.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from cropaudit.accounting.geometry.crop_laws import CropLaw
from cropaudit.errors import require
from cropaudit.training.canaries.slots import CanarySlot, filled
from cropaudit.training.canaries.windows import windows_of
from cropaudit.training.crops.cutting import cut_windows
from cropaudit.training.crops.joint import Window
from cropaudit.training.data.images import IGNORE, SegmentationData
from cropaudit.training.models.losses import pixel_losses, prepare

__all__ = ["clip", "craft", "flat_gradients", "in_chunks", "relabelled"]

# Maps images (B, 3, h, w) in 0 to 255 and masks (B, h, w) to gradients (B, P).
Gradients = Callable[[Tensor, Tensor], Tensor]
_Pair = tuple[list[Window], list[Window]]  # for world A and for world B

_SPLITS = 8  # permutations of the classes tried
_HELD_OUT = 4  # times as many windows are held out as a step draws
_FIRST, _LAST = 24.0, 2.0  # grey levels of the first and the last step
_CHUNK_ENTRIES = 50_000_000  # numbers held at once


def craft(
    slots: Sequence[CanarySlot],
    model: nn.Module,
    crop: CropLaw,
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
    require(steps >= 0, "steps", "at least 0", steps)
    require(windows >= 1, "windows", "at least 1", windows)
    require(max_grad_norm > 0, "max_grad_norm", "above 0", max_grad_norm)
    made = []
    for slot, stream in zip(slots, np.random.SeedSequence(seed).spawn(len(slots)), strict=True):
        matcher = _Matcher(model, crop, max_grad_norm, data, np.random.default_rng(stream))
        made.append(_crafted(matcher, slot, steps, windows))
    return tuple(made)


def flat_gradients(model: nn.Module) -> Gradients:
    """Returns the function that takes per-sample gradients, unclipped, at the model's weights."""
    trainable = {k: p.detach() for k, p in model.named_parameters() if p.requires_grad}
    frozen = {k: p.detach() for k, p in model.named_parameters() if not p.requires_grad}
    like = next(iter(trainable.values()))

    def loss(parameters: dict[str, Tensor], image: Tensor, mask: Tensor) -> Tensor:
        logits = functional_call(model, {**parameters, **frozen}, (image[None],))
        return pixel_losses(logits, mask[None])[0]

    each = vmap(grad(loss), in_dims=(None, 0, 0))

    def gradients(images: Tensor, masks: Tensor) -> Tensor:
        pixels = prepare(images.to(like.device)).to(like.dtype)
        found = each(trainable, pixels, masks.to(like.device))
        return torch.cat([found[name].flatten(1) for name in trainable], dim=1)

    return gradients


def clip(gradients: Tensor, max_grad_norm: float) -> Tensor:
    """Scales rows (B, P) to a norm of at most C, in units of C; a zero row stays zero."""
    squares = gradients.square().sum(dim=1, keepdim=True)
    # The root has no derivative at 0, and an empty overlap has a gradient of exactly 0.
    return gradients / squares.clamp(min=max_grad_norm**2).sqrt()


def in_chunks(gradients: Gradients, images: Tensor, masks: Tensor, model: nn.Module) -> Tensor:
    """Returns unclipped gradients on the CPU, a few samples at a time."""
    entries = sum(p.numel() for p in model.parameters())
    size = max(1, min(32, _CHUNK_ENTRIES // entries))
    with torch.no_grad():
        parts = [
            gradients(images[start : start + size], masks[start : start + size]).cpu()
            for start in range(0, len(images), size)
        ]
    return torch.cat(parts)


def relabelled(labels: Tensor, order: NDArray[np.int64]) -> Tensor:
    """Returns labels renamed by a permutation of the classes, `IGNORE` left alone.

    >>> relabelled(torch.tensor([0, 2, 255], dtype=torch.uint8), np.array([1, 2, 0])).tolist()
    [1, 0, 255]
    """
    table = torch.arange(IGNORE + 1, dtype=torch.uint8)
    table[: len(order)] = torch.from_numpy(order.astype(np.uint8))
    return table[labels.long()]


@dataclass(frozen=True, eq=False)
class _Matcher:
    """A model, a crop and records to fit slots to, and the generator of the windows."""

    model: nn.Module
    crop: CropLaw
    max_grad_norm: float
    data: SegmentationData
    generator: np.random.Generator

    def drawn(self, slot: CanarySlot, count: int) -> _Pair:
        """Draws windows of the slot's record for world A and for world B."""
        law = windows_of(slot, self.data.masks[slot.record], self.crop)
        met = law.draw(law.hits(), count, self.generator)
        if slot.miss_gradient != -1.0:
            return met, met
        every = np.ones_like(law.shown, dtype=np.bool_)
        return met, law.draw(every, count, self.generator)

    def gap(self, slot: CanarySlot, windows: _Pair) -> float:
        """Returns the distance as it is, other slots of the record as the data have them."""
        gradients, means = flat_gradients(self.model), []
        for origins, world_a in zip(windows, (True, False), strict=True):
            image, mask = filled(self.data, slot, world_a=world_a)
            found = in_chunks(
                gradients, *cut_windows([(image, mask)], origins, self.crop), self.model
            )
            means.append(clip(found.double(), self.max_grad_norm).mean(dim=0))
        return float((means[0] - means[1]).norm())

    def matched(self, slot: CanarySlot, textures: Sequence[Tensor], windows: _Pair) -> Tensor:
        """Returns the distance as a function of the free textures, to be differentiated."""
        gradients, means, (rows, columns) = flat_gradients(self.model), [], slot.box
        image = self.data.images[slot.record].float()
        worlds = zip(_of_worlds(slot, textures), windows, (True, False), strict=True)
        for texture, origins, world_a in worlds:
            pixels, (_, mask) = image.clone(), filled(self.data, slot, world_a=world_a)
            pixels[:, rows, columns] = torch.where(slot.pixels, texture, image[:, rows, columns])
            images, masks = cut_windows([(pixels, mask)], origins, self.crop)
            means.append(clip(gradients(images, masks), self.max_grad_norm).mean(dim=0))
        gap: Tensor = (means[0] - means[1]).norm()
        return gap


def _crafted(matcher: _Matcher, slot: CanarySlot, steps: int, windows: int) -> CanarySlot:
    held_out = matcher.drawn(slot, _HELD_OUT * windows)
    tried = _labellings(slot, len(matcher.data.classes), matcher.generator)
    best = max(tried, key=lambda one: matcher.gap(one, held_out))
    textures = _free_textures(best)
    for step in range(steps):
        leaves = [texture.requires_grad_() for texture in textures]
        gap = matcher.matched(best, leaves, matcher.drawn(best, windows))
        slopes = torch.autograd.grad(gap, leaves)
        size = _FIRST + (_LAST - _FIRST) * step / max(1, steps - 1)
        textures = [
            (leaf.detach() + size * slope.sign()).clamp(0, 255)
            for leaf, slope in zip(leaves, slopes, strict=True)
        ]
    texture_a, texture_b = (
        texture.round().to(torch.uint8) for texture in _of_worlds(best, textures)
    )
    done = replace(best, texture_a=texture_a, texture_b=texture_b)
    check = matcher.drawn(slot, _HELD_OUT * windows)
    found = max((slot, best, done), key=lambda one: matcher.gap(one, check))
    return replace(found, design=f"crafted {slot.design}")


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


def _free_textures(slot: CanarySlot) -> list[Tensor]:
    """Returns the textures that may change: of A alone, one for both worlds, or of each."""
    if slot.natural_b or torch.equal(slot.texture_a, slot.texture_b):
        return [slot.texture_a.float()]
    return [slot.texture_a.float(), slot.texture_b.float()]


def _of_worlds(slot: CanarySlot, textures: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    return textures[0], slot.texture_b.float() if slot.natural_b else textures[-1]

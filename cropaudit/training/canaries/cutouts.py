"""Faces and plates cut out of the procedural street scenes, to paste into photographs."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from cropaudit.accounting.geometry import Size
from cropaudit.training.scenes import street_scenes

__all__ = ["Cutout", "cutouts", "fitted"]

# Large enough for faces of some forty rows; the seed is that of the collection, not of a run.
_SCENES, _SIZE, _SEED = 12, Size(384, 512), 20
_KEPT = 8


@dataclass(frozen=True, eq=False)
class Cutout:
    """One object.

    Attributes:
        pixels: uint8, shape (3, h, w).
        shape: Which of them are the object, bool, shape (h, w).
    """

    pixels: Tensor
    shape: Tensor


@lru_cache(maxsize=2)
def cutouts(kind: str) -> tuple[Cutout, ...]:
    """Returns the largest objects of a class of the scenes, largest first; always the same.

    Args:
        kind: A class of `scenes.CLASSES` whose objects are small and lie apart.
    """
    data = street_scenes(_SCENES, _SIZE, _SEED)
    label = data.classes.index(kind)
    found = []
    for image, mask in zip(data.images, data.masks, strict=True):
        numbers, _ = ndimage.label(mask.numpy() == label)
        for number, box in enumerate(ndimage.find_objects(numbers), start=1):
            shape = torch.from_numpy(numbers[box] == number)
            found.append(Cutout(image[:, *box].clone(), shape))
    found.sort(key=lambda one: -int(one.shape.sum()))
    return tuple(found[:_KEPT])


def fitted(cutout: Cutout, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Scales an object to the largest that fits, in the middle of a field of this shape.

    Returns:
        Pixels, uint8, shape (3, h, w), and which of them are the object, bool, shape (h, w).
    """
    height, width = cutout.shape.shape
    scale = min(shape[0] / height, shape[1] / width)
    # At least one pixel: a plate in a tall narrow patch would vanish.
    size = [
        max(1, min(full, round(scale * side)))
        for full, side in zip(shape, (height, width), strict=True)
    ]
    pixels = functional.interpolate(
        cutout.pixels[None].float(), size=size, mode="bilinear", antialias=True
    )[0]
    inside = functional.interpolate(cutout.shape[None, None].float(), size=size, mode="area")[0, 0]
    field, where = torch.zeros(3, *shape, dtype=torch.uint8), torch.zeros(shape, dtype=torch.bool)
    top, left = (shape[0] - size[0]) // 2, (shape[1] - size[1]) // 2
    box = slice(top, top + size[0]), slice(left, left + size[1])
    field[:, *box] = pixels.round().clamp(0, 255).to(torch.uint8)
    # A pixel that is half object is object; the largest share always is, however small.
    where[box] = inside >= min(0.5, float(inside.max()))
    return field, where

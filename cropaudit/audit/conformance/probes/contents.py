"""What replays show: images with masks that differ in one patch, and in nothing else.

Contents alternate, for each hides some fault: noise gives every pixel something to lose, a flat
image makes the patch its only extreme (what normalisation and saliency react to), an empty mask
makes it the only object (what crops drawn to objects react to), photographs are what is trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from cropaudit.accounting.geometry import Size
from cropaudit.training.folders import load_folder
from cropaudit.training.scenes import street_scenes

__all__ = ["Contents", "Scene", "with_patch"]

Array = NDArray[Any]
_CLASSES = 2  # of what is drawn: code for few classes must take it too
_PICTURES = 4
_LEAST = 8  # pixels a side of a drawn scene


@dataclass(frozen=True, eq=False)
class Scene:
    """An image (H, W, 3) of bytes with its mask (H, W)."""

    image: Array
    mask: Array


class Contents:
    """Scenes of one size, one after the other.

    Attributes:
        DRAWN: How many of them, the first, are noise or flat; the others are pictures.
    """

    DRAWN = 2

    def __init__(self, size: Size, folder: Path | None, rng: np.random.Generator) -> None:
        """Draws or reads them.

        Args:
            size: Of every scene.
            folder: Of photographs with masks, besides what is drawn.
            rng: Of what is drawn.
        """
        noise = rng.integers(0, 256, (size.height, size.width, 3), dtype=np.uint8)
        labels = rng.integers(0, _CLASSES, (size.height, size.width)).astype(np.int32)
        flat = np.full((size.height, size.width, 3), 40, dtype=np.uint8)
        self._scenes = [
            Scene(noise, labels),
            Scene(flat, np.zeros_like(labels)),
            *_pictures(size, folder, int(rng.integers(2**31))),
        ]

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, index: int) -> Scene:
        return self._scenes[index % len(self._scenes)]


def with_patch(scene: Scene, place: tuple[int, int], patch: Size, turn: int) -> Scene:
    """Returns the scene with another content in the patch at ``place`` (top, left).

    ``turn`` picks it: bright with a label of its own, the negative, or noise.
    """
    rows = slice(place[0], place[0] + patch.height)
    columns = slice(place[1], place[1] + patch.width)
    image, mask = scene.image.copy(), scene.mask.copy()
    old = image[rows, columns]
    match turn % 3:
        case 0:
            new = np.full_like(old, 255)
        case 1:
            new = 255 - old
        case _:
            new = np.random.default_rng(turn).integers(0, 256, old.shape, dtype=np.uint8)
    # Every pixel of the patch changes, so that a crop that shows one of them must differ.
    image[rows, columns] = np.where(new == old, old ^ 128, new)
    mask[rows, columns] = (mask[rows, columns] + 1) % _CLASSES
    return Scene(image, mask)


def _pictures(size: Size, folder: Path | None, seed: int) -> list[Scene]:
    if folder is None:
        if min(size.height, size.width) < _LEAST:
            return []
        drawn = street_scenes(1, size, seed)
        return [_fitted(drawn.images[0], drawn.masks[0] % _CLASSES, size)]
    data = load_folder(folder, short_side=min(size.height, size.width), limit=_PICTURES).train
    pairs = zip(data.images[:_PICTURES], data.masks[:_PICTURES], strict=True)
    return [_fitted(image, mask, size) for image, mask in pairs]


def _fitted(image: torch.Tensor, mask: torch.Tensor, size: Size) -> Scene:
    """Scales a photograph to the size, by nearest neighbours: labels stay labels."""
    shape = (size.height, size.width)
    pixels: Sequence[torch.Tensor] = [image[None].float(), mask[None, None].float()]
    scaled = [functional.interpolate(item, size=shape, mode="nearest")[0] for item in pixels]
    return Scene(
        scaled[0].permute(1, 2, 0).to(torch.uint8).numpy(), scaled[1][0].to(torch.int32).numpy()
    )

"""Textures of canaries, and of the record about them where a texture covers all of it.

The gradient of a pixel is (p - onehot) times what the layers see about it. Equal pixels in both
worlds leave the labels to oppose each other; equal pixels in every window make the windows agree.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cropaudit.errors import require

__all__ = ["Blocks", "Flat", "NaturalTexture", "Periodic", "Texture", "blocks", "canvas"]


@dataclass(frozen=True)
class Blocks:
    """Blocks of pure colours of ``grain`` pixels: loud in every channel, drawn for each world.

    A coarse grain is seen by every layer, and gradients of different windows point the same way
    (cosine 0.8, where a grain of one pixel gives 0.7).
    """

    grain: int = 4

    def __post_init__(self) -> None:
        require(self.grain >= 1, "grain", "at least 1", self.grain)

    def __str__(self) -> str:
        return f"blocks of {self.grain}"


@dataclass(frozen=True)
class Flat:
    """One colour all over the record: what a window sees hardly depends on where it is.

    The record is no photograph any more, which patch substitution allows: the worst case is over
    all records. Mid-grey is 0 to a model, as its convolutions' own padding is, so that the border
    of a window looks like its inside.
    """

    colour: tuple[int, int, int] = (127, 128, 127)

    def __post_init__(self) -> None:
        legal = "three numbers in 0 to 255"
        given = self.colour
        require(len(given) == 3 and all(0 <= c <= 255 for c in given), "colour", legal, given)

    def __str__(self) -> str:
        return "flat"


@dataclass(frozen=True)
class NaturalTexture:
    """The photograph's own pixels, in both worlds."""

    def __str__(self) -> str:
        return "natural texture"


@dataclass(frozen=True)
class Periodic:
    """A smooth pattern of this period, in pixels, all over the record.

    Every window sees the same pattern, shifted; unlike a flat record it drives many features.
    """

    period: int = 8

    def __post_init__(self) -> None:
        require(self.period >= 2, "period", "at least 2", self.period)

    def __str__(self) -> str:
        return f"period {self.period}"


Texture = Blocks | Flat | NaturalTexture | Periodic


def canvas(texture: Texture, image: Tensor, generator: np.random.Generator) -> Tensor:
    """Returns the pixels of the whole record before slots are planted, uint8, shape (3, H, W)."""
    match texture:
        case Blocks() | NaturalTexture():
            return image
        case Flat(colour):
            return torch.tensor(colour, dtype=torch.uint8)[:, None, None].expand_as(image).clone()
        case Periodic(period):
            return _waves(period, (image.shape[1], image.shape[2]), generator)


def blocks(
    generator: np.random.Generator, values: NDArray[np.int64], shape: tuple[int, int], grain: int
) -> Tensor:
    """Returns random blocks, uint8, shape (h, w), in which values cover nearly equal shares."""
    rows, columns = -(-shape[0] // grain), -(-shape[1] // grain)
    cells = generator.permutation(np.resize(values, rows * columns)).reshape(rows, columns)
    full = np.kron(cells, np.ones((grain, grain), dtype=np.int64))
    return torch.from_numpy(full[: shape[0], : shape[1]].astype(np.uint8))


def _waves(period: int, shape: tuple[int, int], generator: np.random.Generator) -> Tensor:
    """Returns a product of two cosines in each channel, with random phases, over 0 to 255."""
    channels = []
    for _ in range(3):
        down, across = generator.uniform(0, 2 * np.pi, 2)
        rows = np.cos(2 * np.pi * np.arange(shape[0]) / period + down)
        columns = np.cos(2 * np.pi * np.arange(shape[1]) / period + across)
        channels.append(np.rint(127.5 * (1 + np.multiply.outer(rows, columns))).astype(np.uint8))
    return torch.from_numpy(np.stack(channels))

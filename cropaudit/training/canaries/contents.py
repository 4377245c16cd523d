"""The content of one slot in either world, for every design that is planted into a copy."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cropaudit.errors import require
from cropaudit.training.canaries.cutouts import cutouts, fitted
from cropaudit.training.canaries.designs import (
    BrightTexture,
    LabelOnly,
    ObjectPaste,
    Opposed,
    Plain,
)
from cropaudit.training.canaries.labels import halves, least_shown, one_label, two_classes
from cropaudit.training.canaries.textures import Blocks, Texture, blocks

__all__ = ["Content", "Ground", "content", "require_classes"]


@dataclass(frozen=True, eq=False)
class Ground:
    """What is there before a slot is planted.

    Attributes:
        texture: Pixels of the record at the slot's place, uint8, shape (3, h, w).
        labels: Its labels there, shape (h, w).
        mask: The labels of all the photograph.
        classes: Class names.
    """

    texture: Tensor
    labels: Tensor
    mask: Tensor
    classes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the slot."""
        return self.labels.shape[0], self.labels.shape[1]


@dataclass(frozen=True, eq=False)
class Content:
    """Textures (3, h, w) and labels (h, w) of both worlds, as `CanarySlot` has them."""

    texture_a: Tensor
    texture_b: Tensor
    labels_a: Tensor
    labels_b: Tensor
    natural_b: bool = False


def require_classes(design: Plain, classes: tuple[str, ...]) -> None:
    """Raises unless the classes that a design names are there.

    Raises:
        InputError: If one is not, or there are fewer than two.
    """
    count = len(classes)
    require(count >= 2, "classes", "at least 2", count)
    named: tuple[int, ...] = ()
    match design:
        case BrightTexture(label) | ObjectPaste(label=label) if label is not None:
            named = (label,)
        case LabelOnly(flip) if flip is not None:
            named = flip
            require(flip[0] != flip[1], "flip", "two different classes", flip)
        case ObjectPaste(kind):
            require(kind in classes, "classes", f"with {kind} among them", ", ".join(classes))
    for label in named:
        require(0 <= label < count, "label", f"0 to {count - 1}", label)


def content(design: Plain, ground: Ground, generator: np.random.Generator) -> Content:
    """Draws the content of one slot."""
    match design:
        case BrightTexture(label, texture):
            chosen = least_shown(ground, generator) if label is None else label
            loud = _texture(texture, ground, generator)
            return _beside(ground, loud, one_label(chosen, ground.shape))
        case LabelOnly(flip, _, texture):
            first, second = flip or two_classes(ground, generator)
            both = _texture(texture, ground, generator)
            return Content(
                both, both, one_label(first, ground.shape), one_label(second, ground.shape)
            )
        case Opposed(_, texture):
            return _opposed(texture, ground, generator)
        case ObjectPaste(kind, label):
            found = cutouts(kind)
            chosen = ground.classes.index(kind) if label is None else label
            pixels, shape = fitted(found[int(generator.integers(len(found)))], ground.shape)
            return _beside(
                ground,
                torch.where(shape, pixels, ground.texture),
                torch.where(shape, one_label(chosen, ground.shape), ground.labels),
            )


def _beside(ground: Ground, texture: Tensor, labels: Tensor) -> Content:
    """Returns a content for world A beside the photograph as it is."""
    return Content(texture, ground.texture.clone(), labels, ground.labels.clone(), natural_b=True)


def _opposed(texture: Texture, ground: Ground, generator: np.random.Generator) -> Content:
    first, second = halves(ground, generator)
    texture_a = _texture(texture, ground, generator)
    texture_b = _texture(texture, ground, generator)
    labels_a = blocks(generator, first, ground.shape, 1)
    return Content(texture_a, texture_b, labels_a, blocks(generator, second, ground.shape, 1))


def _texture(texture: Texture, ground: Ground, generator: np.random.Generator) -> Tensor:
    """Returns the pixels of a slot: the record's own, unless they are blocks."""
    match texture:
        case Blocks(grain):
            pure = np.array([0, 255])
            channels = [blocks(generator, pure, ground.shape, grain) for _ in range(3)]
            return torch.stack(channels)
        case _:
            return ground.texture.clone()

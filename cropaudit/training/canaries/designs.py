"""The designs of canaries: what stands in the patch in either world, and what that does.

Gradients are of the mean cross-entropy over labelled pixels: a pixel's residual is p - onehot. At
p near uniform two single labels a, b of K give residuals with cosine -1 / (K - 1), opposed for two
classes only; labels spread over one half of the classes against the other half are opposed for any
even K.

A new design is a subclass of `Design` in a file of its own, and one line in `registry`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from cropaudit.accounting.geometry.shapes import Size
from cropaudit.errors import require
from cropaudit.training.canaries.backgrounds import Background, Ignore, Natural
from cropaudit.training.canaries.textures import Blocks, NaturalTexture, Texture, blocks
from cropaudit.training.data.images import IGNORE
from cropaudit.training.objects.patches import ObjectPatch
from cropaudit.training.scenes.streets import street_scenes

__all__ = [
    "BrightTexture",
    "Content",
    "Design",
    "Ground",
    "LabelOnly",
    "ObjectPaste",
    "Opposed",
    "RealObject",
    "cutouts",
]

_PASTED = ("face", "plate")
# Scenes large enough for faces of some forty rows; the seed is the collection's, not a run's.
_SCENES, _SCENE_SIZE, _SCENE_SEED = 12, Size(384, 512), 20
_CUTOUTS = 8


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

    def filled(self, label: int) -> Tensor:
        """Returns one label all over the slot."""
        return torch.full_like(self.labels, label)


@dataclass(frozen=True, eq=False)
class Content:
    """Textures (3, h, w) and labels (h, w) of both worlds, as `CanarySlot` has them."""

    texture_a: Tensor
    texture_b: Tensor
    labels_a: Tensor
    labels_b: Tensor
    natural_b: bool = False


class Design(ABC):
    """What stands in a slot, planted into the pixels and labels of a photograph.

    Attributes:
        background: Outside the patches.
        texture: Of the record, and of the patch where it is its own.
    """

    background: Background = Natural()
    texture: Texture = NaturalTexture()

    def check(self, classes: tuple[str, ...]) -> None:
        """Raises `InputError` unless there are two classes, and those that the design names."""
        require(len(classes) >= 2, "classes", "at least 2", len(classes))

    @abstractmethod
    def content(self, ground: Ground, generator: np.random.Generator) -> Content:
        """Draws the content of one slot."""


@dataclass(frozen=True)
class BrightTexture(Design):
    """World A: a loud texture with one odd label. World B: the photograph as it is.

    A natural record with natural labels: windows that miss or graze the patch give what the
    photograph gives, and those that cover it a little more. Gradients of A and B differ by little
    (0.1 C): this is what planting a conspicuous sample costs, not a worst case.

    Attributes:
        texture: Of world A; its label is one of those that the photograph shows least.
    """

    texture: Texture = field(default_factory=Blocks)

    def __str__(self) -> str:
        return f"bright texture, {self.texture}"

    def content(self, ground: Ground, generator: np.random.Generator) -> Content:  # noqa: D102
        labels = ground.mask[ground.mask != IGNORE].long()
        shown = torch.bincount(labels, minlength=len(ground.classes)).numpy()
        label = int(generator.choice(np.flatnonzero(shown == shown.min())))
        loud = self.texture.patch(ground.texture, generator)
        return _beside(ground, loud, ground.filled(label))


@dataclass(frozen=True)
class LabelOnly(Design):
    """The same pixels in both worlds, one label in A and another in B.

    Residuals p - a and p - b meet the same features: gradients differ along b - a exactly, and
    oppose each other in full for two classes.

    Attributes:
        flip: Class indices in A and in B; None draws two.
        background: Outside the patch.
        texture: Of both worlds.
    """

    flip: tuple[int, int] | None = None
    background: Background = field(default_factory=Ignore)
    texture: Texture = field(default_factory=Blocks)

    def __str__(self) -> str:
        return f"label only, {self.texture}, {self.background}"

    def check(self, classes: tuple[str, ...]) -> None:  # noqa: D102
        super().check(classes)
        require(len(set(self.flip or (0, 1))) == 2, "flip", "two different classes", self.flip)
        for label in self.flip or ():
            legal = f"0 to {len(classes) - 1}"
            require(0 <= label < len(classes), "label", legal, label)

    def content(self, ground: Ground, generator: np.random.Generator) -> Content:  # noqa: D102
        first, second = self.flip or generator.permutation(len(ground.classes))[:2].tolist()
        both = self.texture.patch(ground.texture, generator)
        return Content(both, both, ground.filled(first), ground.filled(second))


@dataclass(frozen=True)
class Opposed(Design):
    """Labels of A spread over one half of the classes, those of B over the other half.

    The mean residuals of A and B oppose each other for any even number of classes; of an odd one a
    class is left out. With `Blocks` each world has its own texture; the other textures are equal in
    both worlds.

    Attributes:
        background: Outside the patch.
        texture: Of the patch.
    """

    background: Background = field(default_factory=Ignore)
    texture: Texture = field(default_factory=Blocks)

    def __str__(self) -> str:
        return f"opposed halves, {self.texture}, {self.background}"

    def content(self, ground: Ground, generator: np.random.Generator) -> Content:  # noqa: D102
        order, shape = generator.permutation(len(ground.classes)), ground.labels.shape
        middle = len(order) // 2
        a, b = (self.texture.patch(ground.texture, generator) for _ in "ab")
        halves = order[:middle], order[middle : 2 * middle]
        labels_a, labels_b = (blocks(generator, half, shape, 1) for half in halves)
        return Content(a, b, labels_a, labels_b)


@dataclass(frozen=True)
class ObjectPaste(Design):
    """World A: a drawn face or plate, scaled into the patch. World B: the photograph as it is.

    What the claim is meant to protect, at the price of a weak signal: the record's own labels stay,
    and outside the object's outline A shows the photograph too.

    Attributes:
        kind: What is pasted, a class of the data too; procedural, so that nobody's face is used.
    """

    kind: str = "face"

    def __post_init__(self) -> None:
        require(self.kind in _PASTED, "kind", f"one of {', '.join(_PASTED)}", self.kind)

    def __str__(self) -> str:
        return f"pasted {self.kind}"

    def check(self, classes: tuple[str, ...]) -> None:  # noqa: D102
        super().check(classes)
        legal = f"with {self.kind} among them"
        require(self.kind in classes, "classes", legal, ", ".join(classes))

    def content(self, ground: Ground, generator: np.random.Generator) -> Content:  # noqa: D102
        found = cutouts(self.kind)
        pixels, shape = _fitted(*found[int(generator.integers(len(found)))], ground.labels.shape)
        own = ground.filled(ground.classes.index(self.kind))
        return _beside(
            ground,
            torch.where(shape, pixels, ground.texture),
            torch.where(shape, own, ground.labels),
        )


@dataclass(frozen=True, eq=False)
class RealObject:
    """World A: a real object of the photograph, as it is. World B: the same without it.

    The record is the photograph itself, no copy: a second one would show the object in both worlds.
    Gradients are those of natural training; what is learnt is about what is really there.

    Attributes:
        objects: The objects, in the order in which slots take them.
        without: Maps an image (3, H, W), its mask (H, W) and an object to both without the object.
    """

    objects: Iterable[ObjectPatch]
    without: Callable[[Tensor, Tensor, ObjectPatch], tuple[Tensor, Tensor]]

    def __str__(self) -> str:
        return "real object"


def _beside(ground: Ground, texture: Tensor, labels: Tensor) -> Content:
    """Returns a content for world A beside the photograph as it is."""
    return Content(texture, ground.texture.clone(), labels, ground.labels.clone(), natural_b=True)


@lru_cache(maxsize=2)
def cutouts(kind: str) -> tuple[tuple[Tensor, Tensor], ...]:
    """Returns the largest objects of a class of the scenes, largest first; always the same.

    Of each its pixels, uint8, shape (3, h, w), and which of them are the object, bool (h, w).
    """
    data = street_scenes(_SCENES, _SCENE_SIZE, _SCENE_SEED)
    found = []
    for image, mask in zip(data.images, data.masks, strict=True):
        numbers, _ = ndimage.label(mask.numpy() == data.classes.index(kind))
        for number, box in enumerate(ndimage.find_objects(numbers), start=1):
            found.append((image[:, *box].clone(), torch.from_numpy(numbers[box] == number)))
    found.sort(key=lambda one: -int(one[1].sum()))
    return tuple(found[:_CUTOUTS])


def _fitted(pixels: Tensor, outline: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Scales an object to the largest that fits, in the middle of a field of this shape."""
    scale = min(full / side for full, side in zip(shape, outline.shape, strict=True))
    # At least one pixel: a plate in a tall narrow patch would vanish.
    size = [
        max(1, min(full, round(scale * side)))
        for full, side in zip(shape, outline.shape, strict=True)
    ]
    scaled = functional.interpolate(
        pixels[None].float(), size=size, mode="bilinear", antialias=True
    )[0]
    inside = functional.interpolate(outline[None, None].float(), size=size, mode="area")[0, 0]
    field, where = torch.zeros(3, *shape, dtype=torch.uint8), torch.zeros(shape, dtype=torch.bool)
    top, left = (shape[0] - size[0]) // 2, (shape[1] - size[1]) // 2
    box = slice(top, top + size[0]), slice(left, left + size[1])
    field[:, *box] = scaled.round().clamp(0, 255).to(torch.uint8)
    # A pixel that is half object is object; the largest share always is, however small.
    where[box] = inside >= min(0.5, float(inside.max()))
    return field, where

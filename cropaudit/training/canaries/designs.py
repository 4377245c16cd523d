"""The designs of canaries: what stands in the patch in either world, and what that does.

Gradients are of the mean cross-entropy over labelled pixels: a pixel's residual is p - onehot. At
p near uniform two single labels a, b of K give residuals with cosine -1 / (K - 1), opposed for two
classes only; labels spread over one half of the classes against the other half are opposed for any
even K.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar, get_args

from torch import Tensor, nn

from cropaudit.errors import require
from cropaudit.training.canaries.backgrounds import Background, Ignore, Natural
from cropaudit.training.canaries.textures import Blocks, NaturalTexture, Texture

__all__ = [
    "BrightTexture",
    "Crafted",
    "Design",
    "LabelOnly",
    "LooksLikeObject",
    "ObjectPaste",
    "Opposed",
    "PasteKind",
    "PatchPixels",
    "Plain",
    "RealObject",
    "RecordPixels",
    "background_of",
    "texture_of",
]

PasteKind = Literal["face", "plate"]


@dataclass(frozen=True)
class BrightTexture:
    """World A: a loud texture with one odd label. World B: the photograph as it is.

    A natural record with natural labels: windows that miss or graze the patch give what the
    photograph gives, and those that cover it a little more. Gradients of A and B differ by little
    (0.1 C): this is what planting a conspicuous sample costs, not a worst case.

    Attributes:
        label: Class index in world A; None draws one of those that the photograph shows least.
        texture: Of world A.
    """

    label: int | None = None
    texture: Texture = field(default_factory=Blocks)

    def __str__(self) -> str:
        return f"bright texture, {self.texture}"


@dataclass(frozen=True)
class LabelOnly:
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


@dataclass(frozen=True)
class Opposed:
    """Labels of A spread over one half of the classes, those of B over the other half.

    The mean residuals of A and B oppose each other for any even number of classes. With `Blocks`
    each world has its own texture; the other textures are equal in both worlds.

    Attributes:
        background: Outside the patch.
        texture: Of the patch.
    """

    background: Background = field(default_factory=Ignore)
    texture: Texture = field(default_factory=Blocks)

    def __str__(self) -> str:
        return f"opposed halves, {self.texture}, {self.background}"


@dataclass(frozen=True)
class ObjectPaste:
    """World A: a drawn face or plate, scaled into the patch. World B: the photograph as it is.

    What the claim is meant to protect, at the price of a weak signal: the record's own labels stay,
    and outside the object's outline A shows the photograph too.

    Attributes:
        kind: What is pasted; procedural, so that nobody's face is used.
        label: Its class index; None takes the class of that name.
    """

    kind: PasteKind = "face"
    label: int | None = None

    def __post_init__(self) -> None:
        legal = get_args(PasteKind)
        require(self.kind in legal, "kind", f"one of {', '.join(legal)}", self.kind)

    def __str__(self) -> str:
        return f"pasted {self.kind}"


class LooksLikeObject(Protocol):
    """What `RealObject` needs to know about an object of a photograph.

    Attributes:
        record: Index of the record that shows it.
        name: What it is.
        box: Its top row, left column, height and width.
        pixels: Which pixels of the box may differ without it, bool, shape of the box.
    """

    @property
    def record(self) -> int: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def box(self) -> tuple[int, int, int, int]: ...  # noqa: D102
    @property
    def pixels(self) -> Tensor: ...  # noqa: D102


T = TypeVar("T", bound=LooksLikeObject)


@dataclass(frozen=True, eq=False)
class RealObject(Generic[T]):
    """World A: a real object of the photograph, as it is. World B: the same without it.

    The record is the photograph itself, no copy: a second one would show the object in both worlds.
    Gradients are those of natural training; what is learnt is about what is really there.

    Attributes:
        objects: The objects, in the order in which slots take them.
        without: Maps an image (3, H, W), its mask (H, W) and an object to both without the object.
    """

    objects: Iterable[T]
    without: Callable[[Tensor, Tensor, T], tuple[Tensor, Tensor]]

    def __str__(self) -> str:
        return "real object"


Plain = BrightTexture | LabelOnly | Opposed | ObjectPaste


@dataclass(frozen=True)
class PatchPixels:
    """Crafting moves the pixels of the patch: any design, and the photograph about it stays."""


@dataclass(frozen=True)
class RecordPixels:
    """Crafting moves all pixels of the record, those outside the patch alike in both worlds.

    Only where world B is no photograph. Windows that graze the patch then agree with those that
    cover it: of all designs here the one nearest to the ideal pair.
    """


@dataclass(frozen=True, eq=False)
class Crafted:
    """A design whose pixels and labels are then fitted to a model, see `crafting`.

    Gradients of hitting windows become larger than the clip where they are not, and better aligned.

    Attributes:
        base: What to begin from.
        model: The model, at the weights at which the canaries are to be strongest.
        max_grad_norm: The clip C.
        steps: Steps of optimisation for each slot.
        windows: Windows that each step tries.
        reach: Which pixels may move.
    """

    base: Plain
    model: nn.Module
    max_grad_norm: float
    steps: int = 30
    windows: int = 8
    reach: PatchPixels | RecordPixels = field(default_factory=PatchPixels)

    def __post_init__(self) -> None:
        fits = isinstance(self.reach, PatchPixels) or isinstance(self.base, LabelOnly | Opposed)
        require(fits, "base", "LabelOnly or Opposed where the record is crafted", self.base)

    def __str__(self) -> str:
        record = " record" if isinstance(self.reach, RecordPixels) else ""
        return f"crafted{record} {self.base}"


Design = Plain | RealObject[Any] | Crafted


def background_of(design: Plain) -> Background:
    """Returns what stands outside the patches of a design."""
    match design:
        case LabelOnly() | Opposed():
            return design.background
        case BrightTexture() | ObjectPaste():
            return Natural()


def texture_of(design: Plain) -> Texture:
    """Returns the texture of a design; around a pasted object it is the photograph's."""
    match design:
        case LabelOnly() | Opposed() | BrightTexture():
            return design.texture
        case ObjectPaste():
            return NaturalTexture()

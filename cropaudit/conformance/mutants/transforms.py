"""Transforms with one fault each, and sound ones; all are called on (image, mask) as tv_tensors.

The claim is always the same: a uniform window of 100x100, cut from an image of 360x480 and from its
mask alike, with no padding unless a claim says so. The last ones are sound crops whose accountant
was asked something else: of 1000 Poisson batches of 32 out of 256 images, a patch of 20x20, noise
multiplier 1 and delta 1e-5, where epsilon is 5.79.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f

from cropaudit.accounting.geometry.crop_laws import ResizedCrop
from cropaudit.accounting.geometry.shapes import Crop, Rectangle, Size
from cropaudit.accounting.inclusion.probability import inclusion
from cropaudit.accounting.inclusion.window_sizes import size_law
from cropaudit.conformance.mutants.mutant import Shelf
from cropaudit.conformance.pipeline_claim import PipelineClaim

__all__ = ["MUTANTS"]

Pair = tuple[Tensor, Tensor]

SIDE = 100
IMAGE, PATCH = Size(360, 480), Rectangle(Size(20, 20))
WINDOW, RESIZED = Crop(Size(SIDE, SIDE)), ResizedCrop(Size(SIDE, SIDE))
LONG, SMALL = Size(150, 900), Size(80, 300)
IGNORED = 255


def _below(count: int) -> int:
    return int(torch.randint(count, ()))


class Windowed:
    """Cuts the window that a rule picks: from image and mask to its top and left."""

    def __init__(self, pick: Callable[[Tensor, Tensor], tuple[int, int]]) -> None:
        self.pick = pick

    def __call__(self, image: Tensor, mask: Tensor) -> Pair:
        """Crops both."""
        top, left = self.pick(image, mask)
        return f.crop(image, top, left, SIDE, SIDE), f.crop(mask, top, left, SIDE, SIDE)


def _each(draw: Callable[[int], int]) -> Windowed:
    """Returns a crop whose origin is drawn, on each axis, from what is spare there."""
    return Windowed(lambda image, mask: (draw(mask.shape[-2] - SIDE), draw(mask.shape[-1] - SIDE)))


def _drawn_to(wanted: Callable[[Tensor], Tensor]) -> Windowed:
    """Returns a crop that is centred on one of the wanted labels, if there are any."""

    def pick(image: Tensor, mask: Tensor) -> tuple[int, int]:
        found = torch.nonzero(wanted(mask))
        spare = [side - SIDE for side in mask.shape[-2:]]
        if not len(found):
            return _below(spare[0] + 1), _below(spare[1] + 1)
        row, column = found[_below(len(found))].tolist()
        return min(max(row - SIDE // 2, 0), spare[0]), min(max(column - SIDE // 2, 0), spare[1])

    return Windowed(pick)


class Redrawn:
    """Draws windows again, up to ten times, until one pleases."""

    def __init__(self, pleases: Callable[[Tensor, Tensor], bool]) -> None:
        self.crop, self.pleases = v2.RandomCrop(SIDE), pleases

    def __call__(self, image: Tensor, mask: Tensor) -> Pair:
        """Crops both."""
        for _ in range(10):
            cut, labels = self.crop(image, mask)
            if self.pleases(cut, labels):
                break
        return cut, labels


def _first(change: Any) -> v2.Transform:
    return v2.Compose([change, v2.RandomCrop(SIDE)])


def _then(change: Any) -> v2.Transform:
    return v2.Compose([v2.RandomCrop(SIDE), change])


def _standardised(image: Tensor) -> Tensor:
    values = image.to(torch.float32)
    standardised: Tensor = tv_tensors.Image((values - values.mean()) / values.std())
    return standardised


def _last_window_anywhere(image: Tensor, mask: Tensor) -> Any:
    """Crops by kornia's habit: the window that is taken where none fits lies anywhere."""
    top, left, height, width = v1.RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3])
    last = size_law(Size(*mask.shape[-2:]), RESIZED).fallback
    if (height, width) == (last.height, last.width):
        top, left = _below(mask.shape[-2] - height + 1), _below(mask.shape[-1] - width + 1)
    box = top, left, height, width
    return tuple(f.resized_crop(item, *box, [SIDE, SIDE]) for item in (image, mask))


def _padded_once() -> Callable[[Tensor, Tensor], Pair]:
    """Returns albumentations' habit: small images are padded in the middle before the crop."""
    crop = v2.RandomCrop(SIDE)

    def padded(image: Tensor, mask: Tensor) -> Any:
        high, wide = (max(SIDE - side, 0) for side in mask.shape[-2:])
        padding = [wide // 2, high // 2, wide - wide // 2, high - high // 2]
        return crop(f.pad(image, padding), f.pad(mask, padding))

    return padded


def _crops(count: int) -> Callable[[Tensor, Tensor], list[Pair]]:
    crop = v2.RandomCrop(SIDE)
    return lambda image, mask: [crop(image, mask) for _ in range(count)]


def _apart() -> Callable[[Tensor, Tensor], Pair]:
    crop = v2.RandomCrop(SIDE)
    return lambda image, mask: (crop(image), crop(mask))


def _mosaic() -> Callable[[Tensor, Tensor], Pair]:
    """Returns a crop with a thumbnail of the whole image in its corner."""
    crop = v2.RandomCrop(SIDE)

    def mixed(image: Tensor, mask: Tensor) -> Pair:
        cut, labels = crop(image, mask)
        cut = cut.clone()
        cut[..., :20, :20] = functional.interpolate(
            image[None].float(), size=(20, 20), mode="area"
        )[0].to(cut.dtype)
        return cut, labels

    return mixed


def _padded(padding: int, mode: str = "constant") -> Callable[[], v2.Transform]:
    return lambda: v2.RandomCrop(SIDE, padding=padding, padding_mode=mode)


def _flipped() -> v2.Transform:
    return _then(v2.RandomHorizontalFlip())


_ACCOUNTANTS = ("add-remove-accountant", "replace-one-accountant", "sensitivity-c", "clean-claim")
_ASKED = {"batch": 32, "records": 256, "steps": 1000, "noise_multiplier": 1.0}
_CODE: dict[str, Any] = {
    "centre-bias": lambda: _each(lambda spare: (_below(spare + 1) + _below(spare + 1)) // 2),
    "off-by-one": lambda: _each(lambda spare: _below(max(spare, 1))),
    "fixed-crop": lambda: _each(lambda spare: spare // 2),
    "normalise-before-crop": lambda: _first(v2.Lambda(_standardised, tv_tensors.Image)),
    "resize-before-crop": lambda: _first(v2.Resize((IMAGE.height // 2, IMAGE.width // 2))),
    "blur-before-crop": lambda: _first(v2.GaussianBlur(5, sigma=2.0)),
    "rotate-before-crop": lambda: _first(v2.RandomRotation(20)),
    "jpeg-before-crop": lambda: _first(v2.JPEG(30)),
    "reflect-padding": _padded(90, "reflect"),
    "copied-border": _padded(90, "reflect"),
    "crops-apart": _apart,
    "object-crop": lambda: _drawn_to(lambda mask: mask == mask.amax()),
    "void-crop": lambda: Redrawn(lambda image, mask: float((mask == IGNORED).float().mean()) < 0.5),
    "blank-crop": lambda: Redrawn(lambda image, mask: float(image.float().mean()) < 240),
    "class-crop": lambda: _drawn_to(lambda mask: (mask >= 8) & (mask < IGNORED)),
    "last-window-anywhere": _last_window_anywhere,
    "padded-once": _padded_once,
    "four-crops-as-one": lambda: _crops(4),
    "mosaic": _mosaic,
    "padding-counted-twice": _padded(40),
    "clean-crop": _flipped,
    "clean-jitter": lambda: _then(v2.ColorJitter(0.4, 0.4, 0.4)),
    "clean-blur": lambda: _then(v2.GaussianBlur(5)),
    "clean-turn": lambda: _then(v2.RandomRotation(15)),
    "clean-equalise": lambda: _then(v2.RandomEqualize(p=1.0)),
    "clean-padding": _padded(40),
    "clean-mirror": _padded(90, "reflect"),
    "clean-resized": lambda: v2.RandomResizedCrop(SIDE),
    "clean-long": lambda: v2.RandomResizedCrop(SIDE),
    "clean-bytes": lambda: _then(v2.Lambda(lambda mask: mask.to(torch.uint8), tv_tensors.Mask)),
    "clean-four": lambda: _crops(4),
    "clean-older": lambda: v1.RandomCrop(SIDE),
    **dict.fromkeys(_ACCOUNTANTS, _flipped),
}
MUTANTS = Shelf(
    __name__,
    "transform",
    PipelineClaim(image=IMAGE, patch=PATCH, crop=WINDOW),
    _CODE,
    {
        "copied-border": {"crop": Crop(Size(SIDE, SIDE), padding=90)},
        "last-window-anywhere": {"image": LONG, "crop": RESIZED},
        "padded-once": {"image": SMALL, "crop": Crop(Size(SIDE, SIDE), pad_if_needed=True)},
        "padding-counted-twice": {
            "crop": Crop(Size(SIDE, SIDE), padding=40),
            "inclusion": inclusion(IMAGE, Crop(Size(SIDE, SIDE), 80), PATCH).probability,
        },
        "clean-padding": {"crop": Crop(Size(SIDE, SIDE), 40)},
        "clean-mirror": {"crop": Crop(Size(SIDE, SIDE), 90, "reflect")},
        "clean-resized": {"crop": RESIZED},
        "clean-long": {"image": LONG, "crop": RESIZED},
        "clean-four": {"crops": 4},
        "add-remove-accountant": {**_ASKED, "epsilon": 3.43},
        "replace-one-accountant": {**_ASKED, "epsilon": 5.4573},
        "sensitivity-c": {**_ASKED, "epsilon": 2.3727},
        "clean-claim": _ASKED,
    },
)
__getattr__ = MUTANTS.code

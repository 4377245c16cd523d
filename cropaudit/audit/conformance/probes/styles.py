"""The habits in which transforms are called on (image, mask), and how to find the right one.

Arrays go in and come out, whatever the habit: images (H, W, 3) of bytes, masks (H, W) of whole
numbers. A habit that is not named is found by trial: the first in which the transform returns an
image, and a mask of the same size.

Several crops of one image may come back: a list of pairs or of dicts, two stacks, or images alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import tv_tensors

from cropaudit.audit.conformance.probes.batch_items import items_of
from cropaudit.audit.conformance.worker.guard import Guard, UserError

__all__ = ["Pair", "Style", "find_style", "styles_named"]

Array = NDArray[Any]
Pair = tuple[Array, Array | None]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


_NUMBERS = "biuf"  # numpy's kinds: yes or no, whole numbers, floats


class _WrongType(Exception):
    """What came back is no image with its mask."""


@dataclass(frozen=True)
class Style:
    """One habit.

    Attributes:
        name: As users name it.
        detail: What goes in, in words.
        wrap: From arrays to positional and named arguments.
        unwrap: From what came back to an image and a mask, either as the libraries hold them.
        after: What is done to the image's array then.
    """

    name: str
    detail: str
    wrap: Callable[[Array, Array], Arguments]
    unwrap: Callable[[Any], tuple[Any, Any]]
    after: Callable[[Array], Array] = np.asarray

    def call(self, transform: Any, image: Array, mask: Array, guard: Guard) -> Pair:
        """Calls the transform on copies of the arrays, and returns the first crop.

        Raises:
            UserError: If it raises, or returns no image with its mask.
        """
        return self.crops(transform, image, mask, guard)[0]

    def crops(self, transform: Any, image: Array, mask: Array, guard: Guard) -> list[Pair]:
        """Calls the transform on copies of the arrays, and returns all crops of the image.

        Raises:
            UserError: If it raises, or returns no image with its mask.
        """
        arguments, named = self.wrap(image.copy(), mask.copy())
        found = guard.call(transform, *arguments, **named)
        try:
            crops = [_arrays(*self.unwrap(found))]
        except _WrongType as error:
            crops = _several(found)
            if not crops:
                raise guard.fail("type", str(error)) from None
        return [(self.after(pixels), labels) for pixels, labels in crops]

    def leaves_alone(self, transform: Any, image: Array, mask: Array, guard: Guard) -> bool:
        """Returns whether a call leaves its arguments as they were."""
        arguments, named = self.wrap(image.copy(), mask.copy())
        before = [_copy(item) for item in (*arguments, *named.values())]
        guard.call(transform, *arguments, **named)
        after = [_copy(item) for item in (*arguments, *named.values())]
        return all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def find_style(transform: Any, name: str, guard: Guard, image: Array, mask: Array) -> Style:
    """Returns the habit of this name, or the first that works.

    Raises:
        UserError: If none works: what the likeliest one met.
    """
    candidates = styles_named(name) if name else _likely(transform)
    faults: list[UserError] = []
    for style in candidates:
        try:
            for found, labels in style.crops(transform, image, mask, guard):
                if labels is not None and found.shape[:2] != labels.shape:
                    sizes = ["x".join(map(str, item.shape[:2])) for item in (found, labels)]
                    words = f"returned an image of {sizes[0]} with a mask of {sizes[1]} pixels"
                    raise guard.fail("type", words)
        except UserError as error:
            faults.append(error)
        else:
            return style
    returned = [error for error in faults if error.trouble.kind == "type"]
    raise (returned or faults)[0]


def styles_named(name: str) -> list[Style]:
    """Returns the habits of one name: there may be one for bytes and one for floats."""
    return [style for style in _ALL if style.name == name]


# Where a library is known, no other's habit is tried: torchvision hands on what it does not know,
# and would seem to crop nothing.
_HABITS = {
    "albumentations": ("albumentations",),
    "kornia": ("kornia",),
    "torchvision.transforms.v2": ("v2", "pil", "v1"),
    "torchvision.transforms.transforms": ("v1", "v2", "kornia"),
    "timm": ("v1", "v2", "kornia"),
}


def _likely(transform: Any) -> list[Style]:
    module = type(transform).__module__
    known = [names for prefix, names in _HABITS.items() if module.startswith(prefix)]
    if not known:
        return list(_ALL)
    return [style for name in known[0] for style in styles_named(name)]


def _arrays(image: Any, mask: Any) -> Pair:
    pixels = _plain(image)
    if pixels.ndim == 4 and len(pixels) == 1:
        pixels = pixels[0]
    first = isinstance(image, torch.Tensor) or pixels.shape[-1] not in (1, 3)
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3) and first:
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise _WrongType(f"returned an image of shape {pixels.shape}, not one of three colours")
    if mask is None:
        return pixels, None
    labels = np.squeeze(_plain(mask))
    if labels.ndim != 2:
        raise _WrongType(f"returned a mask of shape {labels.shape}, not (height, width)")
    return pixels, labels


def _several(found: Any) -> list[Pair]:
    """Returns the crops in a list of pairs or dicts, or in two stacks; none if it is neither.

    One crop alone is none of several unless its mask is there: what else came with it is unknown.
    """
    try:
        items = items_of(_unpictured(found))
        crops = [_arrays(image, mask) for image, mask in items or ()]
    except (_WrongType, ValueError, TypeError):
        return []
    lone = len(crops) == 1 and crops[0][1] is None
    bare = any(mask is None for _, mask in crops) and len(crops) != _leaves_of(found)
    return [] if lone or bare else crops


def _unpictured(found: Any) -> Any:
    """Returns the same lists and dicts with arrays in the place of pictures."""
    if isinstance(found, Image.Image):
        return np.asarray(found)
    if isinstance(found, Mapping):
        return {name: _unpictured(item) for name, item in found.items()}
    if isinstance(found, tuple | list):
        return [_unpictured(item) for item in found]
    return found


def _leaves_of(found: Any) -> int:
    """Returns how many images there are at most, if nothing but images came back."""
    if isinstance(found, tuple | list):
        return sum(_leaves_of(item) for item in found)
    if isinstance(found, torch.Tensor | np.ndarray) and found.ndim > 3:
        return len(found)
    return 1


def _plain(value: Any) -> Array:
    if isinstance(value, torch.Tensor):
        held = value.detach().cpu()
        value = (held.float() if held.dtype == torch.bfloat16 else held).numpy()
    if isinstance(value, Image.Image | np.ndarray):
        found = np.asarray(value)
        if found.dtype.kind not in _NUMBERS:
            raise _WrongType(f"returned an array of {found.dtype}, not of real numbers")
        return found
    raise _WrongType(f"returned {type(value).__name__}, not an image with its mask")


def _copy(value: Any) -> Array:
    return np.array(_plain(value), copy=True)


def _two(found: Any) -> tuple[Any, Any]:
    if isinstance(found, tuple | list) and len(found) == 2:
        return found[0], found[1]
    what = f"{type(found).__name__} of {len(found)}" if isinstance(found, tuple | list) else ""
    raise _WrongType(f"returned {what or type(found).__name__}, not (image, mask)")


def _one(found: Any) -> tuple[Any, Any]:
    if isinstance(found, tuple | list):
        raise _WrongType(f"returned {type(found).__name__} of {len(found)}, not an image")
    return found, None


def _named(found: Any) -> tuple[Any, Any]:
    if isinstance(found, dict) and {"image", "mask"} <= set(found):
        return found["image"], found["mask"]
    raise _WrongType(f"returned {type(found).__name__}, not a dict with image and mask")


def _v2(*, floats: bool) -> Callable[[Array, Array], Arguments]:
    def wrap(image: Array, mask: Array) -> Arguments:
        pixels = torch.from_numpy(image).permute(2, 0, 1).contiguous()
        picture = tv_tensors.Image(pixels.float() / 255 if floats else pixels)
        return (picture, tv_tensors.Mask(torch.from_numpy(mask).long())), {}

    return wrap


def _v2_image(image: Array, mask: Array) -> tuple[Any]:
    pixels, _ = _v2(floats=False)(image, mask)[0]
    return (pixels,)


def _kornia(image: Array, mask: Array) -> tuple[Any, Any]:
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    return pixels, torch.from_numpy(mask)[None, None].float()


_ALL = (
    Style("v2", "tv_tensors, image of bytes", _v2(floats=False), _two),
    Style("v2", "tv_tensors, image of floats in [0, 1]", _v2(floats=True), _two),
    Style(
        "pil",
        "PIL images, mask in mode I",
        lambda i, m: ((Image.fromarray(i), Image.fromarray(m)), {}),
        _two,
    ),
    Style("numpy", "arrays (H, W, 3) and (H, W)", lambda i, m: ((i, m), {}), _two),
    Style(
        "albumentations",
        "image= and mask= arrays",
        lambda i, m: ((), {"image": i, "mask": m}),
        _named,
    ),
    Style(
        "kornia",
        "float tensors (1, 3, H, W) and (1, 1, H, W)",
        lambda i, m: (_kornia(i, m), {}),
        _two,
    ),
    Style(
        "kornia",
        "a float tensor (1, 3, H, W), no mask",
        lambda i, m: (_kornia(i, m)[:1], {}),
        _one,
    ),
    Style("v2", "a tv_tensor of bytes, no mask", lambda i, m: (_v2_image(i, m), {}), _one),
    Style("v1", "a PIL image, no mask", lambda i, m: ((Image.fromarray(i),), {}), _one),
)

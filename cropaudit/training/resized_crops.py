"""Windows of random size and shape, resized to one size: torchvision's RandomResizedCrop.

The law is that of `cropaudit.accounting.window_sizes`; nothing of the image's content is looked at.
A window is cut out before it is resized, so that no pixel beside it is read. Images are filtered as
`ResizedCrop` says, and masks take the nearest label.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from cropaudit.accounting.crop_laws import ResizedCrop
from cropaudit.accounting.geometry import Size
from cropaudit.accounting.window_sizes import size_law
from cropaudit.errors import require
from cropaudit.training.crops import Window, uniform_origin

__all__ = ["cut_resized", "draw_resized"]

_TRIES = 10


def draw_resized(image: Size, crop: ResizedCrop, generator: torch.Generator) -> Window:
    """Draws a window, with its size.

    Raises:
        InputError: If pixels beside the window would be read: training cuts windows out first.
    """
    require(crop.cut_first, "cut_first", "true where a model is trained", crop.cut_first)
    for _ in range(_TRIES):
        size = _try(image, crop, generator)
        if size is not None:
            origins = Size(image.height - size.height + 1, image.width - size.width + 1)
            return Window(*uniform_origin(origins, generator), size=size)
    size = size_law(image, crop).fallback
    top, left = (image.height - size.height) // 2, (image.width - size.width) // 2
    return Window(top, left, size=size)


def cut_resized(
    image: Tensor, mask: Tensor, window: Window, crop: ResizedCrop
) -> tuple[Tensor, Tensor]:
    """Returns the pixels and the labels inside ``window``, in the size of the output.

    Args:
        image: Shape (C, H, W), uint8.
        mask: Shape (H, W), uint8.
        window: As drawn: with its size.
        crop: The output's size, and the filter.

    Returns:
        Tensors of shapes (C, h, w) and (h, w), uint8.
    """
    assert window.size is not None
    rows = slice(window.top, window.top + window.size.height)
    columns = slice(window.left, window.left + window.size.width)
    output = [crop.output.height, crop.output.width]
    labels = functional.interpolate(mask[None, None, rows, columns], output, mode="nearest")
    return _filtered(image[None, :, rows, columns], output, crop)[0], labels[0, 0]


def _try(image: Size, crop: ResizedCrop, generator: torch.Generator) -> Size | None:
    """Draws one size; none if it does not fit."""
    share, shape = torch.rand(2, dtype=torch.float64, generator=generator).tolist()
    area = image.height * image.width * (crop.scale[0] + share * (crop.scale[1] - crop.scale[0]))
    low, high = (math.log(ratio) for ratio in crop.ratio)
    ratio = math.exp(low + shape * (high - low))
    height, width = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
    fits = 0 < height <= image.height and 0 < width <= image.width
    return Size(height, width) if fits else None


def _filtered(pixels: Tensor, output: list[int], crop: ResizedCrop) -> Tensor:
    if crop.interpolation == "nearest":
        return functional.interpolate(pixels, output, mode="nearest")
    smooth = functional.interpolate(
        pixels.float(),
        output,
        mode=crop.interpolation,
        align_corners=False,
        antialias=crop.antialias,
    )
    return smooth.round_().clamp_(0, 255).to(torch.uint8)

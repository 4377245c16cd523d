"""Draws and cuts windows under any of the crop laws that the accountant knows.

The plan of a run is drawn here once for all: a record's window depends on the size of its image,
on the law and on the stream, and on no pixel or label.
"""

from dataclasses import replace

import torch
from torch import Tensor

from cropaudit.accounting.crop_laws import CropLaw, ResizedCrop, WholeImage
from cropaudit.accounting.geometry import Crop, Size
from cropaudit.errors import require
from cropaudit.training.crops import JointRandomCrop, Window, cut
from cropaudit.training.data import SegmentationData
from cropaudit.training.resized_crops import cut_resized, draw_resized

__all__ = ["cut_window", "draw_window", "output_size", "shows"]


def draw_window(image: Size, law: CropLaw, generator: torch.Generator) -> Window:
    """Draws a window for an image of this size; its own size is always set.

    >>> draw_window(Size(4, 6), WholeImage(), torch.Generator()).size
    Size(height=4, width=6)
    """
    match law:
        case Crop():
            return replace(JointRandomCrop(law).window(image, generator), size=law.size)
        case ResizedCrop():
            return draw_resized(image, law, generator)
        case WholeImage():
            return Window(0, 0, size=image)


def cut_window(image: Tensor, mask: Tensor, window: Window, law: CropLaw) -> tuple[Tensor, Tensor]:
    """Returns the pixels (C, h, w) and the labels (h, w) that the model is shown.

    Args:
        image: Shape (C, H, W), uint8.
        mask: Shape (H, W), uint8.
        window: Drawn under ``law`` for an image of this size.
        law: The crop.
    """
    match law:
        case Crop():
            return cut(image, mask, window, law)
        case ResizedCrop():
            return cut_resized(image, mask, window, law)
        case WholeImage():
            return image, mask


def output_size(law: CropLaw, data: SegmentationData) -> Size:
    """Returns the size of what a model is shown of these images.

    Raises:
        InputError: If the crop does not fit an image, or images of several sizes are not cropped.
    """
    match law:
        case Crop():
            for size in data.sizes():
                law.origins(size)
            return law.size
        case ResizedCrop():
            return law.output
        case WholeImage():
            sizes = data.sizes()
            words = ", ".join(map(str, sizes))
            require(len(sizes) == 1, "images", "of one size where they are not cropped", words)
            return sizes[0]


def shows(window: Window, law: CropLaw, pixels: Tensor) -> bool:
    """Tells whether a window reads any of the true ``pixels`` of an image, copies included.

    Args:
        window: Drawn under ``law``.
        law: The crop. Of a resized one the whole window counts as read.
        pixels: Shape (H, W), of the whole image.
    """
    match law:
        case Crop():
            return bool(cut(pixels[None], pixels, window, law)[0].any())
        case ResizedCrop():
            assert window.size is not None
            rows = slice(window.top, window.top + window.size.height)
            return bool(pixels[rows, window.left : window.left + window.size.width].any())
        case WholeImage():
            return bool(pixels.any())

"""The random crop of section 2: one window, cut from the image and from its mask alike.

Assumes a window origin that is uniform over all the origins of the padded image, drawn anew
for each record and each step without a look at the pixels. Padding is constant: zero in the
image, `IGNORE` in the mask, so a padded pixel bears neither content nor loss.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from cropaudit.accounting.geometry import Crop, Size
from cropaudit.training.data import IGNORE

__all__ = ["JointRandomCrop", "Window", "cut"]

# A draw below 2**62 taken modulo the number of origins is off from uniform by less than 1e-12,
# relative; torch.randint over the range itself uses 32 bits and is off by up to some per cent.
_DRAW = 2**62


@dataclass(frozen=True)
class Window:
    """Where a window starts.

    Attributes:
        top: Its first row, in coordinates of the padded image.
        left: Its first column, likewise.
    """

    top: int
    left: int


@dataclass(frozen=True)
class JointRandomCrop:
    """Cuts one uniformly drawn window from an image and its mask.

    >>> import torch
    >>> crop = JointRandomCrop(Crop(Size(4, 4)))
    >>> image, mask = torch.zeros(3, 9, 9), torch.zeros(9, 9)
    >>> pixels, labels, window = crop(image, mask, torch.Generator().manual_seed(0))
    >>> tuple(pixels.shape), tuple(labels.shape), 0 <= window.top <= 5
    ((3, 4, 4), (4, 4), True)
    """

    crop: Crop

    def window(self, image_size: Size, generator: torch.Generator) -> Window:
        """Draws a window; rows and columns are independent and uniform.

        Raises:
            InputError: If the window does not fit the padded image.
        """
        return _draw(*_origins(self.crop, image_size.height, image_size.width), generator)

    def __call__(
        self, image: Tensor, mask: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Window]:
        """Crops ``image`` (C, H, W) and ``mask`` (H, W) by one window.

        Returns:
            The pixels (C, h, w), the labels (h, w), views if nothing is padded; the window.
        """
        _, height, width = image.shape
        window = _draw(*_origins(self.crop, height, width), generator)
        return *cut(image, mask, window, self.crop), window


def cut(image: Tensor, mask: Tensor, window: Window, crop: Crop) -> tuple[Tensor, Tensor]:
    """Returns the pixels and the labels inside ``window``.

    Args:
        image: Shape (C, H, W), any type.
        mask: Shape (H, W).
        window: An origin in padded coordinates.
        crop: The size of the window, and the padding.

    Returns:
        Tensors of shapes (C, h, w) and (h, w); views unless the window reaches into the padding.
    """
    top, left = window.top - crop.padding, window.left - crop.padding
    bottom, right = top + crop.size.height, left + crop.size.width
    height, width = mask.shape
    if top >= 0 and left >= 0 and bottom <= height and right <= width:
        return image[:, top:bottom, left:right], mask[top:bottom, left:right]
    inner = (slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0)))
    # Only the window is padded, never the image: the cost does not grow with the image.
    rows = _border(top, bottom, height)
    columns = _border(left, right, width)
    border = [*columns, *rows]
    pixels, labels = image[:, *inner], mask[inner]
    return functional.pad(pixels, border, value=0), functional.pad(labels, border, value=IGNORE)


def _border(start: int, stop: int, length: int) -> tuple[int, int]:
    """Returns how many pixels of [start, stop) lie before 0 and from ``length`` on."""
    before = min(max(-start, 0), stop - start)
    return before, min(max(stop - length, 0), stop - start - before)


# Checking a range words its error first; a run asks for the same few sizes all along.
@lru_cache(maxsize=4096)
def _origins(crop: Crop, height: int, width: int) -> tuple[int, int]:
    origins = crop.origins(Size(height, width))
    return origins.height, origins.width


def _draw(rows: int, columns: int, generator: torch.Generator) -> Window:
    top, left = torch.randint(_DRAW, (2,), generator=generator).tolist()
    return Window(top % rows, left % columns)

"""The random crop of section 2: one window, cut from the image and from its mask alike.

Assumes a window origin that is uniform over all the origins of the padded image, drawn anew
for each record and each step without a look at the pixels, and flips of the image before that.
Constant padding is zero in the image and `IGNORE` in the mask, so a padded pixel bears neither
content nor loss; the other modes mirror or repeat the image and its labels alike.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from cropaudit.accounting.footprints import source_indices
from cropaudit.accounting.geometry import Borders, Crop, Size
from cropaudit.training.data import IGNORE

__all__ = ["JointRandomCrop", "Window", "cut", "uniform_origin"]

# A draw below 2**62 taken modulo the number of origins is off from uniform by less than 1e-12,
# relative; torch.randint over the range itself uses 32 bits and is off by up to some per cent.
_DRAW = 2**62


@dataclass(frozen=True)
class Window:
    """Where a window starts, and which flips come before it.

    Attributes:
        top: Its first row, in coordinates of the flipped and padded image.
        left: Its first column, likewise.
        flipped_rows: Whether the image is turned upside down first.
        flipped_columns: Whether it is mirrored left to right first.
        size: Its height and width in pixels of the image; none for the crop's own.
    """

    top: int
    left: int
    flipped_rows: bool = False
    flipped_columns: bool = False
    size: Size | None = None


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
        """Draws a window; rows, columns and flips are independent, rows and columns uniform.

        Raises:
            InputError: If the window does not fit the padded image, or that cannot be made.
        """
        return _draw(self.crop, image_size.height, image_size.width, generator)

    def __call__(
        self, image: Tensor, mask: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Window]:
        """Crops ``image`` (C, H, W) and ``mask`` (H, W) by one window.

        Returns:
            The pixels (C, h, w), the labels (h, w), views if nothing is padded; the window.
        """
        _, height, width = image.shape
        window = _draw(self.crop, height, width, generator)
        return *cut(image, mask, window, self.crop), window


def cut(image: Tensor, mask: Tensor, window: Window, crop: Crop) -> tuple[Tensor, Tensor]:
    """Returns the pixels and the labels inside ``window``.

    Args:
        image: Shape (C, H, W), any type.
        mask: Shape (H, W).
        window: An origin in padded coordinates, and the flips.
        crop: The size of the window, and the padding.

    Returns:
        Tensors of shapes (C, h, w) and (h, w); views unless the window reaches into the padding or
        the image is flipped.
    """
    height, width = mask.shape
    border = _borders(crop, height, width)
    top, left = window.top - border.top, window.left - border.left
    bottom, right = top + crop.size.height, left + crop.size.width
    flipped = window.flipped_rows or window.flipped_columns
    if not flipped and top >= 0 and left >= 0 and bottom <= height and right <= width:
        return image[:, top:bottom, left:right], mask[top:bottom, left:right]
    if flipped or crop.mode != "constant":
        return _gathered(image, mask, window, crop)
    inner = (slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0)))
    # Only the window is padded, never the image: the cost does not grow with the image.
    rows = _border(top, bottom, height)
    columns = _border(left, right, width)
    border_sizes = [*columns, *rows]
    pixels, labels = image[:, *inner], mask[inner]
    return (
        functional.pad(pixels, border_sizes, value=0),
        functional.pad(labels, border_sizes, value=IGNORE),
    )


def uniform_origin(origins: Size, generator: torch.Generator) -> tuple[int, int]:
    """Draws a window's first row and first column, each uniform over so many."""
    top, left = torch.randint(_DRAW, (2,), generator=generator).tolist()
    return top % origins.height, left % origins.width


def _gathered(image: Tensor, mask: Tensor, window: Window, crop: Crop) -> tuple[Tensor, Tensor]:
    """Cuts by looking up the source of each row and column; nothing of the image is copied."""
    height, width = mask.shape
    rows, columns = _sources(crop, height, width)
    if window.flipped_rows:
        rows = torch.where(rows < 0, rows, height - 1 - rows)
    if window.flipped_columns:
        columns = torch.where(columns < 0, columns, width - 1 - columns)
    rows = rows[window.top : window.top + crop.size.height].to(image.device)
    columns = columns[window.left : window.left + crop.size.width].to(image.device)
    grid = rows.clamp(min=0)[:, None], columns.clamp(min=0)[None, :]
    outside = (rows < 0)[:, None] | (columns < 0)[None, :]
    pixels, labels = image[:, *grid], mask[grid]
    return pixels.masked_fill(outside, 0), labels.masked_fill(outside, IGNORE)


def _border(start: int, stop: int, length: int) -> tuple[int, int]:
    """Returns how many pixels of [start, stop) lie before 0 and from ``length`` on."""
    before = min(max(-start, 0), stop - start)
    return before, min(max(stop - length, 0), stop - start - before)


# Checking a range words its error first; a run asks for the same few sizes all along.
@lru_cache(maxsize=4096)
def _origins(crop: Crop, height: int, width: int) -> Size:
    return crop.origins(Size(height, width))


@lru_cache(maxsize=4096)
def _borders(crop: Crop, height: int, width: int) -> Borders:
    return crop.borders(Size(height, width))


@lru_cache(maxsize=256)
def _sources(crop: Crop, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Returns the source row and column of each one of the padded image, -1 for none."""
    rows, columns = source_indices(Size(height, width), crop)
    return torch.from_numpy(rows), torch.from_numpy(columns)


def _draw(crop: Crop, height: int, width: int, generator: torch.Generator) -> Window:
    top, left = uniform_origin(_origins(crop, height, width), generator)
    # Flips are drawn last, and only if there are any: without them the stream stays as it was.
    flipped_rows = _happens(crop.vertical_flip, generator)
    flipped_columns = _happens(crop.horizontal_flip, generator)
    return Window(top, left, flipped_rows, flipped_columns)


def _happens(probability: float, generator: torch.Generator) -> bool:
    if probability == 0:
        return False
    return torch.rand((), dtype=torch.float64, generator=generator).item() < probability

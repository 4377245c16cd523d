"""Enlarged pictures of an object and what is around it, for reports."""

from dataclasses import dataclass

from torch import Tensor

from cropaudit.errors import require
from cropaudit.training.objects.patches import ObjectPatch

__all__ = ["Neighbourhood", "neighbourhood"]


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """An enlarged part of an image.

    Attributes:
        picture: uint8, shape (3, h, w); every pixel is a square of ``scale`` pixels.
        scale: How often it is enlarged.
        box: The object's row, column, height and width in the picture.
    """

    picture: Tensor
    scale: int
    box: tuple[int, int, int, int]


def neighbourhood(
    image: Tensor, patch: ObjectPatch, *, context: float = 1.0, side: int = 192
) -> Neighbourhood:
    """Returns an object with what is around it.

    Args:
        image: uint8, shape (3, H, W): of any world.
        patch: The object.
        context: How much around the box is shown, in multiples of its longer side.
        side: The picture is enlarged until its longer side is about this many pixels.

    Raises:
        InputError: If ``context`` is negative or ``side`` less than 1.
    """
    require(context >= 0, "context", "at least 0", context)
    require(side >= 1, "side", "at least 1 pixel", side)
    row, column, height, width = patch.box
    around = round(context * max(height, width))
    top, left = max(0, row - around), max(0, column - around)
    part = image[:, top : row + height + around, left : column + width + around]
    scale = max(1, round(side / max(part.shape[1:])))
    picture = part.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)
    box = (row - top) * scale, (column - left) * scale, height * scale, width * scale
    return Neighbourhood(picture, scale, box)

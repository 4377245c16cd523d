"""Descriptions of the random windows that a pipeline may read; nothing is computed here.

Assumes windows that are drawn without a look at the pixels or the labels. A window that is chosen
by content is refused by name: changing the patch could then move it, and nothing is amplified.
"""

import math
from dataclasses import dataclass
from typing import get_args

from cropaudit.accounting.geometry import Crop, Size
from cropaudit.accounting.names import Interpolation
from cropaudit.errors import InputError, require

__all__ = ["CropLaw", "ResizedCrop", "WholeImage", "refuse_content_dependent"]


@dataclass(frozen=True)
class ResizedCrop:
    """A window of random size and shape, resized to ``output``: torchvision's RandomResizedCrop.

    Up to ten times an area (a share of the image's, uniform in ``scale``) and a ratio of width to
    height (log-uniform in ``ratio``) are drawn, and taken if the rounded window fits; its origin is
    then uniform. If none fits, the largest central window of a legal ratio is taken.

    Attributes:
        output: Size after resizing.
        scale: Smallest and largest share of the image's area.
        ratio: Smallest and largest width over height.
        interpolation: The filter.
        antialias: Whether the filter widens where it shrinks; always so for Pillow's images.
        cut_first: Whether the window is cut out before it is resized, so that nothing beside it is
            read: torchvision, timm, albumentations. Not so for Pillow's ``resize(box=...)`` and
            kornia's ``resample``.
    """

    output: Size
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    cut_first: bool = True

    def __post_init__(self) -> None:
        low, high = self.scale
        fits = 0 <= low <= high < math.inf and high > 0
        require(fits, "scale", "two numbers, 0 <= low <= high, high above 0", self.scale)
        low, high = self.ratio
        require(0 < low <= high < math.inf, "ratio", "two numbers, 0 < low <= high", self.ratio)
        legal = get_args(Interpolation)
        kind = self.interpolation
        require(kind in legal, "interpolation", f"one of {', '.join(legal)}", kind)


@dataclass(frozen=True)
class WholeImage:
    """No crop: every image is read in full, and each inclusion probability is 1."""


CropLaw = Crop | ResizedCrop | WholeImage


def refuse_content_dependent(name: str) -> None:
    """Refuses a crop that looks at the image or its labels, as a crop of a non-empty mask does.

    Args:
        name: The crop, as the user knows it.

    Raises:
        InputError: Always, with the reason and the way out.

    >>> refuse_content_dependent("CropNonEmptyMaskIfExists")
    Traceback (most recent call last):
    cropaudit.errors.InputError: crop must be drawn without a look at the image or its labels, got \
CropNonEmptyMaskIfExists: changing the patch could move every window, so nothing is amplified; \
account for it as no crop (rho = 1)
    """
    raise InputError(
        f"crop must be drawn without a look at the image or its labels, got {name}: changing the "
        "patch could move every window, so nothing is amplified; account for it as no crop "
        "(rho = 1)"
    )

"""Images that are smaller than the window: torchvision and albumentations pad them differently.

torchvision's ``pad_if_needed`` pads both sides by all that is lacking, and draws the place; so does
kornia. albumentations pads once, in the middle or at one end, so that nothing is left to draw.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.geometry import Crop
from cropaudit.audit.conformance.checks.laws import Law

__all__ = ["Side", "padding_habit"]


class Side(Protocol):
    """Origins on one axis.

    Attributes:
        origin: From 0, the first row or column of the border before the image.
        count: How many there are for each window.
        before: Width of that border.
        after: Of the other one.
    """

    origin: NDArray[np.int64]
    count: NDArray[np.int64]
    before: int
    after: int


def padding_habit(rows_and_columns: Sequence[Side], law: Law) -> str:
    """Says so if images were padded once where the claim pads both sides; "" if they were not."""
    if not (isinstance(law.crop, Crop) and law.claimed and law.crop.pad_if_needed):
        return ""
    once, padding = False, []
    for side in rows_and_columns:
        lack = int(side.count.max(initial=1)) - 1
        alone = lack > 0 and lack <= min(side.before, side.after)
        alone = alone and len(np.unique(side.origin)) == 1
        start = side.before - int(side.origin[0]) if alone else side.before
        padding.append((start, side.before + side.after - lack - start) if alone else (0, 0))
        if not alone and lack > 0:
            padding[-1] = (side.before, side.after)
        once |= alone
    if not once:
        return ""
    (top, bottom), (left, right) = padding
    return (
        f"images smaller than the window are padded once, by {top} rows above and {bottom} below "
        f"and {left} columns before and {right} behind, so that no place is drawn: "
        "albumentations' habit, where --pad-if-needed is torchvision's, which pads both sides by "
        f"all that is lacking; claim --padding {left},{top},{right},{bottom} in its place"
    )

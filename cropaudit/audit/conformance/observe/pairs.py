"""Replays: the same random state, two images that differ in the patch alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pairs"]

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Pairs:
    """One replay for each entry; arrays have shape (n,) unless said otherwise.

    Attributes:
        replayable: Whether the same state and image gave the same output, each time.
        decoded: Whether the window of this state was read off.
        moved: Whether the window moved when the content did, in the same state.
        meets: Whether the window, or what its padding copies under the claimed crop, holds a part
            of the patch.
        distance: Pixels between the window and the patch; 0 if they meet or touch.
        slack: Pixels by which the window may be larger than what was read off.
        image_differs: Whether the image came out different.
        mask_differs: Whether the mask did.
        top: First source row of the window, as read off; likewise the next three.
        left: First source column.
        height: Source rows.
        width: Source columns.
        patch_top: Of the patch.
        patch_left: Of the patch.
        copied: Whether the window shows copies of the image in its padding.
        features: Shape (n, 2, k): numbers that sum up both outputs, for transforms that cannot be
            replayed.
        fit: Shape (n, 2): share of the colours that the labels of the same pixel explain, and the
            largest share that labels some pixels away explain; NaN where it was not measured.
        shown: Indices of the entries with pictures, shape (m,).
        before: Their source with one content of the patch, uint8 (m, H, W, 3).
        after: Their source with the other.
        out_before: Their outputs, uint8 (m, h, w, 3); zeros where the pictures differ in size.
        out_after: Likewise.
        leaked: Pixels of the output that differ, (m, h, w).
        where: File and line of the user's code.
        wanted: Replays that were to be made; 0 where no number was set.
        contents: What the images and labels showed, in words.
    """

    replayable: bool
    decoded: Flags
    moved: Flags
    meets: Flags
    distance: Integers
    slack: Integers
    image_differs: Flags
    mask_differs: Flags
    top: Integers
    left: Integers
    height: Integers
    width: Integers
    patch_top: Integers
    patch_left: Integers
    copied: Flags
    features: NDArray[np.float64]
    fit: NDArray[np.float64]
    shown: Integers
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]
    out_before: NDArray[np.uint8]
    out_after: NDArray[np.uint8]
    leaked: Flags
    where: str = ""
    wanted: int = 0
    contents: str = ""

    def __len__(self) -> int:
        return len(self.meets)

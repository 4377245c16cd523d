"""Windows, read off the outputs of consecutive calls of a transform or the items of a loader."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PADDING_MODES", "Draws"]

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

PADDING_MODES = ("none", "constant", "edge", "reflect", "symmetric", "other")


@dataclass(frozen=True, eq=False)
class Draws:
    """One window for each call, in the order of the calls; all arrays have shape (n,).

    Windows are rectangles of the source in pixels: ``top`` and ``left`` are below 0, or the window
    ends beyond the image, where it reaches into padding.

    Attributes:
        image_height: Of the images that were handed in.
        image_width: Likewise.
        decoded: Whether a window could be read off; where not, the numbers mean nothing.
        skewed: Whether the output is no axis-aligned window of the source (rotated, say): the
            numbers are then of the box around what it shows.
        blank: Whether the output shows nothing of the source (all padding).
        top: First source row.
        left: First source column.
        height: Source rows.
        width: Source columns.
        slack: Pixels by which the window may be larger on any side than what was read off, because
            it was shrunk; 0 for windows cut in the source's own scale.
        flipped_rows: Whether it is turned upside down.
        flipped_columns: Whether it is mirrored left to right.
        padding: Index into `PADDING_MODES`: what stands where the window leaves the image.
        label_decoded: Whether a window could be read off the mask apart from the image's.
        label_aligned: Whether the mask's window is the image's, pixel for pixel (as far as both
            were read off).
        label_shift: Largest distance of the two windows' sides in pixels; 0 if aligned.
        record: Index of the record; -1 if unknown.
        epoch: Of the loader; 0 for calls.
        step: Batch, counted over all epochs; -1 for calls.
        slot: Place in the batch; of calls the number of the crop, -1 if there is one an image.
        worker: Index of the loader's worker, if known, else -1.
        from_image: Whether windows were read off the image (else off the mask).
        where: File and line of the user's code.
        wanted: Windows that were to be drawn; 0 where no number was set.
    """

    image_height: int
    image_width: int
    decoded: Flags
    skewed: Flags
    blank: Flags
    top: Integers
    left: Integers
    height: Integers
    width: Integers
    slack: Integers
    flipped_rows: Flags
    flipped_columns: Flags
    padding: Integers
    label_decoded: Flags
    label_aligned: Flags
    label_shift: Integers
    record: Integers
    epoch: Integers
    step: Integers
    slot: Integers
    worker: Integers
    from_image: bool = True
    where: str = ""
    wanted: int = 0

    def __len__(self) -> int:
        return len(self.top)

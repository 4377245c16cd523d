"""Which windows of the crop meet a patch, and draws among those that do or do not.

Windows are counted by brute force over one record, in O(HW): exact for any shape of patch, any
padding (copies that padding makes count as the patch) and any flip.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cropaudit.accounting.footprints import source_indices
from cropaudit.accounting.geometry import Crop, Size
from cropaudit.training.canaries.slots import CanarySlot, footprint
from cropaudit.training.crops import Window

__all__ = ["Windows", "window_sums", "windows_of"]


@dataclass(frozen=True, eq=False)
class Windows:
    """All windows of one record.

    Attributes:
        shown: Pixels of the patch that each shows, shape (4, rows, columns): the four pairs of
            flips, then the origin.
        weights: Probability of each pair of flips, shape (4,).
    """

    shown: NDArray[np.int64]
    weights: NDArray[np.float64]

    def hits(self) -> NDArray[np.bool_]:
        """Returns which windows meet the patch."""
        return np.asarray(self.shown > 0)

    def covers(self) -> NDArray[np.bool_]:
        """Returns which windows show all of the patch, or as much of it as any window does."""
        return np.asarray(self.shown == self._possible().max())

    def misses(self) -> NDArray[np.bool_]:
        """Returns which windows show nothing of the patch."""
        return np.asarray(self.shown == 0)

    def probability(self, chosen: NDArray[np.bool_]) -> float:
        """Returns the probability that the crop's window is one of those chosen."""
        return float((chosen.mean(axis=(1, 2)) * self.weights).sum())

    def draw(
        self, chosen: NDArray[np.bool_], count: int, generator: np.random.Generator
    ) -> list[Window]:
        """Draws from the crop's law, given that the window is one of those chosen."""
        law = (chosen * self.weights[:, None, None]).ravel()
        picks = generator.choice(law.size, count, p=law / law.sum())
        flips, tops, lefts = np.unravel_index(picks, chosen.shape)
        return [
            Window(int(top), int(left), bool(flip & 1), bool(flip & 2))
            for flip, top, left in zip(flips, tops, lefts, strict=True)
        ]

    def _possible(self) -> NDArray[np.int64]:
        return self.shown[self.weights > 0]


def windows_of(slot: CanarySlot, mask: Tensor, crop: Crop) -> Windows:
    """Returns the windows of a slot's record, whose mask is given for its shape."""
    return Windows(window_sums(footprint(slot, mask), crop), _flip_weights(crop))


def window_sums(values: Tensor, crop: Crop) -> NDArray[np.int64]:
    """Returns the sum over every window of a map of the image, shape (4, rows, columns).

    Args:
        values: Booleans or integers, shape (H, W); constant padding adds 0.
        crop: The crop. No flip comes first, then of rows, of columns, and of both; 0 where the crop
            never flips so.
    """
    source = values.numpy().astype(np.int64)
    rows, columns = source_indices(Size(*source.shape), crop)
    # One line of zeros at the end stands for constant padding, whose index is -1.
    turned = [source, source[::-1], source[:, ::-1], source[::-1, ::-1]]
    shape = (len(rows) - crop.size.height + 1, len(columns) - crop.size.width + 1)
    sums = np.zeros((4, *shape), dtype=np.int64)
    for flip in np.flatnonzero(_flip_weights(crop)):
        padded = np.pad(turned[flip], ((0, 1), (0, 1)))[np.ix_(rows, columns)]
        sums[flip] = _box_sums(padded, crop.size)
    return sums


def _flip_weights(crop: Crop) -> NDArray[np.float64]:
    down, across = crop.vertical_flip, crop.horizontal_flip
    return np.outer([1 - across, across], [1 - down, down]).ravel()


def _box_sums(values: NDArray[np.int64], window: Size) -> NDArray[np.int64]:
    table = np.pad(values, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    strips = table[window.height :] - table[: -window.height]
    return np.asarray(strips[:, window.width :] - strips[:, : -window.width])

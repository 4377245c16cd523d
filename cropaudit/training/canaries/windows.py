"""Which windows of the crop meet a patch, and draws among those that do or do not.

Windows of a uniform crop are counted by brute force over one record, in O(HW): exact for any shape
of patch, any padding (copies that padding makes count as the patch) and any flip. Of a crop of
random size some thousands stand for all of them, drawn from its exact law once and for good.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cropaudit.accounting.geometry.crop_laws import CropLaw, ResizedCrop, WholeImage
from cropaudit.accounting.geometry.shapes import Crop, Size
from cropaudit.accounting.inclusion.footprints import source_indices
from cropaudit.accounting.inclusion.window_sizes import size_law
from cropaudit.training.canaries.slots import CanarySlot, footprint
from cropaudit.training.crops.joint import Window

__all__ = ["Windows", "window_sums", "windows_of"]

_SAMPLE = 4096  # windows that stand for all of a crop of random size

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Windows:
    """All windows of one record, or a sample of them.

    Attributes:
        shown: Pixels of the patch that each shows, shape (4, rows, columns): the four pairs of
            flips, then the origin; of a sample (1, 1, n).
        weights: Probability of each pair of flips, shape (4,); of a sample (1,).
        sample: First row, first column, height and width of each window of a sample, shape (n, 4).
    """

    shown: Integers
    weights: NDArray[np.float64]
    sample: Integers | None = None

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
        return [self.window(pick) for pick in self.picks(chosen, count, generator)]

    def picks(
        self, chosen: NDArray[np.bool_], count: int, generator: np.random.Generator
    ) -> Integers:
        """Draws as `draw` does, and returns the places of the windows in ``shown``, flattened."""
        law = (chosen * self.weights[:, None, None]).ravel()
        return generator.choice(law.size, count, p=law / law.sum())

    def window(self, pick: int) -> Window:
        """Returns the window of one place in ``shown``, flattened."""
        if self.sample is not None:
            top, left, height, width = self.sample[pick].tolist()
            return Window(top, left, size=Size(height, width))
        flip, top, left = (int(at) for at in np.unravel_index(pick, self.shown.shape))
        return Window(top, left, bool(flip & 1), bool(flip & 2))

    def _possible(self) -> NDArray[np.int64]:
        return self.shown[self.weights > 0]


def windows_of(slot: CanarySlot, mask: Tensor, law: CropLaw) -> Windows:
    """Returns the windows of a slot's record, whose mask is given for its shape."""
    pixels = footprint(slot, mask)
    if isinstance(law, Crop):
        return Windows(window_sums(pixels, law), _flip_weights(law))
    sample = _sample(Size(*mask.shape), law)
    top, left, height, width = sample.T
    table = np.pad(pixels.numpy().astype(np.int64), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    below, right = top + height, left + width
    shown = table[below, right] - table[top, right] - table[below, left] + table[top, left]
    return Windows(shown[None, None], np.ones(1), sample)


@lru_cache(maxsize=64)
def _sample(image: Size, law: ResizedCrop | WholeImage) -> Integers:
    """Returns windows of a crop that is not uniform, shape (n, 4): see `Windows`."""
    if isinstance(law, WholeImage):
        return np.array([[0, 0, image.height, image.width]])
    sizes, generator = size_law(image, law), np.random.default_rng(0)
    chances = np.append(sizes.probability.ravel(), sizes.fallback_probability)
    picks = generator.choice(len(chances), _SAMPLE, p=chances / chances.sum())
    central = picks == sizes.probability.size
    rows, columns = np.divmod(np.where(central, 0, picks), sizes.probability.shape[1])
    height = np.where(central, sizes.fallback.height, sizes.heights[rows])
    width = np.where(central, sizes.fallback.width, sizes.widths[columns])
    top = generator.integers(image.height - height + 1)
    left = generator.integers(image.width - width + 1)
    top, left = (
        np.where(central, middle, at)
        for middle, at in zip(sizes.fallback_origin, (top, left), strict=True)
    )
    return np.stack([top, left, height, width], axis=1)


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

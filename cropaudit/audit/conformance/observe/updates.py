"""What a trainer's step did to the parameters of a probe model."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SCENARIOS", "SIZES", "Updates", "slope_of"]

# Batches of one round. In a stack all images pull along the same direction, so that the sum tells
# the contribution of one to within the noise over their number. A stack of the ladder has a
# gradient of some size about C; all others are of one of the two `SIZES`.
SCENARIOS = (
    "empty",
    "single",
    "distinct",
    "stack",
    "stack in one layer",
    "mixed",
    "large",
    "hard",
    "easy",
    "parameter",
    "everywhere",
    "ladder",
)
# Far beyond any clipping norm, and far enough apart to tell a gradient that is not clipped.
SIZES = (1e6, 1e8)
_SURE = 3.0
_STILL_GROWING = 0.6


@dataclass(frozen=True, eq=False)
class Updates:
    """One logical step for each row, all from the same weights: 0.

    An image has a gradient of known direction, along one coordinate of one or more parameters.

    Attributes:
        change: What the step added to the parameters, (T, P).
        handed: The gradients that a torch optimiser was handed, (T, P); no columns if none was
            seen, or not once in each step.
        replayed: What a fresh optimiser of the same kind and settings makes of them, (T, P).
        optimiser: Its kind and settings, in words.
        names: Of the parameters, text (n,).
        layer: Index of the parameter of each coordinate, (P,).
        quiet: Coordinates that no image ever pulls at, (P,).
        scenario: Index into `SCENARIOS`, (T,).
        count: Images in the batch, (T,).
        pull_step: Step of each pull, (N,): the images of one step on the same direction make one.
        pull_at: Its coordinates, then -1, (N, n).
        pull_images: Images along it less those against it, (N,).
        pull_size: Size of their gradients, times the loss's slope, (N,).
        broken: Kinds of batches that left weights which are not finite, text (m,).
        void: Whether images without a labelled pixel could be tried: the loss may refuse them.
        kept: Names of what the model's state keeps of images beside the weights, text (m,).
        kept_change: How far each moves with pixels that no gradient depends on, (m,).
        state: Names of all that the model's state holds beside the weights, text (m,).
        state_known: Whether two runs from one seed agree, so that ``kept`` is sure.
        empties_refused: Whether empty batches raised.
        seconds: That all steps took.
        where: File and line of the user's code.
    """

    change: NDArray[np.float64]
    handed: NDArray[np.float64]
    replayed: NDArray[np.float64]
    optimiser: str
    names: NDArray[np.str_]
    layer: NDArray[np.int64]
    quiet: NDArray[np.bool_]
    scenario: NDArray[np.int64]
    count: NDArray[np.int64]
    pull_step: NDArray[np.int64]
    pull_at: NDArray[np.int64]
    pull_images: NDArray[np.int64]
    pull_size: NDArray[np.float64]
    broken: NDArray[np.str_]
    void: bool
    kept: NDArray[np.str_]
    kept_change: NDArray[np.float64]
    state: NDArray[np.str_]
    state_known: bool
    empties_refused: bool
    seconds: float
    where: str = ""

    def __len__(self) -> int:
        return len(self.change)

    @property
    def degree(self) -> NDArray[np.int64]:
        """Coordinates of each pull, (N,)."""
        found: NDArray[np.int64] = np.sum(self.pull_at >= 0, axis=1)
        return found


def slope_of(
    sizes: NDArray[np.float64], found: NDArray[np.float64], error: NDArray[np.float64] | float
) -> float:
    """Returns the contribution per size, where that is plainly seen and far from its largest.

    Args:
        sizes: Of the images, smallest first.
        found: What one image of each size added, shape (n,).
        error: Deviation of ``found``, each or all.

    Returns:
        The slope; NaN if no size shows it.

    >>> slope_of(np.array([0.1, 0.2, 4.0, 8.0]), np.array([0.05, 0.1, 1.0, 1.0]), 1e-3)
    0.5
    """
    along = found * np.sign(np.sum(found))
    # Beyond the first size that adds nearly the most, more is clipped, in whatever way.
    grows = ~np.logical_or.accumulate(along >= _STILL_GROWING * along.max())
    size = sizes[grows]
    weight = float(np.sum(size**2))
    slope = float(np.sum(along[grows] * size)) / weight if weight else math.nan
    worst = float(np.max(error)) / math.sqrt(weight) if weight else math.inf
    return slope if slope > _SURE * worst else math.nan

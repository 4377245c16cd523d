"""What a trainer's step did to the parameters of a probe model."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SCENARIOS", "Updates"]

# Batches of one round. In a stack all images pull along the same direction, so that the sum tells
# the contribution of one to within the noise over their number.
SCENARIOS = ("empty", "single", "distinct", "stack", "stack in one layer", "mixed", "large")


@dataclass(frozen=True, eq=False)
class Updates:
    """One logical step for each row, all from the same weights: 0.

    An image is a huge multiple of a unit vector, so that its clipped gradient lies along known
    coordinates whatever the loss. Coordinates are the P parameters of the probe's two layers.

    Attributes:
        change: What the step added to the parameters, (T, P).
        handed: The gradients that a torch optimiser was handed, (T, P); no columns if none was
            seen, or not once in each step.
        replayed: What a fresh optimiser of the same kind and settings makes of them, (T, P).
        optimiser: Its kind and settings, in words.
        layer: Layer of each coordinate, 0 or 1, (P,).
        quiet: Coordinates that no image ever pulls at, (P,).
        scenario: Index into `SCENARIOS`, (T,).
        count: Images in the batch, (T,).
        pull_step: Step of each pull, (N,): the images of one step on the same direction make one.
        pull_first: Its coordinate in layer 0, or -1, (N,).
        pull_second: Its coordinate in layer 1, or -1, (N,).
        pull_images: Images along it less those against it, (N,).
        pull_large: Whether they are of the larger of two sizes, both to be clipped, (N,).
        buffers: Names of buffers that a step changed or added, text (m,).
        buffer_change: Largest change of each in one step, (m,).
        buffer_spread: Largest distance of two steps' changes of it, (m,).
        empties_refused: Whether empty batches raised.
        seconds: That all steps took.
        where: File and line of the user's code.
    """

    change: NDArray[np.float64]
    handed: NDArray[np.float64]
    replayed: NDArray[np.float64]
    optimiser: str
    layer: NDArray[np.int64]
    quiet: NDArray[np.bool_]
    scenario: NDArray[np.int64]
    count: NDArray[np.int64]
    pull_step: NDArray[np.int64]
    pull_first: NDArray[np.int64]
    pull_second: NDArray[np.int64]
    pull_images: NDArray[np.int64]
    pull_large: NDArray[np.bool_]
    buffers: NDArray[np.str_]
    buffer_change: NDArray[np.float64]
    buffer_spread: NDArray[np.float64]
    empties_refused: bool
    seconds: float
    where: str = ""

    def __len__(self) -> int:
        return len(self.change)

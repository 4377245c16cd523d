"""What a whole training did to the weights of a model of ours, and what a changed patch changed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Replayed", "Training"]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Training:
    """One row for each real optimiser step, in order; numbers are NaN where they were not seen.

    The model is put back to the weights that it began with after each step, so that an image has
    the same gradient whenever it is shown. P coordinates are those of all parameters.

    Attributes:
        private: Class of Opacus' optimiser around the one that steps; empty if there is none.
        optimiser: The one that steps, with its settings, in words; empty if no torch optimiser did.
        noise_multiplier: Read off Opacus' optimiser at each step, (T,).
        max_grad_norm: Likewise, (T,).
        expected_batch: Likewise, (T,).
        learning_rate: Read off the optimiser that steps, (T,).
        count: Images that were shown for the step, (T,).
        noise: What was added to the sum of clipped gradients, (R, P): of the first R steps.
        handed: Of the same steps, the gradient that the optimiser was handed, at coordinates that
            no image pulls at, (R, Q).
        tensor: Parameter of each coordinate, (P,).
        names: Of the parameters, text.
        sum_error: Distance of Opacus' sum from that of each image's gradient clipped by itself, for
            losses that are means and for sums over the images shown, in units of C, (T, 2).
        raw_error: Its distance from the sum of gradients that are not clipped, likewise, (T, 2).
        norm: Largest norm of an image's gradient before it is clipped, likewise, (T, 2).
        beside: Distance of the weights' change from what a fresh optimiser of the same kind and
            settings makes of the same gradients, relative to the change, (T,).
        finite: Whether all gradients and weights were finite.
        labels: How often a pixel of a label, as the image's window tells it, was pulled to a class
            by the loss, (labels, classes); empty if that was not seen.
        where: File and line of the user's code.
        after: How far the weights were moved after the last step, relative to the largest; NaN if
            they were not finite.
    """

    private: str
    optimiser: str
    noise_multiplier: Array
    max_grad_norm: Array
    expected_batch: Array
    learning_rate: Array
    count: Integers
    noise: Array
    handed: Array
    tensor: Integers
    names: NDArray[np.str_]
    sum_error: Array
    raw_error: Array
    norm: Array
    beside: Array
    finite: bool
    labels: Integers
    where: str = ""
    after: float = 0.0

    def __len__(self) -> int:
        return len(self.count)


@dataclass(frozen=True, eq=False)
class Replayed:
    """The same training again, from the same random state, with other contents in every patch.

    Attributes:
        replayable: Whether the training gave the same windows when nothing was changed.
        seeded: Whether generators had to be seeded anew for each image to tell.
        images: Images that were compared.
        missed: Of these, those whose window shows no part of the patch, in both.
        moved: Images whose window, or record, is another one.
        differs: Of those missed, how many came out different.
        pulled: Of those missed that came out the same, at whose outputs the loss pulled otherwise.
        losses: Of those missed that came out the same, how many the loss was seen to pull at.
        hit: Images that show a part of the patch.
        where: File and line of the user's code.
    """

    replayable: bool
    seeded: bool
    images: int
    missed: int
    moved: int
    differs: int
    pulled: int
    losses: int
    hit: int
    where: str = ""

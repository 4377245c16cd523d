"""A model's per-sample gradients beside those of autograd, one image at a time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Gradients"]


@dataclass(frozen=True, eq=False)
class Gradients:
    """What a float64 copy of the model did with a small batch; shapes (n,) are per parameter.

    A figure is NaN where it could not be taken.

    Attributes:
        parameters: Names of the trainable parameters, text (n,).
        kinds: Class of the module that each belongs to, text (n,).
        crossed: Whether that module was fed memory that is not contiguous, (n,).
        error: Largest distance over images of the per-sample gradient from autograd's, in units of
            the norm of the image's whole gradient, (n,).
        clipped_norm: What each image adds to the sum after clipping, in units of C, (images,).
        sum_error: Distance of the noise-free sum from that of autograd's gradients, each clipped,
            in units of C.
        refused: Why Opacus gave no per-sample gradients; empty if it did.
        mode: Opacus' grad-sample mode.
        steady: Whether the same batch gave the same outputs twice in a row.
        repeatable: Whether it did so from the same state and the same seed.
        kept: Names of buffers, and all else in the state, that hold something of the images after
            a pass forward and back, text (m,).
        recalls: How far the output for a batch moves, relative, with what was shown before.
        stilled: Classes of random layers (dropout) that were turned off, text.
        shift_delivered: How far the output for image 0 moves, relative, when the other images
            change, in the model as delivered.
        shift_training: Likewise after ``.train()``, which trainers call.
        mixer_delivered: The module that mixes images, as delivered; empty if none was found.
        mixer_training: Likewise after ``.train()``.
        revived: Whether that module was delivered in evaluation mode.
        reduction: Of the loss: each, mean, sum, or crossing if it is none of them.
        loss_shift: How far the loss's pull on output 0 moves, relative, when the other images'
            outputs and masks change.
        gradient_shift: How far Opacus' gradient of image 0 moves, relative, when the others change.
        single: Whether all this was in float32, as model or loss take nothing else.
        channels_last: Whether the images were laid out channels last.
        side: Height and width of the images.
        where: File and line of the user's code.
    """

    parameters: NDArray[np.str_]
    kinds: NDArray[np.str_]
    crossed: NDArray[np.bool_]
    error: NDArray[np.float64]
    clipped_norm: NDArray[np.float64]
    sum_error: float
    refused: str
    mode: str
    steady: bool
    repeatable: bool
    kept: NDArray[np.str_]
    recalls: float
    stilled: str
    shift_delivered: float
    shift_training: float
    mixer_delivered: str
    mixer_training: str
    revived: bool
    reduction: str
    loss_shift: float
    gradient_shift: float
    single: bool
    channels_last: bool
    side: int
    where: str = ""

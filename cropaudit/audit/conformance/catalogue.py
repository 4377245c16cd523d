"""The checks by number: what each asks, and which faults it is there to catch."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["CHECKS", "Check", "check_named"]

Subject = Literal["transform", "loader", "model", "trainer", "pipeline", "claim"]


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: As findings call it.
        asks: What must hold.
        catches: Faults that it is there for.
        needs: Any one of these makes it run.
        blind_loader: Why a loader alone does not show it, where one might think so.
    """

    name: str
    asks: str
    catches: str
    needs: tuple[Subject, ...]
    blind_loader: str = ""


CHECKS = (
    Check(
        "contract",
        "the code returns what it is asked for, in time, and leaves its input alone",
        "exceptions, hangs, wrong types, input changed in place, output that is printed",
        ("transform", "loader", "model", "trainer", "pipeline"),
    ),
    Check(
        "non-interference",
        "a crop that misses the patch is bit for bit the same whatever the patch shows",
        "normalisation before the crop, resize bleed, rotation, blur, copied borders, crops chosen "
        "by content",
        ("transform", "pipeline"),
        "a loader of coded images does not show whether a crop is chosen by content, or whether "
        "the whole image is normalised before it: give the crop as --transform, or --pipeline",
    ),
    Check(
        "window law",
        "the window has the claimed size, and its origin is uniform over all origins",
        "centre bias, ranges off by one, fixed windows, crops drawn to objects",
        ("transform", "loader", "pipeline"),
    ),
    Check(
        "independence",
        "windows of different samples, steps, epochs and workers are independent",
        "one crop a batch, cached crops, equal worker seeds, reseeding each epoch",
        ("transform", "loader", "pipeline"),
    ),
    Check(
        "inclusion rate",
        "the patch in its worst place is met as often as the accountant was told, and no more",
        "a wrong formula for rho, padding left out or counted twice, wrong image size",
        ("transform", "loader", "pipeline"),
    ),
    Check(
        "label alignment",
        "the window of the mask is the window of the image",
        "image and mask cropped apart, labels from outside the crop",
        ("transform", "loader", "pipeline"),
    ),
    Check(
        "batch law",
        "records join batches as the claimed sampler draws them",
        "shuffling passed off as Poisson, dropped, repeated or favoured records",
        ("loader", "pipeline"),
    ),
    Check(
        "per-sample gradients",
        "each sample's gradient is what autograd gives for it alone",
        "wrong convolution gradients for channels_last input, errors of ghost norms",
        ("model",),
    ),
    Check(
        "isolation",
        "the gradient of a sample does not move when another one changes",
        "BatchNorm in training mode, revived BatchNorm, losses across the batch",
        ("model", "pipeline"),
    ),
    Check(
        "clipping",
        "each image adds at most C to the sum, and the sum is that of clipped gradients",
        "no clipping, clipping far above C, of the mean, by layers, after accumulation",
        ("model", "trainer", "pipeline"),
    ),
    Check(
        "noise",
        "noise of the claimed deviation, normal and fresh in each step and coordinate",
        "no noise, half of it, in the wrong unit, none on empty batches, on some parameters or "
        "where images pull, steps left out by the loss, repeated noise",
        ("trainer", "pipeline"),
    ),
    Check(
        "steps and rate",
        "as many steps, and as large an expected batch, as the accountant was told",
        "one epoch too many, a wrong sampling rate",
        ("loader", "pipeline"),
    ),
    Check(
        "update",
        "the parameters move by the learning rate times the noisy mean, and by nothing else",
        "side channels without noise: averages of raw gradients",
        ("trainer", "pipeline"),
    ),
    Check(
        "finite updates",
        "no image, however odd, leaves weights that are not finite",
        "losses that are NaN, as of images without a label; overflow; NaN past a clamp of C / norm",
        ("model", "trainer"),
    ),
    Check(
        "kept state",
        "nothing but the weights keeps anything of the images: no buffer, nothing in state_dict",
        "features in a memory bank, running statistics, prototypes averaged without noise",
        ("model", "trainer"),
    ),
    Check(
        "accountant",
        "epsilon recomputed from what was measured is no more than what is claimed",
        "wrong adjacency, crops counted as one, rates multiplied into a plain accountant",
        ("claim",),
    ),
)


def check_named(name: str) -> Check:
    """Returns the check of this name.

    >>> check_named("isolation").needs
    ('model', 'pipeline')
    """
    return next(item for item in CHECKS if item.name == name)

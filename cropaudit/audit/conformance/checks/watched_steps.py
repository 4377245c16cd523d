"""Clipping, update, labels, isolation and non-interference of a whole training, on its real steps.

Nothing here is left to chance but which images came: each image's gradient is computed again by
autograd alone and held against what Opacus summed; the weights' change against what the optimiser
makes of the gradient; and what the model was shown against the same training in another world.
"""

import numpy as np
from numpy.typing import NDArray

from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.training import Replayed, Training
from cropaudit.audit.conformance.outcome import Outcome, Tested
from cropaudit.audit.conformance.seen import Seen

__all__ = [
    "adapted_norm",
    "check_clipping",
    "check_interference",
    "check_isolation",
    "check_labels",
    "check_update",
    "clipping_seen",
    "followed",
    "moved_after",
]

Array = NDArray[np.float64]

_NEAR = 1e-3  # distance, in units of C or of the change, that rounding to float32 may make
_KEPT = 1e-5  # of the largest weight: averages of equal weights differ by rounding
_FEWEST = 40  # images that must be compared
_PURE = 0.99  # share of pixels of a label that the loss pulls to one class
_SAME = 1e-9
_LAYERS = (
    "DPPerLayerOptimizer",
    "SimpleDistributedPerLayerOptimizer",
    "DistributedPerLayerOptimizer",
)
_NO_PIPELINE = "no pipeline was given"


def clipping_seen(training: Training) -> bool:
    """Returns whether every image's part in every step was seen to be clipped to the C read."""
    found = _variant(training)
    if found is None or training.private in _LAYERS:
        return False
    error, _, norm = found
    at_work = bool((norm > training.max_grad_norm).any())
    return bool(np.isfinite(error).all()) and bool((error <= _NEAR).all()) and at_work


def check_clipping(seen: Seen, claimed: Claimed) -> Outcome:
    """Tests Opacus' sum against that of gradients that are clipped one by one."""
    name, training = "clipping", seen.training
    if training is None:
        return Outcome(name, skipped=_NO_PIPELINE)
    found = _variant(training)
    if found is None or training.private in _LAYERS:
        return Outcome(name, unmeasured=_why_unclipped(training), where=training.where)
    error, raw, norm = found
    norms = training.max_grad_norm
    tests = [_finite(training), _sum(error, raw, norm, norms)]
    known = np.isfinite(error)
    unclipped = _unclipped(known, int((norm[known] > norms[known]).sum()), norms)
    other = _other_bound(norms, claimed.max_grad_norm)
    return Outcome(
        name,
        tests=tuple(tests),
        evidence=(
            f"in {int(known.sum())} real steps Opacus' sum is that of each image's gradient, "
            f"clipped by itself to {_range(norms)}, to within {np.nanmax(error):.1g} C; raw norms "
            f"of up to {np.nanmax(norm, initial=0):.3g}"
        ),
        power=f"an image that adds {_NEAR:g} C too much in any step is found for sure, for the "
        "raw norms that occurred",
        unmeasured=adapted_norm(norms),
        undecided=f"{unclipped}; {other}".removesuffix("; ") if unclipped else "",
        differs=other,
        where=training.where,
        figures={"largest error in units of C": float(np.nanmax(error)), "C": float(norms.max())},
    )


def check_update(seen: Seen, claimed: Claimed) -> Outcome:
    """Tests the weights' change against what the optimiser makes of the gradient."""
    name, training = "update", seen.training
    if training is None:
        return Outcome(name, skipped=_NO_PIPELINE)
    beside = training.beside
    if not followed(training):
        why = f"{training.optimiser} could not be followed by a second one"
        if not training.optimiser:
            why = "no optimiser of torch was seen to step"
        words = f"{why}, so that the weights' change is not known to be made of the noisy gradient"
        return Outcome(name, unmeasured=words, where=training.where)
    worst = float(beside.max())
    test = Tested(
        "the weights move by what the optimiser makes of its gradient, and by nothing else",
        float(worst <= _NEAR),
        f"the weights move by more than {training.optimiser} makes of the gradient that it is "
        f"handed: {worst:.2g} of the largest change comes past it, in "
        f"{int((beside > _NEAR).sum())} of {len(beside)} steps",
    )
    return Outcome(
        name,
        tests=(test,),
        evidence=f"in {len(beside)} real steps the weights move by what {training.optimiser} makes "
        "of the gradient that it is handed, and no more; buffers of your own model are not seen",
        power=f"anything beside it, of {_NEAR:g} of the largest change or more, is found for sure; "
        "which step's weights are kept in the end is not seen",
        unmeasured=moved_after(training),
        differs=_other_rate(training.learning_rate, claimed.learning_rate),
        where=training.where,
        figures={"learning rate": float(training.learning_rate[0])},
    )


def followed(training: Training) -> bool:
    """Returns whether a second optimiser could follow the weights in every step."""
    return bool(len(training.beside) and np.isfinite(training.beside).all())


def moved_after(training: Training) -> str:
    """Says that the weights a training ends with are not those of its last step, if so."""
    after = training.after
    if after <= _KEPT:
        return ""
    return (
        f"the weights were changed after the last step, by {after:.2g} of the largest: whether "
        "images had a part in that is not known"
    )


def check_labels(seen: Seen, claimed: Claimed) -> Outcome:
    """Tests that the loss pulls each pixel to the class of its own place in the image."""
    name, training = "label alignment", seen.training
    if training is None:
        return Outcome(name, skipped=_NO_PIPELINE)
    table = training.labels
    total = int(table.sum())
    if not total:
        words = "the gradient of the loss at the outputs was not seen, so that labels are not known"
        return Outcome(name, unmeasured=words, where=training.where)
    pure = float(table.max(axis=1).sum()) / total
    words = (
        f"of {total} pixels, {pure:.1%} are pulled to one class for each label that their place "
        "in the image has"
    )
    doubt = (
        ""
        if pure >= _PURE
        else (f"{words}: image and mask are cut apart, or the loss is none of labels by pixel")
    )
    null = "labels are those of the window"
    return Outcome(
        name,
        tests=(Tested(null, 1.0, words),),
        evidence=words,
        power="masks that are cut elsewhere than their images are told by their labels, which "
        "change every few pixels",
        undecided=doubt,
        where=training.where,
        figures={"pixels of their label": pure},
    )


def check_interference(seen: Seen, claimed: Claimed) -> Outcome:
    """Tests that what misses the patch is the same in both worlds."""
    name, found = "non-interference", seen.replayed
    if found is None:
        return Outcome(name, skipped=_NO_PIPELINE)
    blind = _blind(found)
    if blind:
        return Outcome(name, unmeasured=blind, where=found.where)
    moved = Tested(
        "windows and batches do not depend on the content of patches",
        0.0 if found.moved else 1.0,
        f"the window moves with the content: in {found.moved} of {found.images} cases another "
        "content of the patches gave another window or record from the same random state: the "
        "patch can move every crop; account for it as no crop (rho = 1)",
    )
    changed = Tested(
        "crops that miss the patch are the same whatever it shows",
        0.0 if found.differs else 1.0,
        f"{found.differs} of {found.missed} images whose window misses the patch change with it: "
        "something is computed over the whole image before the crop (normalisation, equalisation, "
        "a resize), or images are mixed; do it after the crop",
    )
    few = found.missed < _FEWEST
    return Outcome(
        name,
        tests=(moved, changed),
        evidence=f"{found.missed} images whose window misses the patch are the same, bit for bit, "
        f"in a second training with other patches ({found.hit} others show a part of it)",
        power="anything before the crop that a patch of black or white, ignored or of another "
        "class changes in what the training was shown is found for sure; other contents were not "
        "tried",
        undecided=f"only {found.missed} of {_FEWEST} images missed the patch" if few else "",
        where=found.where,
        figures={"images that miss the patch": float(found.missed)},
    )


def check_isolation(seen: Seen, claimed: Claimed) -> Outcome:
    """Tests that the loss pulls at an image's outputs alike, whatever the others show."""
    name, found = "isolation", seen.replayed
    if found is None:
        return Outcome(name, skipped=_NO_PIPELINE)
    blind = _blind(found)
    if not blind and not found.losses:
        blind = "the loss's gradient at the outputs was not seen for images that are the same in "
        blind += "both worlds"
    if blind:
        return Outcome(name, unmeasured=blind, where=found.where)
    test = Tested(
        "the loss of an image does not depend on the others in its batch",
        0.0 if found.pulled else 1.0,
        f"the loss crosses images: at the outputs of {found.pulled} of {found.losses} images that "
        "are the same in both worlds it pulls otherwise when other images of the batch change, as "
        "a mean over all valid pixels of a batch does; take the mean of each image by itself",
    )
    few = "" if found.hit else "no image showed the patch, so that none could change the others"
    return Outcome(
        name,
        tests=(test,),
        evidence=f"the loss pulls alike at the outputs of {found.losses} images, whatever the "
        "patches of others show; your own model was not looked at",
        power="a loss whose weights or divisor depend on the batch is found for sure where the "
        "labels of a patch change them",
        undecided=few,
        where=found.where,
        figures={"images compared": float(found.losses)},
    )


def _blind(found: Replayed) -> str:
    if not found.images:
        return (
            "no window could be read off the images that the model was shown: they are resized, "
            "turned or blurred; put the crop to the test as --transform"
        )
    if not found.replayable:
        return (
            "the training does not repeat itself from the same seeds of random, numpy and torch, "
            "so that two worlds cannot be compared; draw from these, or give --transform"
        )
    return ""


def _variant(training: Training) -> tuple[Array, Array, Array] | None:
    """Returns errors, raw errors and norms for the reduction of the loss that fits better."""
    error = training.sum_error
    if not len(error) or not np.isfinite(error).any():
        return None
    worst = [np.nanmax(error[:, k]) if np.isfinite(error[:, k]).any() else np.inf for k in (0, 1)]
    k = int(np.argmin(worst))
    return error[:, k], training.raw_error[:, k], training.norm[:, k]


def _why_unclipped(training: Training) -> str:
    if not training.private:
        return (
            "no optimiser of Opacus steps the weights, so that the sum of clipped gradients is not "
            "seen; give the update as --trainer"
        )
    if training.private in _LAYERS:
        return f"{training.private} clips each layer by itself, which is not computed again here"
    return (
        f"{training.private} was not seen with the sum of all weights' clipped gradients and the "
        "gradient of the loss at the outputs"
    )


def _finite(training: Training) -> Tested:
    return Tested(
        "gradients and weights are finite",
        1.0 if training.finite else 0.0,
        "a gradient or a weight is not finite: what is not a number passes any clipping",
    )


def _sum(error: Array, raw: Array, norm: Array, norms: Array) -> Tested:
    known = np.isfinite(error)
    wrong = known & ~(error <= _NEAR)
    words = ""
    if wrong.any():
        step = int(np.flatnonzero(wrong)[np.argmax(error[wrong])])
        words = (
            f"in {int(wrong.sum())} of {int(known.sum())} steps Opacus' sum is not that of each "
            f"image's gradient, clipped by itself to C = {norms[step]:g}: off by "
            f"{error[step]:.3g} C in step {step}"
        )
        if raw[step] <= _NEAR * max(1.0, norm[step] / norms[step]):
            words += "; it is the sum of gradients that are not clipped at all"
    null = "the sum is that of each image's gradient, clipped by itself"
    return Tested(null, 0.0 if wrong.any() else 1.0, words or "it is")


def _unclipped(known: NDArray[np.bool_], at_work: int, norms: Array) -> str:
    if not known.all():
        return f"the sum of clipped gradients was seen in {int(known.sum())} of {len(known)} steps"
    if not at_work:
        return (
            f"no image's gradient was above C = {norms.max():g} in any step, so that clipping was "
            "never seen at work"
        )
    return ""


def adapted_norm(norms: Array) -> str:
    """Says that C changes in the course of the training, if so: then it may be made of images."""
    low, high = float(norms.min()), float(norms.max())
    if not high - low > _SAME * high:
        return ""
    return (
        f"gradients are clipped to {_range(norms)}, not to one C: a plan that is made beforehand "
        "costs nothing, norms that are taken from the images show them; which it is was not seen"
    )


def _other_bound(norms: Array, claimed: float | None) -> str:
    if claimed is None:
        return ""
    off = np.abs(norms - claimed) > _SAME * claimed
    if not off.any():
        return ""
    return (
        f"gradients are clipped to {_range(norms)}, where C = {claimed:g} is claimed: no privacy "
        "is lost by that alone, as the noise is measured in units of the norm that is clipped to"
    )


def _other_rate(rates: Array, claimed: float | None) -> str:
    if claimed is None or not (np.abs(rates - claimed) > 1e-6 * claimed).any():
        return ""
    words = (
        f"the learning rate is {_range(rates)}, where {claimed:g} is claimed: no privacy is lost"
    )
    constant = float(np.nanmin(rates)) == float(np.nanmax(rates))
    return words if constant else f"{words} if its changes do not hang on the images or their loss"


def _range(values: Array) -> str:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"

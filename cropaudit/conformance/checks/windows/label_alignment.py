"""Label alignment: the window of the mask is the window of the image.

Null hypothesis: read off apart, both windows are the same, pixel for pixel; and labels explain the
colours of their own pixels better than those of pixels beside them. A sound pipeline fails neither,
so that one counter-example decides the first; the second asks for half of the states, since noise
or blur may hide colours in some. Of a whole training the loss's pull tells the labels.
"""

import numpy as np
from numpy.typing import NDArray

from cropaudit.conformance.check import Check, Observations, Outcome, PipelineClaim, Tested, Words
from cropaudit.conformance.observations.draws import Draws
from cropaudit.conformance.observations.replays import Pairs
from cropaudit.conformance.observations.training import Training
from cropaudit.conformance.words import joined

__all__ = ["check"]

_FIT = 0.3  # share of the colours that aligned labels explain at least
_MARGIN = 0.05
_PURE = 0.99  # share of pixels of a label that the loss pulls to one class

say = Words("""
asks: the window of the mask is the window of the image
catches: image and mask cropped apart, labels from outside the crop
window?: the window of the mask is the window of the image
window: the mask is cut elsewhere than the image in {off} of {both} crops, by up to {worst} pixels:
  cut both by one window
fit?: labels fit their own pixels best
fit: in {share:.0%} of the crops labels fit the pixels some way off better than their own
  ({beside:.0%} of the colours against {own:.0%})
seen.windows: {both} windows of image and mask are the same
seen.fit: labels explain {good:.0%} of their pixels' colours
power: one window of the mask that is off by a pixel is found, where both can be read; masks that
  are off by 2 pixels or more in most crops are found elsewhere
no mask: no mask came back, so no label can be out of place
no labels: masks say nothing, so no label can be out of place
unknown: neither codes nor colours of the image survive, so its window is not known
poor: labels explain only {good:.0%} of the colours, in place or beside it: image and mask are cut
  apart, or colours do not survive
pulled?: labels are those of the window
pulled: of {total} pixels, {pure:.1%} are pulled to one class for each label that their place in the
  image has
pulled.power: masks that are cut elsewhere than their images are told by their labels, which change
  every few pixels
pulled.doubt: {seen}: image and mask are cut apart, or the loss is none of labels by pixel
pulled.blind: the gradient of the loss at the outputs was not seen, so that labels are not known
""")


def _of_windows(draws: Draws, claimed: PipelineClaim, seen: Observations) -> Outcome:
    """Compares both windows, and labels with their pixels."""
    both = draws.decoded & draws.label_decoded & (draws.from_image or draws.label_shift > 0)
    fits = _fits(seen.pairs)
    if not draws.label_decoded.any() and not len(fits):
        alone = seen.contract.style in ("v1", "kornia")
        return Outcome(skipped=say("no mask" if alone else "no labels"))
    good = float(np.median(fits[:, 0])) if len(fits) else float("nan")
    evidence = []
    if both.any() and draws.from_image:
        evidence.append(say("seen.windows", both=int(both.sum())))
    if len(fits):
        evidence.append(say("seen.fit", good=good))
    return Outcome(
        tests=(_window_test(draws, both), *([_fit_test(fits)] if len(fits) else [])),
        evidence=joined(evidence),
        power=say("power"),
        undecided=_undecided(draws, both, good),
        figures={"windows": float(both.sum()), "explained": good} if len(fits) else {},
    )


def _fits(pairs: Pairs | None) -> NDArray[np.float64]:
    if pairs is None:
        return np.zeros((0, 2))
    return np.asarray(pairs.fit[np.isfinite(pairs.fit).all(axis=1)])


def _window_test(draws: Draws, both: NDArray[np.bool_]) -> Tested:
    off = both & (draws.label_shift > 0)
    worst = int(draws.label_shift[off].max(initial=0))
    p_value = 0.0 if off.any() else 1.0
    return say.test("window", p_value, off=int(off.sum()), both=int(both.sum()), worst=worst)


def _fit_test(fits: NDArray[np.float64]) -> Tested:
    share = float((fits[:, 1] > fits[:, 0] + _MARGIN).mean())
    own, beside = np.median(fits, axis=0)
    return say.test("fit", 0.0 if share > 0.5 else 1.0, share=share, own=own, beside=beside)


def _undecided(draws: Draws, both: NDArray[np.bool_], good: float) -> str:
    if draws.from_image and both.any():
        return ""
    if np.isnan(good):
        return say("unknown")
    return say("poor", good=good) if good < _FIT else ""


def _of_training(training: Training, claimed: PipelineClaim, seen: Observations) -> Outcome:
    """Tells whether the loss pulls each pixel to the class of its own place in the image."""
    total = int(training.labels.sum())
    if not total:
        return Outcome(unmeasured=say("pulled.blind"))
    pure = float(training.labels.max(axis=1).sum()) / total
    words = say("pulled", total=total, pure=pure)
    return Outcome(
        tests=(say.test("pulled", 1.0, total=total, pure=pure),),
        evidence=words,
        power=say("pulled.power"),
        undecided="" if pure >= _PURE else say("pulled.doubt", seen=words),
        figures={"pixels of their label": pure},
    )


check = Check("label alignment", say, {"windows": _of_windows, "training": _of_training})

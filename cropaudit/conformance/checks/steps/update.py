"""Do the weights move by the noisy mean and by nothing else?

What a torch optimiser makes of the noisy mean (momentum, weight decay, Adam) is post-processing: it
is replayed and taken off. Of a trainer's step, what is left must not depend on the images, now or a
step later; nor may the noise have a drift. Of a whole training nothing may be left, to within
rounding: the change is held against what a second optimiser makes of the same gradient.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc

from cropaudit.conformance.check import Check, Observations, Outcome, PipelineClaim, Tested, Words
from cropaudit.conformance.checks.steps.contributions import (
    FEW_STEPS,
    SLACK,
    Contribution,
    Steps,
    contrast,
    read,
    recall,
    unreadable,
)
from cropaudit.conformance.checks.steps.noise_laws import REACH
from cropaudit.conformance.checks.steps.scales import Scale
from cropaudit.conformance.observations.training import Training
from cropaudit.conformance.observations.updates import Updates
from cropaudit.conformance.words import joined

__all__ = ["check", "followed", "moved_after"]

_NOTHING = Contribution(0.0, math.inf)
_ALL = ("single", "distinct", "stack", "mixed", "large", "hard")
_NEAR = 1e-3  # distance, in units of the change, that rounding to float32 may make
_KEPT = 1e-5  # of the largest weight: averages of equal weights differ by rounding

say = Words("""
asks: the parameters move by the learning rate times the noisy mean, and by nothing else
catches: side channels without noise: averages of raw gradients
beside?: what moves the weights besides the optimiser does not depend on the images
beside: the weights move by more than {optimiser} makes of the noisy mean: {share:.3g} of an image's
  whole effect comes past the optimiser, without noise, as averages of raw gradients do: update by
  the noisy mean alone
later?: an image has no effect on the noisy mean of the next step
later: {share:.3g} of an image's effect comes back in the next step, and no momentum explains it:
  gradients or averages of them are kept without noise of their own
drift?: weights that no image pulls at move by noise of mean 0
drift: weights that no image pulls at drift, by up to {share:.3g} times the noise in each step:
  something besides the noisy mean moves them
seen: the weights move by the noisy mean and nothing else
seen.replayed: the weights move by what {optimiser} makes of the noisy mean, and no more
seen.alone: {optimiser} could not be replayed, so only later steps were compared
seen.momentum: with a momentum of {momentum:g}, which is post-processing
seen.open: its scale is not compared, as learning rate, batch or C are not claimed
seen.scale: an image moves it by {found:.3g} times lr * C / batch as claimed; where the noise is
  scaled alike this costs no privacy
power.off: without noise any effect of an image that lingers is found for sure
power: a clipped image's effect that lingers into the next step by {share:.2g} % of it is found in
  99 of 100 probes, raw gradients far sooner; not seen: what comes back after more than one step
training?: the weights move by what the optimiser makes of its gradient, and by nothing else
training: the weights move by more than {optimiser} makes of the gradient that it is handed:
  {worst:.2g} of the largest change comes past it, in {wrong} of {steps} steps
training.seen: in {steps} real steps the weights move by what {optimiser} makes of the gradient that
  it is handed, and no more; buffers of your own model are not seen
training.power: anything beside it, of {near:g} of the largest change or more, is found for sure;
  which step's weights are kept in the end is not seen
training.blind: {why}, so that the weights' change is not known to be made of the noisy gradient
no second: {optimiser} could not be followed by a second one
no optimiser: no optimiser of torch was seen to step
after: the weights were changed after the last step, by {after:.2g} of the largest: whether images
  had a part in that is not known
rate: the learning rate is {rates}, where {claimed:g} is claimed: no privacy is lost{unless}
rate.unless:  if its changes do not hang on the images or their loss
""")


def _of_steps(updates: Updates, claimed: PipelineClaim, seen: Observations) -> Outcome:
    """Tests what the optimiser does not explain, what lingers, and drift."""
    steps = read(updates, claimed)
    if len(updates) < FEW_STEPS:
        return Outcome(undecided=unreadable(steps))
    beside = [_beside_test(steps)] if updates.replayed.shape[1] else []
    return Outcome(
        tests=(*beside, _later_test(steps), _drift_test(steps)),
        evidence=joined(_evidence(steps, claimed)),
        power=_power(steps),
        figures={"steps": float(len(updates))},
    )


def _beside_test(steps: Steps) -> Tested:
    """Tests the change beyond what the optimiser makes of the gradients it was handed."""
    seen = steps.seen
    left = seen.change - seen.replayed
    left[np.abs(left) <= SLACK * np.abs(seen.change).max(axis=1, keepdims=True)] = 0
    quiet = left[:, seen.quiet]
    noise, none = float(np.sqrt(np.mean(quiet**2))), Scale.none(len(left))
    beside = Steps(seen, left, None, 0.0, steps.source, noise, quiet.size, none)
    now, later = beside.contribution("both", *_ALL), recall(beside, left)
    p_value = min(1.0, 2 * min(_nonzero(now, beside), _nonzero(later, beside)))
    whole = abs(steps.contribution("both", *_ALL, matrix=seen.change).value)
    share = abs(now.value) / whole if whole else math.inf
    return say.test("beside", p_value, optimiser=seen.optimiser, share=share)


def _later_test(steps: Steps) -> Tested:
    later, now = recall(steps, steps.mean), steps.contribution("both", *_ALL).value
    share = abs(later.value / now) if now else math.inf
    return say.test("later", _nonzero(later, steps), share=share)


def _drift_test(steps: Steps) -> Tested:
    """Tests that no coordinate without signal has a mean: Fisher's law, up to 1 / steps."""
    quiet = steps.quiet
    count, width = quiet.shape
    means = quiet.mean(axis=0)
    between = count * float(np.sum(means**2))
    within = float(np.sum((quiet - means) ** 2))
    if within == 0 or count < 2:
        largest = float(np.abs(steps.mean).max())
        p_value = float(float(np.abs(quiet).max()) <= 10 * SLACK * largest)
    else:
        ratio = between / width / (within / (width * (count - 1)))
        p_value = float(fdtrc(width, width * (count - 1), ratio))
    return say.test("drift", p_value, share=float(np.abs(means).max()) / (steps.noise or 1))


def _nonzero(found: Contribution, steps: Steps) -> float:
    if not found.weight:
        return 1.0
    up, down = contrast(found, _NOTHING, steps), contrast(_NOTHING, found, steps)
    return min(1.0, 2 * min(up, down))


def _evidence(steps: Steps, claimed: PipelineClaim) -> list[str]:
    """Says what moves the weights, and what is off the claimed units, which costs no privacy."""
    seen, bound = steps.seen, claimed.max_grad_norm
    words: list[str] = [say("seen")]
    if seen.replayed.shape[1]:
        words = [say("seen.replayed", optimiser=seen.optimiser)]
    elif seen.handed.shape[1]:
        words.append(say("seen.alone", optimiser=seen.optimiser))
    if steps.momentum:
        words.append(say("seen.momentum", momentum=steps.momentum))
    if bound is None or steps.unit is None:
        return [*words, say("seen.open")]
    found = steps.contribution("both", "stack").value * steps.unit / bound
    return words if abs(found - 1) < 0.05 else [*words, say("seen.scale", found=found)]


def _power(steps: Steps) -> str:
    weight = recall(steps, steps.mean).weight
    now = steps.contribution("both", "stack").value
    if steps.noise == 0 or now <= 0 or weight == 0:
        return say("power.off")
    return say("power", share=100 * REACH * steps.noise / (now * math.sqrt(weight)))


def _of_training(training: Training, claimed: PipelineClaim, seen: Observations) -> Outcome:
    """Tests the weights' change against what the optimiser makes of the gradient."""
    beside, optimiser = training.beside, training.optimiser
    if not followed(training):
        why = say("no second", optimiser=optimiser) if optimiser else say("no optimiser")
        return Outcome(unmeasured=say("training.blind", why=why))
    worst, wrong = float(beside.max()), int((beside > _NEAR).sum())
    known: dict[str, Any] = {
        "optimiser": optimiser,
        "worst": worst,
        "wrong": wrong,
        "steps": len(beside),
    }
    return Outcome(
        tests=(say.test("training", float(worst <= _NEAR), **known),),
        evidence=say("training.seen", steps=len(beside), optimiser=optimiser),
        power=say("training.power", near=_NEAR),
        unmeasured=moved_after(training),
        differs=_other_rate(training.learning_rate, claimed.learning_rate),
        figures={"learning rate": float(training.learning_rate[0])},
    )


def followed(training: Training) -> bool:
    """Returns whether a second optimiser could follow the weights in every step."""
    return bool(len(training.beside) and np.isfinite(training.beside).all())


def moved_after(training: Training) -> str:
    """Says that the weights a training ends with are not those of its last step, if so."""
    return "" if training.after <= _KEPT else say("after", after=training.after)


def _other_rate(rates: NDArray[np.float64], claimed: float | None) -> str:
    if claimed is None or not (np.abs(rates - claimed) > 1e-6 * claimed).any():
        return ""
    low, high = float(np.nanmin(rates)), float(np.nanmax(rates))
    unless = "" if low == high else f" {say('rate.unless')}"
    shown = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    return say("rate", rates=shown, claimed=claimed, unless=unless)


check = Check("update", say, {"updates": _of_steps, "training": _of_training})

"""Do the weights move by the noisy mean and by nothing else?

What a torch optimiser makes of the noisy mean (momentum, weight decay, Adam) is post-processing: it
is replayed and taken off. What is left must not depend on the images, now or a step later; nor may
the noise have a drift.
"""

import math

import numpy as np
from scipy.special import fdtrc

from cropaudit.audit.conformance.checks.contributions import (
    FEW_STEPS,
    SLACK,
    Array,
    Contribution,
    Steps,
    contrast,
    read,
    recall,
    times,
    unreadable,
)
from cropaudit.audit.conformance.checks.scales import Scale
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.outcome import Outcome, Tested
from cropaudit.audit.conformance.seen import Seen

__all__ = ["check"]

NAME = "update"
_REACH = 6.1
_NOTHING = Contribution(0.0, math.inf)
_ALL = ("single", "distinct", "stack", "mixed", "large", "hard")


def check(seen: Seen, claimed: Claimed) -> Outcome:
    """Tests what the optimiser does not explain, what lingers, and drift."""
    updates = seen.updates
    if updates is None:
        return Outcome(NAME, skipped="no trainer was given")
    steps = read(updates, claimed)
    if len(updates) < FEW_STEPS:
        return Outcome(NAME, undecided=unreadable(steps), where=updates.where)
    tests = [_lingering_test(steps), _drift_test(steps)]
    if updates.replayed.shape[1]:
        tests.insert(0, _beside_test(steps))
    return Outcome(
        NAME,
        tuple(tests),
        evidence=_evidence(steps, claimed),
        power=_power(steps),
        where=updates.where,
        figures={"steps": float(len(updates))},
    )


def _beside_test(steps: Steps) -> Tested:
    """Tests the change beyond what the optimiser makes of the gradients it was handed."""
    seen = steps.seen
    left = seen.change - seen.replayed
    left[np.abs(left) <= SLACK * np.abs(seen.change).max(axis=1, keepdims=True)] = 0
    beside = _reading(steps, left)
    now = beside.contribution("both", *_ALL)
    later = recall(beside, left)
    p_value = min(1.0, 2 * min(_nonzero(now, beside), _nonzero(later, beside)))
    whole = abs(steps.contribution("both", *_ALL, matrix=seen.change).value)
    share = abs(now.value) / whole if whole else math.inf
    return Tested(
        "what moves the weights besides the optimiser does not depend on the images",
        p_value,
        f"the weights move by more than {seen.optimiser} makes of the noisy mean: {times(share)} "
        "of an image's whole effect comes past the optimiser, without noise, as averages of raw "
        "gradients do: update by the noisy mean alone",
    )


def _lingering_test(steps: Steps) -> Tested:
    later = recall(steps, steps.mean)
    now = steps.contribution("both", *_ALL).value
    return Tested(
        "an image has no effect on the noisy mean of the next step",
        _nonzero(later, steps),
        f"{times(abs(later.value / now) if now else math.inf)} of an image's effect comes back in "
        "the next step, and no momentum explains it: gradients or averages of them are kept "
        "without noise of their own",
    )


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
    size = float(np.abs(means).max())
    return Tested(
        "weights that no image pulls at move by noise of mean 0",
        p_value,
        f"weights that no image pulls at drift, by up to {times(size / (steps.noise or 1))} times "
        "the noise in each step: something besides the noisy mean moves them",
    )


def _nonzero(found: Contribution, steps: Steps) -> float:
    if not found.weight:
        return 1.0
    up, down = contrast(found, _NOTHING, steps), contrast(_NOTHING, found, steps)
    return min(1.0, 2 * min(up, down))


def _reading(steps: Steps, matrix: Array) -> Steps:
    quiet = matrix[:, steps.seen.quiet]
    noise = float(np.sqrt(np.mean(quiet**2)))
    none = Scale.none(len(matrix))
    return Steps(steps.seen, matrix, None, 0.0, steps.source, noise, quiet.size, none)


def _evidence(steps: Steps, claimed: Claimed) -> str:
    seen = steps.seen
    words = ["the weights move by the noisy mean and nothing else"]
    if seen.replayed.shape[1]:
        words = [f"the weights move by what {seen.optimiser} makes of the noisy mean, and no more"]
    elif seen.handed.shape[1]:
        words.append(f"{seen.optimiser} could not be replayed, so only later steps were compared")
    if steps.momentum:
        words.append(f"with a momentum of {steps.momentum:g}, which is post-processing")
    words += _scale(steps, claimed)
    return "; ".join(words)


def _scale(steps: Steps, claimed: Claimed) -> list[str]:
    """Says where signal and noise alike are off the claimed units, which costs no privacy."""
    bound = claimed.max_grad_norm
    if bound is None or steps.unit is None:
        return ["its scale is not compared, as learning rate, batch or C are not claimed"]
    found = steps.contribution("both", "stack").value * steps.unit / bound
    if abs(found - 1) < 0.05:
        return []
    return [
        f"an image moves it by {times(found)} times lr * C / batch as claimed; where the noise is "
        "scaled alike this costs no privacy"
    ]


def _power(steps: Steps) -> str:
    weight = recall(steps, steps.mean).weight
    now = steps.contribution("both", "stack").value
    if steps.noise == 0 or now <= 0 or weight == 0:
        return "without noise any effect of an image that lingers is found for sure"
    share = _REACH * steps.noise / (now * math.sqrt(weight))
    return (
        f"a clipped image's effect that lingers into the next step by {100 * share:.2g} % of it is "
        "found in 99 of 100 probes, raw gradients far sooner; not seen: what comes back after "
        "more than one step"
    )

"""Does each image add at most C, and is the sum that of clipped gradients?

Of a model: exact, on Opacus' own clipping in float64. Of a trainer: images pull with gradients of
two sizes, far above any C, alone, apart and in stacks along the same direction. Clipped one by one
they add the same norm each time; tests are Student's, see `contributions`.
"""

import math

import numpy as np

from cropaudit.audit.conformance.checks.contributions import (
    Contribution,
    Steps,
    contrast,
    noncentral,
    read,
    times,
)
from cropaudit.audit.conformance.checks.per_sample_gradients import tolerance
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.gradients import Gradients
from cropaudit.audit.conformance.outcome import Outcome, Tested
from cropaudit.audit.conformance.seen import Seen

__all__ = ["check"]

NAME = "clipping"
# Opacus' 1e-6 in the factor only shrinks; this is for rounding.
_OVER = 1e-6
# Where images of two sizes differ this surely, comparing batches that hold both tells nothing more.
_PLAINLY = 1e-6
# Student's deviations that a fault must have to be refuted after correction, 99 times in 100.
_REACH = 6.1
_BATCHES = {
    "single": "alone",
    "distinct": "beside others in other directions",
    "mixed": "beside others along and against it",
    "large": "in batches four times as large",
}


def check(seen: Seen, claimed: Claimed) -> Outcome:
    """Tests the model's clipped norms and sums, and the trainer's contributions."""
    model, updates = seen.gradients, seen.updates
    if model is None and updates is None:
        return Outcome(NAME, skipped="neither a model nor a trainer was given")
    tests: tuple[Tested, ...] = ()
    evidence, power, figures, undecided = [], [], {}, ""
    if model is not None:
        tests = _model_tests(model)
        undecided = "" if tests else "the model gave no per-sample gradients to clip"
        if tests:
            most = float(model.clipped_norm.max())
            figures["largest clipped norm of C"] = most
            evidence.append(f"Opacus' clipping leaves an image of the model {most:.6f} C at most")
            power.append("in the model any excess is found for sure")
    if updates is not None:
        steps = read(updates, claimed)
        tests += _step_tests(steps, claimed)
        stack = steps.contribution("both", "stack")
        figures |= _figures(steps, stack)
        evidence.append(_evidence(steps, stack, claimed))
        power.append(_power(steps, stack))
    where = updates.where if updates is not None else model.where if model is not None else ""
    words = "; ".join(evidence)
    return Outcome(
        NAME,
        tests,
        evidence=words,
        power="; ".join(power),
        undecided="" if updates is not None else undecided,
        where=where,
        figures=figures,
    )


def _model_tests(found: Gradients) -> tuple[Tested, ...]:
    if found.refused or not found.steady or found.shift_training > tolerance(found):
        return ()
    most, apart = float(found.clipped_norm.max()), found.sum_error
    allowed = tolerance(found)
    return (
        Tested(
            "in the model, no image adds more than C, and the sum is that of clipped gradients",
            float(most <= 1 + _OVER and apart <= max(allowed, _OVER)),
            f"with this model Opacus (mode {found.mode}) lets one image add {most:.3f} C, and its "
            f"sum is off by {apart:.2g} C from that of autograd's gradients, each clipped to C",
        ),
    )


def _step_tests(steps: Steps, claimed: Claimed) -> tuple[Tested, ...]:
    size = _size_test(steps)
    tests = [size]
    if size.p_value > _PLAINLY:
        tests += [_sum_test(steps), *_layer_tests(steps, claimed)]
    return (*tests, *_bound_tests(steps, claimed))


def _size_test(steps: Steps) -> Tested:
    small, large = (steps.contribution("both", "stack", large=big) for big in (False, True))
    grows = large.value / small.value if small.value else math.inf
    return Tested(
        "an image with a hundred times the gradient adds no more, both being clipped",
        contrast(large, small, steps),
        f"gradients are not clipped: an image with a hundred times the gradient adds "
        f"{times(grows)} times as much to the update",
    )


def _sum_test(steps: Steps) -> Tested:
    stack = steps.contribution("both", "stack")
    found = {name: steps.contribution("both", name) for name in _BATCHES}
    p_values = {
        name: 2 * min(contrast(one, stack, steps), contrast(stack, one, steps))
        for name, one in found.items()
    }
    worst = min(p_values, key=lambda name: p_values[name])
    ratio = found[worst].value / stack.value if stack.value else math.inf
    biggest = int(steps.seen.count.max())
    return Tested(
        "an image adds the same whether alone, beside others or in a stack of equals",
        min(1.0, len(p_values) * p_values[worst]),
        f"what is summed is not each image's clipped gradient: an image {_BATCHES[worst]} adds "
        f"{times(ratio)} times what it adds among up to {biggest} along the same direction, as "
        "when the mean or the sum of a batch or microbatch is clipped: clip before summing",
    )


def _layer_tests(steps: Steps, claimed: Claimed) -> tuple[Tested, ...]:
    """Tests for one C a layer; shares of C for each layer are sound, and told by the noise."""
    sigma = claimed.noise_multiplier
    if not sigma or steps.noise == 0:
        return ()
    both = steps.contribution("both", "stack")
    one = steps.contribution("one", "stack in one layer")
    fits = noncentral(both, steps, sigma)
    ratio = both.value / one.value if one.value else math.inf
    return (
        Tested(
            "an image that pulls at both layers adds no more than one that pulls at one, or no "
            "more than the noise is made for",
            max(contrast(both, one, steps), fits),
            f"each layer is clipped by itself: an image that pulls at two layers adds "
            f"{times(ratio)} times what one layer's does (sqrt 2 = 1.41 for one C each), and more "
            "than the noise is made for: clip the norm over all parameters, or to C / sqrt(layers)",
        ),
    )


def _bound_tests(steps: Steps, claimed: Claimed) -> tuple[Tested, ...]:
    """Tests against C itself; noise that grew by the same factor makes up for an excess."""
    bound, sigma = claimed.max_grad_norm, claimed.noise_multiplier
    if bound is None or steps.unit is None:
        return ()
    limit = Contribution(bound / steps.unit, math.inf)
    found = _kinds(steps)
    p_values = []
    for one in found:
        excess = contrast(one, limit, steps)
        made_up = noncentral(one, steps, sigma) if sigma and steps.noise else 0.0
        p_values.append(max(excess, made_up))
    most = max(one.value for one in found) / limit.value
    return (
        Tested(
            f"no image adds more than C = {bound:g}, or the noise grew as well",
            min(1.0, len(found) * min(p_values)),
            f"one image adds {times(most)} C to the sum (C = {bound:g})",
        ),
    )


def _kinds(steps: Steps) -> tuple[Contribution, ...]:
    return (
        steps.contribution("both", "stack"),
        steps.contribution("one", "stack in one layer"),
        steps.contribution("both", "single"),
    )


def _figures(steps: Steps, stack: Contribution) -> dict[str, float]:
    figures = {"images measured": float(np.abs(steps.seen.pull_images).sum())}
    if steps.unit is not None:
        figures["contribution of one image"] = stack.value * steps.unit
    return figures


def _evidence(steps: Steps, stack: Contribution, claimed: Claimed) -> str:
    one = steps.contribution("one", "stack in one layer").value
    words = "one image adds the same whether its gradient is huge or a hundred times that"
    if steps.unit is not None and claimed.max_grad_norm is not None:
        most = max(stack.value, one) * steps.unit / claimed.max_grad_norm
        words = f"one image adds {most:.4f} C, however large its gradient"
    else:
        words += " (learning rate, batch or C are not claimed, so not compared with C)"
    if not claimed.noise_multiplier:
        words += "; clipping by layers could not be told, as no noise is claimed"
    elif one and abs(stack.value / one - 1) > 5 * _error(steps, stack):
        words += "; layers are clipped apart, to shares that add up to C"
    return words


def _error(steps: Steps, stack: Contribution) -> float:
    return steps.noise / (math.sqrt(stack.weight) * stack.value) if stack.value > 0 else math.inf


def _power(steps: Steps, stack: Contribution) -> str:
    if steps.noise == 0 or stack.value <= 0:
        return "without noise the trainer's contributions are exact, and any excess is found"
    noise = steps.noise / stack.value
    single = noise / math.sqrt(max(steps.contribution("both", "single").weight, 1.0))
    return (
        f"in the trainer, one C a layer (41 % too much) is found where the noise multiplier is "
        f"below {0.41 / (_REACH * _error(steps, stack) / noise):.0f}, an excess over C of "
        f"{100 * _REACH * _error(steps, stack):.2g} % for sure (99 of 100 probes), and clipping of "
        f"sums in {100 * _found(1 / single):.0f} of 100"
    )


def _found(deviations: float) -> float:
    """Returns the chance of a one-sided normal test at 1e-4 to see a shift of ``deviations``."""
    return 0.5 * math.erfc((3.72 - deviations) / math.sqrt(2))

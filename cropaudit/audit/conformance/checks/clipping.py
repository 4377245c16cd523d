"""Does each image add at most C, and is the sum that of clipped gradients?

Of a model: exact, on Opacus' own clipping in float64. Of a trainer: images pull with gradients of
two sizes, far above any C, alone, apart and in stacks along the same direction, and at each kind of
parameter. Clipped one by one they add the same norm each time; tests are Student's, see
`contributions`. Stacks of a ladder of norms from C / 2 on show how gradients near C are weighed:
any rule is sound by which an image adds C at most.
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
    unreadable,
)
from cropaudit.audit.conformance.checks.per_sample_gradients import tolerance
from cropaudit.audit.conformance.checks.rungs import ladder_words, rungs
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.gradients import Gradients
from cropaudit.audit.conformance.observe.updates import SIZES
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
_ALIKE = 1.5
_BATCHES = {
    "single": "alone",
    "distinct": "beside others in other directions",
    "mixed": "beside others along and against it",
    "large": "in batches four times as large",
    "hard": "whose loss is high",
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
    unread = ""
    if updates is not None:
        steps = read(updates, claimed)
        unread = unreadable(steps)
        if not unread:
            tests += _step_tests(steps, claimed)
            stack = steps.contribution("both", "stack")
            figures |= _figures(steps, stack)
            evidence.append(_evidence(steps, claimed))
            power.append(_power(steps, stack))
    where = updates.where if updates is not None else model.where if model is not None else ""
    words = "; ".join(evidence)
    return Outcome(
        NAME,
        tests,
        evidence=words,
        power="; ".join(power),
        undecided=unread if updates is not None else undecided,
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
    return (*tests, *_bound_tests(steps, claimed), *_ladder_tests(steps, claimed))


def _size_test(steps: Steps) -> Tested:
    small, large = (steps.contribution("both", "stack", size=size) for size in SIZES)
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
    words = (
        f"what is summed is not each image's clipped gradient: an image {_BATCHES[worst]} adds "
        f"{times(ratio)} times what it adds among up to {biggest} along the same direction, as "
        "when the mean or the sum of a batch or microbatch is clipped: clip before summing"
    )
    if _by_count(steps):
        words = (
            "the sum of clipped gradients is divided by the number of images that came, before "
            f"the noise: an image alone adds {times(ratio)} times what it adds among {biggest}; "
            "divide sum and noise by the expected batch size"
        )
    return Tested(
        "an image adds the same whether alone, beside others or in a stack of equals",
        min(1.0, len(p_values) * p_values[worst]),
        words,
    )


def _by_count(steps: Steps) -> bool:
    """Returns whether contributions are plainly in proportion to 1 / images of the batch."""
    seen = steps.seen
    chosen = steps.chosen("both", "single", "distinct", "mixed", "large", "stack")
    along, images = steps.along[chosen], seen.pull_images[chosen]
    count = seen.count[seen.pull_step][chosen]
    # Of clipped sums or means, images apart and images in a stack tell: only their number counts.
    groups = [count == n for n in np.unique(count)]
    found = [float(np.sum(along[g] * images[g]) / max(np.sum(images[g] ** 2), 1)) for g in groups]
    products = np.array([v * count[g][0] for v, g in zip(found, groups, strict=True)])
    apart = steps.contribution("both", "large").value
    stacked = steps.contribution("both", "stack").value
    return bool(
        products.size > 1
        and products.min() > 0
        and products.max() < _ALIKE * products.min()
        and apart < 2 * stacked
    )


def _layer_tests(steps: Steps, claimed: Claimed) -> tuple[Tested, ...]:
    """Tests for one C a layer; shares of C for each layer are sound, and told by the noise."""
    sigma = claimed.noise_multiplier
    if not sigma or steps.noise == 0:
        return ()
    every = steps.contribution("all", "everywhere")
    one = steps.contribution("one", "stack in one layer")
    fits = noncentral(every, steps, sigma)
    ratio = every.value / one.value if one.value else math.inf
    count = len(steps.seen.names)
    return (
        Tested(
            "an image that pulls at all parameters adds no more than one that pulls at one, or no "
            "more than the noise is made for",
            max(contrast(every, one, steps), fits),
            f"each layer is clipped by itself: an image that pulls at all {count} parameters adds "
            f"{times(ratio)} times what one layer's does (sqrt {count} = {math.sqrt(count):.3g} "
            "for one C each), and more than the noise is made for: clip the norm over all "
            "parameters, or each to C / sqrt(layers)",
        ),
    )


def _bound_tests(steps: Steps, claimed: Claimed) -> tuple[Tested, ...]:
    """Tests against C itself; noise that grew by the same factor makes up for an excess."""
    found = {
        "one image": steps.contribution("both", "stack"),
        "an image that pulls at one layer": steps.contribution("one", "stack in one layer"),
        "an image that pulls at all parameters": steps.contribution("all", "everywhere"),
        "an image alone": steps.contribution("both", "single"),
    }
    found |= {
        f"an image that pulls at {name}": steps.contribution("one", "parameter", layer=layer)
        for layer, name in enumerate(steps.seen.names)
    }
    found = {words: one for words, one in found.items() if one.weight}
    return _within_bound(steps, claimed, found, "no image adds more than C")


def _ladder_tests(steps: Steps, claimed: Claimed) -> tuple[Tested, ...]:
    found = {
        f"an image whose gradient has a norm of {times(rung.norm)} {rung.unit}": rung.added
        for rung in rungs(steps, claimed)
    }
    return _within_bound(steps, claimed, found, "no image of a norm near C adds more than C")


def _within_bound(
    steps: Steps, claimed: Claimed, found: dict[str, Contribution], null: str
) -> tuple[Tested, ...]:
    """Tests each contribution against C, and against what the noise is made for."""
    bound, sigma = claimed.max_grad_norm, claimed.noise_multiplier
    known = bound is not None and steps.unit is not None
    if not found or not (known or sigma):
        return ()
    limit = Contribution(math.inf, math.inf)
    if bound is not None and steps.unit is not None:
        limit = Contribution(bound / steps.unit, math.inf)
    p_values = {}
    for words, one in found.items():
        excess = contrast(one, limit, steps) if known else 0.0
        made_up = noncentral(one, steps, sigma) if sigma and steps.noise else 0.0
        p_values[words] = max(excess, made_up)
    worst = min(p_values, key=lambda words: (p_values[words], -found[words].value))
    size = found[worst].value
    much = f"{times(size / limit.value)} C" if known else f"{times(size / steps.noise)} x noise"
    named = f" = {bound:g}" if bound is not None else ""
    return (
        Tested(
            f"{null}{named}, or the noise grew as well",
            min(1.0, len(found) * p_values[worst]),
            f"{worst} adds {much} to the sum (C{named}): clip each image's whole gradient to C",
        ),
    )


def _figures(steps: Steps, stack: Contribution) -> dict[str, float]:
    figures = {"images measured": float(np.abs(steps.seen.pull_images).sum())}
    if steps.unit is not None:
        figures["contribution of one image"] = stack.value * steps.unit
    return figures


def _evidence(steps: Steps, claimed: Claimed) -> str:
    ladder = rungs(steps, claimed)
    words = ladder_words(steps, claimed, ladder)
    if not claimed.noise_multiplier:
        words += "; clipping by layers could not be told, as no noise is claimed"
    every = steps.contribution("all", "everywhere")
    one = steps.contribution("one", "stack in one layer")
    if every.value > _ALIKE * one.value > 0:
        words += "; layers are clipped apart, to shares that add up to C"
    return words


def _error(steps: Steps, stack: Contribution) -> float:
    return steps.noise / (math.sqrt(stack.weight) * stack.value) if stack.value > 0 else math.inf


def _power(steps: Steps, stack: Contribution) -> str:
    if steps.noise == 0 or stack.value <= 0:
        return "without noise the trainer's contributions are exact, and any excess is found"
    noise, layers = steps.noise / stack.value, math.sqrt(len(steps.seen.names)) - 1
    single = noise / math.sqrt(max(steps.contribution("both", "single").weight, 1.0))
    return (
        f"in the trainer, one C a layer is found where the noise multiplier is "
        f"below {layers / (_REACH * _error(steps, stack) / noise):.0f}, an excess over C of "
        f"{100 * _REACH * _error(steps, stack):.2g} % for sure (99 of 100 probes), and clipping of "
        f"sums in {100 * _found(1 / single):.0f} of 100; not seen: norms between those measured, "
        "rules that look at anything but an image's gradient and its neighbours' or its loss, and "
        f"parameters of other names than {', '.join(steps.seen.names)}"
    )


def _found(deviations: float) -> float:
    """Returns the chance of a one-sided normal test at 1e-4 to see a shift of ``deviations``."""
    return 0.5 * math.erfc((3.72 - deviations) / math.sqrt(2))

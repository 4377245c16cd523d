"""Does each image add at most C, and is the sum that of clipped gradients?

Of a model: exact, on Opacus' own clipping in float64. Of a trainer: images pull with gradients of
two sizes, far above any C, alone, apart and in stacks along the same direction, and at each kind of
parameter. Clipped one by one they add the same norm each time; tests are Student's, see
`contributions`. Stacks of a ladder of norms from C / 2 on show how gradients near C are weighed:
any rule is sound by which an image adds C at most. Of a whole training: exact, each image's
gradient is computed again by autograd alone and held against what Opacus summed.
"""

import math

import numpy as np
from numpy.typing import NDArray

from cropaudit.conformance.check import Check, Observations, Outcome, PipelineClaim, Tested, Words
from cropaudit.conformance.checks.models.per_sample_gradients import tolerance
from cropaudit.conformance.checks.steps.contributions import (
    Contribution,
    Rung,
    Steps,
    contrast,
    noncentral,
    read,
    rungs,
    unreadable,
)
from cropaudit.conformance.checks.steps.noise_laws import REACH
from cropaudit.conformance.observations.gradients import Gradients
from cropaudit.conformance.observations.training import Training
from cropaudit.conformance.observations.updates import SIZES, Updates
from cropaudit.conformance.words import joined

__all__ = ["adapted_norm", "check", "clipping_seen"]

Array = NDArray[np.float64]

# Opacus' 1e-6 in the factor only shrinks; this is for rounding.
_OVER = 1e-6
# Where images of two sizes differ this surely, comparing batches that hold both tells nothing more.
_PLAINLY = 1e-6
_ALIKE = 1.5
_SURE = 6.0
_NEAR = 1e-3  # distance, in units of C, that rounding to float32 may make
_SAME = 1e-9
_LAYERS = (
    "DPPerLayerOptimizer",
    "SimpleDistributedPerLayerOptimizer",
    "DistributedPerLayerOptimizer",
)
_BATCHES = {
    "single": "alone",
    "distinct": "beside others in other directions",
    "mixed": "beside others along and against it",
    "large": "in batches four times as large",
    "hard": "whose loss is high",
}

say = Words("""
asks: each image adds at most C to the sum, and the sum is that of clipped gradients
catches: no clipping, clipping far above C, of the mean, by layers, after accumulation
model?: in the model, no image adds more than C, and the sum is that of clipped gradients
model: with this model Opacus (mode {mode}) lets one image add {most:.3f} C, and its sum is off by
  {apart:.2g} C from that of autograd's gradients, each clipped to C
model.seen: Opacus' clipping leaves an image of the model {most:.6f} C at most
model.power: in the model any excess is found for sure
model.none: the model gave no per-sample gradients to clip
grows?: an image with a hundred times the gradient adds no more, both being clipped
grows: gradients are not clipped: an image with a hundred times the gradient adds {ratio:.3g} times
  as much to the update
alike?: an image adds the same whether alone, beside others or in a stack of equals
sums: what is summed is not each image's clipped gradient: an image {batch} adds {ratio:.3g} times
  what it adds among up to {count} along the same direction, as when the mean or the sum of a batch
  or microbatch is clipped: clip before summing
divided: the sum of clipped gradients is divided by the number of images that came, before the
  noise: an image alone adds {ratio:.3g} times what it adds among {count}; divide sum and noise by
  the expected batch size
layers?: an image that pulls at all parameters adds no more than one that pulls at one, or no more
  than the noise is made for
layers: each layer is clipped by itself: an image that pulls at all {count} parameters adds
  {ratio:.3g} times what one layer's does (sqrt {count} = {root:.3g} for one C each), and more than
  the noise is made for: clip the norm over all parameters, or each to C / sqrt(layers)
one: one image
one.layer: an image that pulls at one layer
all: an image that pulls at all parameters
alone: an image alone
parameter: an image that pulls at {name}
rung: an image whose gradient has a norm of {norm}
bound?: no image adds more than C{bound}, or the noise grew as well
near?: no image of a norm near C adds more than C{bound}, or the noise grew as well
excess: {who} adds {much} to the sum (C{bound}): clip each image's whole gradient to C
most: one image adds {most:.4f} C at most
most.open: one image adds the same whether its gradient is huge or a hundred times that (learning
  rate, batch or C are not claimed, so not compared with C)
ladder: {most}, at {count} sizes of its gradient from {low:.3g} to {high:.3g}{unit}; {rule}
ladder.unit:  times the one from which on it is cut (12 % apart from 0.5 to 4, 50 % to 100)
rule.norm: every gradient is scaled to one norm, small ones too
rule.unknown: the norms could not be put in units of C
rule.dropped: gradients above C are left out, not clipped: bounded by C, so sound, but not DP-SGD as
  published
rule.clipped: smaller ones grow with their size, larger ones are clipped
rule.other: another rule than min(1, C / norm): sound where it is bounded by C
no noise: clipping by layers could not be told, as no noise is claimed
shares: layers are clipped apart, to shares that add up to C
power.off: without noise the trainer's contributions are exact, and any excess is found
power: in the trainer, one C a layer is found where the noise multiplier is below {layers:.0f}, an
  excess over C of {excess:.2g} % for sure (99 of 100 probes), and clipping of sums in {sums:.0f} of
  100; not seen: norms between those measured, rules that look at anything but an image's gradient
  and its neighbours' or its loss, and parameters of other names than {names}
finite?: gradients and weights are finite
finite: a gradient or a weight is not finite: what is not a number passes any clipping
sum?: the sum is that of each image's gradient, clipped by itself
sum: in {wrong} of {known} steps Opacus' sum is not that of each image's gradient, clipped by itself
  to C = {norm:g}: off by {error:.3g} C in step {step}{raw}
sum.raw: ; it is the sum of gradients that are not clipped at all
training.seen: in {known} real steps Opacus' sum is that of each image's gradient, clipped by itself
  to {norms}, to within {error:.1g} C; raw norms of up to {norm:.3g}
training.power: an image that adds {near:g} C too much in any step is found for sure, for the raw
  norms that occurred
no opacus: no optimiser of Opacus steps the weights, so that the sum of clipped gradients is not
  seen; give the update as --trainer
by layer: {private} clips each layer by itself, which is not computed again here
unseen: {private} was not seen with the sum of all weights' clipped gradients and the gradient of
  the loss at the outputs
partly: the sum of clipped gradients was seen in {known} of {steps} steps
idle: no image's gradient was above C = {norm:g} in any step, so that clipping was never seen at
  work
adapted: gradients are clipped to {norms}, not to one C: a plan that is made beforehand costs
  nothing, norms that are taken from the images show them; which it is was not seen
other: gradients are clipped to {norms}, where C = {bound:g} is claimed: no privacy is lost by that
  alone, as the noise is measured in units of the norm that is clipped to
""")


# A model.


def _of_model(found: Gradients, claimed: PipelineClaim, seen: Observations) -> Outcome:
    """Tests clipped norms, and their sum."""
    allowed = tolerance(found)
    if found.refused or not found.steady or found.shift_training > allowed:
        return Outcome(undecided=say("model.none"))
    most, apart = float(found.clipped_norm.max()), found.sum_error
    sound = most <= 1 + _OVER and apart <= max(allowed, _OVER)
    return Outcome(
        tests=(say.test("model", float(sound), mode=found.mode, most=most, apart=apart),),
        evidence=say("model.seen", most=most),
        power=say("model.power"),
        figures={"largest clipped norm of C": most},
    )


# A trainer's step.


def _of_steps(updates: Updates, claimed: PipelineClaim, seen: Observations) -> Outcome:
    """Tests contributions of images to a probe's steps."""
    steps = read(updates, claimed)
    unread = unreadable(steps)
    if unread:
        return Outcome(undecided=unread)
    ladder, stack = rungs(steps, claimed), steps.contribution("both", "stack")
    tests = [_size_test(steps)]
    if tests[0].p_value > _PLAINLY:
        tests += [_sum_test(steps), *_layer_tests(steps, claimed)]
    tests += _within_bound("bound", steps, claimed, _contributions(steps))
    tests += _within_bound(
        "near", steps, claimed, {say("rung", norm=rung.words): rung.added for rung in ladder}
    )
    figures = {"images measured": float(np.abs(updates.pull_images).sum())}
    if steps.unit is not None:
        figures["contribution of one image"] = stack.value * steps.unit
    return Outcome(
        tests=tuple(tests),
        evidence=_evidence(steps, claimed, ladder),
        power=_power(steps, stack),
        figures=figures,
    )


def _size_test(steps: Steps) -> Tested:
    small, large = (steps.contribution("both", "stack", size=size) for size in SIZES)
    ratio = large.value / small.value if small.value else math.inf
    return say.test("grows", contrast(large, small, steps), ratio=ratio)


def _sum_test(steps: Steps) -> Tested:
    stack = steps.contribution("both", "stack")
    found = {name: steps.contribution("both", name) for name in _BATCHES}
    p_values = {
        name: 2 * min(contrast(one, stack, steps), contrast(stack, one, steps))
        for name, one in found.items()
    }
    worst = min(p_values, key=lambda name: p_values[name])
    return say.test(
        "alike",
        min(1.0, len(p_values) * p_values[worst]),
        "divided" if _by_count(steps) else "sums",
        batch=_BATCHES[worst],
        ratio=found[worst].value / stack.value if stack.value else math.inf,
        count=int(steps.seen.count.max()),
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


def _layer_tests(steps: Steps, claimed: PipelineClaim) -> tuple[Tested, ...]:
    """Tests for one C a layer; shares of C for each layer are sound, and told by the noise."""
    sigma, count = claimed.noise_multiplier, len(steps.seen.names)
    if not sigma or steps.noise == 0:
        return ()
    every = steps.contribution("all", "everywhere")
    one = steps.contribution("one", "stack in one layer")
    p_value = max(contrast(every, one, steps), noncentral(every, steps, sigma))
    ratio = every.value / one.value if one.value else math.inf
    return (say.test("layers", p_value, count=count, ratio=ratio, root=math.sqrt(count)),)


def _contributions(steps: Steps) -> dict[str, Contribution]:
    """Returns what images add that pull in different ways, in words."""
    found: dict[str, Contribution] = {
        say("one"): steps.contribution("both", "stack"),
        say("one.layer"): steps.contribution("one", "stack in one layer"),
        say("all"): steps.contribution("all", "everywhere"),
        say("alone"): steps.contribution("both", "single"),
    }
    for layer, name in enumerate(steps.seen.names):
        found[say("parameter", name=name)] = steps.contribution("one", "parameter", layer=layer)
    return {words: one for words, one in found.items() if one.weight}


def _within_bound(
    code: str, steps: Steps, claimed: PipelineClaim, found: dict[str, Contribution]
) -> list[Tested]:
    """Tests each contribution against C, and against what the noise is made for.

    Noise that grew by the same factor makes up for an excess.
    """
    bound, sigma = claimed.max_grad_norm, claimed.noise_multiplier
    known = bound is not None and steps.unit is not None
    if not found or not (known or sigma):
        return []
    limit = Contribution(steps.bound(claimed) if known else math.inf, math.inf)
    p_values = {}
    for words, one in found.items():
        excess = contrast(one, limit, steps) if known else 0.0
        made_up = noncentral(one, steps, sigma) if sigma and steps.noise else 0.0
        p_values[words] = max(excess, made_up)
    worst = min(p_values, key=lambda words: (p_values[words], -found[words].value))
    size = found[worst].value
    much = f"{size / limit.value:.3g} C" if known else f"{size / steps.noise:.3g} x noise"
    return [
        say.test(
            code,
            min(1.0, len(found) * p_values[worst]),
            "excess",
            bound=f" = {bound:g}" if bound is not None else "",
            who=worst,
            much=much,
        )
    ]


def _evidence(steps: Steps, claimed: PipelineClaim, ladder: list[Rung]) -> str:
    every = steps.contribution("all", "everywhere")
    one = steps.contribution("one", "stack in one layer")
    # A single rung is known to a few per cent: the largest of many is not the truth.
    rich = 4 * float(np.median([rung.added.weight for rung in ladder])) if ladder else 0.0
    counted = [steps.contribution("both", "stack"), one, every]
    counted += [rung.added for rung in ladder if rung.added.weight > rich]
    most = max(contribution.value for contribution in counted)
    words = say("most.open")
    if steps.unit is not None and claimed.max_grad_norm is not None:
        words = say("most", most=most * steps.unit / claimed.max_grad_norm)
    if ladder:
        words = say(
            "ladder",
            most=words,
            count=len(ladder),
            low=ladder[0].norm,
            high=ladder[-1].norm,
            unit=f" {say('ladder.unit')}" if ladder[0].in_c else "",
            rule=say(f"rule.{_rule(steps, claimed, ladder)}"),
        )
    parts = [words, "" if claimed.noise_multiplier else say("no noise")]
    return joined([*parts, say("shares") if every.value > _ALIKE * one.value > 0 else ""])


def _rule(steps: Steps, claimed: PipelineClaim, ladder: list[Rung]) -> str:
    """Names the rule: clipped, dropped, normalised, or another one."""
    bound = steps.bound(claimed) or 1.0
    norms = np.array([rung.norm for rung in ladder])
    added = np.array([rung.added.value for rung in ladder]) / bound
    error = steps.noise / bound / np.sqrt([rung.added.weight for rung in ladder])
    far = norms > 2
    if not ladder[0].in_c:
        flat = np.all(np.abs(added - added.mean()) <= _SURE * error + 0.05)
        return "norm" if flat else "unknown"
    if np.all(np.abs(added[far]) <= _SURE * error[far]) and added.max() > 0.2:
        return "dropped"
    apart = np.abs(added - np.minimum(norms, 1)) > _SURE * error + 0.05
    return "other" if np.any(apart) else "clipped"


def _power(steps: Steps, stack: Contribution) -> str:
    if steps.noise == 0 or stack.value <= 0:
        return say("power.off")
    noise, layers = steps.noise / stack.value, math.sqrt(len(steps.seen.names)) - 1
    single = noise / math.sqrt(max(steps.contribution("both", "single").weight, 1.0))
    error = noise / math.sqrt(stack.weight)
    return say(
        "power",
        layers=layers / (REACH * error / noise),
        excess=100 * REACH * error,
        # The chance of a one-sided normal test at 1e-4 to see such a shift.
        sums=100 * 0.5 * math.erfc((3.72 - 1 / single) / math.sqrt(2)),
        names=", ".join(steps.seen.names),
    )


# A whole training.


def clipping_seen(training: Training) -> bool:
    """Returns whether every image's part in every step was seen to be clipped to the C read."""
    found = _variant(training)
    if found is None or training.private in _LAYERS:
        return False
    error, _, norm = found
    at_work = bool((norm > training.max_grad_norm).any())
    return bool(np.isfinite(error).all()) and bool((error <= _NEAR).all()) and at_work


def adapted_norm(norms: Array) -> str:
    """Says that C changes in the course of the training, if so: then it may be made of images."""
    low, high = float(norms.min()), float(norms.max())
    return say("adapted", norms=_range(norms)) if high - low > _SAME * high else ""


def _of_training(training: Training, claimed: PipelineClaim, seen: Observations) -> Outcome:
    """Tests Opacus' sum against that of gradients that are clipped one by one."""
    found, private = _variant(training), training.private
    if found is None or private in _LAYERS:
        why = "no opacus" if not private else "by layer" if private in _LAYERS else "unseen"
        return Outcome(unmeasured=say(why, private=private))
    error, raw, norm = found
    norms, known = training.max_grad_norm, np.isfinite(error)
    unclipped, other = "", _other_bound(norms, claimed.max_grad_norm)
    if not known.all():
        unclipped = say("partly", known=int(known.sum()), steps=len(known))
    elif not (norm > norms).any():
        unclipped = say("idle", norm=norms.max())
    most, largest = float(np.nanmax(error)), float(np.nanmax(norm, initial=0))
    return Outcome(
        tests=(
            say.test("finite", float(training.finite)),
            _sum_of_training(error, raw, norm, norms),
        ),
        evidence=say(
            "training.seen", known=int(known.sum()), norms=_range(norms), error=most, norm=largest
        ),
        power=say("training.power", near=_NEAR),
        unmeasured=adapted_norm(norms),
        undecided=joined([unclipped, other]) if unclipped else "",
        differs=other,
        figures={"largest error in units of C": most, "C": float(norms.max())},
    )


def _variant(training: Training) -> tuple[Array, Array, Array] | None:
    """Returns errors, raw errors and norms for the reduction of the loss that fits better."""
    error = training.sum_error
    if not len(error) or not np.isfinite(error).any():
        return None
    worst = [np.nanmax(error[:, k]) if np.isfinite(error[:, k]).any() else np.inf for k in (0, 1)]
    k = int(np.argmin(worst))
    return error[:, k], training.raw_error[:, k], training.norm[:, k]


def _sum_of_training(error: Array, raw: Array, norm: Array, norms: Array) -> Tested:
    known = np.isfinite(error)
    wrong = np.flatnonzero(known & ~(error <= _NEAR))
    if not wrong.size:
        return say.test("sum", 1.0)
    step = int(wrong[np.argmax(error[wrong])])
    unclipped = raw[step] <= _NEAR * max(1.0, norm[step] / norms[step])
    return say.test(
        "sum",
        0.0,
        wrong=wrong.size,
        known=int(known.sum()),
        norm=norms[step],
        error=error[step],
        step=step,
        raw=say("sum.raw") if unclipped else "",
    )


def _other_bound(norms: Array, claimed: float | None) -> str:
    if claimed is None or not (np.abs(norms - claimed) > _SAME * claimed).any():
        return ""
    return say("other", norms=_range(norms), bound=claimed)


def _range(values: Array) -> str:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


check = Check(
    "clipping", say, {"gradients": _of_model, "updates": _of_steps, "training": _of_training}
)

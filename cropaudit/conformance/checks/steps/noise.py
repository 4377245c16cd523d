"""Is the noise that was claimed delivered: in size, everywhere, normal, and fresh each time?

Of a trainer's step most tests use coordinates that no image pulls at. Size: the ratio of the noise
to what one image adds is of the noncentral t law. Where images pull, what is left after their
contribution is taken off must have the same mean square. Of a whole training the noise is what
Opacus adds to its sum of clipped gradients, known at every coordinate and step, in units of the C
that the same optimiser clips to: its sum of squares is of the chi-square law, exactly. Sameness,
normality and freshness of both: see `noise_laws`. More noise than claimed costs no privacy: it is
told, and no failure.

A factor that multiplies noise and images alike costs nothing where it follows from public or noisy
values. One that follows from the number of images in a Poisson batch shows that number, and with
it more of who is in the batch than the amplified bound allows for: given b images of N, a record is
among them with probability b / N and not q, and by joint convexity of the divergence the average
over b is at least the divergence at q. Batches of a fixed size have nothing to show.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtr, chdtrc, fdtr

from cropaudit.conformance.check import Check, Observations, Outcome, PipelineClaim, Tested, Words
from cropaudit.conformance.checks.steps.contributions import (
    SLACK,
    Contribution,
    Steps,
    contrast,
    noncentral,
    read,
    rungs,
    unreadable,
)
from cropaudit.conformance.checks.steps.noise_laws import (
    PLAINLY,
    REACH,
    Share,
    law_tests,
    same_test,
    shares_of,
)
from cropaudit.conformance.observations.training import Training
from cropaudit.conformance.observations.updates import SCENARIOS, Updates
from cropaudit.conformance.words import joined

__all__ = ["check", "noise_in_units"]

Array = NDArray[np.float64]

_MORE = 1e-6  # so rarely may sound steps be said to have more noise than claimed
_SINGLE = SCENARIOS.index("single")
# Batches whose size depends on who is drawn, which the bound takes for hidden.
_HIDDEN_SIZES = ("poisson",)
# Where each step has a factor of its own, its error may be this much of the noise.
_NEAR = 0.1
_EXACT = 1e-6
_FLOAT = 1e-3  # relative, of the deviation: what float32 does to noise beside large sums
_NOTHING = 1e-5  # of C: below it a difference of floats is no noise
_BATCHES = {
    "empty": "empty batches",
    "single": "batches of one image",
    "distinct": "batches of usual size",
    "stack": "stacks of equal images",
    "stack in one layer": "stacks that pull at one layer",
    "mixed": "small batches",
    "large": "batches of four times the size",
    "hard": "batches whose loss is high",
    "easy": "batches whose loss is next to nothing",
    "parameter": "batches that pull at one small parameter",
    "everywhere": "batches that pull at every parameter",
    "ladder": "batches with gradients about C",
}

say = Words("""
asks: noise of the claimed deviation, normal and fresh in each step and coordinate
catches: no noise, half of it, in the wrong unit, none on empty batches, on some parameters or where
  images pull, steps left out by the loss, repeated noise
unclaimed?: no noise is claimed, so none can be missing
less?: the noise is at least {sigma:g} times what one image adds at most
less: the noise is {found:.3g} times what one image adds at most, {sigma:g} is claimed{hint}; add
  noise of deviation noise_multiplier * max_grad_norm to the sum, before it is divided by the batch
  size
off: no noise at all is added, {sigma:g} C is claimed: there is no privacy
hint.batch: : it is divided by the batch size of {batch} once too often
hint.half: half of it
hint.deviation: a deviation was passed as multiplier, and so is times C = {bound:g} twice
hint.multiplier: the multiplier was taken for the deviation, which is that times C = {bound:g}
more: more noise than claimed, no privacy is lost: {how}
more.none: {found:.3g} C for 0
more.steps: the noise is {found:.3g} times what one image adds at most{of_c}, {sigma:g} is claimed;
  it costs accuracy{unit}
more.of_c:  (its deviation is {found:.3g} C)
more.unit: ; its deviation is {sigma:g} where {sigma:g} * C is due (C = {bound:g})
more.training: a multiplier of {found:.4g}, where {sigma:g} is claimed
idle?: every step adds noise
idle: {idle} of {steps} steps add no noise: those on {named}; whether a step is done and noised must
  not follow from what came, be it the number of images, their loss or the size of their gradients:
  that shows for sure
count?: the update does not show how many images came
count: sum and noise are {scale}: the size of the noise shows how many came, and so who may have
  been drawn, which the bound for {sampler} batches takes for hidden (its epsilon is somewhat too
  small); divide by the expected batch size, which is the same in each step
silent: no step adds any noise, and no noise multiplier is claimed to compare with
claimed: {sigma:g} is claimed
open: none is claimed
seen: delivered noise multiplier {found:.4g} ({claim}), read from {source}
seen.refused: empty batches raise, so their noise was not seen
seen.no empty: no empty batches, as the claimed sampler draws none
seen.count: sum and noise are {scale}: batches of a public size show nothing
seen.scale: sum and noise are multiplied alike, {scale}: post-processing, behind which the noise of
  different batches cannot be compared
power.off: noise of none is found for sure
power: a multiplier off by {size:.2g} %, noise that differs by {group:.2g} % in one step or
  parameter, and steps whose noise correlates by {related:.2f} are found in 99 of 100 probes; not
  seen: noise that depends on names, sizes or kinds of parameters that the net has not ({names}), on
  labels, or on the step's number beyond {steps}
size?: the noise of the steps is no smaller than claimed
size: delivered noise multiplier {found:.4g}, where {sigma:g} is claimed: measured on {steps} real
  steps, as the noisy gradient less the sum of clipped ones, over the norm C that is clipped to
setting?: the optimiser's own noise multiplier is never below the claimed one
setting: the optimiser's noise multiplier is {low:g} in {below} of {steps} steps, where {sigma:g} is
  claimed
bare?: no step is made without noise beside those of Opacus
bare: {silent} of {steps} steps are made by an optimiser that is none of Opacus', with a gradient of
  exactly 0 where no image pulls: without noise
partly: {others} of {steps} steps are made by an optimiser that is none of Opacus'
unpulled?: weights that no image pulls at get noise
unpulled: weights that no image pulls at are handed a gradient of exactly 0 in all {steps} steps: no
  noise is added, where a multiplier of {sigma:g} is claimed
unseen: {why}, so that the noise cannot be told from gradients; give the update as --trainer
no opacus: no optimiser of Opacus steps the weights
no sum: {private} keeps no sum of clipped gradients of all weights
not finite: gradients or weights are not finite
training.seen: delivered noise multiplier {found:.4g} ({claim}), measured on {steps} real steps at
  {weights} weights; {private} says {low:g}{high}
training.power: a multiplier {size:.2g} % too small, and one step with noise that differs by
  {step:.2g} %, are found in 99 of 100 runs
""")


# A trainer's step.


def _of_steps(updates: Updates, claimed: PipelineClaim, seen: Observations) -> Outcome:
    """Tests size, sameness, normality and freshness of the noise of a probe's steps."""
    steps = read(updates, claimed)
    sigma, unread = claimed.noise_multiplier, unreadable(steps)
    if unread:
        return Outcome(undecided=unread)
    if sigma is None and steps.noise == 0:
        return Outcome(undecided=say("silent"))
    tests, shares = _size_tests(steps, claimed), _quiet_shares(steps)
    if steps.noise > 0 and sigma != 0:
        # Steps of one kind, so that unequal noise is not taken for another law.
        kinds = updates.scenario[steps.live]
        samples = steps.alone[kinds == (_SINGLE if _SINGLE in kinds else kinds[0])]
        layer = updates.layer[updates.quiet]
        laws = law_tests(steps.quiet, layer, samples, shares)
        tests += (_idle_test(steps), *_count_tests(steps, claimed), *laws)
        if len(laws) > 2 and laws[-1].p_value > PLAINLY:
            tests += (same_test("pulled", _pulled_shares(steps)),)
    return Outcome(
        tests=tests,
        evidence=_evidence(steps, claimed),
        power=_power(steps, shares),
        differs=_more(steps, claimed),
        figures={"noise multiplier": _multiplier(steps)},
    )


def _size_tests(steps: Steps, claimed: PipelineClaim) -> tuple[Tested, ...]:
    sigma = claimed.noise_multiplier
    if not sigma:
        return () if sigma is None else (say.test("unclaimed", 1.0),)
    kinds = _kinds(steps)
    if steps.noise == 0:
        return (say.test("less", 0.0, "off", sigma=sigma),)
    less = min(1.0, len(kinds) * min(noncentral(kind, steps, sigma) for kind in kinds))
    found = _multiplier(steps)
    hint = _hint(found, sigma, claimed)
    return (say.test("less", less, sigma=sigma, found=found, hint=hint),)


def _hint(found: float, sigma: float, claimed: PipelineClaim) -> str:
    """Names the mistake that gives this much noise, if there is one."""
    batch, bound, factor = claimed.batch, claimed.max_grad_norm, found / sigma
    if batch and abs(factor * batch - 1) < 0.1:
        return say("hint.batch", batch=batch)
    hints = [say("hint.half")] if abs(2 * factor - 1) < 0.05 else []
    if bound is not None and bound != 1:
        hints += [say("hint.deviation", bound=bound)] if abs(factor / bound - 1) < 0.05 else []
        hints += [say("hint.multiplier", bound=bound)] if abs(factor * bound - 1) < 0.05 else []
    return f": {', or '.join(hints)}" if hints else ""


def _more(steps: Steps, claimed: PipelineClaim) -> str:
    """Says that there is more noise than claimed, if there plainly is."""
    sigma, bound, found = claimed.noise_multiplier, claimed.max_grad_norm, _multiplier(steps)
    if sigma is None or steps.noise == 0:
        return ""
    if sigma == 0:
        return say("more", how=say("more.none", found=found))
    # All kinds must be below what the noise is made for. Images alone are known least, and count
    # where they plainly add more than those in stacks.
    *counted, single = _kinds(steps)
    if contrast(single, counted[0], steps) < PLAINLY:
        counted.append(single)
    # Where large gradients are left out, images near C are those that add the most.
    counted += [rung.added for rung in rungs(steps, claimed)]
    p_values = [1 - noncentral(k, steps, sigma, -SLACK) if k.weight else 1.0 for k in counted]
    of_c = ""
    if bound is not None and steps.unit is not None:
        deviation = steps.noise * steps.unit / bound
        freedom = steps.freedom
        p_values.append(float(chdtrc(freedom, freedom * (deviation / sigma) ** 2)))
        of_c = f" {say('more.of_c', found=deviation)}"
    if max(p_values) > _MORE:
        return ""
    named = bound is not None and bound != 1 and abs(found * bound / sigma - 1) < 0.1
    unit = say("more.unit", sigma=sigma, bound=bound) if named else ""
    return say("more", how=say("more.steps", found=found, of_c=of_c, sigma=sigma, unit=unit))


def _kinds(steps: Steps) -> tuple[Contribution, ...]:
    return (
        steps.contribution("both", "stack"),
        steps.contribution("one", "stack in one layer"),
        steps.contribution("all", "everywhere"),
        steps.contribution("both", "single"),
    )


def _multiplier(steps: Steps) -> float:
    # Single images are known less well: they count where the stacks show another thing by far.
    *stacks, single = _kinds(steps)
    known = max(one.value for one in stacks)
    error = steps.noise / math.sqrt(max(single.weight, 1.0))
    most = max(known, single.value - 4 * error)
    return steps.noise / most if most > 4 * error or known > error else math.inf


def _idle_test(steps: Steps) -> Tested:
    """Tests that no step did nothing at all while others bore noise."""
    seen, idle = steps.seen, ~steps.live
    kinds, counts = np.unique(seen.scenario[idle], return_counts=True)
    named = ", ".join(
        f"{_BATCHES[SCENARIOS[k]]} ({n} of {int(np.sum(seen.scenario == k))})"
        for k, n in zip(kinds, counts, strict=True)
    )
    known: dict[str, Any] = {"idle": int(idle.sum()), "steps": len(seen), "named": named}
    return say.test("idle", float(not idle.any()), **known)


def _count_tests(steps: Steps, claimed: PipelineClaim) -> tuple[Tested, ...]:
    scale, sampler = steps.scale, claimed.sampler
    if scale.kind != "count" or sampler not in _HIDDEN_SIZES:
        return ()
    return (say.test("count", scale.p_value, scale=scale.words, sampler=sampler),)


def _quiet_shares(steps: Steps) -> list[Share]:
    """Returns the shares of coordinates that no image pulls at.

    Factors of single steps are taken out beforehand, so that there only parameters are compared.
    """
    seen, live = steps.seen, steps.live
    kinds, counts = seen.scenario[live], seen.count[live]
    named = [_BATCHES[name] for name in SCENARIOS]
    batches = {named[index]: kinds == index for index in np.unique(kinds)}
    each = [f"a step on {named[k]} ({n} images)" for k, n in zip(kinds, counts, strict=True)]
    if steps.scale.kind in ("norm", "time"):
        batches, each = {}, []
    names = [str(name) for name in seen.names]
    return shares_of(steps.quiet[live], seen.layer[seen.quiet], names, batches, each)


def _pulled_shares(steps: Steps) -> list[Share]:
    """Returns the shares of coordinates that images pull at, after their contribution is taken off.

    Contributions are fitted for each kind of batch, parameter and size apart, which takes a degree
    of freedom each. More noise than elsewhere is not odd here: contributions may differ, which is
    the affair of `clipping`.
    """
    seen = steps.seen
    scenario = seen.scenario[seen.pull_step]
    exact = SCENARIOS.index("ladder")
    groups: dict[tuple[int, int, int, float], list[tuple[int, int]]] = {}
    known = (seen.pull_at >= 0) & np.isin(seen.layer[seen.pull_at], steps.noised)
    known &= steps.live[seen.pull_step][:, None]
    for i, j in zip(*np.nonzero(known), strict=True):
        size = float(seen.pull_size[i]) if scenario[i] == exact else 0.0
        key = (int(scenario[i]), int(seen.layer[seen.pull_at[i, j]]), int(seen.degree[i]), size)
        groups.setdefault(key, []).append((i, j))
    totals: dict[tuple[str, str], Array] = {}
    for (kind, layer, *_), members in groups.items():
        left = _left(steps, np.array(members))
        for owner in (("batch", _BATCHES[SCENARIOS[kind]]), ("parameter", str(seen.names[layer]))):
            totals[owner] = totals.get(owner, np.zeros(2)) + left
    found = []
    for (family, name), (left, free) in totals.items():
        if free > 0:
            ratio = left / free / steps.noise**2
            p_value = float(fdtr(free, steps.freedom, ratio))
            words = f"what images pull at in {name}"
            found.append(Share(family, words, p_value, math.sqrt(ratio), int(free)))
    return found or [Share("batch", "nothing", 1.0, 1.0, 1)]


def _left(steps: Steps, members: NDArray[np.int64]) -> Array:
    """Returns the sum of squares that a group's common contribution leaves, and its freedom."""
    seen = steps.seen
    pull, column = members.T
    values = steps.mean[seen.pull_step[pull], seen.pull_at[pull, column]]
    images = seen.pull_images[pull].astype(np.float64)
    weight = float(np.sum(images**2))
    if len(values) < 2 or weight == 0:
        return np.zeros(2)
    each = images * float(np.sum(images * values)) / weight
    if steps.scale.error * float(np.abs(each).max()) > _NEAR * steps.noise:
        return np.zeros(2)
    left = values - each
    # What rounding in float32 leaves of a contribution is no noise.
    left[np.abs(left) < _EXACT * np.abs(values)] = 0.0
    return np.array([np.sum(left**2), len(values) - 1.0])


def _claim(sigma: float | None) -> str:
    return say("open") if sigma is None else say("claimed", sigma=sigma)


def _evidence(steps: Steps, claimed: PipelineClaim) -> str:
    kind, scale = steps.scale.kind, steps.scale.words
    claim = _claim(claimed.noise_multiplier)
    words = [say("seen", found=_multiplier(steps), claim=claim, source=steps.source)]
    if steps.seen.empties_refused:
        words.append(say("seen.refused"))
    elif not bool((steps.seen.count == 0).any()):
        words.append(say("seen.no empty"))
    if kind != "none":
        words.append(say("seen.count" if kind == "count" else "seen.scale", scale=scale))
    return joined(words)


def _power(steps: Steps, shares: list[Share]) -> str:
    stack = steps.contribution("both", "stack")
    if steps.noise == 0 or stack.value <= 0:
        return say("power.off")
    relative = math.hypot(
        steps.noise / (stack.value * math.sqrt(stack.weight)), 1 / math.sqrt(2 * steps.freedom)
    )
    least = min(s.size for s in shares if s.family in (shares[-1].family, "batch"))
    return say(
        "power",
        size=100 * REACH * relative,
        group=100 * REACH / math.sqrt(least),
        related=(REACH + 2) / math.sqrt(steps.quiet.shape[1]),
        names=", ".join(steps.seen.names),
        steps=len(steps.seen),
    )


# A whole training.


def _of_training(training: Training, claimed: PipelineClaim, seen: Observations) -> Outcome:
    """Tests size, sameness, normality and freshness of the noise of real steps."""
    found, sigma = noise_in_units(training), claimed.noise_multiplier
    if found is None:
        return _unseen(training, sigma)
    delivered = math.sqrt(float(np.mean(found**2)))
    if sigma is None and delivered <= _NOTHING:
        return Outcome(undecided=say("silent"))
    others = int((~np.isfinite(training.noise_multiplier)).sum())
    tests = [_bare_test(training)]
    if sigma is not None:
        tests += [_size_test(found, delivered, sigma), _setting_test(training, sigma)]
    if delivered > _NOTHING:
        names, each = (
            [str(name) for name in training.names],
            [f"step {t}" for t in range(len(found))],
        )
        shares = shares_of(found, training.tensor, names, {}, each)
        tests += law_tests(found, training.tensor, found, shares)
    low, high = np.nanmin(training.noise_multiplier), np.nanmax(training.noise_multiplier)
    whole, one = math.sqrt(2 * found.size), math.sqrt(2 * found.shape[1])
    return Outcome(
        tests=tuple(tests),
        evidence=say(
            "training.seen",
            found=delivered,
            claim=_claim(sigma),
            steps=len(found),
            weights=found.shape[1],
            private=training.private,
            low=low,
            high="" if low == high else f" to {high:g}",
        ),
        power=say(
            "training.power", size=100 * (_FLOAT + REACH / whole), step=100 * (REACH + 2) / one
        ),
        undecided=say("partly", others=others, steps=len(training)) if others else "",
        differs=_more_in_training(found, delivered, sigma),
        figures={"delivered noise multiplier": delivered, "noisy steps": float(len(found))},
    )


def noise_in_units(training: Training) -> Array | None:
    """Returns the noise of the first steps in units of C, (R, P); none if it was not seen."""
    rows = training.noise
    norms = training.max_grad_norm[: len(rows)]
    if not rows.size or len(norms) < len(rows) or not (norms > 0).all():
        return None
    found: Array = rows / norms[:, None]
    return found if bool(np.isfinite(found).all()) else None


def _size_test(found: Array, delivered: float, sigma: float) -> Tested:
    p_value = 1.0
    if sigma > 0:
        total = float(np.sum((found / (sigma * (1 - _FLOAT))) ** 2))
        p_value = 0.0 if delivered <= _NOTHING else float(chdtr(found.size, total))
    return say.test("size", p_value, found=delivered, sigma=sigma, steps=len(found))


def _setting_test(training: Training, sigma: float) -> Tested:
    read = training.noise_multiplier
    low = float(np.nanmin(read)) if np.isfinite(read).any() else math.nan
    below = int((read < sigma * (1 - 1e-9)).sum())
    known: dict[str, Any] = {"low": low, "below": below, "steps": len(read), "sigma": sigma}
    return say.test("setting", float(not below), **known)


def _bare_test(training: Training) -> Tested:
    others = ~np.isfinite(training.noise_multiplier)[: len(training.handed)]
    silent = others & ~training.handed.any(axis=1) if training.handed.size else others & False
    return say.test("bare", float(not silent.any()), silent=int(silent.sum()), steps=len(training))


def _unseen(training: Training, sigma: float | None) -> Outcome:
    """Says what is known where there is no Opacus optimiser to take the noise from."""
    handed = training.handed
    if sigma and handed.size and not np.abs(handed).max():
        return Outcome(tests=(say.test("unpulled", 0.0, steps=len(handed), sigma=sigma),))
    why = say("no opacus")
    if training.private:
        why = say("no sum", private=training.private) if training.finite else say("not finite")
    return Outcome(unmeasured=say("unseen", why=why))


def _more_in_training(found: Array, delivered: float, sigma: float | None) -> str:
    if not sigma or delivered <= sigma:
        return ""
    total = float(np.sum((found / (sigma * (1 + _FLOAT))) ** 2))
    if float(chdtrc(found.size, total)) > _MORE:
        return ""
    return say("more", how=say("more.training", found=delivered, sigma=sigma))


check = Check("noise", say, {"updates": _of_steps, "training": _of_training})

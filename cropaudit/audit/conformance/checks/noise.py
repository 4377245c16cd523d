"""Is the noise that was claimed delivered: in size, everywhere, normal, and fresh each time?

Most tests use coordinates that no image pulls at. Size: the ratio of the noise to what one image
adds is of the noncentral t law. Sameness, over kinds of batches, parameters and steps: ratios of
mean squares are of Fisher's law. Where images pull, what is left after their contribution is taken
off must have the same mean square. Normality: see `NoiseLog`. Freshness: see `freshness`. More
noise than claimed costs no privacy: it is told, and no failure.

A factor that multiplies noise and images alike costs nothing where it follows from public or noisy
values. One that follows from the number of images in a Poisson batch shows that number, and with
it more of who is in the batch than the amplified bound allows for: given b images of N, a record is
among them with probability b / N and not q, and by joint convexity of the divergence the average
over b is at least the divergence at q. Batches of a fixed size have nothing to show.
"""

import math

from scipy.special import chdtrc

from cropaudit.audit.conformance.checks.contributions import (
    SLACK,
    Contribution,
    Steps,
    contrast,
    noncentral,
    read,
    times,
    unreadable,
)
from cropaudit.audit.conformance.checks.freshness import fresh_test
from cropaudit.audit.conformance.checks.residuals import (
    Share,
    idle_words,
    pulled_shares,
    quiet_shares,
)
from cropaudit.audit.conformance.checks.rungs import rungs
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.updates import SCENARIOS
from cropaudit.audit.conformance.outcome import Outcome, Tested
from cropaudit.audit.conformance.seen import Seen
from cropaudit.audit.run_logs import NoiseLog

__all__ = ["check"]

NAME = "noise"
# Enough to tell uniform or Laplace noise from normal noise for sure.
_NORMAL_SAMPLES = 20_000
# Deviations that a fault must have to be refuted after correction, 99 times in 100.
_REACH = 6.1
_PLAINLY = 1e-3
# So rarely may sound steps be said to have more noise than claimed.
_MORE = 1e-6
_NAMED = 6
_SINGLE = SCENARIOS.index("single")
# Batches whose size depends on who is drawn, which the bound takes for hidden.
_HIDDEN_SIZES = ("poisson",)


def check(seen: Seen, claimed: Claimed) -> Outcome:
    """Tests size, sameness, normality and freshness of the noise."""
    updates = seen.updates
    if updates is None:
        return Outcome(NAME, skipped="no trainer was given")
    steps = read(updates, claimed)
    sigma = claimed.noise_multiplier
    unread = unreadable(steps)
    if unread:
        return Outcome(NAME, undecided=unread, where=updates.where)
    if sigma is None and steps.noise == 0:
        words = "no step adds any noise, and no noise multiplier is claimed to compare with"
        return Outcome(NAME, undecided=words, where=updates.where)
    tests = _size_tests(steps, claimed)
    if steps.noise > 0 and sigma != 0:
        fresh = fresh_test(steps)
        tests += (_idle_test(steps), *_count_tests(steps, claimed), _normal_test(steps), fresh)
        # Laws of mean squares are those of fresh noise.
        if fresh.p_value > _PLAINLY:
            tests += _same_tests(steps)
    return Outcome(
        NAME,
        tests,
        evidence=_evidence(steps, claimed),
        power=_power(steps),
        differs=_more_words(steps, claimed),
        where=updates.where,
        figures={"noise multiplier": _multiplier(steps)},
    )


def _size_tests(steps: Steps, claimed: Claimed) -> tuple[Tested, ...]:
    sigma = claimed.noise_multiplier
    if not sigma:
        null = "no noise is claimed, so none can be missing"
        return () if sigma is None else (Tested(null, 1.0, ""),)
    kinds = _kinds(steps)
    if steps.noise == 0:
        words = f"no noise at all is added, {sigma:g} C is claimed: there is no privacy"
        return (Tested(_less_null(sigma), 0.0, words),)
    less = min(1.0, len(kinds) * min(noncentral(kind, steps, sigma) for kind in kinds))
    return (Tested(_less_null(sigma), less, _less_words(steps, claimed, sigma)),)


def _more_words(steps: Steps, claimed: Claimed) -> str:
    """Says that there is more noise than claimed, if there plainly is."""
    sigma = claimed.noise_multiplier
    if sigma is None or steps.noise == 0:
        return ""
    known = claimed.max_grad_norm is not None and steps.unit is not None
    if sigma == 0:
        return f"more noise than claimed, no privacy is lost: {times(_multiplier(steps))} C for 0"
    # All kinds must be below what the noise is made for. Images alone are known least, and count
    # where they plainly add more than those in stacks.
    *counted, single = _kinds(steps)
    if contrast(single, counted[0], steps) < _PLAINLY:
        counted.append(single)
    # Where large gradients are left out, images near C are those that add the most.
    counted += [rung.added for rung in rungs(steps, claimed)]
    more = max(_more(kind, steps, sigma) for kind in counted)
    if claimed.max_grad_norm is not None and steps.unit is not None:
        more = max(more, _more_than(steps, sigma * claimed.max_grad_norm / steps.unit))
    if more > _MORE:
        return ""
    of_c = ""
    if known:
        found = steps.noise * (steps.unit or 1) / (claimed.max_grad_norm or 1)
        of_c = f" (its deviation is {times(found)} C)"
    return (
        f"more noise than claimed, no privacy is lost: the noise is {times(_multiplier(steps))} "
        f"times what one image adds at most{of_c}, {sigma:g} is claimed; it costs accuracy"
        f"{_unit_hint(steps, claimed, sigma)}"
    )


def _less_null(sigma: float) -> str:
    return f"the noise is at least {sigma:g} times what one image adds at most"


def _less_words(steps: Steps, claimed: Claimed, sigma: float) -> str:
    found = _multiplier(steps)
    batch = claimed.batch
    hint = ""
    if batch and abs(found * batch / sigma - 1) < 0.1:
        hint = f": it is divided by the batch size of {batch} once too often"
    else:
        hint = _factor_hint(found / sigma, claimed.max_grad_norm)
    return (
        f"the noise is {times(found)} times what one image adds at most, {sigma:g} is "
        f"claimed{hint}; add noise of deviation noise_multiplier * max_grad_norm to the sum, "
        "before it is divided by the batch size"
    )


def _factor_hint(factor: float, bound: float | None) -> str:
    hints = ["half of it"] if abs(2 * factor - 1) < 0.05 else []
    if bound is not None and bound != 1 and abs(factor / bound - 1) < 0.05:
        hints.append(f"a deviation was passed as multiplier, and so is times C = {bound:g} twice")
    if bound is not None and bound != 1 and abs(factor * bound - 1) < 0.05:
        hints.append(
            f"the multiplier was taken for the deviation, which is that times C = {bound:g}"
        )
    return f": {', or '.join(hints)}" if hints else ""


def _unit_hint(steps: Steps, claimed: Claimed, sigma: float) -> str:
    bound = claimed.max_grad_norm
    if bound is not None and bound != 1 and abs(_multiplier(steps) * bound / sigma - 1) < 0.1:
        return f"; its deviation is {sigma:g} where {sigma:g} * C is due (C = {bound:g})"
    return ""


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


def _more(kind: Contribution, steps: Steps, sigma: float) -> float:
    """Returns the p-value that the ratio is at most ``sigma``."""
    return 1 - noncentral(kind, steps, sigma, -SLACK) if kind.weight else 1.0


def _more_than(steps: Steps, deviation: float) -> float:
    return float(chdtrc(steps.freedom, steps.freedom * (steps.noise / deviation) ** 2))


def _idle_test(steps: Steps) -> Tested:
    idle = idle_words(steps)
    return Tested("every step adds noise", float(not idle), idle)


def _same_tests(steps: Steps) -> tuple[Tested, ...]:
    """Compares kinds of batches, parameters, their cells, and single steps with all others."""
    quiet = _same(
        quiet_shares(steps),
        "batches of every kind, every step and every parameter get the same noise, empty batches "
        "too",
        "every step needs the noise of one batch, once, in every parameter, whatever its images "
        "are",
    )
    if quiet.p_value <= _PLAINLY:
        return (quiet,)
    pulled = _same(
        pulled_shares(steps),
        "coordinates that images pull at get the noise of the others",
        "coordinates that images pull at need the same noise as all others: chosen by the images, "
        "they show them",
    )
    return (quiet, pulled)


def _same(shares: list[Share], null: str, cure: str) -> Tested:
    worst = min(shares, key=lambda share: (share.p_value, -share.oddity))
    alike = [s for s in shares if s.family == worst.family and _like(s, worst)]
    named = ", ".join(s.name for s in alike) if 1 < len(alike) <= _NAMED else worst.name
    return Tested(
        null,
        min(1.0, len(shares) * worst.p_value),
        f"{named}{_others(alike)} get {times(worst.ratio)} times the noise of the others; {cure}",
    )


def _like(share: Share, worst: Share) -> bool:
    near = share.ratio == worst.ratio or abs(share.ratio - worst.ratio) < 0.1 * worst.ratio
    return near and share.p_value < _PLAINLY


def _others(alike: list[Share]) -> str:
    return f" and {len(alike) - 1} others like it" if len(alike) > _NAMED else ""


def _count_tests(steps: Steps, claimed: Claimed) -> tuple[Tested, ...]:
    scale = steps.scale
    if scale.kind != "count" or claimed.sampler not in _HIDDEN_SIZES:
        return ()
    return (
        Tested(
            "the update does not show how many images came",
            scale.p_value,
            f"sum and noise are {scale.words}: the size of the noise shows how many came, and so "
            f"who may have been drawn, which the bound for {claimed.sampler} batches takes for "
            "hidden (its epsilon is somewhat too small); divide by the expected batch size, which "
            "is the same in each step",
        ),
    )


def _normal_test(steps: Steps) -> Tested:
    # Steps of one kind, so that unequal noise is not taken for another law.
    kinds = steps.seen.scenario[steps.live]
    rows = steps.alone[kinds == (_SINGLE if _SINGLE in kinds else kinds[0])]
    samples = rows.ravel()[:_NORMAL_SAMPLES]
    p_value = NoiseLog.of(samples).normal_p_value() if samples.any() else 1.0
    return Tested(
        "the noise is normal",
        p_value,
        f"the noise is not normal (test of Kolmogorov and Smirnov on {samples.size} draws): the "
        "guarantee is that of Gaussian noise",
    )


def _evidence(steps: Steps, claimed: Claimed) -> str:
    found, sigma = _multiplier(steps), claimed.noise_multiplier
    claim = "none is claimed" if sigma is None else f"{sigma:g} is claimed"
    words = f"delivered noise multiplier {found:.4g} ({claim}), read from {steps.source}"
    if steps.seen.empties_refused:
        words += "; empty batches raise, so their noise was not seen"
    elif not bool((steps.seen.count == 0).any()):
        words += "; no empty batches, as the claimed sampler draws none"
    if steps.scale.kind == "count":
        words += f"; sum and noise are {steps.scale.words}: batches of a public size show nothing"
    elif steps.scale.kind != "none":
        words += f"; sum and noise are multiplied alike, {steps.scale.words}: post-processing, "
        words += "behind which the noise of different batches cannot be compared"
    return words


def _power(steps: Steps) -> str:
    stack = steps.contribution("both", "stack")
    if steps.noise == 0 or stack.value <= 0:
        return "noise of none is found for sure"
    relative = math.hypot(
        steps.noise / (stack.value * math.sqrt(stack.weight)), 1 / math.sqrt(2 * steps.freedom)
    )
    shares = quiet_shares(steps)
    least = min(s.size for s in shares if s.family == shares[-1].family or s.family == "batch")
    group = 1 / math.sqrt(least)
    return (
        f"a multiplier off by {100 * _REACH * relative:.2g} %, noise that differs by "
        f"{100 * _REACH * group:.2g} % in one step or parameter, and steps whose noise correlates "
        f"by {(_REACH + 2) / math.sqrt(steps.quiet.shape[1]):.2g} are found in 99 of 100 probes; "
        "not seen: noise that depends on names, sizes or kinds of parameters that the net has "
        f"not ({', '.join(steps.seen.names)}), on labels, or on the step's number beyond "
        f"{len(steps.seen)}"
    )

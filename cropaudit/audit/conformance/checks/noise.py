"""Is the noise that was claimed delivered: in size, everywhere, normal, and fresh each time?

All tests use coordinates that no image pulls at. Size: the ratio of the noise to what one image
adds is of the noncentral t law. Sameness: ratios of mean squares are of Fisher's law. Normality:
see `NoiseLog`. Freshness: see `freshness`.
"""

import math

import numpy as np
from scipy.special import chdtrc, fdtr, fdtrc

from cropaudit.audit.conformance.checks.contributions import (
    SLACK,
    Contribution,
    Steps,
    contrast,
    noncentral,
    read,
    times,
)
from cropaudit.audit.conformance.checks.freshness import fresh_test
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
_BATCHES = {
    "empty": "empty batches",
    "single": "batches of one image",
    "distinct": "batches of usual size",
    "stack": "stacks of equal images",
    "stack in one layer": "stacks that pull at one layer",
    "mixed": "small batches",
    "large": "batches of four times the size",
}


def check(seen: Seen, claimed: Claimed) -> Outcome:
    """Tests size, sameness, normality and freshness of the noise."""
    updates = seen.updates
    if updates is None:
        return Outcome(NAME, skipped="no trainer was given")
    steps = read(updates, claimed)
    sigma = claimed.noise_multiplier
    if sigma is None and steps.noise == 0:
        words = "no step adds any noise, and no noise multiplier is claimed to compare with"
        return Outcome(NAME, undecided=words, where=updates.where)
    tests = _size_tests(steps, claimed)
    if steps.noise > 0 and sigma != 0:
        tests += (_same_test(steps), _normal_test(steps), fresh_test(steps))
    return Outcome(
        NAME,
        tests,
        evidence=_evidence(steps, claimed),
        power=_power(steps),
        where=updates.where,
        figures={"noise multiplier": _multiplier(steps)},
    )


def _size_tests(steps: Steps, claimed: Claimed) -> tuple[Tested, ...]:
    sigma = claimed.noise_multiplier
    if sigma is None:
        return ()
    if sigma == 0:
        words = f"noise of {times(_multiplier(steps))} C is added, none is claimed"
        return (Tested("no noise is added", float(steps.noise == 0), f"{words} (safe side)"),)
    kinds = _kinds(steps)
    if steps.noise == 0:
        words = f"no noise at all is added, {sigma:g} C is claimed: there is no privacy"
        return (Tested(_less_null(sigma), 0.0, words),)
    less = min(1.0, len(kinds) * min(noncentral(kind, steps, sigma) for kind in kinds))
    # All kinds must be below what the noise is made for; an excess of one is enough for `less`.
    # Images alone are known least, and count where they plainly add more than those in stacks.
    stack, one, single = kinds
    plain = contrast(single, stack, steps) < _PLAINLY
    counted = kinds if plain else (stack, one)
    more = max(_more(kind, steps, sigma) for kind in counted)
    if claimed.max_grad_norm is not None and steps.unit is not None:
        more = max(more, _more_than(steps, sigma * claimed.max_grad_norm / steps.unit))
    return (
        Tested(_less_null(sigma), less, _less_words(steps, claimed, sigma)),
        Tested(
            f"the noise is at most {sigma:g} times what one image adds at most",
            more,
            f"the noise is {times(_multiplier(steps))} times what one image adds at most, "
            f"{sigma:g} is claimed: more than claimed, which errs on the safe side of privacy but "
            f"costs accuracy{_unit_hint(steps, claimed, sigma)}",
        ),
    )


def _less_null(sigma: float) -> str:
    return f"the noise is at least {sigma:g} times what one image adds at most"


def _less_words(steps: Steps, claimed: Claimed, sigma: float) -> str:
    found = _multiplier(steps)
    batch = claimed.batch
    hint = ""
    if batch and abs(found * batch / sigma - 1) < 0.1:
        hint = f": it is divided by the batch size of {batch} once too often"
    elif abs(2 * found / sigma - 1) < 0.05:
        hint = ": half of it"
    return (
        f"the noise is {times(found)} times what one image adds at most, {sigma:g} is "
        f"claimed{hint}; add noise of deviation noise_multiplier * max_grad_norm to the sum, "
        "before it is divided by the batch size"
    )


def _unit_hint(steps: Steps, claimed: Claimed, sigma: float) -> str:
    bound = claimed.max_grad_norm
    if bound is not None and bound != 1 and abs(_multiplier(steps) * bound / sigma - 1) < 0.1:
        return f"; its deviation is {sigma:g} where {sigma:g} * C is due (C = {bound:g})"
    return ""


def _kinds(steps: Steps) -> tuple[Contribution, ...]:
    return (
        steps.contribution("both", "stack"),
        steps.contribution("one", "stack in one layer"),
        steps.contribution("both", "single"),
    )


def _multiplier(steps: Steps) -> float:
    # Single images are known less well: they count where the stacks show another thing by far.
    stack, one, single = _kinds(steps)
    known = max(stack.value, one.value)
    error = steps.noise / math.sqrt(max(single.weight, 1.0))
    most = max(known, single.value - 4 * error)
    return steps.noise / most if most > 0 else math.inf


def _more(kind: Contribution, steps: Steps, sigma: float) -> float:
    """Returns the p-value that the ratio is at most ``sigma``."""
    return 1 - noncentral(kind, steps, sigma, -SLACK) if kind.weight else 1.0


def _more_than(steps: Steps, deviation: float) -> float:
    return float(chdtrc(steps.freedom, steps.freedom * (steps.noise / deviation) ** 2))


def _same_test(steps: Steps) -> Tested:
    """Compares each kind of batch, in each layer, with all others."""
    squares = steps.quiet**2
    layers = steps.seen.layer[steps.seen.quiet]
    total, size = float(squares.sum()), squares.size
    found: dict[str, tuple[float, float]] = {}
    for index in np.unique(steps.seen.scenario):
        for layer in (0, 1):
            part = squares[np.ix_(steps.seen.scenario == index, layers == layer)]
            name = f"{_BATCHES[SCENARIOS[index]]} in layer {layer + 1}"
            found[name] = _against_rest(float(part.sum()), part.size, total, size)
    worst = min(found, key=lambda name: found[name][0])
    p_value, ratio = found[worst]
    return Tested(
        "batches of every kind get the same noise, empty ones too, in every layer",
        min(1.0, len(found) * p_value),
        f"{worst} get {times(ratio)} times the noise of the others; every step needs the "
        "noise of one batch, once, whatever its size",
    )


def _against_rest(part: float, size: int, total: float, count: int) -> tuple[float, float]:
    """Returns the two-sided p-value of Fisher's test and the ratio of deviations."""
    rest = (total - part) / (count - size)
    if rest <= 0:
        return 0.0, math.inf
    ratio = part / size / rest
    two = 2 * min(fdtr(size, count - size, ratio), fdtrc(size, count - size, ratio))
    return float(min(1.0, two)), math.sqrt(ratio)


def _normal_test(steps: Steps) -> Tested:
    # Steps of one kind, so that unequal noise is not taken for another law.
    rows = steps.quiet[steps.seen.scenario == SCENARIOS.index("single")]
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
    return words


def _power(steps: Steps) -> str:
    stack = steps.contribution("both", "stack")
    if steps.noise == 0 or stack.value <= 0:
        return "noise of none is found for sure"
    relative = math.hypot(
        steps.noise / (stack.value * math.sqrt(stack.weight)), 1 / math.sqrt(2 * steps.freedom)
    )
    smallest = min(
        int((steps.seen.scenario == index).sum()) for index in np.unique(steps.seen.scenario)
    )
    group = 1 / math.sqrt(smallest * int(steps.seen.quiet.sum()))
    return (
        f"a multiplier off by {100 * _REACH * relative:.2g} %, noise that differs by "
        f"{100 * _REACH * group:.2g} % in one kind of batch, and steps whose noise correlates by "
        f"{(_REACH + 2) / math.sqrt(steps.quiet.shape[1]):.2g} are found in 99 of 100 probes"
    )

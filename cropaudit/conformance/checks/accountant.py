"""The accountant: epsilon recomputed from what was measured is no more than the claim.

Two null hypotheses. (1) Arithmetic: with the claimed parameters the claimed epsilon is one that the
mechanism has; the accountant's lower bound decides, and a short cut that gives the claimed number
is named. (2) Reconciliation: noise multiplier, sampling rate and inclusion probability within their
joint limits, and the steps that ran, give an epsilon that may be as small as the claim. The limits
hold together with 99.99% confidence, so that their failure has a p-value of at most 0.0001.

An epsilon is called delivered only where all four were measured; what was not is listed, and then
the check cannot pass. A measured part that exceeds the claim whatever the rest is fails even so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cropaudit.accounting.bounds.accountant import bracket
from cropaudit.accounting.bounds.shortcuts import shortcut_epsilons
from cropaudit.accounting.counts import averaged
from cropaudit.accounting.digits import format_lower, format_upper
from cropaudit.accounting.geometry.shapes import Size
from cropaudit.accounting.inclusion.probability import inclusion
from cropaudit.accounting.mechanisms.descriptions import PatchMechanism
from cropaudit.accounting.mechanisms.registry import sampler
from cropaudit.certificate.certificate import Certificate, certificate
from cropaudit.certificate.run_logs import InclusionLog, NoiseLog, Tally
from cropaudit.conformance.check import Check, Observations, Outcome, PipelineClaim, Tested, Words
from cropaudit.conformance.checks.batches.inclusion_rate import worst_place
from cropaudit.conformance.checks.steps.clipping import adapted_norm, clipping_seen
from cropaudit.conformance.checks.steps.contributions import read
from cropaudit.conformance.checks.steps.noise import noise_in_units
from cropaudit.conformance.checks.steps.update import followed, moved_after
from cropaudit.conformance.checks.windows.laws import DEPENDENT, MOVING, law_of, well_read
from cropaudit.conformance.observations.batches import Batches
from cropaudit.conformance.observations.updates import SCENARIOS, Updates
from cropaudit.conformance.words import joined
from cropaudit.errors import InputError

__all__ = ["check", "reconciled"]

_LEVEL = 1e-4
_NAMED = 0.02  # relative distance at which a short cut is recognised
_NOISE = 200_000  # samples that suffice for limits of half a per cent
_FEWEST = 3  # samples
_STEADY = 1e-6  # relative, by which a noise multiplier may vary over the steps
_DEVIATIONS = 4.5  # of the contribution of an image: beyond it with a probability of 1e-5

say = Words("""
asks: epsilon recomputed from what was measured is no more than what is claimed
catches: wrong adjacency, crops counted as one, rates multiplied into a plain accountant
arithmetic?: the claimed epsilon is one that the claimed mechanism has
arithmetic: the claimed epsilon {epsilon:.4g} is too small: with the claimed parameters it is
  {low:.4g} to {high:.4g} at delta {delta:g}{short_cuts}
short cuts: ; it is the short cut {names}
delivered?: what was measured gives no more than the claimed epsilon
delivered: delivered epsilon exceeds the claimed {epsilon}: {seen}
alone: what was measured alone exceeds the claimed epsilon {epsilon:.4g}: with {limits}, epsilon
  would be at least {low:.4g} even if {missing} were as claimed
compositions: {steps} compositions
seen: {parts} (delta {delta:g}, patch substitution)
seen.claimed: epsilon {high} from the claimed parameters, claimed {epsilon}
seen.delivered: delivered epsilon {low} to {high} with {confidence:.2%} confidence over {steps}
  compositions ({limits})
power: the limits of what was measured are a factor of {wide:.3g} apart: a delivered epsilon of
  {epsilon:.3g} or more is found
nothing: nothing was measured that bears on epsilon, so that none is called delivered; the claimed
  epsilon is that of the claimed parameters
missing: no epsilon is called delivered, as these were not measured: {missing}; measured: {limits}
steps that ran: the steps that ran
noise multiplier: neither a pipeline's nor a trainer's noise was seen beside what clipped gradients
  add
noise multiplier.training: see noise and clipping
sampling rate: no batches were seen whose records are all known
inclusion probability: no windows were read off
weights: see update
clipping norm: see clipping
steps: no whole training was run
open: no claim to recompute: {names} {be} not given
refused: no claim to recompute: {error}
""")


@dataclass(frozen=True)
class _Stated:
    """The claimed mechanism, and the place of the patch for which its rho was found."""

    mechanism: PatchMechanism
    place: tuple[int, int]


def _read(seen: Observations, claimed: PipelineClaim, _: Observations) -> Outcome:
    """Recomputes epsilon twice: from what is claimed, and from what was measured."""
    parameters = {
        "noise": claimed.noise_multiplier,
        "batch": claimed.batch,
        "records": claimed.records,
        "steps": claimed.steps,
    }
    missing = [name for name, value in parameters.items() if value is None]
    if missing:
        be = "is" if len(missing) == 1 else "are"
        return Outcome(skipped=say("open", names=", ".join(missing), be=be))
    whole = _of_one_run(seen)
    try:
        stated = _stated(whole, claimed)
    except InputError as error:
        return Outcome(skipped=say("refused", error=error))
    ends = bracket(stated.mechanism, claimed.delta)
    epsilon = claimed.epsilon if claimed.epsilon is not None else ends.upper
    figures = {"claimed": epsilon, "recomputed_low": ends.lower, "recomputed_high": ends.upper}
    tests = [_arithmetic(stated.mechanism, claimed, epsilon, ends.lower, ends.upper)]
    words: list[str] = [say("seen.claimed", high=_high(ends.upper), epsilon=_high(epsilon))]
    found, power = _reconciled(stated, whole, claimed, _LEVEL), ""
    if found is not None:
        tests.append(_reconciliation(found, epsilon))
    if found is not None and found.complete:
        low, high = found.certificate.epsilon_low, found.certificate.epsilon_high
        figures |= {"delivered_low": low, "delivered_high": high}
        words.append(found.words)
        wide = high / max(low, 1e-12)
        power = say("power", wide=wide, epsilon=epsilon * wide)
    return Outcome(
        tests=tuple(tests),
        evidence=say("seen", parts=joined(words), delta=claimed.delta),
        power=power,
        unmeasured=_unmeasured(found),
        figures=figures,
    )


def reconciled(
    seen: Observations, claimed: PipelineClaim, level: float = _LEVEL
) -> Certificate | None:
    """Returns what the measurements certify; none unless all that matters was measured.

    Args:
        seen: The measurements; the steps are those that ran.
        claimed: What is claimed.
        level: Probability that any of the limits is wrong.

    Raises:
        InputError: If the claim lacks a parameter.
    """
    whole = _of_one_run(seen)
    found = _reconciled(_stated(whole, claimed), whole, claimed, level)
    return found.certificate if found is not None and found.complete else None


def _of_one_run(seen: Observations) -> Observations:
    """Returns what was seen of a whole training, its windows and batches in their places.

    What was seen of parts, if there is no whole training.
    """
    if seen.trained_batches is None:
        return seen
    return Observations(
        batches=seen.trained_batches, loader_draws=seen.trained_draws, training=seen.training
    )


@dataclass(frozen=True)
class _Measured:
    """What measurements certify, and what they do not.

    Attributes:
        certificate: Its parameters that were not measured are the claimed ones.
        missing: Why parameters were not measured, by name.
    """

    certificate: Certificate
    missing: dict[str, str]

    @property
    def complete(self) -> bool:
        """Whether nothing was taken from the claim."""
        return not self.missing

    @property
    def limits(self) -> str:
        """Limits of what was measured, in words."""
        return ", ".join(item.words for item in self.certificate.limits)

    @property
    def words(self) -> str:
        """The delivered epsilon, where it is one."""
        found = self.certificate
        return say(
            "seen.delivered",
            low=format_lower(found.epsilon_low) if math.isfinite(found.epsilon_low) else "infinity",
            high=_high(found.epsilon_high),
            confidence=1 - found.level,
            steps=found.steps,
            limits=self.limits,
        )


def _reconciled(
    stated: _Stated, seen: Observations, claimed: PipelineClaim, level: float
) -> _Measured | None:
    mechanism, delta = stated.mechanism, claimed.delta
    updates = seen.batches.updates if seen.batches is not None else -1
    if updates >= 1 and seen.batches is not None:
        changed: dict[str, Any] = {"steps": updates}
        if mechanism.ordered:
            changed["epochs"] = _epochs_begun(seen.batches)
        mechanism = replace(mechanism, **changed)
    noises, log = _noise(seen), _log(seen, claimed, stated)
    if noises is None and log is None:
        if updates < 1 or updates == claimed.steps:
            return None
        ends = bracket(mechanism, delta)
        names = ("noise multiplier", "sampling rate", "inclusion probability")
        bare = Certificate(mechanism, delta, level, (), names, ends.upper, ends.lower, ends.upper)
        return _Measured(bare, _missing(bare, seen, updates))
    # The check of the noise has judged it, kind of batch by kind of batch.
    found = [
        certificate(mechanism, delta, level, noise=noise, inclusion=log, judge=False)
        for noise in noises or (None,)
    ]
    return _Measured(_widest(found), _missing(found[0], seen, updates))


def _widest(found: Sequence[Certificate]) -> Certificate:
    """Returns one certificate whose limits hold those of all."""
    limits = tuple(
        replace(
            rows[0],
            low=min(item.low for item in rows),
            estimate=float(np.mean([item.estimate for item in rows])),
            high=max(item.high for item in rows),
        )
        for rows in zip(*(item.limits for item in found), strict=True)
    )
    return replace(
        found[0],
        limits=limits,
        epsilon_low=min(item.epsilon_low for item in found),
        epsilon_high=max(item.epsilon_high for item in found),
    )


def _missing(found: Certificate, seen: Observations, updates: int) -> dict[str, str]:
    """Returns what was not measured, and why."""
    training = seen.training
    missing: dict[str, str] = {name: say(name) for name in found.assumed}
    if training is not None and "noise multiplier" in missing:
        missing["noise multiplier"] = say("noise multiplier.training")
    if training is not None and (moved_after(training) or not followed(training)):
        missing["weights"] = say("weights")
    if training is not None and adapted_norm(training.max_grad_norm):
        missing["clipping norm"] = say("clipping norm")
    return missing if updates >= 1 else missing | {"steps": say("steps")}


def _unmeasured(found: _Measured | None) -> str:
    if found is None:
        return say("nothing")
    if found.complete:
        return ""
    missing = ", ".join(f"{name} ({why})" for name, why in found.missing.items())
    return say("missing", missing=missing, limits=found.limits or say("steps that ran"))


def _epochs_begun(batches: Batches) -> int:
    """Returns how often a record may have taken part: epochs begun, or a record's own batches.

    A dropped last batch makes epochs shorter, so that steps over records by batch are too few.
    """
    starts = np.cumsum(batches.epoch_steps) - batches.epoch_steps
    begun = int(((batches.epoch_steps > 0) & (starts < batches.updates)).sum())
    ran = batches.step < batches.updates
    taken = np.unique(np.stack([batches.step[ran], batches.record[ran]]), axis=1)[1]
    return max(begun, int(np.bincount(taken).max(initial=1)))


def _stated(seen: Observations, claimed: PipelineClaim) -> _Stated:
    """Returns the claimed mechanism.

    Raises:
        InputError: If no rho is claimed or seen, or a parameter is out of range.
    """
    rho, place = claimed.inclusion, (0, 0)
    crop, image, draws = claimed.crop, claimed.image, seen.windows
    if crop is None and draws is not None:
        crop = law_of(draws, seen.near(draws), claimed).crop
        image = Size(draws.image_height, draws.image_width)
    if crop is not None:
        found = inclusion(image, crop, claimed.patch)
        place = found.position
        rho = rho if rho is not None else found.probability
    if rho is None:
        raise InputError("crop or inclusion must be given, or read off a transform")
    mechanism = sampler(claimed.sampler).of_loader(
        noise_multiplier=claimed.noise_multiplier or 0.0,
        batch=claimed.batch or 1,
        records=claimed.records or 1,
        inclusion=averaged(rho, claimed.averaged),
        steps=claimed.steps or 1,
        epochs=claimed.epochs,
        crops=claimed.crops,
    )
    return _Stated(mechanism, place)


def _arithmetic(
    mechanism: PatchMechanism, claimed: PipelineClaim, epsilon: float, low: float, high: float
) -> Tested:
    if epsilon >= low:
        return say.test("arithmetic", 1.0)
    near = ", or ".join(
        f"{item.name}: {item.why_invalid}"
        for item in shortcut_epsilons(mechanism, claimed.delta, claimed.max_grad_norm)
        if abs(item.epsilon - epsilon) <= _NAMED * epsilon
    )
    return say.test(
        "arithmetic",
        0.0,
        epsilon=epsilon,
        low=low,
        high=high,
        delta=claimed.delta,
        short_cuts=say("short cuts", names=near) if near else "",
    )


def _reconciliation(found: _Measured, epsilon: float) -> Tested:
    made = found.certificate
    said = say("delivered", epsilon=_high(epsilon), seen=found.words)
    if not found.complete:
        limits = found.limits or say("compositions", steps=made.steps)
        missing = " and ".join(found.missing)
        low = made.epsilon_low
        said = say("alone", epsilon=epsilon, limits=limits, low=low, missing=missing)
    windows = any(item.name == "inclusion probability" for item in made.limits)
    void = (DEPENDENT, MOVING) if windows else ()
    p_value = _LEVEL if made.epsilon_low > epsilon else 1.0
    return say.test("delivered", p_value, said, void_if=void)


def _high(epsilon: float) -> str:
    return format_upper(epsilon) if math.isfinite(epsilon) else "infinity"


def _noise(seen: Observations) -> tuple[NoiseLog, ...] | None:
    """Returns the noise in units of what one image adds at most: none if that was not measured."""
    training = seen.training
    if training is None:
        return None if seen.updates is None else _noise_of_steps(seen.updates)
    found = noise_in_units(training) if clipping_seen(training) else None
    multiplier = training.noise_multiplier
    if found is None or not (np.abs(multiplier - multiplier[0]) <= _STEADY * multiplier[0]).all():
        return None
    return (NoiseLog.of(found.ravel()[:_NOISE]),)


def _noise_of_steps(updates: Updates) -> tuple[NoiseLog, ...] | None:
    """Returns the noise over the contribution of an image, at both ends of that one's limits."""
    steps = read(updates, PipelineClaim())
    one = steps.contribution("both", "stack")
    if not updates.quiet.any() or not one.weight or one.value <= 0:
        return None
    full = updates.scenario != SCENARIOS.index("empty")
    samples = steps.quiet[full].ravel()[:_NOISE]
    error = _DEVIATIONS * steps.noise / math.sqrt(one.weight)
    ends = one.value - error, one.value + error
    if samples.size < _FEWEST or ends[0] <= 0:
        return None
    return tuple(NoiseLog.of(samples, end) for end in ends)


def _log(seen: Observations, claimed: PipelineClaim, stated: _Stated) -> InclusionLog | None:
    records = _records(seen.batches) if stated.mechanism.redrawn else None
    draws = seen.windows
    known = draws is not None and well_read(draws)
    windows = worst_place(draws, claimed, stated.place) if draws is not None and known else None
    windows = _together(windows, claimed.averaged)
    return None if records is None and windows is None else InclusionLog(records, windows)


def _together(windows: Tally | None, crops: int) -> Tally | None:
    """Returns how often some of so many crops of an image meets the patch.

    All windows tell the rate, as many trials as there are whole groups of them are claimed: limits
    are as wide as if groups had been counted, and their centre scatters less.
    """
    if windows is None or crops == 1:
        return windows
    groups = max(1, windows.trials // crops)
    return Tally(round(averaged(windows.count / windows.trials, crops) * groups), groups)


def _records(batches: Batches | None) -> Tally | None:
    """Returns the participations of all records in all steps: each is one trial."""
    if batches is None or not batches.steps or batches.unread:
        return None
    taken = np.unique(np.stack([batches.step, batches.record]), axis=1).shape[1]
    return Tally(int(taken), batches.steps * batches.records)


check = Check("accountant", say, {"everything": _read})

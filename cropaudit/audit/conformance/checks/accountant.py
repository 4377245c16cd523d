"""Check 13, the accountant: epsilon recomputed from what was measured is no more than the claim.

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

from cropaudit.accounting.accountant import bracket
from cropaudit.accounting.digits import format_lower, format_upper
from cropaudit.accounting.geometry import Size
from cropaudit.accounting.inclusion import inclusion
from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.accounting.registry import ORDERED, patch_mechanism
from cropaudit.accounting.shortcuts import shortcut_epsilons
from cropaudit.audit.certificate import Certificate, certificate
from cropaudit.audit.conformance.checks.contributions import read
from cropaudit.audit.conformance.checks.inclusion_rate import worst_place
from cropaudit.audit.conformance.checks.laws import DEPENDENT, MOVING, law_of, well_read
from cropaudit.audit.conformance.checks.watched_noise import noise_in_units
from cropaudit.audit.conformance.checks.watched_steps import (
    adapted_norm,
    clipping_seen,
    followed,
    moved_after,
)
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.batches import Batches
from cropaudit.audit.conformance.observe.updates import SCENARIOS, Updates
from cropaudit.audit.conformance.outcome import Outcome, Tested
from cropaudit.audit.conformance.seen import Seen
from cropaudit.audit.run_logs import InclusionLog, NoiseLog, Tally
from cropaudit.errors import InputError

__all__ = ["check", "reconciled"]

_NAME = "accountant"
_LEVEL = 1e-4
_NAMED = 0.02  # relative distance at which a short cut is recognised
_NOISE = 200_000  # samples that suffice for limits of half a per cent
_FEWEST = 3  # samples
_STEADY = 1e-6  # relative, by which a noise multiplier may vary over the steps
_DEVIATIONS = 4.5  # of the contribution of an image: beyond it with a probability of 1e-5


@dataclass(frozen=True)
class _Stated:
    """The claimed mechanism, and the place of the patch for which its rho was found."""

    mechanism: PatchMechanism
    place: tuple[int, int]


def check(seen: Seen, claimed: Claimed) -> Outcome:
    """Recomputes epsilon twice: from what is claimed, and from what was measured."""
    missing = [
        name
        for name, value in (
            ("noise", claimed.noise_multiplier),
            ("batch", claimed.batch),
            ("records", claimed.records),
            ("steps", claimed.steps),
        )
        if value is None
    ]
    if missing:
        words = (
            f"no claim to recompute: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'}"
        )
        return Outcome(_NAME, skipped=f"{words} not given")
    whole = seen.whole or seen
    try:
        stated = _stated(whole, claimed)
    except InputError as error:
        return Outcome(_NAME, skipped=f"no claim to recompute: {error}")
    ends = bracket(stated.mechanism, claimed.delta)
    epsilon = claimed.epsilon if claimed.epsilon is not None else ends.upper
    figures = {"claimed": epsilon, "recomputed_low": ends.lower, "recomputed_high": ends.upper}
    tests = [_arithmetic(stated.mechanism, claimed, epsilon, ends.lower, ends.upper)]
    evidence = [
        f"epsilon {_high(ends.upper)} from the claimed parameters, claimed {_high(epsilon)}"
    ]
    found = _reconciled(stated, whole, claimed, _LEVEL)
    if found is not None:
        tests.append(_reconciliation(found, epsilon))
    if found is not None and found.complete:
        delivered = found.certificate
        figures["delivered_low"] = delivered.epsilon_low
        figures["delivered_high"] = delivered.epsilon_high
        evidence.append(found.words)
    return Outcome(
        check=_NAME,
        tests=tuple(tests),
        evidence="; ".join(evidence) + f" (delta {claimed.delta:g}, patch substitution)",
        power=_power(found, epsilon),
        unmeasured=_unmeasured(found),
        figures=figures,
    )


def reconciled(seen: Seen, claimed: Claimed, level: float = _LEVEL) -> Certificate | None:
    """Returns what the measurements certify; none unless all that matters was measured.

    Args:
        seen: The measurements; the steps are those that ran.
        claimed: What is claimed.
        level: Probability that any of the limits is wrong.

    Raises:
        InputError: If the claim lacks a parameter.
    """
    whole = seen.whole or seen
    found = _reconciled(_stated(whole, claimed), whole, claimed, level)
    return found.certificate if found is not None and found.complete else None


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
    def words(self) -> str:
        """The delivered epsilon, where it is one."""
        found = self.certificate
        parts = ", ".join(item.words for item in found.limits)
        return (
            f"delivered epsilon {_low(found.epsilon_low)} to {_high(found.epsilon_high)} with "
            f"{1 - found.level:.2%} confidence over {found.steps} compositions ({parts})"
        )


def _reconciled(stated: _Stated, seen: Seen, claimed: Claimed, level: float) -> _Measured | None:
    mechanism = stated.mechanism
    updates = seen.batches.updates if seen.batches is not None else -1
    if updates >= 1 and seen.batches is not None:
        mechanism = _with_steps(mechanism, seen.batches, updates)
    noises, log = _noise(seen), _log(seen, claimed, stated)
    if noises is None and log is None:
        if updates < 1 or updates == claimed.steps:
            return None
        ends = bracket(mechanism, claimed.delta)
        names = ("noise multiplier", "sampling rate", "inclusion probability")
        bare = Certificate(
            mechanism, claimed.delta, level, (), names, ends.upper, ends.lower, ends.upper
        )
        return _Measured(bare, _missing(bare, seen, updates))
    # The check of the noise has judged it, kind of batch by kind of batch.
    found = [
        certificate(mechanism, claimed.delta, level, noise=noise, inclusion=log, judge=False)
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


def _missing(found: Certificate, seen: Seen, updates: int) -> dict[str, str]:
    whys = {
        "noise multiplier": "neither a pipeline's nor a trainer's noise was seen beside what "
        "clipped gradients add",
        "sampling rate": "no batches were seen whose records are all known",
        "inclusion probability": "no windows were read off",
    }
    missing = {name: whys[name] for name in found.assumed}
    training = seen.training
    if training is not None:
        if "noise multiplier" in missing:
            missing["noise multiplier"] = "see noise and clipping"
        if moved_after(training) or not followed(training):
            missing["weights"] = "see update"
        if adapted_norm(training.max_grad_norm):
            missing["clipping norm"] = "see clipping"
    if updates < 1:
        missing["steps"] = "no whole training was run"
    return missing


def _unmeasured(found: _Measured | None) -> str:
    if found is None:
        return (
            "nothing was measured that bears on epsilon, so that none is called delivered; the "
            "claimed epsilon is that of the claimed parameters"
        )
    if found.complete:
        return ""
    parts = [f"{name} ({why})" for name, why in found.missing.items()]
    limits = [item.words for item in found.certificate.limits] or ["the steps that ran"]
    words = f"no epsilon is called delivered, as these were not measured: {', '.join(parts)}"
    return f"{words}; measured: {', '.join(limits)}"


def _with_steps(mechanism: PatchMechanism, batches: Batches, steps: int) -> PatchMechanism:
    changed: dict[str, Any] = {"steps": steps}
    if mechanism.kind in ORDERED:
        changed["epochs"] = _epochs_begun(batches)
    found: PatchMechanism = replace(mechanism, **changed)
    return found


def _epochs_begun(batches: Batches) -> int:
    """Returns how often a record may have taken part: epochs begun, or a record's own batches.

    A dropped last batch makes epochs shorter, so that steps over records by batch are too few.
    """
    starts = np.cumsum(batches.epoch_steps) - batches.epoch_steps
    begun = int(((batches.epoch_steps > 0) & (starts < batches.updates)).sum())
    ran = batches.step < batches.updates
    taken = np.unique(np.stack([batches.step[ran], batches.record[ran]]), axis=1)[1]
    return max(begun, int(np.bincount(taken).max(initial=1)))


def _stated(seen: Seen, claimed: Claimed) -> _Stated:
    """Returns the claimed mechanism.

    Raises:
        InputError: If no rho is claimed or seen, or a parameter is out of range.
    """
    rho, place = claimed.inclusion, (0, 0)
    crop = claimed.crop
    draws = seen.windows
    image = claimed.image
    if crop is None and draws is not None:
        crop = law_of(draws, seen.near_draws, claimed).crop
        image = Size(draws.image_height, draws.image_width)
    if crop is not None:
        found = inclusion(image, crop, claimed.patch)
        place = found.position
        rho = rho if rho is not None else found.probability
    if rho is None:
        raise InputError("crop or inclusion must be given, or read off a transform")
    mechanism = patch_mechanism(
        claimed.sampler,
        noise_multiplier=claimed.noise_multiplier or 0.0,
        batch=claimed.batch or 1,
        records=claimed.records or 1,
        inclusion=rho,
        steps=claimed.steps or 1,
        epochs=claimed.epochs,
        crops=claimed.crops,
    )
    return _Stated(mechanism, place)


def _arithmetic(
    mechanism: PatchMechanism, claimed: Claimed, epsilon: float, low: float, high: float
) -> Tested:
    null = "the claimed epsilon is one that the claimed mechanism has"
    if epsilon >= low:
        return Tested(null, 1.0, "it is")
    near = [
        f"{item.name}: {item.why_invalid}"
        for item in shortcut_epsilons(mechanism, claimed.delta, claimed.max_grad_norm)
        if abs(item.epsilon - epsilon) <= _NAMED * epsilon
    ]
    words = (
        f"the claimed epsilon {epsilon:.4g} is too small: with the claimed parameters it is "
        f"{low:.4g} to {high:.4g} at delta {claimed.delta:g}"
    )
    if near:
        words += f"; it is the short cut {', or '.join(near)}"
    return Tested(null, 0.0, words)


def _reconciliation(found: _Measured, epsilon: float) -> Tested:
    null = "what was measured gives no more than the claimed epsilon"
    exceeded = found.certificate.epsilon_low > epsilon
    words = f"delivered epsilon exceeds the claimed {_high(epsilon)}: {found.words}"
    if not found.complete:
        limits = ", ".join(item.words for item in found.certificate.limits)
        limits = limits or f"{found.certificate.steps} compositions"
        words = (
            f"what was measured alone exceeds the claimed epsilon {epsilon:.4g}: with {limits}, "
            f"epsilon would be at least {found.certificate.epsilon_low:.4g} even if "
            f"{' and '.join(found.missing)} were as claimed"
        )
    windows = any(item.name == "inclusion probability" for item in found.certificate.limits)
    void = (DEPENDENT, MOVING) if windows else ()
    return Tested(null, _LEVEL if exceeded else 1.0, words, void_if=void)


def _low(epsilon: float) -> str:
    return format_lower(epsilon) if math.isfinite(epsilon) else "infinity"


def _high(epsilon: float) -> str:
    return format_upper(epsilon) if math.isfinite(epsilon) else "infinity"


def _power(found: _Measured | None, epsilon: float) -> str:
    if found is None or not found.complete:
        return ""
    wide = found.certificate.epsilon_high / max(found.certificate.epsilon_low, 1e-12)
    return (
        f"the limits of what was measured are a factor of {wide:.3g} apart: a delivered epsilon of "
        f"{epsilon * wide:.3g} or more is found"
    )


def _noise(seen: Seen) -> tuple[NoiseLog, ...] | None:
    """Returns the noise in units of what one image adds at most: none if that was not measured."""
    if seen.training is not None:
        training = seen.training
        found = noise_in_units(training) if clipping_seen(training) else None
        read = training.noise_multiplier
        steady = found is not None and bool((np.abs(read - read[0]) <= _STEADY * read[0]).all())
        return (NoiseLog.of(found.ravel()[:_NOISE]),) if found is not None and steady else None
    return None if seen.updates is None else _noise_of_steps(seen.updates)


def _noise_of_steps(updates: Updates) -> tuple[NoiseLog, ...] | None:
    """Returns the noise over the contribution of an image, at both ends of that one's limits."""
    steps = read(updates, Claimed())
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


def _log(seen: Seen, claimed: Claimed, stated: _Stated) -> InclusionLog | None:
    records = None if stated.mechanism.kind in (*ORDERED, "full") else _records(seen.batches)
    draws = seen.windows
    windows = None
    if draws is not None and well_read(draws):
        windows = worst_place(draws, claimed, stated.place)
    if records is None and windows is None:
        return None
    return InclusionLog(records=records, windows=windows)


def _records(batches: Batches | None) -> Tally | None:
    """Returns the participations of all records in all steps: each is one trial."""
    if batches is None or not batches.steps or batches.unread:
        return None
    taken = np.unique(np.stack([batches.step, batches.record]), axis=1).shape[1]
    return Tally(int(taken), batches.steps * batches.records)

"""Check 13, the accountant: epsilon recomputed from what was measured is no more than the claim.

Two null hypotheses. (1) Arithmetic: with the claimed parameters the claimed epsilon is one that the
mechanism has; the accountant's lower bound decides, and a short cut that gives the claimed number
is named. (2) Reconciliation: noise multiplier, sampling rate and inclusion probability within their
joint limits, and the steps that ran, give an epsilon that may be as small as the claim. The limits
hold together with 99.99% confidence, so that their failure has a p-value of at most 0.0001.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cropaudit.accounting.accountant import bracket
from cropaudit.accounting.geometry import Size
from cropaudit.accounting.inclusion import inclusion
from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.accounting.registry import ORDERED, patch_mechanism
from cropaudit.accounting.shortcuts import shortcut_epsilons
from cropaudit.audit.certificate import Certificate, certificate
from cropaudit.audit.conformance.checks.inclusion_rate import worst_place
from cropaudit.audit.conformance.checks.laws import law_of, well_read
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
    try:
        stated = _stated(seen, claimed)
    except InputError as error:
        return Outcome(_NAME, skipped=f"no claim to recompute: {error}")
    ends = bracket(stated.mechanism, claimed.delta)
    epsilon = claimed.epsilon if claimed.epsilon is not None else ends.upper
    figures = {"claimed": epsilon, "recomputed_low": ends.lower, "recomputed_high": ends.upper}
    tests = [_arithmetic(stated.mechanism, claimed, epsilon, ends.lower, ends.upper)]
    evidence = [f"epsilon {ends.upper:.4g} from the claimed parameters, claimed {epsilon:.4g}"]
    found = _reconciled(stated, seen, claimed, _LEVEL)
    if found is not None:
        figures |= {"delivered_low": found.epsilon_low, "delivered_high": found.epsilon_high}
        tests.append(_reconciliation(found, epsilon))
        evidence.append(_delivered(found))
    return Outcome(
        check=_NAME,
        tests=tuple(tests),
        evidence="; ".join(evidence) + f" (delta {claimed.delta:g}, patch substitution)",
        power=_power(found, epsilon),
        figures=figures,
    )


def reconciled(seen: Seen, claimed: Claimed, level: float = _LEVEL) -> Certificate | None:
    """Returns what the measurements certify; none if nothing that matters was measured.

    Args:
        seen: The measurements; the steps are those that ran, where a whole run was seen.
        claimed: What is claimed.
        level: Probability that any of the limits is wrong.

    Raises:
        InputError: If the claim lacks a parameter.
    """
    return _reconciled(_stated(seen, claimed), seen, claimed, level)


def _reconciled(stated: _Stated, seen: Seen, claimed: Claimed, level: float) -> Certificate | None:
    mechanism = stated.mechanism
    updates = seen.batches.updates if seen.batches is not None else -1
    if updates >= 1:
        mechanism = _with_steps(mechanism, claimed, updates)
    noise, log = _noise(seen.updates, claimed), _log(seen, claimed, stated)
    if noise is None and log is None:
        return (
            None
            if updates < 1 or updates == claimed.steps
            else _steps_alone(mechanism, claimed, level)
        )
    # The check of the noise has judged it, kind of batch by kind of batch.
    return certificate(mechanism, claimed.delta, level, noise=noise, inclusion=log, judge=False)


def _steps_alone(mechanism: PatchMechanism, claimed: Claimed, level: float) -> Certificate:
    ends = bracket(mechanism, claimed.delta)
    names = ("noise multiplier", "sampling rate", "inclusion probability")
    return Certificate(
        mechanism, claimed.delta, level, (), names, ends.upper, ends.lower, ends.upper
    )


def _with_steps(mechanism: PatchMechanism, claimed: Claimed, steps: int) -> PatchMechanism:
    changed: dict[str, Any] = {"steps": steps}
    if mechanism.kind in ORDERED:
        a_epoch = -(-(claimed.records or 1) // (claimed.batch or 1))
        changed["epochs"] = -(-steps // a_epoch)
    found: PatchMechanism = replace(mechanism, **changed)
    return found


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


def _reconciliation(found: Certificate, epsilon: float) -> Tested:
    null = "what was measured gives no more than the claimed epsilon"
    exceeded = found.epsilon_low > epsilon
    words = f"delivered epsilon exceeds the claimed {epsilon:.4g}: {_delivered(found)}"
    return Tested(null, _LEVEL if exceeded else 1.0, words)


def _delivered(found: Certificate) -> str:
    low, high = found.epsilon_low, found.epsilon_high
    parts = [item.words for item in found.limits]
    parts += [f"{name} taken as claimed" for name in found.assumed]
    return (
        f"delivered epsilon {low:.4g} to {high:.4g} with {1 - found.level:.2%} confidence over "
        f"{found.steps} compositions ({', '.join(parts)})"
    )


def _power(found: Certificate | None, epsilon: float) -> str:
    if found is None:
        return "nothing was measured that bears on epsilon: only the arithmetic is checked"
    wide = found.epsilon_high / max(found.epsilon_low, 1e-12)
    return (
        f"the limits of what was measured are a factor of {wide:.3g} apart: a delivered epsilon of "
        f"{epsilon * wide:.3g} or more is found"
    )


def _noise(updates: Updates | None, claimed: Claimed) -> NoiseLog | None:
    scale = (claimed.learning_rate, claimed.batch, claimed.max_grad_norm)
    if updates is None or not updates.quiet.any() or None in scale:
        return None
    full = updates.scenario != SCENARIOS.index("empty")
    rate, batch, norm = (float(value or 1) for value in scale)
    samples = updates.change[full][:, updates.quiet].ravel()[:_NOISE] * batch / rate
    return NoiseLog.of(samples, norm) if samples.size >= 3 else None


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

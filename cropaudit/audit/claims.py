"""What is claimed: a trade-off curve with its epsilon, or a bare (epsilon, delta).

A claim is contradicted by a box of error rates (assumption-free: the box lies outside the claimed
region, whatever the mechanism is) or by an exact lower bound above its epsilon.
"""

import math
from dataclasses import dataclass
from typing import Literal

from cropaudit.accounting.accountant import calibrate_noise, epsilon_at, privacy_curve, round_up
from cropaudit.accounting.curves import PrivacyCurve
from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.accounting.shortcuts import shortcuts
from cropaudit.audit.config import ClaimConfig
from cropaudit.audit.estimators.clopper_pearson import box_epsilon
from cropaudit.audit.estimators.limits import Box
from cropaudit.errors import InputError

__all__ = ["StatedClaim", "state_claim"]

Kind = Literal["configured", "epsilon", "shortcut", "bare"]


@dataclass(frozen=True, eq=False)
class StatedClaim:
    """A claim, ready to be held against measurements.

    Attributes:
        kind: Where it comes from.
        statement: The claim in one sentence.
        epsilon: Claimed epsilon, at ``delta``.
        delta: Claimed delta.
        noise_multiplier: Of the claimed mechanism.
        curve: The claimed trade-off curve; none for a bare claim.
    """

    kind: Kind
    statement: str
    epsilon: float
    delta: float
    noise_multiplier: float
    curve: PrivacyCurve | None

    def contradicted_by(self, box: Box) -> bool:
        """Whether error rates at most the box's limits are impossible under the claim."""
        if self.curve is not None:
            return self.curve.rejects(box.fpr_upper, box.fnr_upper)
        return box_epsilon(box.fpr_upper, box.fnr_upper, self.delta) > self.epsilon


def state_claim(config: ClaimConfig, mechanism: PatchMechanism, delta: float) -> StatedClaim:
    """Returns the claim that a configuration makes about a mechanism.

    Raises:
        InputError: If the short cut is unknown, or no noise gives the claimed epsilon.
    """
    sampler = type(mechanism).__name__.removesuffix("Patch").lower().replace("size", "-size")
    if config.shortcut is not None:
        return _shortcut_claim(config.shortcut, mechanism, delta)
    if config.epsilon is None:
        curve = privacy_curve(mechanism, delta)
        epsilon = round_up(curve.epsilon(delta))
        statement = (
            f"The configured mechanism ({sampler} batches, random crops, noise multiplier "
            f"{mechanism.noise_multiplier:g}) is patch-level ({epsilon:.4g}, {delta:g})-DP."
        )
        return StatedClaim("configured", statement, epsilon, delta, mechanism.noise_multiplier, curve)
    if config.family == "none":
        statement = f"The training is patch-level ({config.epsilon:g}, {delta:g})-DP."
        noise = mechanism.noise_multiplier
        return StatedClaim("bare", statement, config.epsilon, delta, noise, None)
    noise = calibrate_noise(mechanism, delta, config.epsilon)
    statement = (
        f"The training is patch-level ({config.epsilon:g}, {delta:g})-DP, as {sampler} batches with "
        f"random crops are at noise multiplier {noise:.4g}."
    )
    curve = privacy_curve(mechanism.with_noise(noise), delta)
    return StatedClaim("epsilon", statement, config.epsilon, delta, noise, curve)


def _shortcut_claim(name: str, mechanism: PatchMechanism, delta: float) -> StatedClaim:
    known = {item.name: item for item in shortcuts(mechanism)}
    if name not in known:
        raise InputError(f"claim shortcut must be one of {', '.join(known)}, got {name}")
    claimed = known[name].mechanism
    epsilon = epsilon_at(claimed, delta)
    if not math.isfinite(epsilon):
        raise InputError(f"delta must be large enough for the short cut, got {delta}")
    statement = (
        f"The training is patch-level ({epsilon:.4g}, {delta:g})-DP by the short cut '{name}': "
        f"{known[name].why_invalid}."
    )
    curve = privacy_curve(claimed, delta)
    return StatedClaim("shortcut", statement, epsilon, delta, mechanism.noise_multiplier, curve)

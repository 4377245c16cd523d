"""What is claimed: a trade-off curve with its epsilon, or a bare (epsilon, delta).

A claim is contradicted on one of two grounds. Assumption-free: what was measured lies outside the
claimed region, or an exact lower bound exceeds the claimed epsilon, whatever the mechanism is.
Given the family: it lies outside what the claimed mechanism can do in the very game that was
played, a tighter curve, for the claimed region must also cover adversaries who change sides between
steps.
"""

from dataclasses import dataclass
from typing import Literal

from cropaudit.accounting.accountant import (
    calibrate_noise,
    epsilon_at,
    finite_epsilon,
    pair_curve,
    privacy_curve,
)
from cropaudit.accounting.curves import PrivacyCurve
from cropaudit.accounting.digits import format_upper
from cropaudit.accounting.mechanisms import Mechanism, PatchMechanism
from cropaudit.accounting.shortcuts import shortcuts
from cropaudit.audit.config import ClaimConfig
from cropaudit.audit.curve_tests import CurveTest
from cropaudit.audit.estimators.rate_test import approximate_dp
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
        game: The curve of the claimed mechanism in the probe's game; none if the claim names no
            mechanism of the configured family.
        mechanism: What is claimed to run; none for a bare claim.
    """

    kind: Kind
    statement: str
    epsilon: float
    delta: float
    noise_multiplier: float
    curve: PrivacyCurve | None
    game: PrivacyCurve | None = None
    mechanism: Mechanism | None = None

    def refuted_by(self, test: CurveTest) -> bool:
        """Whether what was measured is impossible under the claim, whatever the mechanism is."""
        if self.curve is not None and test.rejects(self.curve.trade_offs()):
            return True
        return test.rejects([approximate_dp(self.epsilon, self.delta)])

    def beyond_family(self, test: CurveTest) -> bool:
        """Whether the claimed mechanism cannot bring it about in the probe's game.

        World A of the probe is P of the pair: the world whose patch gives what nothing else gives.
        """
        return self.game is not None and test.rejects(self.game.trade_offs()[:1])

    def contradicted_by(self, test: CurveTest) -> bool:
        """Whether the measurement contradicts the claim on either ground."""
        return self.refuted_by(test) or self.beyond_family(test)


def state_claim(config: ClaimConfig, mechanism: PatchMechanism, delta: float) -> StatedClaim:
    """Returns the claim that a configuration makes about a mechanism.

    Raises:
        InputError: If the short cut is unknown, no noise gives the claimed epsilon, or delta is too
            small for the numerics.
    """
    if config.shortcut is not None:
        return _shortcut_claim(config.shortcut, mechanism, delta)
    if config.epsilon is None:
        curve = privacy_curve(mechanism, delta)
        epsilon = finite_epsilon(curve.epsilon(delta), delta)
        statement = (
            f"The configured mechanism ({_words(mechanism)} batches, random crops, noise "
            f"multiplier {mechanism.noise_multiplier:g}) is patch-level "
            f"({format_upper(epsilon)}, {delta:g})-DP."
        )
        noise = mechanism.noise_multiplier
        game = _game_curve(mechanism, delta)
        return StatedClaim("configured", statement, epsilon, delta, noise, curve, game, mechanism)
    if config.family == "none":
        statement = f"The training is patch-level ({config.epsilon:g}, {delta:g})-DP."
        noise = mechanism.noise_multiplier
        return StatedClaim("bare", statement, config.epsilon, delta, noise, None)
    noise = calibrate_noise(mechanism, delta, config.epsilon)
    statement = (
        f"The training is patch-level ({config.epsilon:g}, {delta:g})-DP, as "
        f"{_words(mechanism)} batches with random crops are at noise multiplier {noise:.4g}."
    )
    claimed = mechanism.with_noise(noise)
    curve, game = privacy_curve(claimed, delta), _game_curve(claimed, delta)
    return StatedClaim("epsilon", statement, config.epsilon, delta, noise, curve, game, claimed)


def _words(mechanism: PatchMechanism) -> str:
    words = {"poisson": "Poisson", "fixed": "fixed-size", "shuffle": "shuffled", "full": "full"}
    return words.get(mechanism.kind, mechanism.kind)


def _game_curve(mechanism: PatchMechanism, delta: float) -> PrivacyCurve:
    return pair_curve(mechanism.pair(), mechanism.compositions, delta)


def _shortcut_claim(name: str, mechanism: PatchMechanism, delta: float) -> StatedClaim:
    known = {item.name: item for item in shortcuts(mechanism)}
    if name not in known:
        raise InputError(f"claim shortcut must be one of {', '.join(known)}, got {name}")
    claimed = known[name].mechanism
    epsilon = epsilon_at(claimed, delta)
    statement = (
        f"The training is patch-level ({format_upper(epsilon)}, {delta:g})-DP by the short cut "
        f"'{name}': {known[name].why_invalid}."
    )
    curve = privacy_curve(claimed, delta)
    return StatedClaim("shortcut", statement, epsilon, delta, mechanism.noise_multiplier, curve)

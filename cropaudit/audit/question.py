"""What is asked of scores: the claim, the trials, the confidence. Checked once, used everywhere."""

import math
import secrets
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from cropaudit.accounting.accountant import epsilon_at, privacy_curve
from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.audit.estimators.family import Axis, Family, Order
from cropaudit.audit.estimators.rate_test import TradeOff, approximate_dp
from cropaudit.audit.estimators.thresholds import Given, Policy, Ranks
from cropaudit.errors import require

__all__ = ["Question", "Trials"]

Trials = Literal["independent", "one-run"]


@dataclass(frozen=True)
class Question:
    """What is asked of scores.

    Attributes:
        delta: Of all epsilons.
        confidence: Of each bound.
        mechanism: The claimed mechanism; none if only epsilon is asked for.
        order: "forward" where world A is known to be P of the mechanism's pair, "backward" where
            it is Q.
        claim: Claimed epsilon; the mechanism's own unless given.
        policy: Where thresholds come from; planned ranks unless given.
        trials: Whether trials are independent, or canaries that share one run.
        two_sided: Whether low scores may speak for members.
        seed: Of the order in which rows are split and paired; drawn anew unless given. No estimator
            that decides depends on it but one whose threshold is learned on a split.

    Raises:
        InputError: If a value is out of range.
    """

    delta: float = 1e-5
    confidence: float = 0.95
    mechanism: PatchMechanism | None = None
    order: Order = "either"
    claim: float | None = None
    policy: Policy | None = None
    trials: Trials = "independent"
    two_sided: bool = False
    seed: int = field(default_factory=lambda: secrets.randbits(31), compare=False)

    def __post_init__(self) -> None:
        require(0 <= self.delta < 1, "delta", "in [0, 1)", self.delta)
        require(0 < self.confidence < 1, "confidence", "in (0, 1)", self.confidence)
        stated = self.claim is None or 0 <= self.claim < math.inf
        require(stated, "claim", "at least 0 and finite", self.claim)
        require(self.seed >= 0, "seed", "at least 0", self.seed)
        if self.mechanism is not None:
            require(self.delta > 0, "delta", "in (0, 1) with a mechanism", self.delta)
            # Without noise everything may be seen: no scores could contradict that.
            noise = self.mechanism.noise_multiplier
            require(noise > 0, "noise multiplier", "above 0 to hold scores against", noise)

    @property
    def level(self) -> float:
        """One minus the confidence."""
        return 1 - self.confidence

    @cached_property
    def family(self) -> Family | None:
        """The mechanism at any noise."""
        return self.along("noise multiplier")

    @property
    def turned(self) -> bool:
        """Whether the game is told from its nonmembers: a backward one, which then is forward.

        A threshold given as a value stays one, in either order.
        """
        return self.order == "backward" and not isinstance(self.policy, Given)

    def along(self, axis: Axis) -> Family | None:
        """Returns the mechanism at any value of one of its numbers."""
        if self.mechanism is None:
            return None
        # A rank among the lowest scores tells the game from world B, where P and Q change places.
        low = isinstance(self.policy, Ranks) and self.policy.sides != "high"
        return Family(self.mechanism, self.delta, axis, "either" if low else self.order)

    @cached_property
    def epsilon(self) -> float | None:
        """What is claimed; none if nothing is."""
        if self.claim is not None or self.mechanism is None:
            return self.claim
        return epsilon_at(self.mechanism, self.delta)

    @property
    def null(self) -> float | None:
        """The epsilon whose rejection contradicts the claim.

        A stated mechanism is contradicted by what its own game cannot show, which is a little less
        than what the accountant allows.
        """
        if self.claim is not None or self.family is None:
            return self.claim
        return self.family.epsilon(0)

    @cached_property
    def claimed_curves(self) -> tuple[TradeOff, ...]:
        """What the claim allows whatever ran: a region, or the accountant's curves; maybe none.

        The game of the claimed mechanism allows less, see `null`: an adversary may change sides
        between steps, which the accountant must cover.
        """
        if self.claim is not None:
            return (approximate_dp(self.claim, self.delta),)
        if self.mechanism is None:
            return ()
        return tuple(privacy_curve(self.mechanism, self.delta).trade_offs())

    @property
    def claim_words(self) -> str:
        """What is claimed, in words."""
        if self.claim is not None:
            return "as stated"
        if self.mechanism is None:
            return "no epsilon and no mechanism was stated"
        return f"of the stated mechanism by the accountant; its game can show {self.null:.4g}"

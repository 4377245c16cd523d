"""What is held against scores: the claim, the mechanism, the game, the level and the share of it.

Checked once and used by every way from scores to a verdict: audits, attacks on a saved run, files
of scores, and games that are followed.
"""

import math
import secrets
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Literal, get_args

from cropaudit.accounting.bounds.accountant import epsilon_at, privacy_curve
from cropaudit.accounting.mechanisms.descriptions import PatchMechanism
from cropaudit.errors import require
from cropaudit.estimators.null import Null
from cropaudit.estimators.sequential.e_process import EProcess
from cropaudit.estimators.trials.family import Axis, Family, Order
from cropaudit.estimators.trials.power import ApproximateTruth, FamilyTruth, Truth
from cropaudit.estimators.trials.thresholds import Given, Policy, Ranks

__all__ = ["Hypothesis", "Trials"]

Trials = Literal["independent", "one-run"]
_family = lru_cache(maxsize=32)(Family)  # whose curves take time


@dataclass(frozen=True)
class Hypothesis:
    """What is held against scores; equal by what plans depend on.

    Attributes:
        delta: Of all epsilons.
        confidence: Of each bound alone, and of the headline.
        share: Of the level, for whatever is corrected: several games may divide it.
        mechanism: What is said to have run, at whatever noise; none if only epsilon is asked for.
        order: "forward" where world A is known to be P of the mechanism's pair, "backward" where
            it is Q, "either" where one of both, "adaptive" where worlds may change sides from step
            to step, as real gradients may. Unless given "adaptive" for canaries of one run, which
            are planted into real gradients, else "either".
        claim: Claimed epsilon; the mechanism's own unless given.
        policy: Where thresholds come from; planned ranks unless given.
        trials: Whether trials are independent, or canaries that share one run.
        two_sided: Whether low scores may speak for members.
        free_null: What the claim allows whatever ran; follows from the other fields unless given.
        game_null: What it allows in the game that was played; likewise.
        seed: Of the order in which rows are split and paired; drawn anew unless given. No estimator
            that decides depends on it but one whose threshold is learned on a split.

    Raises:
        InputError: If a value is out of range.
    """

    delta: float = 1e-5
    confidence: float = 0.95
    share: float = field(default=1.0, compare=False)
    mechanism: PatchMechanism | None = None
    order: Order | None = None
    claim: float | None = None
    policy: Policy | None = None
    trials: Trials = "independent"
    two_sided: bool = False
    free_null: Null | None = field(default=None, compare=False)
    game_null: Null | None = field(default=None, compare=False)
    seed: int = field(default_factory=lambda: secrets.randbits(31), compare=False)

    def __post_init__(self) -> None:
        require(0 <= self.delta < 1, "delta", "in [0, 1)", self.delta)
        require(0 < self.confidence < 1, "confidence", "in (0, 1)", self.confidence)
        require(0 < self.share <= 1, "share of the level", "in (0, 1]", self.share)
        stated = self.claim is None or 0 <= self.claim < math.inf
        require(stated, "claim", "at least 0 and finite", self.claim)
        require(self.seed >= 0, "seed", "at least 0", self.seed)
        kinds, orders = get_args(Trials), get_args(Order)
        require(self.trials in kinds, "trials", f"one of {', '.join(kinds)}", self.trials)
        ordered = self.order is None or self.order in orders
        require(ordered, "order", f"one of {', '.join(orders)}", self.order)
        if self.order is None:
            order = "adaptive" if self.trials == "one-run" else "either"
            object.__setattr__(self, "order", order)
        if self.mechanism is not None:
            require(self.delta > 0, "delta", "in (0, 1) with a mechanism", self.delta)
            # Without noise everything may be seen: no scores could contradict that.
            noise = self.mechanism.noise_multiplier
            require(noise > 0, "noise multiplier", "above 0 to hold scores against", noise)

    @property
    def level(self) -> float:
        """One minus the confidence: of each bound alone, and of all plans."""
        return 1 - self.confidence

    @property
    def corrected(self) -> float:
        """The share of the level: of what is corrected for other games."""
        return self.level * self.share

    @cached_property
    def family(self) -> Family | None:
        """The mechanism at any noise."""
        return self.along("noise multiplier")

    @cached_property
    def process(self) -> EProcess:
        """Bets on the games, in the order in which they come."""
        return EProcess(self.family)

    @property
    def truth(self) -> Truth:
        """What is said to be found or missed."""
        family = self.family
        return ApproximateTruth(self.delta) if family is None else FamilyTruth(family)

    @property
    def turned(self) -> bool:
        """Whether the game is told from its nonmembers: a backward one, which then is forward.

        A threshold given as a value stays one, in either order.
        """
        return self.order == "backward" and not isinstance(self.policy, Given)

    def along(self, axis: Axis) -> Family | None:
        """Returns the mechanism at any value of one of its numbers."""
        if self.mechanism is None or self.order is None:
            return None
        # A rank among the lowest scores tells the game from world B, where P and Q change places.
        low = isinstance(self.policy, Ranks) and self.policy.sides != "high"
        order = "either" if low and self.order != "adaptive" else self.order
        return _family(self.mechanism, self.delta, axis, order)

    @cached_property
    def epsilon(self) -> float | None:
        """What is claimed; none if nothing is."""
        if self.free_null is not None:
            return self.free_null.epsilon
        if self.claim is not None or self.mechanism is None:
            return self.claim
        return epsilon_at(self.mechanism, self.delta)

    @cached_property
    def free(self) -> Null | None:
        """What the claim allows whatever ran: a region, or the accountant's curves."""
        if self.free_null is not None or self.epsilon is None:
            return self.free_null
        if self.claim is not None or self.mechanism is None:
            return Null.region(self.epsilon, self.delta)
        return Null.of(privacy_curve(self.mechanism, self.delta), self.epsilon, self.delta)

    @cached_property
    def game(self) -> Null | None:
        """What the claim allows in the game that was played; a little less than `free`.

        A stated mechanism is contradicted by what its own pair of worlds cannot show; an adversary
        who may change sides between steps is held to the accountant's curve.
        """
        if self.free_null is not None:
            return self.game_null or self.free_null
        family = self.family
        if family is None or (self.order == "adaptive" and self.claim is None):
            return self.free
        claim = family.epsilon(0) if self.claim is None else self.claim
        index = 0 if self.claim is None else family.index_of(claim)
        if index is None:
            return Null(claim, self.delta, ())
        curves = family.allowed(index)
        return Null(claim, self.delta, curves, tuple(family.curve(index).parts[: len(curves)]))

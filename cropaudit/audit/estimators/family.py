"""A mechanism at every value of one of its numbers: the family that a measurement is held against.

The members are ordered from quiet to loud: less noise, or a crop that meets the patch more often,
or a record that is sampled more often. A louder member can always be garbled into a quieter one
(add noise; replace the step by one that shows nothing), so what rejects a member rejects all
quieter ones. Values stand on a fixed logarithmic grid, and every estimator that searches the family
shares the curves that were computed before.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from cropaudit.accounting.accountant import bracket, pair_bracket
from cropaudit.accounting.curves import PrivacyCurve
from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.audit.estimators.yardstick import TradeOff
from cropaudit.errors import require

__all__ = ["Axis", "Family", "Order", "Rejected", "noiseless_tpr"]

Array = NDArray[np.float64]
Axis = Literal["noise multiplier", "inclusion probability", "sampling rate"]
Order = Literal["either", "forward", "backward", "claimed"]
_T = TypeVar("_T")
Rejects = Callable[[TradeOff], bool]

_STEP = 1e-3  # of the grid, in the log of the value
_LOUDER, _QUIETER = 8.0, 100.0  # noise searched: the mechanism's own over and times these
_COARSE = 32  # steps between a limit and what it limits
_LEAST = 1e-6  # smallest probability searched
# How far a curve may lie above the truth, relative in epsilon, up to an index. Far louder members
# have epsilons in the hundreds: nobody asks for their digits, and they would take half a minute.
_AGREE = ((400, 2e-3), (900, 2e-2), (math.inf, 0.3))
_FIELDS = {"inclusion probability": "inclusion", "sampling rate": "sample_rate"}


@dataclass(frozen=True)
class Rejected:
    """The loudest member of a family that a measurement contradicts.

    Attributes:
        epsilon: A lower bound on the epsilon of its game at the family's delta; 0 if none is.
        value: Its value on the family's axis; none if no member is rejected, or all are.
        outside: Whether every member is rejected, so that the family has nothing to say.
        index: Its index; none as for the value.
    """

    epsilon: float
    value: float | None
    outside: bool = False
    index: int | None = None


@dataclass(frozen=True, eq=False)
class Family:
    """A mechanism at every value of one of its numbers.

    Attributes:
        mechanism: Its configured member, and all else that the members have in common.
        delta: For epsilon.
        axis: What varies.
        order: "forward" where world A is known to be P of the mechanism's pair, the world whose
            patch gives the gradient that nothing else gives; "backward" where it is known to be
            Q; "either" where nothing is known; "claimed" for gradients of real models, which may
            lie anywhere between the pair and its mirror image and change sides from step to step:
            members are then held to the curves of their claims.

    Raises:
        InputError: If delta is not in (0, 1), or the axis makes no difference to the mechanism.
    """

    mechanism: PatchMechanism
    delta: float
    axis: Axis = "noise multiplier"
    order: Order = "either"
    _brackets: dict[int, tuple[PrivacyCurve, float]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        require(0 < self.delta < 1, "delta", "in (0, 1)", self.delta)
        require(self.mechanism.record_rate > 0, "record rate", "above 0", 0)
        require(self.mechanism.crops == 1, "crops", "1 in a family", self.mechanism.crops)
        if self.axis == "sampling rate":
            free = self.mechanism.kind in ("poisson", "fixed")
            require(free, "sampler", "poisson or fixed to vary its rate", self.mechanism.kind)

    @cached_property
    def span(self) -> tuple[int, int]:
        """Indices of the quietest and the loudest member; 0 is the configured one."""
        if self.axis == "noise multiplier":
            return -round(math.log(_QUIETER) / _STEP), round(math.log(_LOUDER) / _STEP)
        own = self._own()
        low = -math.floor(math.log(max(own / _LEAST, 1.0)) / _STEP)
        return low, math.ceil(-math.log(own) / _STEP - 1e-9)

    def value(self, index: int) -> float:
        """Returns the value of a member on the axis."""
        if self.axis == "noise multiplier":
            return self._own() * math.exp(-index * _STEP)
        return min(1.0, self._own() * math.exp(index * _STEP))

    def member(self, index: int) -> PatchMechanism:
        """Returns a member."""
        if self.axis == "noise multiplier":
            return self.mechanism.with_noise(self.value(index))
        changed: dict[str, Any] = {_FIELDS[self.axis]: self.value(index)}
        return replace(self.mechanism, **changed)

    def curve(self, index: int) -> PrivacyCurve:
        """Returns what no test in the game of a member exceeds, in either direction."""
        return self._bracket(index)[0]

    def epsilon(self, index: int) -> float:
        """Returns a lower bound on the epsilon of a member's game."""
        return self._bracket(index)[1]

    def index_of(self, epsilon: float) -> int | None:
        """Returns the quietest member whose epsilon is at least ``epsilon``; none if none is."""
        low, high = self.span
        if self.epsilon(low) >= epsilon:
            return low
        loud, step = 0, 64
        while self.epsilon(loud) < epsilon:
            if loud >= high:
                return None
            low, loud, step = loud, min(high, loud + step), 2 * step
        while loud - low > 1:
            middle = (low + loud) // 2
            low, loud = (low, middle) if self.epsilon(middle) >= epsilon else (middle, loud)
        return loud

    def played(self, index: int) -> tuple[TradeOff, ...]:
        """Returns what a member allows, one curve for each order of the worlds that may be played.

        A curve takes false positive rates and returns the largest true positive rates.
        """
        if self.order == "claimed":
            return tuple(self.curve(index).trade_offs())
        forward, backward = self.curve(index).trade_offs()
        return self._of_order(forward, backward)

    def rejected(self, index: int, rejects: Rejects) -> bool:
        """Whether a member is rejected, in every order of the worlds that may be played."""
        return all(rejects(curve) for curve in self.played(index))

    def all_rejected(self, rejects: Rejects) -> bool:
        """Whether not even the loudest member imaginable allows what was measured."""
        return all(rejects(limit) for limit in self.limits())

    def limits(self) -> tuple[TradeOff, ...]:
        """Returns what the loudest member imaginable allows, in the orders of `played`."""
        if self.axis != "noise multiplier":
            return self.played(self.span[1])
        if self.order == "claimed":
            return (partial(_participating_tpr, self.mechanism),)
        forward, backward = (
            partial(noiseless_tpr, self.mechanism, exchanged=order) for order in (False, True)
        )
        return self._of_order(forward, backward)

    def in_one_order(self) -> "tuple[Family, ...]":
        """Returns the family in each order of the worlds that may be played; they share curves."""
        if self.order == "claimed":
            return (self,)
        orders: tuple[Order, ...] = ("forward", "backward")
        return tuple(replace(self, order=one) for one in self._of_order(*orders))

    def loudest_rejected(self, rejects: Rejects) -> Rejected:
        """Returns the loudest member that is rejected.

        Args:
            rejects: Whether a measurement contradicts a curve, given as the largest true positive
                rates at an array of false positive rates. Higher curves must be harder to reject.
        """
        low, high = self.span
        if not self.rejected(low, rejects):
            return Rejected(0.0, None)
        if self.all_rejected(rejects):
            return Rejected(math.inf, None, outside=True)
        quiet, loud = self._narrow(rejects, low, high + 1)
        while loud - quiet > 1:
            middle = (quiet + loud) // 2
            if self.rejected(middle, rejects):
                quiet = middle
            else:
                loud = middle
        return Rejected(self.epsilon(quiet), self.value(quiet), index=quiet)

    def quietest_standing(self, rejects: Rejects) -> float | None:
        """Returns the epsilon of a member that is not rejected, not far above those that are.

        It is a limit on what `loudest_rejected` may find, at fewer curves of loud members.

        Returns:
            None if every member is rejected, or the loudest of the grid.
        """
        low, high = self.span
        if not self.rejected(low, rejects):
            return 0.0
        if self.all_rejected(rejects) or self.rejected(high, rejects):
            return None
        quiet, loud = self._narrow(rejects, low, high)
        while loud - quiet > _COARSE:
            middle = (quiet + loud) // 2
            quiet, loud = (middle, loud) if self.rejected(middle, rejects) else (quiet, middle)
        return self.epsilon(loud)

    def _narrow(self, rejects: Rejects, low: int, high: int) -> tuple[int, int]:
        """Brackets the change by growing steps from the configured one: far curves cost more.

        Returns:
            A member that is rejected, and one beyond it that is not (or the end of the span).
        """
        centre, step = min(0, high - 1), 64
        if self.rejected(centre, rejects):
            quiet = centre
            while quiet + step < high:
                if not self.rejected(quiet + step, rejects):
                    return quiet, quiet + step
                quiet, step = quiet + step, 2 * step
            return quiet, high
        loud = centre
        while loud - step > low:
            if self.rejected(loud - step, rejects):
                return loud - step, loud
            loud, step = loud - step, 2 * step
        return low, loud

    def _of_order(self, forward: _T, backward: _T) -> tuple[_T, ...]:
        if self.order == "either":
            return forward, backward
        return (forward,) if self.order == "forward" else (backward,)

    def _own(self) -> float:
        if self.axis == "noise multiplier":
            return self.mechanism.noise_multiplier
        return float(getattr(self.mechanism, _FIELDS[self.axis]))

    def _bracket(self, index: int) -> tuple[PrivacyCurve, float]:
        if index not in self._brackets:
            member = self.member(index)
            agree = next(agree for last, agree in _AGREE if index <= last)
            if self.order == "claimed":
                found = bracket(member, self.delta, agree)
            else:
                found = pair_bracket(member.pair(), member.compositions, self.delta, agree)
            self._brackets[index] = found.curve, found.lower
        return self._brackets[index]


def _participating_tpr(mechanism: PatchMechanism, fpr: Array) -> Array:
    """Returns the largest true positive rates of any worlds, with no noise at all.

    Runs in which no step shows the patch are alike in both worlds.
    """
    pair, steps = mechanism.pair(), mechanism.compositions
    never = (1 - pair.p[2]) ** steps
    return np.asarray(np.minimum(1.0, fpr + 1 - never))


def noiseless_tpr(mechanism: PatchMechanism, fpr: Array, *, exchanged: bool = False) -> Array:
    """Returns the largest true positive rates that the game's pair allows with no noise at all.

    Every member is a post-processing of that. One +1 in any step gives world A away; failing that
    a -1 speaks for world B by the factor P/Q of its weights, so the best test counts them, and the
    count is binomial in world B.

    Args:
        mechanism: What is played; its noise does not matter.
        fpr: False positive rates, any shape.
        exchanged: Whether world A is Q of the pair.
    """
    pair, steps = mechanism.pair(), mechanism.compositions
    counts = np.arange(steps + 1)
    false_alarms = bdtr(counts, steps, pair.q[0])
    masses = np.diff(false_alarms, prepend=0.0) * (pair.p[0] / pair.q[0]) ** counts
    caught = -math.expm1(steps * math.log1p(-pair.p[2])) if pair.p[2] < 1 else 1.0
    x = np.append(0.0, false_alarms)
    y = np.minimum(caught + np.append(0.0, np.cumsum(masses)), 1.0)
    return np.interp(fpr, 1 - y[::-1], 1 - x[::-1]) if exchanged else np.interp(fpr, x, y)

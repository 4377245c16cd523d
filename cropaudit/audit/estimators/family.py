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
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from cropaudit.accounting.accountant import pair_bracket
from cropaudit.accounting.curves import PrivacyCurve
from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.errors import require

__all__ = ["Axis", "Family", "Rejected", "noiseless_tpr"]

Array = NDArray[np.float64]
Axis = Literal["noise multiplier", "inclusion probability", "sampling rate"]
Rejects = Callable[[Callable[[Array], Array]], bool]

_STEP = 1e-3  # of the grid, in the log of the value
_LOUDER, _QUIETER = 20.0, 100.0  # noise searched: the mechanism's own over and times these
_LEAST = 1e-6  # smallest probability searched
_AGREE = 2e-3  # how far a curve may lie above the truth, relative in epsilon
_FIELDS = {"inclusion probability": "inclusion", "sampling rate": "sample_rate"}


@dataclass(frozen=True)
class Rejected:
    """The loudest member of a family that a measurement contradicts.

    Attributes:
        epsilon: A lower bound on the epsilon of its game at the family's delta; 0 if none is.
        value: Its value on the family's axis; none if no member is rejected, or all are.
        outside: Whether every member is rejected, so that the family has nothing to say.
    """

    epsilon: float
    value: float | None
    outside: bool = False


@dataclass(frozen=True, eq=False)
class Family:
    """A mechanism at every value of one of its numbers.

    Attributes:
        mechanism: Its configured member, and all else that the members have in common.
        delta: For epsilon.
        axis: What varies.

    Raises:
        InputError: If delta is not in (0, 1), or the axis makes no difference to the mechanism.
    """

    mechanism: PatchMechanism
    delta: float
    axis: Axis = "noise multiplier"
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

    def limit(self, fpr: Array) -> Array:
        """Returns what not even the loudest member imaginable allows to exceed."""
        if self.axis == "noise multiplier":
            return noiseless_tpr(self.mechanism, fpr)
        return self.curve(self.span[1]).highest_tpr(fpr)

    def loudest_rejected(self, rejects: Rejects) -> Rejected:
        """Returns the loudest member that is rejected.

        Args:
            rejects: Whether a measurement contradicts a curve, given as the largest true positive
                rates at an array of false positive rates. Higher curves must be harder to reject.
        """
        low, high = self.span
        if not rejects(self.curve(low).highest_tpr):
            return Rejected(0.0, None)
        if rejects(self.limit):
            return Rejected(math.inf, None, outside=True)
        quiet, loud = self._narrow(rejects, low, high + 1)
        while loud - quiet > 1:
            middle = (quiet + loud) // 2
            if rejects(self.curve(middle).highest_tpr):
                quiet = middle
            else:
                loud = middle
        return Rejected(self.epsilon(quiet), self.value(quiet))

    def _narrow(self, rejects: Rejects, low: int, high: int) -> tuple[int, int]:
        """Brackets the change by growing steps from the configured one: far curves cost more.

        Returns:
            A member that is rejected, and one beyond it that is not (or the end of the span).
        """
        centre, step = min(0, high - 1), 64
        if rejects(self.curve(centre).highest_tpr):
            quiet = centre
            while quiet + step < high:
                if not rejects(self.curve(quiet + step).highest_tpr):
                    return quiet, quiet + step
                quiet, step = quiet + step, 2 * step
            return quiet, high
        loud = centre
        while loud - step > low:
            if rejects(self.curve(loud - step).highest_tpr):
                return loud - step, loud
            loud, step = loud - step, 2 * step
        return low, loud

    def _own(self) -> float:
        if self.axis == "noise multiplier":
            return self.mechanism.noise_multiplier
        return float(getattr(self.mechanism, _FIELDS[self.axis]))

    def _bracket(self, index: int) -> tuple[PrivacyCurve, float]:
        if index not in self._brackets:
            member = self.member(index)
            found = pair_bracket(member.pair(), member.compositions, self.delta, _AGREE)
            self._brackets[index] = found.curve, found.lower
        return self._brackets[index]


def noiseless_tpr(mechanism: PatchMechanism, fpr: Array) -> Array:
    """Returns the largest true positive rates that the game's pair allows with no noise at all.

    Every member is a post-processing of that. One +1 in any step gives world A away; failing that
    a -1 speaks for world B by the factor P/Q of its weights, so the best test counts them, and the
    count is binomial in world B. The worse of both directions is taken.

    Args:
        mechanism: What is played; its noise does not matter.
        fpr: False positive rates, any shape.
    """
    pair, steps = mechanism.pair(), mechanism.compositions
    counts = np.arange(steps + 1)
    false_alarms = bdtr(counts, steps, pair.q[0])
    masses = np.diff(false_alarms, prepend=0.0) * (pair.p[0] / pair.q[0]) ** counts
    caught = -math.expm1(steps * math.log1p(-pair.p[2])) if pair.p[2] < 1 else 1.0
    x = np.append(0.0, false_alarms)
    y = np.minimum(caught + np.append(0.0, np.cumsum(masses)), 1.0)
    forward = np.interp(fpr, x, y)
    backward = np.interp(fpr, 1 - y[::-1], 1 - x[::-1])  # the worlds exchanged
    return np.asarray(np.maximum(forward, backward))

"""Group bounds: one patch changes in each of k images, as where one person is in k photographs.

Two bounds, and the smaller one counts. The first holds for every mechanism: a chain of k
neighbours, so that an attack with false positive rate x has at most the power R(...R(x)), R being
the largest power one image away (Dong, Roth and Su 2019, arXiv 1905.02383, theorem 2.14). The
second looks into the step and reveals, alike in both worlds, how many of the images would show the
patch if any does and what they would do if none does (docs/theory.md, Groups); only whether any
does stays hidden.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.accountant import bracket, round_up
from cropaudit.accounting.counts import binomial, hypergeometric
from cropaudit.accounting.curves import PrivacyCurve
from cropaudit.accounting.divergences import Revealed, StepLoss, TopShift
from cropaudit.accounting.mechanisms import (
    PATCH,
    FixedSizePatch,
    FullBatchPatch,
    PatchMechanism,
    PoissonPatch,
)
from cropaudit.errors import require

__all__ = ["GroupStep", "chained_epsilon", "group_epsilon"]

Array = NDArray[np.float64]

_STEP = 5e-4  # of the log of false positive rates: a chained epsilon is that much too high at most


@dataclass(frozen=True)
class GroupStep:
    """A mechanism whose neighbours differ in a patch of each of ``size`` images.

    Attributes:
        base: Poisson, full or fixed-size batches, one crop of an image in a step.
        size: How many images.
        records: Images in the data set; only fixed-size batches use it.
    """

    base: PoissonPatch | FixedSizePatch | FullBatchPatch
    size: int
    records: int

    def __post_init__(self) -> None:
        require(1 <= self.size <= self.records, "group size", "from 1 to all records", self.size)
        require(self.base.crops == 1, "crops", "1 for a group bound in the step", self.base.crops)

    @property
    def adjacency(self) -> str:
        """The neighbouring relation."""
        return f"{PATCH}, in each of {self.size} images"

    @property
    def compositions(self) -> int:
        """How often the step is composed."""
        return self.base.compositions

    @property
    def record_rate(self) -> float:
        """Probability that a step shows any of the patches."""
        q, rho = self.base.sample_rate, self.base.inclusion
        if not self._fixed:
            return -math.expm1(self.size * math.log1p(-q * rho)) if q * rho < 1 else 1.0
        return min(float(self._shown().sum()), 1.0)

    def with_noise(self, noise_multiplier: float) -> Self:
        """Returns the same at another noise multiplier."""
        return replace(self, base=self.base.with_noise(noise_multiplier))

    def with_steps(self, steps: int) -> Self:
        """Returns the same over another number of steps."""
        return replace(self, base=self.base.with_steps(steps))

    def losses(self) -> tuple[StepLoss, ...]:
        """Returns the step as a claim must take it."""
        rate = self.record_rate
        terms = self._fixed_terms() if self._fixed else self._poisson_terms()
        shifts = [TopShift(((-c, 1 - rate),), -m, 0.0, rate, self._noise) for _, c, m in terms]
        weights = np.array([weight for weight, _, _ in terms])
        weights /= weights.sum()  # up to rounding it is 1
        return (StepLoss.both_ways(Revealed(tuple(weights.tolist()), tuple(shifts))),)

    @property
    def _fixed(self) -> bool:
        return isinstance(self.base, FixedSizePatch)

    @property
    def _noise(self) -> float:
        return self.base.noise_multiplier

    def _poisson_terms(self) -> list[tuple[float, float, float]]:
        """Returns (weight, distance of the common part, distance moved) from the top.

        j images show the patch; of these n would have been used, out of view, where none shows it.
        """
        q, rho = self.base.sample_rate, self.base.inclusion
        misses = q * (1 - rho) / (1 - q * rho) if q * rho < 1 else 1.0
        found = []
        for j in range(1, self.size + 1):
            weight = float(binomial(np.array([j]), self.size, q * rho)[0]) / self.record_rate
            for n, share in enumerate(binomial(np.arange(j + 1), j, misses).tolist()):
                found.append((weight * share, float(j + n), 2.0 * j))
        return found

    def _fixed_terms(self) -> list[tuple[float, float, float]]:
        """Returns the same, where a slot of the batch that is not used by one goes to another.

        A batch in which j of h images show the patch, and one in which none of g does, share all
        slots but max(j, h - g, j + g - h); h and g are drawn together, both large or both small.
        """
        rho, shown = self.base.inclusion, self._shown()
        hidden = self._drawn() - shown
        found = []
        for h, g, mass in _together(shown / shown.sum(), hidden / max(hidden.sum(), 1e-300)):
            hits = binomial(np.arange(h + 1), h, rho)
            for j in range(1, h + 1):
                weight = mass * float(hits[j] / hits[1:].sum())
                found.append((weight, 2.0 * max(j, h - g, j + g - h), 2.0 * j))
        return found

    def _shown(self) -> Array:
        """Returns the same law, where at least one of them shows the patch: it adds to the rate."""
        rho, counts = self.base.inclusion, np.arange(self.size + 1)
        return self._drawn() * (-np.expm1(counts * np.log1p(-rho)) if rho < 1 else counts > 0)

    def _drawn(self) -> Array:
        """Returns the law of how many of the images a fixed-size batch holds."""
        batch = round(self.base.sample_rate * self.records)
        counts = np.arange(self.size + 1)
        return np.asarray(hypergeometric(counts, self.records, self.size, batch))


def _together(first: Array, second: Array) -> list[tuple[int, int, float]]:
    """Returns the joint law of two counts drawn by one quantile, as (one, other, probability)."""
    cuts = np.unique(np.concatenate([np.cumsum(first), np.cumsum(second)]).round(15))
    cuts = cuts[(cuts > 0) & (cuts <= 1)]
    masses = np.diff(cuts, prepend=0.0)
    middle = cuts - masses / 2
    last = len(first) - 1
    one = np.minimum(np.searchsorted(np.cumsum(first), middle), last)
    other = np.minimum(np.searchsorted(np.cumsum(second), middle), last)
    return list(zip(one.tolist(), other.tolist(), masses.tolist(), strict=True))


def group_epsilon(
    mechanism: PatchMechanism | Sequence[PatchMechanism], size: int, delta: float, records: int
) -> float:
    """Returns epsilon where one patch changes in each of ``size`` images, rounded up.

    Args:
        mechanism: What runs, or phases one after the other.
        size: How many images.
        delta: Target delta.
        records: Images in the data set.

    Returns:
        Epsilon; infinity where numerical error reaches delta.

    Raises:
        InputError: If size is below 1 or above the records, or delta not in (0, 1).
    """
    require(1 <= size <= records, "group size", f"between 1 and the {records} records", size)
    require(0 < delta < 1, "delta", "in (0, 1)", delta)
    phases = mechanism if isinstance(mechanism, Sequence) else [mechanism]
    found = [chained_epsilon(bracket(phases, delta).curve, size, delta)]
    steps = [_step(phase, size, records) for phase in phases]
    known = [step for step in steps if step is not None]
    if len(known) == len(steps):
        found.append(round_up(bracket(known, delta).upper))
    return min(found)


def _step(mechanism: PatchMechanism, size: int, records: int) -> GroupStep | None:
    match mechanism:
        case PoissonPatch() | FixedSizePatch() | FullBatchPatch() if mechanism.crops == 1:
            return GroupStep(mechanism, size, records)
        case _:
            return None


def chained_epsilon(curve: PrivacyCurve, size: int, delta: float) -> float:
    """Returns the bound of a chain of ``size`` neighbours, rounded up; infinite if none is found.

    Args:
        curve: The trade-off curve of one patch in one image.
        size: How many images.
        delta: Target delta.
    """
    depth = 8.0
    while _chained(curve, np.array([-depth]), size)[0] > delta:
        depth *= 2
        if depth > 1e7:  # a false positive rate of nothing already has that power
            return math.inf
    log_fpr = _axis(curve, size, delta, depth)
    power = _chained(curve, log_fpr, size)
    # Between two points of the axis the power is at most that of the right one.
    return round_up(max(0.0, float((_log_excess(power[1:], delta) - log_fpr[:-1]).max())))


def _axis(curve: PrivacyCurve, size: int, delta: float, depth: float) -> Array:
    """Returns logs of false positive rates, fine wherever epsilon may be decided."""
    coarse = np.linspace(-depth, 0.0, 4001)
    step = coarse[1] - coarse[0]
    odds = _log_excess(_chained(curve, coarse, size), delta) - coarse
    close = odds > odds.max() - 2 * step
    cells = np.flatnonzero(close[:-1] | close[1:])
    count = max(int(step / _STEP), 1) + 1
    fine = [np.linspace(coarse[i], coarse[i + 1], count) for i in cells]
    return np.unique(np.concatenate([coarse, *fine]))


def _log_excess(power: Array, delta: float) -> Array:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.maximum(power - delta, 0.0)))


def _chained(curve: PrivacyCurve, log_fpr: Array, size: int) -> Array:
    power = curve.highest_tpr_log(log_fpr)
    for _ in range(size - 1):
        with np.errstate(divide="ignore"):
            power = curve.highest_tpr_log(np.log(power))
    return power

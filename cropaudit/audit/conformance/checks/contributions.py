"""Reads a trainer's steps: the noisy mean, the noise in it, and what one image adds to it.

Under the null every coordinate bears independent normal noise of one deviation, and each image adds
one and the same norm along a known direction. Contributions are then normal about their value, and
the noise is known from coordinates that no image pulls at, which are independent of them: contrasts
of contributions are of Student's law, exactly.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtr

from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.updates import SCENARIOS, Updates

__all__ = ["SLACK", "Contribution", "Steps", "contrast", "noncentral", "read", "recall", "times"]

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Kind = Literal["both", "one"]

# What rounding in float32 may do to a sum of some hundred terms, relative to it.
SLACK = 1e-4
_MOMENTUM = (0.05, 0.999)
_MOMENTUM_SIGNS = 8.0
_MOMENTUM_AGREES = 0.1
_DECIMALS = 2


@dataclass(frozen=True)
class Contribution:
    """What one image adds, estimated.

    Attributes:
        value: The norm, in units of the reading.
        weight: The estimate's variance is the noise's divided by this; 0 if nothing was measured.
    """

    value: float
    weight: float


@dataclass(frozen=True, eq=False)
class Steps:
    """A reading of the steps.

    Attributes:
        seen: The observation.
        mean: The noisy mean, (T, P), up to a constant factor.
        unit: What turns it into the noisy sum, as claimed; none if the claim is open.
        momentum: That was taken out of it.
        source: Where it was read, in words.
        noise: Deviation of the noise in it.
        freedom: Degrees of freedom of that.
    """

    seen: Updates
    mean: Array
    unit: float | None
    momentum: float
    source: str
    noise: float
    freedom: int

    @property
    def quiet(self) -> Array:
        """The noise alone, (T, Q)."""
        return self.mean[:, self.seen.quiet]

    def pulled(self, matrix: Array, later: int = 0) -> Array:
        """Returns what stands along each pull, (N,), ``later`` steps after it."""
        seen = self.seen
        at = np.minimum(seen.pull_step + later, len(seen) - 1)
        first = np.where(seen.pull_first >= 0, matrix[at, seen.pull_first], 0.0)
        second = np.where(seen.pull_second >= 0, matrix[at, seen.pull_second], 0.0)
        both = (seen.pull_first >= 0) & (seen.pull_second >= 0)
        found: Array = (first + second) / np.where(both, math.sqrt(2), 1.0)
        return found

    def contribution(
        self, kind: Kind, *scenarios: str, large: bool | None = None, matrix: Array | None = None
    ) -> Contribution:
        """Returns what one image adds, by least squares over all pulls of some scenarios.

        Args:
            kind: Of images that pull at both layers, or at one.
            *scenarios: Of `SCENARIOS`.
            large: Of images of that size only.
            matrix: In place of the mean, (T, P).
        """
        chosen = self._of_kind(kind) & self._within(scenarios)
        if large is not None:
            chosen &= self.seen.pull_large == large
        along = self.pulled(self.mean if matrix is None else matrix)
        return _least_squares(along[chosen], self.seen.pull_images[chosen])

    def _of_kind(self, kind: Kind) -> Flags:
        both: Flags = (self.seen.pull_first >= 0) & (self.seen.pull_second >= 0)
        return both if kind == "both" else ~both

    def _within(self, scenarios: tuple[str, ...]) -> Flags:
        wanted = [SCENARIOS.index(name) for name in scenarios]
        return np.isin(self.seen.scenario[self.seen.pull_step], wanted)


def read(seen: Updates, claimed: Claimed) -> Steps:
    """Reads the noisy mean: what the optimiser was handed, else the change of the weights.

    Noise that is added to the weights beside the optimiser shows in the change alone. A momentum
    of the trainer's own is taken out where the pulls of images bear it out as well.
    """
    batch, rate = claimed.batch, claimed.learning_rate
    momentum = 0.0
    if seen.handed.shape[1] and not _noised_beside(seen):
        mean, unit = -seen.handed, float(batch) if batch else None
        source = f"the gradients that {seen.optimiser} was handed"
    else:
        mean, unit = seen.change, batch / rate if batch and rate else None
        mean, momentum = _without_momentum(seen)
        source = "the change of the weights"
    # Which way a class's logit is pushed is the loss's affair.
    draft = _measured(seen, mean, unit, momentum, source)
    facing = draft.contribution("both", "stack").value
    return _measured(seen, -mean, unit, momentum, source) if facing < 0 else draft


def contrast(one: Contribution, other: Contribution, steps: Steps) -> float:
    """Returns the p-value that ``one`` is no more than ``other``; 1 if either is unknown."""
    if not one.weight or not other.weight:
        return 1.0
    apart = one.value - other.value - SLACK * max(abs(one.value), abs(other.value))
    if steps.noise == 0:
        return float(apart <= 0)
    error = steps.noise * math.sqrt(1 / one.weight + 1 / other.weight)
    return float(stdtr(steps.freedom, -apart / error))


def noncentral(found: Contribution, steps: Steps, multiplier: float, slack: float = SLACK) -> float:
    """Returns the p-value that noise over contribution is no less than ``multiplier`` (> 0).

    One less it, with a negative slack, is the p-value that the ratio is no more.

    The ratio is of the noncentral t law; its normal approximation is that of Abramowitz and Stegun
    26.7.10, whose error is of the order of 1 / freedom.
    """
    if not found.weight:
        return 1.0
    if steps.noise == 0:
        return 0.0 if found.value > 0 else 1.0
    root, freedom = math.sqrt(found.weight), steps.freedom
    ratio = found.value * (1 - slack) * root / steps.noise
    z = (ratio * (1 - 1 / (4 * freedom)) - root / multiplier) / math.sqrt(
        1 + ratio**2 / (2 * freedom)
    )
    return float(ndtr(-z))


def recall(steps: Steps, matrix: Array) -> Contribution:
    """Returns what is left of an image's pull one step later, along what nobody pulls at then."""
    seen = steps.seen
    busy = np.zeros(matrix.shape, dtype=np.bool_)
    for coordinate in (seen.pull_first, seen.pull_second):
        there = coordinate >= 0
        busy[seen.pull_step[there], coordinate[there]] = True
    last = seen.pull_step + 1 >= len(seen)
    free = (steps.pulled(busy.astype(np.float64), later=1) == 0) & ~last
    return _least_squares(steps.pulled(matrix, later=1)[free], seen.pull_images[free])


def times(value: float) -> str:
    """Writes a factor with three digits."""
    return f"{value:.3g}"


def _measured(
    seen: Updates, mean: Array, unit: float | None, momentum: float, source: str
) -> Steps:
    quiet = mean[:, seen.quiet]
    noise = float(np.sqrt(np.mean(quiet**2)))
    return Steps(seen, mean, unit, momentum, source, noise, quiet.size)


def _least_squares(along: Array, images: NDArray[np.int64]) -> Contribution:
    weight = float(np.sum(images.astype(np.float64) ** 2))
    return Contribution(float(np.sum(images * along)) / weight if weight else 0.0, weight)


def _noised_beside(seen: Updates) -> bool:
    if seen.handed[:, seen.quiet].any() or not seen.replayed.shape[1]:
        return False
    beside = np.abs(seen.change - seen.replayed)[:, seen.quiet]
    return bool(beside.max() > 0)


def _without_momentum(seen: Updates) -> tuple[Array, float]:
    """Returns the changes less the momentum that noise and pulls agree on, and that momentum."""
    change = seen.change
    before, after = change[:-1, seen.quiet], change[1:, seen.quiet]
    total = float(np.sum(before**2))
    if total == 0:
        return change, 0.0
    echo = float(np.sum(before * after)) / total
    rough = _measured(seen, change, None, 0.0, "")
    pull = rough.contribution("both", "stack", "single", "distinct", "large", "mixed")
    kept = recall(rough, change).value / pull.value if pull.value else 0.0
    certain = abs(echo) * math.sqrt(before.size) > _MOMENTUM_SIGNS
    least, most = _MOMENTUM
    if not (certain and least < echo < most and abs(kept - echo) < _MOMENTUM_AGREES):
        return change, 0.0
    momentum = round(echo, _DECIMALS)
    return np.concatenate([change[:1], change[1:] - momentum * change[:-1]]), momentum

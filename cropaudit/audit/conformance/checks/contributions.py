"""Reads a trainer's steps: the noisy mean, the noise in it, and what one image adds to it.

Under the null every coordinate bears independent normal noise of one deviation, and each image adds
one and the same norm along a known direction. Contributions are then normal about their value, and
the noise is known from coordinates that no image pulls at, which are independent of them: contrasts
of contributions are of Student's law, exactly.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtr

from cropaudit.audit.conformance.checks.scales import Scale, rms, saturated, scale_of
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.updates import SCENARIOS, SIZES, Updates

__all__ = [
    "FEW_STEPS",
    "SLACK",
    "Contribution",
    "Steps",
    "contrast",
    "noncentral",
    "read",
    "recall",
    "times",
    "unreadable",
]

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Kind = Literal["both", "one", "all"]
# Coordinates of a pull: at both wide parameters, at one parameter, or at every one.
_DEGREES: dict[Kind, tuple[int, int]] = {"one": (1, 1), "both": (2, 2), "all": (3, 1000)}

# What rounding in float32 may do to a sum of some hundred terms, relative to it.
SLACK = 1e-4
_MOMENTUM = (0.05, 0.999)
_MOMENTUM_SIGNS = 8.0
_MOMENTUM_AGREES = 0.1
_DECIMALS = 2
FEW_STEPS = 8


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
        scale: What multiplies noise and images alike, step by step; taken out of ``mean``.
        limited: Whether coordinates are cut to a largest value.
        noised: Parameters whose noise is not far below that of the others.
    """

    seen: Updates
    mean: Array
    unit: float | None
    momentum: float
    source: str
    noise: float
    freedom: int
    scale: Scale
    limited: bool = False
    noised: tuple[int, ...] = ()

    @cached_property
    def quiet(self) -> Array:
        """The noise alone, (T, Q)."""
        return self.mean[:, self.seen.quiet]

    @cached_property
    def live(self) -> Flags:
        """Steps that did anything, (T,); all if none bears noise."""
        found: Flags = np.any(self.quiet != 0, axis=1)
        return found if found.any() else np.ones_like(found)

    @cached_property
    def along(self) -> Array:
        """What stands along each pull, (N,)."""
        return self.pulled(self.mean)

    @cached_property
    def alone(self) -> Array:
        """The noise of the steps that did anything, in parameters that are noised, (T', Q')."""
        layers = self.seen.layer[self.seen.quiet]
        return self.quiet[np.ix_(self.live, np.isin(layers, self.noised))]

    def pulled(self, matrix: Array, later: int = 0) -> Array:
        """Returns what stands along each pull, (N,), ``later`` steps after it."""
        seen = self.seen
        step = np.minimum(seen.pull_step + later, len(seen) - 1)
        found = np.zeros(len(step))
        for column in seen.pull_at.T:
            found += np.where(column >= 0, matrix[step, column], 0.0)
        return found / np.sqrt(seen.degree)

    def chosen(
        self, kind: Kind, *scenarios: str, size: float | None = None, layer: int | None = None
    ) -> Flags:
        """Returns the pulls of some kind, scenarios, size and, if of one parameter, that one."""
        least, most = _DEGREES[kind]
        degree = self.seen.degree
        chosen: Flags = (degree >= least) & (degree <= most) & self._within(scenarios)
        # A step that is left out is a finding of its own, and says nothing of contributions.
        chosen &= self.live[self.seen.pull_step]
        if size is not None:
            chosen &= self.seen.pull_size == size
        if layer is not None:
            chosen &= self.seen.layer[self.seen.pull_at[:, 0]] == layer
        return chosen

    def contribution(
        self,
        kind: Kind,
        *scenarios: str,
        size: float | None = None,
        layer: int | None = None,
        matrix: Array | None = None,
    ) -> Contribution:
        """Returns what one image adds, by least squares over all pulls of some scenarios.

        Args:
            kind: Of images that pull at one parameter, at both wide ones, or at all.
            *scenarios: Of `SCENARIOS`.
            size: Of images of that size only.
            layer: Of images that pull at that parameter only.
            matrix: In place of the mean, (T, P).
        """
        chosen = self.chosen(kind, *scenarios, size=size, layer=layer)
        along = self.along if matrix is None else self.pulled(matrix)
        spread = 0.0 if matrix is not None else self.scale.error**2 / (self.noise**2 or 1.0)
        return _least_squares(along[chosen], self.seen.pull_images[chosen], spread)

    def _within(self, scenarios: tuple[str, ...]) -> Flags:
        wanted = [SCENARIOS.index(name) for name in scenarios]
        return np.isin(self.seen.scenario[self.seen.pull_step], wanted)


@lru_cache(maxsize=2)
def read(seen: Updates, claimed: Claimed) -> Steps:
    """Reads the noisy mean: what the optimiser was handed, else the change of the weights.

    Noise that is added to the weights beside the optimiser shows in the change alone. A momentum
    of the trainer's own is taken out where the pulls of images bear it out as well.
    """
    batch, rate = claimed.batch, claimed.learning_rate
    momentum = 0.0
    if len(seen) < FEW_STEPS:
        return Steps(seen, seen.change, None, 0.0, "", 0.0, 1, Scale.none(len(seen)))
    if seen.handed.shape[1] and not _noised_beside(seen):
        mean, unit = -seen.handed, float(batch) if batch else None
        source = f"the gradients that {seen.optimiser} was handed"
    else:
        mean, unit = seen.change, batch / rate if batch and rate else None
        mean, momentum = _without_momentum(seen)
        source = "the change of the weights"
    scale = scale_of(seen, mean, batch)
    if scale.kind in ("norm", "time"):
        unit = None
    mean = mean / scale.factor[:, None]
    # Which way a class's logit is pushed is the loss's affair.
    draft = _measured(seen, mean, unit, momentum, source, scale)
    facing = draft.contribution("both", "stack", "single", "ladder").value
    return _measured(seen, -mean, unit, momentum, source, scale) if facing < 0 else draft


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
    for coordinate in seen.pull_at.T:
        there = coordinate >= 0
        busy[seen.pull_step[there], coordinate[there]] = True
    last = seen.pull_step + 1 >= len(seen)
    # The pulls of the next step touch none of a pull's coordinates.
    free = (steps.pulled(busy.astype(np.float64), later=1) == 0) & ~last
    free &= seen.pull_size >= SIZES[0]
    return _least_squares(steps.pulled(matrix, later=1)[free], seen.pull_images[free])


def times(value: float) -> str:
    """Writes a factor with three digits."""
    return f"{value:.3g}"


def _measured(
    seen: Updates, mean: Array, unit: float | None, momentum: float, source: str, scale: Scale
) -> Steps:
    quiet = mean[:, seen.quiet]
    # Parameters that are noised by far less are a finding of their own, and no measure of noise.
    layers = seen.layer[seen.quiet]
    squares = np.array([np.mean(quiet[:, layers == k] ** 2) for k in np.unique(layers)])
    noised = tuple(np.unique(layers)[4 * squares >= np.median(squares)].tolist())
    limited = saturated(mean, seen.quiet)
    draft = Steps(seen, mean, unit, momentum, source, 0.0, 1, scale, limited, noised)
    return replace(draft, noise=rms(draft.alone), freedom=draft.alone.size)


def _least_squares(along: Array, images: NDArray[np.int64], spread: float = 0.0) -> Contribution:
    """Fits along = value * images.

    Args:
        along: Shape (n,).
        images: Likewise.
        spread: Variance of a step's factor over that of its noise, per squared value.
    """
    if not np.any(images):
        return Contribution(0.0, 0.0)
    count = images.astype(np.float64)
    value = float(np.sum(count * along) / np.sum(count**2))
    variance = 1 + spread * (value * count) ** 2
    weight = float(np.sum(count**2 / variance))
    return Contribution(float(np.sum(count * along / variance)) / weight, weight)


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
    rough = _measured(seen, change, None, 0.0, "", Scale.none(len(change)))
    pull = rough.contribution("both", "stack", "single", "distinct", "large", "mixed")
    kept = recall(rough, change).value / pull.value if pull.value else 0.0
    certain = abs(echo) * math.sqrt(before.size) > _MOMENTUM_SIGNS
    least, most = _MOMENTUM
    if not (certain and least < echo < most and abs(kept - echo) < _MOMENTUM_AGREES):
        return change, 0.0
    momentum = round(echo, _DECIMALS)
    return np.concatenate([change[:1], change[1:] - momentum * change[:-1]]), momentum


def unreadable(steps: Steps) -> str:
    """Returns why noise and contributions cannot be told from the steps; empty if they can."""
    if len(steps.seen) < FEW_STEPS:
        return "the steps left weights that are not finite (see finite updates): nothing was read"
    if steps.limited:
        return (
            "the update is cut to a largest value, coordinate by coordinate, or is a sign: of a "
            "noisy sum that is post-processing and costs no privacy, but neither noise nor "
            "contributions can be read behind it: hand the step before it to the probe"
        )
    return ""

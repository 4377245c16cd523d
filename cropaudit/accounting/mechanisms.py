"""Frozen descriptions of DP-SGD on random crops, and of the short cuts that are no bounds for it.

Adjacency is patch substitution: one image differs inside one patch. Each description names the
worst one-step pair (Durmaz et al., TMLR 2026, arXiv 2603.24695, for fixed-size batches;
docs/theory.md for Poisson sampling and for shuffling) and how many steps take part. Nothing is
composed here.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, Self

from cropaudit.accounting.pairs import StepPair
from cropaudit.errors import require

__all__ = [
    "AddRemoveShortcut",
    "FixedSizePatch",
    "Mechanism",
    "PatchMechanism",
    "PoissonPatch",
    "ReplaceOneShortcut",
    "SamplerName",
    "ShufflePatch",
    "patch_mechanism",
]

SamplerName = Literal["poisson", "fixed", "shuffle"]


@dataclass(frozen=True)
class _Base:
    """What every mechanism states.

    Attributes:
        noise_multiplier: Noise deviation in units of the clipping norm, as in Opacus.
        sample_rate: Probability that a step uses the record (batch over records).
        inclusion: Worst-case probability that a crop meets the patch; 1 without crops.
        steps: Optimiser steps; for `ShufflePatch`, see there.
    """

    noise_multiplier: float
    sample_rate: float
    inclusion: float
    steps: int

    def __post_init__(self) -> None:
        sigma, q, rho = self.noise_multiplier, self.sample_rate, self.inclusion
        require(0 < sigma < math.inf, "noise multiplier", "positive and finite", sigma)
        require(0 < q <= 1, "sampling rate", "in (0, 1]", q)
        require(0 <= rho <= 1, "inclusion probability", "in [0, 1]", rho)
        require(self.steps >= 1, "steps", "at least 1", self.steps)

    @property
    def record_rate(self) -> float:
        """Probability that one step uses a crop that meets the patch."""
        return self.sample_rate * self.inclusion

    @property
    def compositions(self) -> int:
        """How often the one-step pair is composed."""
        return self.steps

    def with_noise(self, noise_multiplier: float) -> Self:
        """Returns the same mechanism at another noise multiplier."""
        return replace(self, noise_multiplier=noise_multiplier)

    def without_crop(self) -> Self:
        """Returns the same mechanism where every window meets the patch."""
        return replace(self, inclusion=1.0)


@dataclass(frozen=True)
class PoissonPatch(_Base):
    """Each record joins a step by its own coin flip (Opacus' DPDataLoader).

    Worst case: P = (1-q) N(0) + q(1-rho) N(-1) + q rho N(+1), Q = (1-q) N(0) + q N(-1). A crop that
    misses the patch may give the very gradient that the replaced patch gives.
    """

    def pair(self) -> StepPair:
        """Returns the dominating pair of one step."""
        q, rho = self.sample_rate, self.inclusion
        return StepPair((q * (1 - rho), 1 - q, q * rho), (q, 1 - q, 0.0), self.noise_multiplier)


@dataclass(frozen=True)
class FixedSizePatch(_Base):
    """Each step draws a batch of fixed size without replacement, afresh.

    Worst case (the paper): P = (1-r) N(-1) + r N(+1), Q = N(-1), r = q rho: the records that fill
    the batch when the audited one is absent may all give -1.
    """

    def pair(self) -> StepPair:
        """Returns the dominating pair of one step."""
        r = self.record_rate
        return StepPair((1 - r, 0.0, r), (1.0, 0.0, 0.0), self.noise_multiplier)


@dataclass(frozen=True)
class ShufflePatch(_Base):
    """Batches in an order fixed without looking at the data, each record once an epoch.

    Given the order, a step without the record is free; a step with it is the fixed-size pair at
    sampling rate 1. Only participations compose: `epochs` where given, else
    ceil(steps x sampling rate), which covers loaders that keep the last short batch.
    """

    epochs: int | None = None

    def pair(self) -> StepPair:
        """Returns the dominating pair of one participation."""
        rho = self.inclusion
        return StepPair((1 - rho, 0.0, rho), (1.0, 0.0, 0.0), self.noise_multiplier)

    @property
    def compositions(self) -> int:
        """Participations of one record."""
        if self.epochs is not None:
            return self.epochs
        return math.ceil(round(self.steps * self.sample_rate, 9))


@dataclass(frozen=True)
class AddRemoveShortcut(_Base):
    """The add/remove accountant with the rate q rho put in. NOT a bound for patch substitution."""

    def pair(self) -> StepPair:
        """Returns the Poisson-subsampled Gaussian at sensitivity 1."""
        r = self.record_rate
        return StepPair((0.0, 1 - r, r), (0.0, 1.0, 0.0), self.noise_multiplier)


@dataclass(frozen=True)
class ReplaceOneShortcut(_Base):
    """Poisson REPLACE_ONE with the rate q rho put in. NOT a bound: misses need not give 0."""

    def pair(self) -> StepPair:
        """Returns the pair (1-r) N(0) + r N(+1) against (1-r) N(0) + r N(-1)."""
        r = self.record_rate
        return StepPair((0.0, 1 - r, r), (r, 1 - r, 0.0), self.noise_multiplier)


PatchMechanism = PoissonPatch | FixedSizePatch | ShufflePatch
Mechanism = PoissonPatch | FixedSizePatch | ShufflePatch | AddRemoveShortcut | ReplaceOneShortcut


def patch_mechanism(
    sampler: SamplerName,
    *,
    noise_multiplier: float,
    batch: int,
    records: int,
    inclusion: float,
    steps: int,
    epochs: int | None = None,
) -> PatchMechanism:
    """Returns the patch-level mechanism of a sampler.

    Args:
        sampler: How batches are drawn.
        noise_multiplier: In units of the clipping norm.
        batch: Batch size; its expectation under Poisson sampling.
        records: Images in the data set.
        inclusion: Worst-case inclusion probability.
        steps: Optimiser steps.
        epochs: Epochs, where the run is given in epochs; only shuffling uses it.

    Raises:
        InputError: If a value is out of range.
    """
    require(records >= 1, "records", "at least 1", records)
    require(1 <= batch <= records, "batch", f"between 1 and the {records} records", batch)
    rate = batch / records
    match sampler:
        case "poisson":
            return PoissonPatch(noise_multiplier, rate, inclusion, steps)
        case "fixed":
            return FixedSizePatch(noise_multiplier, rate, inclusion, steps)
        case "shuffle":
            return ShufflePatch(noise_multiplier, rate, inclusion, steps, epochs)

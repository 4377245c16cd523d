"""Frozen descriptions of DP-SGD on random crops, and of the short cuts that are no bounds for it.

Adjacency is patch substitution: one image differs inside one patch. Each description names the
worst one-step pair (Durmaz et al., TMLR 2026, arXiv 2603.24695, for fixed-size batches;
docs/theory.md for the others) and how many steps take part. Nothing is composed here.
"""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from cropaudit.accounting.counts import averaged
from cropaudit.accounting.crops_apart import apart_game, apart_loss
from cropaudit.accounting.divergences import StepLoss
from cropaudit.accounting.pairs import MixturePair, StepPair, require_noise
from cropaudit.errors import require

__all__ = [
    "AddRemoveRecord",
    "AddRemoveShortcut",
    "CyclicPatch",
    "FixedSizePatch",
    "FullBatchPatch",
    "Mechanism",
    "PatchMechanism",
    "PoissonPatch",
    "ReplaceOneShortcut",
    "ShufflePatch",
]

PATCH = "patch substitution: one image differs inside one patch, pixels and labels"
RECORD = "add or remove one whole image"
MOST_PHASES = 200
"""Phases that one composition may have."""

_MOST_STEPS, _MOST_CROPS = 10**9, 256


@dataclass(frozen=True)
class _Base:
    """What every mechanism states.

    Attributes:
        noise_multiplier: Noise deviation in units of the clipping norm, as in Opacus; 0 for a
            pipeline without noise, whose epsilon is infinite unless the patch is hardly ever seen.
        sample_rate: Probability that a step uses the record (batch over records).
        inclusion: Worst-case probability that a crop meets the patch; 1 without crops.
        steps: Optimiser steps; for samplers of a fixed order, see there.
    """

    kind: ClassVar[str]
    adjacency: ClassVar[str] = PATCH
    is_bound: ClassVar[bool] = True

    noise_multiplier: float
    sample_rate: float
    inclusion: float
    steps: int

    def __post_init__(self) -> None:
        sigma, q, rho = self.noise_multiplier, self.sample_rate, self.inclusion
        require_noise(sigma)
        require(0 < q <= 1, "sampling rate", "in (0, 1]", q)
        require(0 <= rho <= 1, "inclusion probability", "in [0, 1]", rho)
        require(self.steps >= 1, "steps", "at least 1", self.steps)
        require(self.steps <= _MOST_STEPS, "steps", f"at most {_MOST_STEPS}", self.steps)

    @property
    def record_rate(self) -> float:
        """Probability that one step uses a crop that meets the patch."""
        return self.sample_rate * self.inclusion

    @property
    def compositions(self) -> int:
        """How often the one-step pair is composed."""
        return self.steps

    def pair(self) -> StepPair:
        """Returns the pair of one step that a game plays."""
        raise NotImplementedError

    def losses(self) -> tuple[StepLoss, ...]:
        """Returns the step as a claim must take it, for each order of worlds to compose apart."""
        return (StepLoss.claimed(self.pair()),)

    def with_noise(self, noise_multiplier: float) -> Self:
        """Returns the same mechanism at another noise multiplier."""
        return replace(self, noise_multiplier=noise_multiplier)

    def with_steps(self, steps: int) -> Self:
        """Returns the same mechanism over another number of steps."""
        return replace(self, steps=steps)

    def without_crop(self) -> Self:
        """Returns the same mechanism where every window meets the patch."""
        return replace(self, inclusion=1.0)


@dataclass(frozen=True)
class _Patch(_Base):
    """A mechanism under patch substitution.

    Attributes:
        crops: Crops of one image in one step, each clipped on its own and all summed. Crops that
            are averaged before clipping are one crop whose inclusion probability is
            1 - (1 - rho)^K.
    """

    # What a crop adds where the record is absent: 0, or the -1 of a substitute.
    absent: ClassVar[float] = 0.0

    crops: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.crops >= 1, "crops", "at least 1", self.crops)
        require(self.crops <= _MOST_CROPS, "crops", f"at most {_MOST_CROPS}", self.crops)

    @property
    def record_rate(self) -> float:
        """Probability that one step uses a crop that meets the patch."""
        return self.sample_rate * averaged(self.inclusion, self.crops)

    def rate(self) -> float:
        """Returns the probability that a composed step uses the record."""
        return self.sample_rate

    def pair(self) -> StepPair:
        """Returns the pair of one step that a game plays; it dominates.

        Raises:
            InputError: If several crops are clipped apart: see `game`.
        """
        require(self.crops == 1, "crops", "1 for a pair on three means", self.crops)
        q, rho = self.rate(), self.inclusion
        if self.absent == 0.0:
            return StepPair((q * (1 - rho), 1 - q, q * rho), (q, 1 - q, 0.0), self.noise_multiplier)
        r = q * rho
        return StepPair((1 - r, 0.0, r), (1.0, 0.0, 0.0), self.noise_multiplier)

    def game(self) -> StepPair | MixturePair:
        """Returns a pair of worlds that gradients can really bring about.

        Its likelihood ratio is an attack's best score of a step. For one crop it is the dominating
        pair; for several it lies below the bound.
        """
        if self.crops == 1:
            return self.pair()
        shape = self.crops, self.rate(), self.inclusion, self.absent
        return apart_game(*shape, self.noise_multiplier)

    def losses(self) -> tuple[StepLoss, ...]:
        """Returns the step as a claim must take it: the order may change in every step."""
        if self.crops == 1:
            return (StepLoss.claimed(self.pair()),)
        shape = self.crops, self.rate(), self.inclusion, self.absent
        return (StepLoss.both_ways(apart_loss(*shape, self.noise_multiplier)),)


@dataclass(frozen=True)
class PoissonPatch(_Patch):
    """Each record joins a step by its own coin flip (Opacus' DPDataLoader).

    Worst case: P = (1-q) N(0) + q(1-rho) N(-1) + q rho N(+1), Q = (1-q) N(0) + q N(-1). A crop that
    misses the patch may give the very gradient that the replaced patch gives.
    """

    kind: ClassVar[str] = "poisson"


@dataclass(frozen=True)
class FixedSizePatch(_Patch):
    """Each step draws a batch of fixed size without replacement, afresh.

    Worst case (the paper): P = (1-r) N(-1) + r N(+1), Q = N(-1), r = q rho: the records that fill
    the batch when the audited one is absent may all give -1.
    """

    kind: ClassVar[str] = "fixed"
    absent: ClassVar[float] = -1.0


@dataclass(frozen=True)
class _Ordered(_Patch):
    """Batches in an order fixed without looking at the data.

    Given the order, a step without the record is free; a step with it is the fixed-size pair at
    sampling rate 1. Only participations compose: ``epochs`` where given (epochs begun, if the last
    is not whole). Else one in every floor(1 / sampling rate) steps, which also covers loaders that
    drop the last short batch.
    """

    absent: ClassVar[float] = -1.0  # without weight: a composed step uses the record

    epochs: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs is not None:
            require(self.epochs >= 1, "epochs", "at least 1", self.epochs)
            require(self.epochs <= _MOST_STEPS, "epochs", f"at most {_MOST_STEPS}", self.epochs)

    def rate(self) -> float:
        """Returns 1: a composed step is one that uses the record."""
        return 1.0

    def with_steps(self, steps: int) -> Self:
        """Returns the same batches over so many steps; they, not epochs, then count."""
        return replace(self, steps=steps, epochs=None)

    @property
    def compositions(self) -> int:
        """Participations of one record, at most."""
        if self.epochs is not None:
            return self.epochs
        period = math.floor(min(round(1 / self.sample_rate, 9), 1e18))
        return -(-self.steps // period)


@dataclass(frozen=True)
class ShufflePatch(_Ordered):
    """Each epoch goes through the records in a new random order."""

    kind: ClassVar[str] = "shuffle"


@dataclass(frozen=True)
class CyclicPatch(_Ordered):
    """The same batches come round in the same order, again and again."""

    kind: ClassVar[str] = "cyclic"


@dataclass(frozen=True)
class FullBatchPatch(_Patch):
    """Every step uses every record."""

    kind: ClassVar[str] = "full"
    absent: ClassVar[float] = -1.0  # without weight: every step uses the record

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.sample_rate == 1, "sampling rate", "1 for full batches", self.sample_rate)


@dataclass(frozen=True)
class AddRemoveShortcut(_Base):
    """The add/remove accountant with the rate q rho put in. NOT a bound for patch substitution."""

    kind: ClassVar[str] = "add-remove-shortcut"
    is_bound: ClassVar[bool] = False

    def pair(self) -> StepPair:
        """Returns the Poisson-subsampled Gaussian at sensitivity 1."""
        r = self.record_rate
        return StepPair((0.0, 1 - r, r), (0.0, 1.0, 0.0), self.noise_multiplier)

    def losses(self) -> tuple[StepLoss, ...]:
        """Returns both directions apart: a record that is added stays added."""
        played = StepLoss.played(self.pair())
        return played, played.swapped()


@dataclass(frozen=True)
class AddRemoveRecord(AddRemoveShortcut):
    """Poisson sampling under add/remove of a whole image: what Opacus and dp-accounting report.

    Another adjacency, and a bound for it. It says nothing about replacing a patch, which moves a
    gradient twice as far; crops do not amplify it.
    """

    kind: ClassVar[str] = "add-remove"
    adjacency: ClassVar[str] = RECORD
    is_bound: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.inclusion == 1, "inclusion probability", "1 for whole images", self.inclusion)


@dataclass(frozen=True)
class ReplaceOneShortcut(_Base):
    """Poisson REPLACE_ONE with the rate q rho put in. NOT a bound: misses need not give 0."""

    kind: ClassVar[str] = "replace-one-shortcut"
    is_bound: ClassVar[bool] = False

    def pair(self) -> StepPair:
        """Returns the pair (1-r) N(0) + r N(+1) against (1-r) N(0) + r N(-1)."""
        r = self.record_rate
        return StepPair((0.0, 1 - r, r), (r, 1 - r, 0.0), self.noise_multiplier)


PatchMechanism = PoissonPatch | FixedSizePatch | ShufflePatch | CyclicPatch | FullBatchPatch
Mechanism = PatchMechanism | AddRemoveShortcut | ReplaceOneShortcut

"""The amplified bound of one pipeline, with everything that a reader sets beside it."""

import math
from dataclasses import dataclass

from cropaudit.accounting.accountant import calibrate_noise, epsilon_at
from cropaudit.accounting.geometry import Crop, Patch, Size
from cropaudit.accounting.inclusion import worst_inclusion
from cropaudit.accounting.mechanisms import SamplerName, patch_mechanism
from cropaudit.accounting.shortcuts import ShortcutEpsilon, shortcut_epsilons
from cropaudit.errors import InputError, require

__all__ = ["PatchBound", "Pipeline", "bound"]


@dataclass(frozen=True)
class Pipeline:
    """A training pipeline, as far as its privacy goes.

    Attributes:
        images: The distinct image sizes.
        crop: Window and padding.
        patch: What may differ between neighbours.
        sampler: How batches are drawn.
        batch: Batch size, expected under Poisson sampling.
        records: Images in the data set.
        steps: Optimiser steps, or none when epochs are given.
        epochs: Epochs, each of ceil(records / batch) steps.
    """

    images: tuple[Size, ...]
    crop: Crop
    patch: Patch
    sampler: SamplerName
    batch: int
    records: int
    steps: int | None = None
    epochs: int | None = None

    def total_steps(self) -> int:
        """Returns the number of steps.

        Raises:
            InputError: If not exactly one of steps and epochs is given, or it is below 1.
        """
        if (self.steps is None) == (self.epochs is None):
            raise InputError("steps or epochs must be given, and not both")
        require(self.records >= 1, "records", "at least 1", self.records)
        require(
            1 <= self.batch <= self.records,
            "batch",
            f"between 1 and the {self.records} records",
            self.batch,
        )
        if self.epochs is not None:
            require(self.epochs >= 1, "epochs", "at least 1", self.epochs)
            return self.epochs * math.ceil(self.records / self.batch)
        assert self.steps is not None
        require(self.steps >= 1, "steps", "at least 1", self.steps)
        return self.steps


@dataclass(frozen=True)
class PatchBound:
    """Upper bounds on epsilon under patch substitution, and what they rest on.

    Attributes:
        adjacency: The neighbouring relation.
        sampler: The sampler that the bounds hold for.
        image: The worst image size.
        inclusion_probability: Worst case over places and images.
        worst_position: Row and column of the patch's top left there.
        sample_rate: Batch over records.
        record_rate: Sampling rate times inclusion probability.
        steps: Optimiser steps.
        compositions: Steps that can use one record: all, or its participations under shuffling.
        noise_multiplier: In units of the clipping norm.
        delta: The delta of every epsilon here.
        epsilon: The bound.
        epsilon_without_crop: The same sampler where every window meets the patch.
        shortcuts: What wrong short cuts would claim.
    """

    adjacency: str
    sampler: SamplerName
    image: str
    inclusion_probability: float
    worst_position: tuple[int, int]
    sample_rate: float
    record_rate: float
    steps: int
    compositions: int
    noise_multiplier: float
    delta: float
    epsilon: float
    epsilon_without_crop: float
    shortcuts: tuple[ShortcutEpsilon, ...]


def bound(
    pipeline: Pipeline,
    delta: float,
    *,
    noise_multiplier: float | None = None,
    target_epsilon: float | None = None,
) -> PatchBound:
    """Computes the bound of a pipeline, or the noise that it needs.

    Args:
        pipeline: What runs.
        delta: Target delta, in (0, 1).
        noise_multiplier: The noise, or none to solve for it.
        target_epsilon: The epsilon to solve for.

    Raises:
        InputError: If a value is out of range, or not exactly one of the two is given.

    >>> from cropaudit.accounting.geometry import Rectangle
    >>> street = Pipeline((Size(1024, 2048),), Crop(Size(505, 505)), Rectangle(Size(10, 10)),
    ...                   "fixed", batch=200, records=2975, epochs=100)
    >>> result = bound(street, 1 / 2975, noise_multiplier=1.0)
    >>> round(result.inclusion_probability, 6), round(result.epsilon, 1)
    (0.32906, 32.7)
    """
    if (noise_multiplier is None) == (target_epsilon is None):
        raise InputError("noise multiplier or target epsilon must be given, and not both")
    require(0 < delta < 1, "delta", "in (0, 1)", delta)
    steps = pipeline.total_steps()
    worst = worst_inclusion(pipeline.images, pipeline.crop, pipeline.patch)
    mechanism = patch_mechanism(
        pipeline.sampler,
        noise_multiplier=1.0 if noise_multiplier is None else noise_multiplier,
        batch=pipeline.batch,
        records=pipeline.records,
        inclusion=worst.probability,
        steps=steps,
        epochs=pipeline.epochs,
    )
    if target_epsilon is not None:
        mechanism = mechanism.with_noise(calibrate_noise(mechanism, delta, target_epsilon))
    return PatchBound(
        adjacency="patch substitution: one image differs inside one patch, pixels and labels",
        sampler=pipeline.sampler,
        image=str(worst.image),
        inclusion_probability=worst.probability,
        worst_position=worst.position,
        sample_rate=mechanism.sample_rate,
        record_rate=mechanism.record_rate,
        steps=steps,
        compositions=mechanism.compositions,
        noise_multiplier=mechanism.noise_multiplier,
        delta=delta,
        epsilon=epsilon_at(mechanism, delta),
        epsilon_without_crop=epsilon_at(mechanism.without_crop(), delta),
        shortcuts=shortcut_epsilons(mechanism, delta),
    )

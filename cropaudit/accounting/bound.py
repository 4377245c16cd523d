"""The amplified bound of a pipeline, with everything that a reader sets beside it."""

from collections.abc import Sequence
from dataclasses import dataclass

from cropaudit.accounting.accountant import bracket, calibrate_noise, epsilon_at, told_epsilon
from cropaudit.accounting.groups import group_epsilon
from cropaudit.accounting.inclusion import Inclusion
from cropaudit.accounting.mechanisms import PATCH, AddRemoveRecord, PatchMechanism
from cropaudit.accounting.names import SamplerName
from cropaudit.accounting.pipelines import Pipeline
from cropaudit.accounting.risk import Risk, operational_risk
from cropaudit.accounting.shortcuts import ShortcutEpsilon, shortcut_epsilons
from cropaudit.accounting.warnings import pipeline_warnings
from cropaudit.errors import InputError, require

__all__ = ["GroupBound", "PatchBound", "Phase", "Pipeline", "bound", "bound_phases"]


@dataclass(frozen=True)
class Phase:
    """A part of the training that runs with settings of its own.

    Attributes:
        pipeline: What runs.
        noise_multiplier: In units of the clipping norm.
    """

    pipeline: Pipeline
    noise_multiplier: float


@dataclass(frozen=True)
class GroupBound:
    """Epsilon where one patch changes in each of several images, as of one person.

    Attributes:
        size: How many images.
        epsilon: The bound; infinite where numerics give none.
    """

    size: int
    epsilon: float


@dataclass(frozen=True)
class PatchBound:
    """Upper bounds on epsilon under patch substitution, and what they rest on.

    Attributes:
        adjacency: The neighbouring relation.
        sampler: The sampler that the bounds hold for; of phases the first one's.
        image: The worst image size.
        patch: The worst patch.
        inclusion_probability: Probability that a step which uses an image shows its patch to the
            model: worst case over places, images and patches, over all its crops if they are
            clipped together.
        inclusion_how: How the inclusion probability of one crop was found.
        worst_position: Row and column of the patch's top left there.
        sample_rate: Batch over records; under Poisson sampling from a loader that drops its last
            batch, one over the number of its batches.
        record_rate: Probability that a step shows the patch.
        steps: Optimiser steps.
        compositions: Steps that can use one record: all, or its participations in a fixed order.
        crops: Crops of one image that are clipped apart.
        noise_multiplier: In units of the clipping norm.
        delta: The delta of every epsilon here.
        epsilon: The bound; infinite without noise, unless the patch is seen with a probability of
            at most delta.
        epsilon_lower: The composition has at least this epsilon: what discretisation may cost.
        epsilon_without_crop: The same sampler where every window meets the patch.
        epsilon_add_remove: Under another adjacency, adding or removing one whole image, without
            crops, for Poisson sampling: what Opacus reports. None for other samplers.
        risk: What any attack can do at most.
        groups: Bounds for groups of images.
        shortcuts: What wrong short cuts would claim.
        warnings: What a reader must know, each a sentence.
    """

    adjacency: str
    sampler: SamplerName
    image: str
    patch: str
    inclusion_probability: float
    inclusion_how: str
    worst_position: tuple[int, int]
    sample_rate: float
    record_rate: float
    steps: int
    compositions: int
    crops: int
    noise_multiplier: float
    delta: float
    epsilon: float
    epsilon_lower: float
    epsilon_without_crop: float
    epsilon_add_remove: float | None
    risk: Risk
    groups: tuple[GroupBound, ...]
    shortcuts: tuple[ShortcutEpsilon, ...]
    warnings: tuple[str, ...]


def bound(
    pipeline: Pipeline,
    delta: float,
    *,
    noise_multiplier: float | None = None,
    target_epsilon: float | None = None,
    group: int = 1,
    clip_norm: float | None = None,
) -> PatchBound:
    """Computes the bound of a pipeline, or the noise that it needs.

    Args:
        pipeline: What runs.
        delta: Target delta, in (0, 1).
        noise_multiplier: The noise, or none to solve for it.
        target_epsilon: The epsilon to solve for.
        group: Images of one person, for a group bound.
        clip_norm: The clipping norm, to warn of noise in the wrong unit.

    Raises:
        InputError: If a value is out of range, or not exactly one of the two is given.

    >>> from cropaudit.accounting.geometry import Crop, Rectangle, Size
    >>> street = Pipeline((Size(1024, 2048),), Crop(Size(505, 505)), Rectangle(Size(10, 10)),
    ...                   "fixed", batch=200, records=2975, epochs=100)
    >>> result = bound(street, 1 / 2975, noise_multiplier=1.0)
    >>> round(result.inclusion_probability, 6), round(result.epsilon, 1)
    (0.32906, 32.7)
    """
    if (noise_multiplier is None) == (target_epsilon is None):
        raise InputError("noise multiplier or target epsilon must be given, and not both")
    require(0 < delta < 1, "delta", "in (0, 1)", delta)
    pipeline.total_steps()
    worst = pipeline.worst()
    if noise_multiplier is None:
        assert target_epsilon is not None
        mechanism = pipeline.mechanism(1.0, worst.probability)
        noise_multiplier = calibrate_noise(mechanism, delta, target_epsilon)
    phase = Phase(pipeline, noise_multiplier)
    return _bound([phase], [worst], delta, group, clip_norm)


def bound_phases(
    phases: Sequence[Phase], delta: float, *, group: int = 1, clip_norm: float | None = None
) -> PatchBound:
    """Computes the bound of phases that run one after the other on the same records.

    Each phase takes its own worst place of the patch: an upper bound, and exact where the places
    agree. Steps, participations and epsilon are of all phases; rates are the first phase's.

    Raises:
        InputError: If a value is out of range or there is no phase.
    """
    require(bool(phases), "phases", "at least one", 0)
    require(0 < delta < 1, "delta", "in (0, 1)", delta)
    records = sorted({phase.pipeline.records for phase in phases})
    require(len(records) == 1, "phases", "over the same number of records", records)
    return _bound(phases, [phase.pipeline.worst() for phase in phases], delta, group, clip_norm)


def _bound(
    phases: Sequence[Phase],
    worst: Sequence[Inclusion],
    delta: float,
    group: int,
    clip_norm: float | None,
) -> PatchBound:
    mechanisms = [
        phase.pipeline.mechanism(phase.noise_multiplier, found.probability)
        for phase, found in zip(phases, worst, strict=True)
    ]
    found = bracket(mechanisms, delta)
    first, place, pipeline = mechanisms[0], worst[0], phases[0].pipeline
    bare = [mechanism.without_crop() for mechanism in mechanisms]
    return PatchBound(
        adjacency=PATCH if pipeline.augmentation is None else PATCH.replace(" and labels", " only"),
        sampler=pipeline.sampler,
        image=str(place.image),
        patch=place.patch,
        inclusion_probability=first.inclusion,
        inclusion_how=place.how,
        worst_position=place.position,
        sample_rate=first.sample_rate,
        record_rate=first.record_rate,
        steps=sum(mechanism.steps for mechanism in mechanisms),
        compositions=sum(mechanism.compositions for mechanism in mechanisms),
        crops=first.crops,
        noise_multiplier=first.noise_multiplier,
        delta=delta,
        epsilon=told_epsilon(found, delta),
        epsilon_lower=found.lower,
        epsilon_without_crop=epsilon_at(bare, delta),
        epsilon_add_remove=_add_remove(mechanisms, delta),
        risk=operational_risk(found.curve),
        groups=_groups(mechanisms, group, delta, pipeline.records),
        shortcuts=shortcut_epsilons(mechanisms, delta, clip_norm),
        warnings=pipeline_warnings(
            [phase.pipeline for phase in phases], mechanisms, worst, found.gap, clip_norm
        ),
    )


def _add_remove(mechanisms: Sequence[PatchMechanism], delta: float) -> float | None:
    if any(mechanism.kind != "poisson" or mechanism.crops > 1 for mechanism in mechanisms):
        return None
    whole = [AddRemoveRecord(m.noise_multiplier, m.sample_rate, 1.0, m.steps) for m in mechanisms]
    return epsilon_at(whole, delta)


def _groups(
    mechanisms: Sequence[PatchMechanism], size: int, delta: float, records: int
) -> tuple[GroupBound, ...]:
    require(1 <= size <= records, "group", f"between 1 and the {records} records", size)
    if size == 1:
        return ()
    return (GroupBound(size, group_epsilon(mechanisms, size, delta, records)),)

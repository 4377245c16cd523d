"""The amplified bound of a pipeline, with everything that a reader sets beside it."""

from collections.abc import Sequence
from dataclasses import dataclass

from cropaudit.accounting.bounds.accountant import bracket, epsilon_at, told_epsilon
from cropaudit.accounting.bounds.groups import group_epsilon
from cropaudit.accounting.bounds.risk import Risk, operational_risk
from cropaudit.accounting.bounds.shortcuts import ShortcutEpsilon, shortcut_epsilons
from cropaudit.accounting.inclusion.probability import Inclusion
from cropaudit.accounting.mechanisms.descriptions import PATCH, AddRemoveRecord, PatchMechanism
from cropaudit.accounting.mechanisms.pipelines import Pipeline
from cropaudit.accounting.mechanisms.registry import sampler
from cropaudit.accounting.names import SamplerName
from cropaudit.errors import require

__all__ = ["GroupBound", "PatchBound", "Phase", "Pipeline", "bound_phases"]

_STATED = 1.001e-3  # a larger gap between upper and lower bound is told


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
    records = sorted({phase.pipeline.records for phase in phases})
    require(len(records) == 1, "phases", "over the same number of records", records)
    worst = [phase.pipeline.worst() for phase in phases]
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
        warnings=_warnings(phases, mechanisms, worst, found.gap, clip_norm),
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


def _warnings(
    phases: Sequence[Phase],
    mechanisms: Sequence[PatchMechanism],
    worst: Sequence[Inclusion],
    gap: float,
    clip_norm: float | None,
) -> tuple[str, ...]:
    """Returns what makes the bound mean less than it seems to, each once and in words."""
    found = [text for item in phases for text in _of_pipeline(item.pipeline)]
    found += [f"the inclusion probability is an {place.how}" for place in worst if not place.exact]
    if len({place.position for place in worst}) > 1:
        found.append(
            "the phases are worst at different places of the patch; each takes its own, so epsilon "
            "is an upper bound that no single place attains"
        )
    if any(mechanism.crops > 1 for mechanism in mechanisms):
        found.append(
            "crops of one image that are clipped apart let it move the sum by up to 2KC; averaging "
            "their gradients before clipping keeps that at 2C"
        )
    if any(mechanism.noise_multiplier == 0 for mechanism in mechanisms):
        found.append(
            "without noise nothing is hidden once the patch is seen: epsilon is infinite, unless "
            "that has a probability of at most delta"
        )
    if gap > _STATED:
        found.append(f"epsilon may be up to {100 * gap:.2g}% too high: the grid is at its limit")
    if clip_norm is not None and clip_norm != 1:
        found.append(_unit(mechanisms[0].noise_multiplier, clip_norm))
    return tuple(dict.fromkeys(found))


def _of_pipeline(pipeline: Pipeline) -> list[str]:
    found = []
    if pipeline.augmentation is not None:
        found.append(
            "noise on the pixels hides the pixels of a patch and not its labels: the bound is for "
            "neighbours whose labels agree"
        )
    ragged = pipeline.records % pipeline.batch != 0 and not pipeline.drop_last
    if sampler(pipeline.sampler).ordered and pipeline.steps is not None and ragged:
        found.append(
            f"an epoch is taken to have {pipeline.steps_per_epoch()} steps, the last batch being "
            "short; if the loader drops it, say so (--drop-last): epsilon is then larger"
        )
    return found


def _unit(noise: float, clip_norm: float) -> str:
    return (
        f"the noise multiplier {noise:.6g} is in units of the clipping norm, a deviation of "
        f"{noise * clip_norm:.6g}; that deviation passed as noise_multiplier would give "
        f"{noise * clip_norm * clip_norm:.6g}"
    )

"""What is audited: the data with its slots, the mechanism, the bound, the seeds of each part."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.bound import PatchBound, Pipeline, bound
from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.audit.config import AuditConfig
from cropaudit.errors import require
from cropaudit.training.canaries import CanarySlot, add_slots, fill_slots
from cropaudit.training.data import SegmentationData
from cropaudit.training.folders import load_folder
from cropaudit.training.samplers import FixedSize, Poisson, Sampling, Shuffle
from cropaudit.training.scenes import street_scenes

__all__ = ["Seeds", "Subject", "prepare_subject"]


@dataclass(frozen=True)
class Seeds:
    """Independent seeds, all from the one that the configuration holds."""

    scenes: int
    held_out: int
    canaries: int
    coins: int
    training: int
    probe: int
    null: int
    positive: int
    white_box: int
    black_box: int
    ties: int

    @classmethod
    def of(cls, seed: int) -> "Seeds":
        """Spawns the seeds."""
        children = np.random.SeedSequence(seed).spawn(11)
        return cls(*(int(child.generate_state(1, np.uint32)[0]) for child in children))


@dataclass(frozen=True, eq=False)
class Subject:
    """Everything that the attacks and the accountant must agree on.

    Attributes:
        config: The configuration.
        seeds: Seeds of the parts.
        empty: Records with slots still empty.
        filled: Records as trained on.
        slots: The canaries.
        member: Their coins: true for world A.
        validation: Held-out photographs.
        crop: The crop.
        patch: The patch.
        pipeline: The pipeline as far as privacy goes.
        bound: Its bound.
        mechanism: Its mechanism.
        sampling: Its sampler, as training takes it.
    """

    config: AuditConfig
    seeds: Seeds
    empty: SegmentationData
    filled: SegmentationData
    slots: tuple[CanarySlot, ...]
    member: NDArray[np.bool_]
    validation: SegmentationData
    crop: Crop
    patch: Rectangle
    pipeline: Pipeline
    bound: PatchBound
    mechanism: PatchMechanism
    sampling: Sampling

    @property
    def records(self) -> int:
        """Images in the data set, slots included."""
        return len(self.filled)

    @property
    def worst_image(self) -> Size:
        """The image size that the claim rests on."""
        return Size.parse(self.bound.image)


def prepare_subject(config: AuditConfig) -> Subject:
    """Loads the data, plants the canaries and computes the bound.

    Raises:
        InputError: If the data cannot be read or the configuration does not fit them.
    """
    seeds = Seeds.of(config.seed)
    crop, patch = config.crop_law(), config.patch_shape()
    photographs, validation = _load(config, seeds)
    for size in photographs.sizes():
        crop.origins(size)
        fits = patch.size.height <= size.height and patch.size.width <= size.width
        require(fits, "patch", f"at most the image {size}", patch)
    empty, slots = add_slots(photographs, config.game.canary_slots, crop, patch, seeds.canaries)
    member = np.random.default_rng(seeds.coins).random(len(slots)) < 0.5
    training = config.training
    pipeline = Pipeline(
        images=empty.sizes(),
        crop=crop,
        patch=patch,
        sampler=training.sampler,
        batch=training.batch,
        records=len(empty),
        steps=training.steps,
        epochs=training.epochs,
    )
    found = bound(pipeline, config.game.delta, noise_multiplier=training.noise_multiplier)
    return Subject(
        config=config,
        seeds=seeds,
        empty=empty,
        filled=fill_slots(empty, slots, member),
        slots=slots,
        member=member,
        validation=validation,
        crop=crop,
        patch=patch,
        pipeline=pipeline,
        bound=found,
        mechanism=pipeline.mechanism(training.noise_multiplier, found.inclusion_probability),
        sampling=_sampling(config, len(empty)),
    )


def _load(config: AuditConfig, seeds: Seeds) -> tuple[SegmentationData, SegmentationData]:
    data = config.data
    if data.folder is None:
        size = Size.parse(data.size, "data.size")
        return (
            street_scenes(data.images, size, seeds.scenes),
            street_scenes(data.validation, size, seeds.held_out),
        )
    splits = load_folder(Path(data.folder), short_side=data.short_side, limit=data.images)
    held_out = splits.validation
    return splits.train, held_out.take(range(min(len(held_out), data.validation)))


def _sampling(config: AuditConfig, records: int) -> Sampling:
    batch = config.training.batch
    match config.training.sampler:
        case "poisson":
            return Poisson(batch / records)
        case "fixed":
            return FixedSize(batch)
        case "shuffle":
            return Shuffle(batch)

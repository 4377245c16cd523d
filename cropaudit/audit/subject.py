"""What is audited: the data with its slots, the mechanism, the bound, the seeds of each part."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.bound import PatchBound, Pipeline
from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.audit.accounted import account
from cropaudit.audit.canary_plan import plant_canaries
from cropaudit.audit.config import AuditConfig
from cropaudit.errors import require
from cropaudit.training.canaries import CanarySlot, fill_slots
from cropaudit.training.data import SegmentationData
from cropaudit.training.datasets.registry import load_dataset
from cropaudit.training.foreground import as_foreground
from cropaudit.training.samplers import Sampling, sampling_of
from cropaudit.training.scenes import street_scenes
from cropaudit.training.streams import spawn_seeds

__all__ = ["Seeds", "Subject", "decoys_of", "prepare_subject"]


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
    two_world: int
    references: int
    decoys: int

    @property
    def weights(self) -> int:
        """Of the audited run's initial weights: the first stream of its training."""
        return spawn_seeds(np.random.SeedSequence(self.training), 1)[0]

    @classmethod
    def of(cls, seed: int) -> "Seeds":
        """Spawns the seeds."""
        children = np.random.SeedSequence(seed).spawn(14)
        return cls(*(int(child.generate_state(1, np.uint32)[0]) for child in children))


@dataclass(frozen=True, eq=False)
class Subject:
    """Everything that the attacks and the accountant must agree on.

    Attributes:
        config: The configuration.
        seeds: Seeds of the parts.
        photographs: The user's images as they are, without canaries.
        empty: Records with slots still empty.
        filled: Records as trained on.
        slots: The canaries.
        member: Their coins: true for world A.
        validation: Held-out photographs.
        crop: The crop.
        patch: The patch.
        pipeline: The pipeline as far as privacy goes.
        bound: Its bound.
        mechanism: What games are planned and scored by; see `Accounted`.
        epsilon_without_canaries: Bound of the same run over the images alone, if there is one.
        sampling: Its sampler, as training takes it.
    """

    config: AuditConfig
    seeds: Seeds
    photographs: SegmentationData
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
    epsilon_without_canaries: float | None
    sampling: Sampling

    @property
    def records(self) -> int:
        """Images in the data set, records that canaries add included."""
        return len(self.filled)

    @property
    def canary_records(self) -> int:
        """Records that canaries add to the user's images."""
        return len(self.filled) - len(self.photographs)

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
    empty, slots = plant_canaries(photographs, config, crop, patch, seeds.canaries, seeds.weights)
    member = np.random.default_rng(seeds.coins).random(len(slots)) < 0.5
    training = config.training
    found = account(config, empty.sizes(), len(photographs), len(empty))
    return Subject(
        config=config,
        seeds=seeds,
        photographs=photographs,
        empty=empty,
        filled=fill_slots(empty, slots, member),
        slots=slots,
        member=member,
        validation=validation,
        crop=crop,
        patch=patch,
        pipeline=found.pipeline,
        bound=found.bound,
        mechanism=found.mechanism,
        epsilon_without_canaries=found.epsilon_without_canaries,
        sampling=sampling_of(training.sampler, training.batch, len(empty)),
    )


def decoys_of(subject: Subject) -> tuple[SegmentationData, tuple[CanarySlot, ...]]:
    """Returns canaries of the subject's own law that no run is trained on.

    Raises:
        InputError: If canaries are the photographs' own objects, of which there are no others.
    """
    design = subject.config.canary.design
    require(design != "real-object", "canary.design", "planted, for decoys", design)
    seeds, photographs = subject.seeds, subject.photographs
    crop, patch = subject.crop, subject.patch
    return plant_canaries(photographs, subject.config, crop, patch, seeds.decoys, seeds.weights)


def _load(config: AuditConfig, seeds: Seeds) -> tuple[SegmentationData, SegmentationData]:
    data = config.data
    if data.folder is None:
        legal = "auto or scenes where no folder is given"
        require(data.kind in ("auto", "scenes"), "data.kind", legal, data.kind)
        size = Size.parse(data.size, "data.size")
        train = street_scenes(data.images, size, seeds.scenes)
        held_out = street_scenes(data.validation, size, seeds.held_out)
    else:
        folder = Path(data.folder)
        splits = load_dataset(data.kind, folder, short_side=data.short_side, limit=data.images)
        train, held_out = splits.train, splits.validation
        held_out = held_out.take(range(min(len(held_out), data.validation)))
    if not data.foreground:
        return train, held_out
    return as_foreground(train, data.foreground), as_foreground(held_out, data.foreground)

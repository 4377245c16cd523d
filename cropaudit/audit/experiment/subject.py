"""What is audited: data with its slots, accounted for, and the seeds of each part."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.geometry.shapes import Size
from cropaudit.audit.config.audit_config import AuditConfig
from cropaudit.audit.experiment.accounted import Accounted, account, check_sizes
from cropaudit.audit.experiment.canary_plan import plant_canaries
from cropaudit.audit.experiment.initial_model import pinned
from cropaudit.errors import InputError, require
from cropaudit.stages import Stage, silent
from cropaudit.training.canaries import CanarySlot, fill_slots
from cropaudit.training.data.foreground import as_foreground
from cropaudit.training.data.images import SegmentationData
from cropaudit.training.datasets.registry import LAYOUTS, kinds, load_dataset
from cropaudit.training.scenes.streets import street_scenes
from cropaudit.training.streams import spawn_seeds

__all__ = ["Seeds", "Subject", "check_folder", "decoys_of", "prepare_subject"]


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
class Subject(Accounted):
    """Everything that the attacks and the accountant must agree on.

    Attributes:
        seeds: Seeds of the parts.
        photographs: The user's images as they are, without canaries.
        empty: Records with slots still empty.
        filled: Records as trained on.
        slots: The canaries.
        member: Their coins: true for world A.
        validation: Held-out photographs.
    """

    seeds: Seeds
    photographs: SegmentationData
    empty: SegmentationData
    filled: SegmentationData
    slots: tuple[CanarySlot, ...]
    member: NDArray[np.bool_]
    validation: SegmentationData


def prepare_subject(config: AuditConfig, stage: Stage = silent) -> Subject:
    """Loads the data, plants the canaries, computes the bound and holds all against the claim.

    Args:
        config: The experiment.
        stage: Told what is done, and what was read.

    Raises:
        InputError: If the data cannot be read, the configuration does not fit them, or its parts
            are of different mechanisms.
    """
    check_folder(config)
    stage("Data, canaries and bounds", 0)
    config = config.model_copy(update={"training": pinned(config.training)})
    seeds = Seeds.of(config.seed)
    photographs, validation = _load(config, seeds)
    if photographs.files:
        stage(f"Read {photographs.files}", 0)
    check_sizes(config, photographs.sizes())
    empty, slots = plant_canaries(photographs, config, seeds.canaries, seeds.weights)
    member = np.random.default_rng(seeds.coins).random(len(slots)) < 0.5
    added = len(empty) - len(photographs)
    return Subject(
        **account(config, empty.sizes(), len(photographs), added).fields(),
        seeds=seeds,
        photographs=photographs,
        empty=empty,
        filled=fill_slots(empty, slots, member),
        slots=slots,
        member=member,
        validation=validation,
    )


def check_folder(config: AuditConfig) -> None:
    """Refuses data that need a folder and have none; the message says what it is to hold.

    Raises:
        InputError: If the folder is missing, or the kind of data is unknown.
    """
    data = config.data
    require(data.kind in kinds(), "data.kind", f"one of {', '.join(kinds())}", data.kind)
    if data.folder is None and data.kind in LAYOUTS:
        kind = "a folder" if data.kind == "folder" else f"a {data.kind} folder"
        raise InputError(
            f"data.folder (--data DIR) must be given for {config.name}: {kind} with "
            f"{LAYOUTS[data.kind].structure}, got none"
        )


def decoys_of(subject: Subject) -> tuple[SegmentationData, tuple[CanarySlot, ...]]:
    """Returns canaries of the subject's own law that no run is trained on.

    Of the photographs' own objects there are no others: those of held-out photographs are taken.

    Raises:
        InputError: If none of those fits.
    """
    config, seeds, photographs = subject.config, subject.seeds, subject.photographs
    if config.canary.design == "real-object":
        photographs = subject.validation
        game = config.game.model_copy(update={"canary_slots": len(photographs)})
        config = config.model_copy(update={"game": game})
    return plant_canaries(photographs, config, seeds.decoys, seeds.weights)


def _load(config: AuditConfig, seeds: Seeds) -> tuple[SegmentationData, SegmentationData]:
    data = config.data
    if data.folder is None:
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

"""Runs a user's whole training on a model and images of ours, and notes what each update did.

It runs twice from the same random state, with other contents in the patch of every image the second
time: what the model is shown of windows that miss the patch must then be the same, bit for bit, and
the loss must pull at it alike. Where windows moved the training runs again to tell whether they
move without reason.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils.data import DataLoader

from cropaudit.accounting.geometry import Size
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.batches import Batches
from cropaudit.audit.conformance.observe.draws import Draws
from cropaudit.audit.conformance.observe.training import Replayed, Training
from cropaudit.audit.conformance.probes.datasets import records_of
from cropaudit.audit.conformance.probes.diary import Shown, TrainingDiary
from cropaudit.audit.conformance.probes.loader import records_for
from cropaudit.audit.conformance.probes.reading import Reader
from cropaudit.audit.conformance.probes.watched_net import CHANNELS, WatchedNet
from cropaudit.audit.conformance.probes.worlds import LABELS, TexturedImages, World, pieces_of
from cropaudit.audit.conformance.subjects import Subjects
from cropaudit.audit.conformance.worker.guard import Guard, UserError
from cropaudit.audit.conformance.worker.seeding import seed_all
from cropaudit.audit.conformance.worker.user_code import where_of

__all__ = ["Watched", "probe_pipeline"]

# Outputs, and whether masks hold ignored pixels: losses with weights for a number of classes take
# that number only, and some know of no ignored pixels.
_TRIALS: tuple[tuple[int, bool], ...] = (
    *((19, True), (19, False), (11, True), (21, False), (11, False), (12, False)),
    *((2, False), (1, False)),
)
_ALIKE = 1e-4  # relative distance of two pulls that rounding may make
_MOST_WINDOWS = 4_096


@dataclass(frozen=True, eq=False)
class Watched:
    """All that one probe brought."""

    batches: Batches
    draws: Draws
    training: Training
    replayed: Replayed


def probe_pipeline(train: Any, guard: Guard, subjects: Subjects, claimed: Claimed) -> Watched:
    """Runs ``train(model, dataset)`` in two worlds.

    Args:
        train: The user's training.
        guard: Around it; each batch that the model is shown counts as a call that came back.
        subjects: Its seed.
        claimed: Size of the images and of the patch, and records.

    Raises:
        UserError: If it raises, or never trains the model.
    """
    where = where_of(train)
    if not callable(train):
        words = f"a pipeline must be a function train(model, dataset), got {type(train).__name__}"
        raise guard.fail("type", words, where)
    run = _Runs(train, guard, subjects, claimed)
    first = run.first()
    if not first.forwards:
        words = "train(model, dataset) must show the model its images with gradients on; it did not"
        raise guard.fail("type", words, where)
    batches, draws = _batches(first, run.records, where), _draws(first, where)
    return Watched(batches, draws, first.training(where), _replayed(first, run, where))


class _Runs:
    """Runs of one training, all from the same random state."""

    def __init__(self, train: Any, guard: Guard, subjects: Subjects, claimed: Claimed) -> None:
        self._train, self._guard, self._seed = train, guard, subjects.seed
        self._size, self.patch = claimed.image, claimed.patch.size
        self.records = records_for(claimed)
        self._classes, self._world = _TRIALS[0][0], World()
        folder = subjects.data
        self._pieces = [] if folder is None else pieces_of(folder, self.patch, self.records + 1)

    def first(self) -> TrainingDiary:
        """Runs it with the outputs and labels that its loss takes."""
        refusal: UserError | None = None
        for classes, ignored in _TRIALS:
            self._classes = classes
            self._world = World(classes=min(classes, LABELS), ignored=ignored)
            try:
                return self.again()
            except UserError as error:
                refusal = refusal or error
                if error.trouble.kind != "raised":
                    break
        raise refusal or self._guard.fail("type", "the training takes no images")

    def again(self, **changed: bool) -> TrainingDiary:
        """Runs it in another world."""
        seed_all(self._seed)
        dataset = self.dataset(**changed)
        model = WatchedNet(self._classes)
        diary = TrainingDiary(dataset, lambda: self._guard.call(_nothing))
        diary.adopt(model)
        with _watched(diary):
            self._guard.call(self._train, model, dataset)
        diary.close()
        return diary

    def dataset(self, **changed: bool) -> TexturedImages:
        """Returns the images of another world."""
        world = replace(self._world, **changed)
        return TexturedImages(self._size, self.records, self.patch, world, self._pieces)


@contextmanager
def _watched(diary: TrainingDiary) -> Iterator[None]:
    handles = (
        register_optimizer_step_pre_hook(lambda optimizer, _, __: diary.before_step(optimizer)),
        register_optimizer_step_post_hook(lambda optimizer, _, __: diary.after_step(optimizer)),
    )
    begin = DataLoader.__iter__

    def noted(loader: Any) -> Any:
        diary.begin(loader)
        return begin(loader)

    WatchedNet.diary = diary
    DataLoader.__iter__ = noted  # type: ignore[method-assign]
    try:
        yield
    finally:
        DataLoader.__iter__ = begin  # type: ignore[method-assign]
        WatchedNet.diary = None
        for handle in handles:
            handle.remove()


def _steps(diary: TrainingDiary) -> list[list[Shown]]:
    """Returns the images of each step; of a run without any, all are of one."""
    return diary.steps[: len(diary.rows)] if diary.rows else diary.steps


def _batches(diary: TrainingDiary, records: int, where: str) -> Batches:
    steps = _steps(diary)
    sizes = np.array([len(part) for part in steps], dtype=np.int64)
    images = [image for part in steps for image in part]
    record = _records(images, records)
    known = record >= 0
    step = np.repeat(np.arange(len(steps)), sizes)
    ends = [*diary.epochs, len(steps)]
    expected = [row.settings[2] for row in diary.rows if np.isfinite(row.settings[2])]
    return Batches(
        records=records,
        record=record[known],
        step=step[known],
        epoch_steps=np.diff(sorted({0, *ends})).astype(np.int64),
        updates=len(diary.rows) if diary.rows else -1,
        expected_batch=min(expected, default=-1.0),
        source="pipeline",
        where=where,
        stated_rate=diary.rate,
        unread=int((~known).sum()),
    )


def _records(images: list[Shown], records: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Returns the record of each image: by its texture, else by its colour; -1 if neither tells."""
    found = np.array(
        [-1 if image.place is None else image.place.record for image in images], dtype=np.int64
    )
    if (found < 0).any():
        colours = np.stack([image.colour for image in images]).reshape(-1, CHANNELS)
        by_colour = records_of(colours, records)
        # A patch that fills most of the image hides its colour: then they disagree.
        known = found >= 0
        if by_colour is not None and np.array_equal(by_colour[known], found[known]):
            found = np.where(found < 0, by_colour, found)
    return found


def _draws(diary: TrainingDiary, where: str) -> Draws:
    reader = Reader(diary.data.textures.size)
    begun, before = np.unique(diary.epochs), 0
    for step, images in enumerate(_steps(diary)):
        # Where no loader begins again, passes stand for epochs.
        epoch = max(int(np.searchsorted(begun, step, side="right")) - 1, 0)
        epoch = epoch if len(begun) > 1 else before // len(diary.data)
        before += len(images)
        for slot, image in enumerate(images):
            if len(reader) < _MOST_WINDOWS:
                place = image.place
                record = -1 if place is None else place.record
                window = None if place is None else place.window
                reader.note(window, record=record, epoch=epoch, step=step, slot=slot)
    return reader.draws(where)


@dataclass(frozen=True)
class _Comparison:
    """How two runs of the same random state differ."""

    images: int = 0
    missed: int = 0
    moved: int = 0
    differs: int = 0
    pulled: int = 0
    losses: int = 0
    hit: int = 0


def _replayed(first: TrainingDiary, runs: _Runs, where: str) -> Replayed:
    """Runs the training in the other world, and again where its windows moved."""
    data = runs.dataset()
    found = _compared(first, runs.again(other=True), data, runs.patch)
    replayable = seeded = False
    if not found.moved:
        replayable = True
    else:
        seeded = True
        plain = runs.again(seeded=True)
        replayable = not _compared(plain, runs.again(seeded=True), data, runs.patch).moved
        found = _compared(plain, runs.again(seeded=True, other=True), data, runs.patch)
    return Replayed(replayable=replayable, seeded=seeded, where=where, **vars(found))


def _compared(
    one: TrainingDiary, other: TrainingDiary, data: TexturedImages, patch: Size
) -> _Comparison:
    found = dict.fromkeys(vars(_Comparison()), 0)
    pairs = zip(
        (image for part in one.steps for image in part),
        (image for part in other.steps for image in part),
        strict=False,
    )
    for a, b in pairs:
        if a.place is None or b.place is None:
            continue
        found["images"] += 1
        same = a.place.record == b.place.record and a.place.window == b.place.window
        if not same:
            found["moved"] += 1
            continue
        corner = data.place(a.place.record)
        if a.place.shows(*corner, patch.height, patch.width):
            found["hit"] += 1
            continue
        found["missed"] += 1
        if a.digest != b.digest:
            found["differs"] += 1
        elif a.pull is not None and b.pull is not None:
            found["losses"] += 1
            found["pulled"] += not _alike(a.pull, b.pull)
    return _Comparison(**found)


def _alike(one: tuple[float, float], other: tuple[float, float]) -> bool:
    size = max(one[0], other[0])
    apart = max(abs(a - b) for a, b in zip(one, other, strict=True))
    return apart <= _ALIKE * size or not np.isfinite(size)


def _nothing() -> None:
    """Lets the heart beat."""

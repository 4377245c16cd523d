"""Iterates a user's loader over coded images, and notes who came when, with which window.

The loader is made once and iterated again for each epoch, as a trainer does. Epochs go on until a
record that is never drawn would be told from bad luck, or a number of images was loaded: how busy
the machine is plays no part. A loader that does not end is stopped there as well; a pass through it
begins where a record of the present one comes again.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.geometry import Size
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.batches import Batches
from cropaudit.audit.conformance.observe.draws import Draws
from cropaudit.audit.conformance.probes.batch_items import describe, items_of
from cropaudit.audit.conformance.probes.codes import OFFSET, record_of
from cropaudit.audit.conformance.probes.datasets import CodedImages
from cropaudit.audit.conformance.probes.reading import Reader
from cropaudit.audit.conformance.probes.sampling_parts import (
    Pieces,
    stated_rate,
    takes_dataset,
    workers_of,
)
from cropaudit.audit.conformance.subjects import Subjects
from cropaudit.audit.conformance.worker.guard import Guard, UserError
from cropaudit.audit.conformance.worker.user_code import where_of

__all__ = ["RECORDS", "probe_loader", "records_for"]

RECORDS = 64  # of the data set that is handed in, if none are claimed
_BATCHES = 4  # at least so many in an epoch, whatever the batch
_IMAGES = 20_000  # that are loaded at most
_SECONDS = 600.0  # against code that never comes to an end; what is seen by then is told as too few
_WINDOWS = 4_096  # that are read off; of later items only the record
_SURE = 1e-6  # p-value that a record that is never drawn shall reach
_MOST_EPOCHS = 400
_QUICK = 10  # so much less of all, for trials
_END = object()
_MAIN = 0.9  # of a mask's pixels: the rest are lost to rounding


def records_for(claimed: Claimed) -> int:
    """Returns the size of the data set that is handed in."""
    return claimed.records or max(RECORDS, _BATCHES * (claimed.batch or 0))


def probe_loader(
    made: Any, guard: Guard, subjects: Subjects, claimed: Claimed
) -> tuple[Batches, Draws]:
    """Iterates the loader that ``made`` makes.

    Args:
        made: ``make_loader(dataset)``; or a loader, or a factory without arguments, of which only
            the indices of the sampler are seen.
        guard: Around the user's code.
        subjects: How many epochs, at least.
        claimed: Size of the images, records and batch.

    Raises:
        UserError: If the user's code raises, or what it returns is no loader of images.
    """
    where = where_of(made)
    walk = _Walk(guard, where)
    if not takes_dataset(made):
        loader = guard.call(made) if callable(made) and not hasattr(made, "__iter__") else made
        return _indices(loader, walk, subjects, claimed)
    try:
        return _walked(made, walk, subjects, claimed, plain=False)
    except UserError as error:
        try:
            return _walked(made, _Walk(guard, where), subjects, claimed, plain=True)
        except UserError:
            raise error from None


def _walked(
    made: Any, walk: "_Walk", subjects: Subjects, claimed: Claimed, *, plain: bool
) -> tuple[Batches, Draws]:
    """Walks through a loader of coded images; with masks of few labels only, if ``plain``."""
    guard, where = walk.guard, walk.where
    dataset = CodedImages(claimed.image, records_for(claimed), plain=plain)
    loader = _entered(guard.call(made, dataset), guard)
    if not hasattr(loader, "__iter__") and not hasattr(loader, "__getitem__"):
        words = f"make_loader must return an iterable of batches, got {type(loader).__name__}"
        raise guard.fail("type", words, where)
    rate = stated_rate(loader)
    items = _Items(dataset, Reader(claimed.image), claimed.image, workers_of(loader), guard, where)
    walk.run(loader, items.take, subjects, len(dataset))
    return walk.batches(len(dataset), rate, items.unread), items.reader.draws(where)


@dataclass
class _Items:
    """Reads the items of batches."""

    dataset: CodedImages
    reader: Reader
    size: Size
    workers: int
    guard: Guard
    where: str
    unread: int = 0

    def take(self, batch: Any, epoch: int, step: int, place: int) -> list[int]:
        """Returns the records of a batch: number ``place`` of its epoch, ``step`` of all."""
        items = items_of(batch)
        if items is None:
            words = (
                "batches must hold images of three channels, as tensors or arrays, alone or in "
                f"tuples, lists and dicts; got {describe(batch)}"
            )
            raise self.guard.fail("type", words, self.where)
        asked = self.dataset.asked.copy()
        self.dataset.asked.clear()
        worker = place % self.workers if self.workers else -1
        records = []
        for slot, (image, mask) in enumerate(items):
            record = None if mask is None else _record(mask, self.size, len(self.dataset))
            if record is None and not self.workers and len(asked) == len(items):
                record = asked[slot]
            records.extend([] if record is None else [record])
            if len(self.reader) < _WINDOWS:
                known = -1 if record is None else record
                named = {"record": known, "epoch": epoch, "step": step}
                self.reader.add(image, mask, **named, slot=slot, worker=worker)
        self.unread += len(items) - len(records)
        return records


def _record(mask: NDArray[np.generic], size: Size, records: int) -> int | None:
    """Returns the record of a mask; of a resized one, that of nearly all pixels."""
    found = record_of(mask, size)
    if found is None:
        codes = np.asarray(mask, dtype=np.float64).reshape(-1) - OFFSET
        codes = codes[codes >= 0]
        of, counts = np.unique(codes // (size.height * size.width), return_counts=True)
        if len(of) and counts.max() >= _MAIN * counts.sum():
            found = int(of[counts.argmax()])
    return found if found is not None and found < records else None


@dataclass
class _Walk:
    """Iterates epochs, and gathers who was in which batch."""

    guard: Guard
    where: str
    record: list[int] = field(default_factory=list)
    step: list[int] = field(default_factory=list)
    epoch_steps: list[int] = field(default_factory=list)
    whole: bool = True
    endless: bool = False
    cut: bool = False
    _delivered: int = 0

    def run(
        self,
        loader: Any,
        take: Callable[[Any, int, int, int], list[int]],
        subjects: Subjects,
        records: int,
    ) -> None:
        """Iterates ``loader`` for as many epochs as are needed, or as may be loaded."""
        pieces = Pieces(loader)
        until = time.monotonic() + _SECONDS
        most = _IMAGES // (_QUICK if subjects.quick else 1)
        while self.whole and len(self.epoch_steps) < self._epochs(subjects, records):
            # Loaders with workers draw ahead as soon as they are asked for an iterator.
            pieces.restart()
            # So often a record must have been due to be missed for sure, whatever the batch.
            passes = max(subjects.epochs, math.ceil(math.log(2 * records / _SURE)))
            due = min(passes * records, most)
            self._epoch(self.guard.call(iter, loader), take, pieces, until, due)
            self.cut |= time.monotonic() > until
            if self.cut or len(self.record) >= most:
                break

    def _epochs(self, subjects: Subjects, records: int) -> int:
        """Returns the epochs that are wanted, from what was seen of the first."""
        wanted = subjects.epochs
        if self.epoch_steps and self.epoch_steps[0] and self.record:
            steps = sum(self.epoch_steps)
            # Crops of one image in one batch are one participation.
            distinct = len(set(zip(self.step, self.record, strict=True)))
            rate = distinct / (steps * records)
            if rate < 1:
                enough = math.log(_SURE / (2 * records)) / math.log1p(-rate)
                wanted = max(wanted, math.ceil(enough * len(self.epoch_steps) / steps))
        wanted = min(wanted, _MOST_EPOCHS)
        return max(wanted // _QUICK, 2) if subjects.quick else wanted

    def _epoch(
        self,
        iterator: Iterator[Any],
        take: Callable[[Any, int, int, int], list[int]],
        pieces: Pieces,
        until: float,
        due: int,
    ) -> None:
        """Goes through one epoch, or as far as enough records came if it does not end."""
        epoch, place, begun = len(self.epoch_steps), 0, False
        before = len(self.record)
        self.epoch_steps.append(0)
        while (batch := self.guard.call(next, iterator, _END)) is not _END:
            if not begun:
                self.epoch_steps[-1] += 1
            found = take(batch, epoch, self._delivered, place)
            self.record += found
            self.step += [sum(self.epoch_steps) - 1] * len(found)
            begun = pieces.continues(place)
            place += 1
            self._delivered += 1
            self.endless = not begun and len(self.record) - before >= due
            self.cut = time.monotonic() > until
            if self.endless or self.cut:
                self.whole = False
                return

    def _passes(self) -> list[int]:
        """Returns the steps of each epoch; of an endless one, of each pass through the records."""
        if not self.endless:
            return self.epoch_steps
        passes, seen = self.epoch_steps[:-1], set[int]()
        first = sum(passes)
        members: list[set[int]] = [set() for _ in range(self.epoch_steps[-1])]
        for step, record in zip(self.step, self.record, strict=True):
            if step >= first:
                members[step - first].add(record)
        passes.append(0)
        for batch in members:
            if seen & batch:
                passes.append(0)
                seen = set()
            seen |= batch
            passes[-1] += 1
        return passes

    def batches(self, records: int, rate: float, unread: int = 0, ours: bool = True) -> Batches:
        """Returns what was gathered."""
        return Batches(
            records=records,
            record=np.asarray(self.record, dtype=np.int64),
            step=np.asarray(self.step, dtype=np.int64),
            epoch_steps=np.asarray(self._passes(), dtype=np.int64),
            where=self.where,
            whole=self.whole,
            cut=self.cut,
            endless=self.endless,
            stated_rate=rate,
            unread=unread,
            ours=ours,
        )


def _entered(loader: Any, guard: Guard) -> Any:
    """Returns what a context manager gives, as Opacus' BatchMemoryManager does."""
    if hasattr(loader, "__enter__") and not hasattr(loader, "__iter__"):
        return guard.call(type(loader).__enter__, loader)
    return loader


def _indices(
    loader: Any, walk: _Walk, subjects: Subjects, claimed: Claimed
) -> tuple[Batches, Draws]:
    """Iterates the sampler of a loader with its own data: no image is loaded."""
    loader = _entered(loader, walk.guard)
    sampler = getattr(loader, "batch_sampler", None) or getattr(loader, "sampler", None)
    dataset = getattr(loader, "dataset", None)
    if sampler is None or not hasattr(dataset, "__len__"):
        words = (
            "a loader that is made without our data set must be a DataLoader of torch with a "
            f"sampler, got {type(loader).__name__}; take the data set as the factory's argument"
        )
        raise walk.guard.fail("type", words, walk.where)
    records = walk.guard.call(len, dataset)

    def take(batch: Any, epoch: int, step: int, place: int) -> list[int]:
        return [int(index) for index in np.asarray(batch, dtype=np.int64).reshape(-1)]

    walk.run(sampler, take, subjects, records)
    return (
        walk.batches(records, stated_rate(loader), ours=False),
        Reader(claimed.image).draws(walk.where),
    )

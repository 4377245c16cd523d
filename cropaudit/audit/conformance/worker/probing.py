"""Runs the probes of each subject, and writes what they saw; what fails ends that subject only."""

import gc
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from cropaudit.accounting.geometry import Size
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.draws import Draws
from cropaudit.audit.conformance.observe.pairs import Pairs
from cropaudit.audit.conformance.observe.store import save
from cropaudit.audit.conformance.probes.calibration import calibrated
from cropaudit.audit.conformance.probes.codes import (
    DIGITS,
    FEW,
    WIDE,
    Labels,
    image_code,
    read_mask,
)
from cropaudit.audit.conformance.probes.contents import ALL_IDS, Contents
from cropaudit.audit.conformance.probes.pairing import PairMaker
from cropaudit.audit.conformance.probes.reading import read_window
from cropaudit.audit.conformance.probes.replay import Replay, forked, replay_of
from cropaudit.audit.conformance.probes.styles import Style, find_style
from cropaudit.audit.conformance.probes.trust import colours_kept
from cropaudit.audit.conformance.probes.windows import coded_crops, near_size, probe_windows
from cropaudit.audit.conformance.subjects import Subjects
from cropaudit.audit.conformance.worker.guard import Guard, UserError
from cropaudit.audit.conformance.worker.user_code import find, made, where_of

__all__ = ["Prober"]

_NOTHING: Mapping[str, Any] = MappingProxyType({})

_CALLS, _NEAR_CALLS, _PAIRS = 2400, 600, 480
_GUARD = 900.0  # seconds after which no more samples are drawn, and their number is too small
_NO_PHOTOGRAPHS = ("loader", "model", "trainer")
_QUICK = 5  # a trial takes one in so many
_READ = 8  # calls of which one at least must be read for masks to be believed to hold codes
_UNTOUCHED = 5  # calls in which inputs are compared with themselves


class Prober:
    """Probes all subjects of one request.

    Attributes:
        contract: What is known of the contract so far, as JSON values.
    """

    def __init__(
        self,
        subjects: Subjects,
        claimed: Claimed,
        folder: Path,
        beat: Callable[[], None],
        rest: Callable[[], None],
    ) -> None:
        """Holds the request.

        Args:
            subjects: Whose code.
            claimed: What it is said to do.
            folder: Where observations are written.
            beat: Called before each call of the user's code.
            rest: Called after each.
        """
        self.contract: dict[str, Any] = {"troubles": [], "calls": 0, "style": "", "notes": []}
        self._subjects, self._claimed, self._folder = subjects, claimed, folder
        self._beat, self._rest = beat, rest

    def run(self, given: Mapping[str, Any] = _NOTHING) -> None:
        """Probes what was given, one subject after the other.

        Args:
            given: Objects of some subjects, in the place of their names.
        """
        probes = {
            "transform": self._transform,
            "loader": self._loader,
            "pipeline": self._pipeline,
            "model": self._model,
            "trainer": self._trainer,
        }
        if self._subjects.data is not None:
            blind = [name for name in _NO_PHOTOGRAPHS if getattr(self._subjects, name)]
            words = "the photographs of data are not used by the probe of the {}"
            self.contract["notes"] += [words.format(name) for name in blind]
        for subject, probe in probes.items():
            spec = getattr(self._subjects, subject)
            if spec:
                self._guarded(subject, spec, probe, given)

    def _guarded(
        self,
        subject: str,
        spec: str,
        probe: Callable[[Any, Guard], None],
        given: Mapping[str, Any],
    ) -> None:
        file = Path(spec.rpartition(":")[0]).resolve() if ".py:" in spec else None
        guard = Guard(subject, file, self._beat, self._rest)
        self._write({"subject": subject})
        place = str(file) if file is not None and file.is_file() else ""
        try:
            found = given[subject] if subject in given else find(spec, guard)
            place = where_of(found) or place
            probe(found, guard)
        except UserError as error:
            where = error.trouble.where or place
            guard.troubles.append(replace(error.trouble, where=where))
        self.contract["troubles"] += [vars(item) for item in guard.troubles]
        self.contract["calls"] += guard.calls
        self._write({"subject": ""})

    def _write(self, now: dict[str, str]) -> None:
        """Writes the contract as known so far: a hang may end this process at any time."""
        partial = self._folder / "contract.partial"
        partial.write_text(json.dumps({**self.contract, **now}), "utf-8")
        os.replace(partial, self._folder / "contract.json")

    def _save(self, observed: Any, name: str) -> None:
        save(observed, self._folder / f"{name}.npz")

    def _transform(self, found: Any, guard: Guard) -> None:
        size, seed = self._claimed.image, self._subjects.seed
        transform = made(found, guard)
        if not callable(transform):
            raise guard.fail("type", f"{type(transform).__name__} is no callable", where_of(found))
        where = where_of(transform)
        _single_threaded()
        style, labels = self._style(transform, guard, where)
        for _ in range(_UNTOUCHED):
            if not style.leaves_alone(transform, image_code(size), labels.masks(size)[0], guard):
                guard.note("mutated", "changes its input in place", where)
        style = calibrated(transform, style, guard, size, labels)
        trust = colours_kept(transform, style, guard, size, labels)
        subject = _Transform(transform, style, guard, where, labels, size)
        share = _QUICK if self._subjects.quick else 1
        draws = subject.windows(size, _CALLS // share, trust)
        self._save(draws, "draws")
        several = int(draws.slot.max()) + 1
        if several > 1:
            words = f"it returns {several} crops of an image, each of which is a window of its own"
            self.contract["notes"].append(words)
        trust = trust and draws.from_image
        near = near_size(draws)
        if near is not None:
            self._near(subject, near, _NEAR_CALLS // share, trust)
        rng = np.random.default_rng(seed)
        contents = Contents(size, self._subjects.data, rng, ids=subject.ids(), dtype=labels.dtype)
        pairs = subject.pairs(contents, rng, self._claimed, trust, _PAIRS // share)
        self._save(pairs, "pairs")

    def _style(self, transform: Any, guard: Guard, where: str) -> tuple[Style, Labels]:
        """Returns how to call the transform, and which masks it takes and leaves readable.

        Raises:
            UserError: If it takes none.
        """
        size, name = self._claimed.image, self._subjects.style
        search = _placed(find_style, where)
        image, faults = image_code(size), []
        found: list[tuple[Style, Labels]] = []
        for labels in (WIDE, DIGITS, FEW):
            try:
                style = search(transform, name, guard, image, labels.masks(size)[0])
            except UserError as error:
                faults.append(error)
                continue
            found.append((style, labels))
            if labels is not FEW and _readable(transform, style, guard, size, labels):
                break
        if not found:
            raise faults[0]
        # What takes masks and returns none, or maps their labels, is called as it first worked.
        readable = labels is not FEW and found[-1][1] is labels
        style, labels = found[-1] if readable else found[0]
        if labels is FEW:
            words = "it takes few labels only, so that windows are read off the image alone"
            self.contract["notes"].append(words)
        if labels is DIGITS:
            words = "its masks are of bytes, so that windows are read off three masks in turn"
            self.contract["notes"].append(words)
        self.contract["style"] = style.name
        how = "as told" if name else "found by trial"
        self.contract["notes"].append(f"called in the style {style.name} ({style.detail}), {how}")
        return style, labels

    def _near(self, subject: "_Transform", size: Size, calls: int, trust: bool) -> None:
        """Small images: a transform that refuses them is no worse for it."""
        try:
            draws = subject.windows(size, calls, trust)
        except UserError as error:
            words = f"refuses images of {size}, so no range was tested there: {error}"
            self.contract["notes"].append(words)
        else:
            self._save(draws, "near_draws")

    def _loader(self, found: Any, guard: Guard) -> None:
        from cropaudit.audit.conformance.probes.loader import probe_loader

        batches, draws = probe_loader(found, guard, self._subjects, self._claimed)
        self._save(batches, "batches")
        self._save(draws, "loader_draws")

    def _pipeline(self, found: Any, guard: Guard) -> None:
        from cropaudit.audit.conformance.probes.pipeline import probe_pipeline

        watched = probe_pipeline(found, guard, self._subjects, self._claimed)
        self._save(watched.batches, "trained_batches")
        self._save(watched.draws, "trained_draws")
        self._save(watched.training, "training")
        self._save(watched.replayed, "replayed")

    def _model(self, found: Any, guard: Guard) -> None:
        from cropaudit.audit.conformance.probes.model import probe_model

        spec = self._subjects.loss
        loss = find(spec, guard) if spec else None
        module = made(found, guard)
        self._save(probe_model(module, loss, guard, self._subjects, self._claimed), "gradients")

    def _trainer(self, found: Any, guard: Guard) -> None:
        from cropaudit.audit.conformance.probes.trainer import probe_trainer

        self._save(probe_trainer(found, guard, self._subjects, self._claimed), "updates")


class _Transform:
    """The user's transform, and how it is called and read."""

    def __init__(
        self,
        transform: Any,
        style: Style,
        guard: Guard,
        where: str,
        labels: Labels,
        size: Size,
    ) -> None:
        self._parts = transform, style, guard
        self._where, self._labels, self._size = where, labels, size

        def run() -> Mapping[str, Any]:
            crops = style.crops(transform, image_code(size), labels.masks(size)[0], guard)
            return {str(k): image for k, (image, _) in enumerate(crops)}

        self._replay: Replay = replay_of(transform, run, guard)

    def windows(self, size: Size, calls: int, trust: bool) -> Draws:
        """Returns windows of images of one size."""
        return probe_windows(
            *self._parts,
            size,
            calls=calls,
            seconds=_GUARD,
            trust_image=trust,
            where=self._where,
            labels=self._labels,
            replay=self._replay,
        )

    def ids(self) -> tuple[int, ...]:
        """Returns the labels that it takes: all, unless a mask of all makes it raise."""
        every = np.array(ALL_IDS)
        shape = (self._size.height, self._size.width)
        if self._takes(np.resize(every, shape)):
            return ALL_IDS
        half = np.indices(shape)[0] % 2
        taken = tuple(k for k in ALL_IDS if self._takes(half * k))
        return taken if {0, 1} <= set(taken) else (0, 1)

    def _takes(self, mask: Any) -> bool:
        transform, style, guard = self._parts
        try:
            style.crops(transform, image_code(self._size), mask.astype(self._labels.dtype), guard)
        except UserError:
            return False
        return True

    def pairs(
        self,
        contents: Contents,
        rng: np.random.Generator,
        claimed: Claimed,
        trust: bool,
        count: int,
    ) -> Pairs:
        """Returns replays."""
        maker = PairMaker(
            *self._parts,
            self._size,
            claimed.patch.size,
            claimed.crop,
            contents,
            rng,
            trust_image=trust,
            labels=self._labels,
        )
        return maker.run(count, _GUARD, self._where)


def _readable(transform: Any, style: Style, guard: Guard, size: Size, labels: Labels) -> bool:
    """Returns whether a mask tells a window in one of a few calls, or no mask comes back."""
    image = image_code(size)
    for _ in range(_READ):
        crops = coded_crops(transform, style, guard, size, image, labels, forked)
        for _, mask in crops:
            if mask is None or read_window(read_mask(mask, size), size) is not None:
                return True
    return False


def _placed(function: Callable[..., Any], where: str) -> Callable[..., Any]:
    """Returns ``function`` with the place of the user's code added to troubles that lack one."""

    def run(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except UserError as error:
            place = error.trouble.where or where
            raise UserError(replace(error.trouble, where=place)) from error

    return run


def _single_threaded() -> None:
    """Threads do not survive a fork, and what waits for them never ends."""
    import sys

    opencv = sys.modules.get("cv2")
    if opencv is not None:
        opencv.setNumThreads(0)
    gc.collect()
    gc.freeze()

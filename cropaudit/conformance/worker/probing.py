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

from cropaudit.conformance.observations.store import save
from cropaudit.conformance.pipeline_claim import PipelineClaim
from cropaudit.conformance.probes.crops.codes import DIGITS, FEW, WIDE, read_mask
from cropaudit.conformance.probes.crops.contents import ALL_IDS, Contents
from cropaudit.conformance.probes.crops.pairing import PairMaker
from cropaudit.conformance.probes.crops.reading import read_window
from cropaudit.conformance.probes.crops.styles import find_style, styles_named
from cropaudit.conformance.probes.crops.transform import (
    Transform,
    calibrated,
    colours_kept,
    near_size,
    probe_windows,
)
from cropaudit.conformance.probes.guard import Guard, UserError
from cropaudit.conformance.probes.user_code import find, made, where_of
from cropaudit.conformance.subjects import Subjects

__all__ = ["Prober"]

_NOTHING: Mapping[str, Any] = MappingProxyType({})

_CALLS, _NEAR_CALLS, _PAIRS = 2400, 600, 480
_GUARD = 900.0  # seconds after which no more samples are drawn, and their number is too small
_NO_PHOTOGRAPHS = ("loader", "model", "trainer")
_QUICK = 5  # a trial takes one in so many
_READ = 8  # calls of which one at least must be read for masks to be believed to hold codes
_UNTOUCHED = 5  # calls in which inputs are compared with themselves
_HARD_TO_READ = (
    (FEW, "it takes few labels only, so that windows are read off the image alone"),
    (DIGITS, "its masks are of bytes, so that windows are read off three masks in turn"),
)
_ANY = styles_named("numpy")[0]  # until the style is known


class Prober:
    """Probes all subjects of one request.

    Attributes:
        contract: What is known of the contract so far, as JSON values.
    """

    def __init__(
        self,
        subjects: Subjects,
        claimed: PipelineClaim,
        folder: Path,
        beat: Callable[[], None],
        rest: Callable[[], None],
    ) -> None:
        """Holds the request."""
        self.contract: dict[str, Any] = {"troubles": [], "calls": 0, "style": "", "notes": []}
        self._subjects, self._claimed, self._folder = subjects, claimed, folder
        self._beat, self._rest = beat, rest

    def run(self, given: Mapping[str, Any] = _NOTHING) -> None:
        """Probes what was given, one subject after the other."""
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
        code = made(found, guard)
        if not callable(code):
            raise guard.fail("type", f"{type(code).__name__} is no callable", where_of(found))
        _single_threaded()
        transform = self._called(Transform(code, _ANY, guard, size, where=where_of(code)))
        for _ in range(_UNTOUCHED):
            if not transform.style.leaves_alone(code, transform.image, transform.masks[0], guard):
                guard.note("mutated", "changes its input in place", transform.where)
        transform = calibrated(transform)
        transform = replace(transform, trust=colours_kept(transform)).replayable()
        share = _QUICK if self._subjects.quick else 1
        draws = probe_windows(transform, _CALLS // share, _GUARD)
        self._save(draws, "draws")
        several = int(draws.slot.max()) + 1
        if several > 1:
            words = f"it returns {several} crops of an image, each of which is a window of its own"
            self.contract["notes"].append(words)
        transform = replace(transform, trust=transform.trust and draws.from_image)
        near = near_size(draws)
        if near is not None:
            self._near(replace(transform, size=near), _NEAR_CALLS // share)
        rng = np.random.default_rng(seed)
        ids, dtype = _ids(transform), transform.labels.dtype
        contents = Contents(size, self._subjects.data, rng, ids=ids, dtype=dtype)
        maker = PairMaker(transform, self._claimed.patch.size, self._claimed.crop, contents, rng)
        self._save(maker.run(_PAIRS // share, _GUARD), "pairs")

    def _called(self, transform: Transform) -> Transform:
        """Returns it with a style in which it works, and masks that it leaves readable."""
        size, name = self._claimed.image, self._subjects.style
        faults: list[UserError] = []
        found: list[Transform] = []
        for labels in (WIDE, DIGITS, FEW):
            shown = transform.image, labels.masks(size)[0]
            try:
                style = find_style(transform.code, name, transform.guard, *shown)
            except UserError as error:
                place = error.trouble.where or transform.where
                faults.append(UserError(replace(error.trouble, where=place)))
                continue
            found.append(replace(transform, style=style, labels=labels))
            if labels is not FEW and _readable(found[-1]):
                break
        if not found:
            raise faults[0]
        # What takes masks and returns none, or maps their labels, is called as it first worked.
        readable = labels is not FEW and found[-1].labels is labels
        transform = found[-1] if readable else found[0]
        style, labels = transform.style, transform.labels
        how = "as told" if name else "found by trial"
        self.contract["style"] = style.name
        self.contract["notes"] += [
            *(words for kind, words in _HARD_TO_READ if kind is labels),
            f"called in the style {style.name} ({style.detail}), {how}",
        ]
        return transform

    def _near(self, transform: Transform, calls: int) -> None:
        """Small images: a transform that refuses them is no worse for it."""
        try:
            draws = probe_windows(transform, calls, _GUARD)
        except UserError as error:
            words = f"refuses images of {transform.size}, so no range was tested there: {error}"
            self.contract["notes"].append(words)
        else:
            self._save(draws, "near_draws")

    def _loader(self, found: Any, guard: Guard) -> None:
        from cropaudit.conformance.probes.loaders.loader import probe_loader

        batches, draws = probe_loader(found, guard, self._subjects, self._claimed)
        self._save(batches, "batches")
        self._save(draws, "loader_draws")

    def _pipeline(self, found: Any, guard: Guard) -> None:
        from cropaudit.conformance.probes.training.pipeline import probe_pipeline

        watched = probe_pipeline(found, guard, self._subjects, self._claimed)
        self._save(watched.batches, "trained_batches")
        self._save(watched.draws, "trained_draws")
        self._save(watched.training, "training")
        self._save(watched.replayed, "replayed")

    def _model(self, found: Any, guard: Guard) -> None:
        from cropaudit.conformance.probes.models.model import probe_model

        spec = self._subjects.loss
        loss = find(spec, guard) if spec else None
        module = made(found, guard)
        self._save(probe_model(module, loss, guard, self._subjects, self._claimed), "gradients")

    def _trainer(self, found: Any, guard: Guard) -> None:
        from cropaudit.conformance.probes.training.trainer import probe_trainer

        self._save(probe_trainer(found, guard, self._subjects, self._claimed), "updates")


def _ids(transform: Transform) -> tuple[int, ...]:
    """Returns the labels that it takes: all, unless a mask of all makes it raise."""
    shape = transform.size.height, transform.size.width
    if _takes(transform, np.resize(np.array(ALL_IDS), shape)):
        return ALL_IDS
    half = np.indices(shape)[0] % 2
    taken = tuple(k for k in ALL_IDS if _takes(transform, half * k))
    return taken if {0, 1} <= set(taken) else (0, 1)


def _takes(transform: Transform, mask: Any) -> bool:
    try:
        transform.crops(transform.image, mask.astype(transform.labels.dtype))
    except UserError:
        return False
    return True


def _readable(transform: Transform) -> bool:
    """Returns whether a mask tells a window in one of a few calls, or no mask comes back."""
    return any(
        mask is None or read_window(read_mask(mask, transform.size), transform.size) is not None
        for _ in range(_READ)
        for _, mask in transform.coded()
    )


def _single_threaded() -> None:
    """Threads do not survive a fork, and what waits for them never ends."""
    import sys

    opencv = sys.modules.get("cv2")
    if opencv is not None:
        opencv.setNumThreads(0)
    gc.collect()
    gc.freeze()

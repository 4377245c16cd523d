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
from cropaudit.audit.conformance.observe.store import save
from cropaudit.audit.conformance.probes.calibration import calibrated
from cropaudit.audit.conformance.probes.codes import image_code, mask_code, plain_mask
from cropaudit.audit.conformance.probes.contents import Contents
from cropaudit.audit.conformance.probes.pairing import PairMaker
from cropaudit.audit.conformance.probes.styles import Style, find_style
from cropaudit.audit.conformance.probes.trust import colours_kept
from cropaudit.audit.conformance.probes.windows import MaskMaker, near_size, probe_windows
from cropaudit.audit.conformance.subjects import Subjects
from cropaudit.audit.conformance.worker.guard import Guard, UserError
from cropaudit.audit.conformance.worker.user_code import find, made, where_of

__all__ = ["Prober"]

_NOTHING: Mapping[str, Any] = MappingProxyType({})

_CALLS, _NEAR_CALLS, _PAIRS = 4000, 600, 240
_SECONDS, _NEAR_SECONDS, _PAIR_SECONDS = 9.0, 3.0, 16.0
_QUICK = 5  # a trial takes one in so many
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
        style, labels = self._style(transform, guard, where)
        for _ in range(_UNTOUCHED):
            if not style.leaves_alone(transform, image_code(size), labels(size), guard):
                guard.note("mutated", "changes its input in place", where)
        _single_threaded()
        style = calibrated(transform, style, guard, size, labels)
        trust = colours_kept(transform, style, guard, size, labels)
        share = _QUICK if self._subjects.quick else 1
        draws = probe_windows(
            transform,
            style,
            guard,
            size,
            calls=_CALLS // share,
            seconds=_SECONDS,
            trust_image=trust,
            where=where,
            labels=labels,
        )
        self._save(draws, "draws")
        trust = trust and draws.from_image
        near = near_size(draws)
        if near is not None:
            self._near(transform, style, guard, near, trust, where, labels)
        rng = np.random.default_rng(seed)
        self._pairs(transform, style, guard, rng, trust, where, labels)

    def _style(self, transform: Any, guard: Guard, where: str) -> tuple[Style, MaskMaker]:
        """Returns how to call the transform, and which masks it takes: coded, or of few labels.

        Raises:
            UserError: If it takes neither.
        """
        size, name = self._claimed.image, self._subjects.style
        search = _placed(find_style, where)
        labels: MaskMaker = mask_code
        try:
            style = search(transform, name, guard, image_code(size), mask_code(size))
        except UserError as error:
            try:
                style = search(transform, name, guard, image_code(size), plain_mask(size))
            except UserError:
                raise error from None
            labels = plain_mask
            words = "it takes few labels only, so that windows are read off the image alone"
            self.contract["notes"].append(words)
        self.contract["style"] = style.name
        how = "as told" if name else "found by trial"
        self.contract["notes"].append(f"called in the style {style.name} ({style.detail}), {how}")
        return style, labels

    def _near(
        self,
        transform: Any,
        style: Style,
        guard: Guard,
        size: Size,
        trust: bool,
        where: str,
        labels: MaskMaker,
    ) -> None:
        """Small images: a transform that refuses them is no worse for it."""
        try:
            draws = probe_windows(
                transform,
                style,
                guard,
                size,
                calls=_NEAR_CALLS,
                seconds=_NEAR_SECONDS,
                trust_image=trust,
                where=where,
                labels=labels,
            )
        except UserError as error:
            words = f"refuses images of {size}, so no range was tested there: {error}"
            self.contract["notes"].append(words)
        else:
            self._save(draws, "near_draws")

    def _pairs(
        self,
        transform: Any,
        style: Style,
        guard: Guard,
        rng: np.random.Generator,
        trust: bool,
        where: str,
        labels: MaskMaker,
    ) -> None:
        size = self._claimed.image
        contents = Contents(size, self._subjects.data, rng)
        maker = PairMaker(
            transform,
            style,
            guard,
            size,
            self._claimed.patch.size,
            self._claimed.crop,
            contents,
            rng,
            trust_image=trust,
            labels=labels,
        )
        count = _PAIRS // (_QUICK if self._subjects.quick else 1)
        self._save(maker.run(count, _PAIR_SECONDS, where), "pairs")

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

"""Replays: one random state, several images, and what of them comes out.

In one state the transform is run, in copies of this process, on the coded image (which tells the
window) and on the coded mask (which tells whether the window moved with the content), then on a
scene with another patch, and at last, here, on the scene itself. Half of the patches stand right
beside the window, where interpolation would read them, the others anywhere.
"""

import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.crop_laws import CropLaw
from cropaudit.accounting.footprints import source_indices
from cropaudit.accounting.geometry import Crop, Size
from cropaudit.audit.conformance.observe.draws import PADDING_MODES
from cropaudit.audit.conformance.observe.pairs import Pairs
from cropaudit.audit.conformance.probes.blocks import block_scene, label_fit
from cropaudit.audit.conformance.probes.codes import (
    image_code,
    mask_code,
)
from cropaudit.audit.conformance.probes.contents import Contents, Scene, with_patch
from cropaudit.audit.conformance.probes.reading import Window, read_both
from cropaudit.audit.conformance.probes.replay import Replay, forked
from cropaudit.audit.conformance.probes.styles import Pair, Style
from cropaudit.audit.conformance.probes.windows import MaskMaker
from cropaudit.audit.conformance.worker.guard import Guard

__all__ = ["PairMaker"]

Array = NDArray[Any]
_ALIGNED = 4  # of so many states one shows whether labels fit their pixels
_REPLAYED = 6  # states in which equal inputs are replayed
_ENOUGH = 40  # replays that miss the patch, which the check needs
_PATIENCE = 3  # times as long
_SHOWN = 2  # counter-examples with pictures
_PLAIN = (0, PADDING_MODES.index("constant"))  # nothing is copied
_MET, _TRIES = 8, 12  # one state in so many may meet the patch; tries of the others not to
_BESIDE = 3  # pixels beyond what may be the window within which half of the patches begin


@dataclass(eq=False)
class _Entry:
    """One replay."""

    numbers: dict[str, int]
    differs: tuple[bool, bool]
    features: NDArray[np.float64]
    fit: tuple[float, float] = (math.nan, math.nan)
    telling: bool = False
    pictures: dict[str, Array] = field(default_factory=dict)


class PairMaker:
    """Makes replays of one transform."""

    def __init__(
        self,
        transform: Any,
        style: Style,
        guard: Guard,
        size: Size,
        patch: Size,
        crop: CropLaw | None,
        contents: Contents,
        rng: np.random.Generator,
        *,
        trust_image: bool,
        replay: Replay = forked,
        labels: MaskMaker = mask_code,
    ) -> None:
        """Holds what all replays share.

        Args:
            transform: The user's.
            style: How it is called.
            guard: That calls it.
            size: Of the images.
            patch: Of the patch.
            crop: The claimed law: what its padding copies counts as part of the window.
            contents: The scenes.
            rng: Of the places of patches.
            trust_image: Whether codes in images survive the transform, if they are seen at all.
            replay: Runs a call in the present random state and leaves that state as it is.
            labels: Makes the mask whose codes are read back, if they are.
        """
        self._trust, self._replay = trust_image, replay
        self._transform, self._style, self._guard = transform, style, guard
        self._size, self._patch, self._crop = size, patch, crop
        self._contents, self._rng = contents, rng
        self._code, self._labels = image_code(size), labels(size)
        self._blocks = block_scene(size, rng)
        self._entries: list[_Entry] = []
        self._replayable = True

    def run(self, count: int, seconds: float, where: str) -> Pairs:
        """Makes at most ``count`` replays, and begins none after ``seconds``.

        On a busy machine it goes on for a few times as long, if that is sure to bring as many
        that miss the patch as the check needs.
        """
        begun = time.monotonic()
        limit = seconds
        while len(self._entries) < count:
            if self._entries and time.monotonic() - begun > limit:
                if limit > seconds or not _ENOUGH > self._missed() >= _ENOUGH / _PATIENCE:
                    break
                limit = seconds * _PATIENCE
            self._entries.append(self._one(len(self._entries)))
        return self._pairs(where)

    def _missed(self) -> int:
        known = [entry.numbers for entry in self._entries if entry.numbers["decoded"]]
        return sum(not n["meets"] and n["distance"] >= n["slack"] for n in known)

    def _one(self, index: int) -> _Entry:
        scene = self._contents[index]
        windows, moved = self._windows(scene, index)
        place = self._place(windows[0] if windows else None, index)
        other = with_patch(scene, place, self._patch, index)
        after = self._forked(other)
        again = self._forked(scene) if index < _REPLAYED else None
        fitted = self._forked(self._blocks) if index % _ALIGNED == 0 else after
        before = self._call(scene)
        if again is not None and _differs(before, again) != (False, False):
            self._replayable = False
        differs = _differs(before, after)
        numbers = self._numbers(windows, place, moved)
        features = np.stack([_features(before), _features(after)])
        entry = _Entry(numbers, differs, features)
        if index % _ALIGNED == 0:
            entry.fit = label_fit(*fitted)
        telling = index % len(self._contents) >= Contents.DRAWN  # a picture says more than noise
        if any(differs) and not numbers["meets"] and self._shown(telling) < _SHOWN:
            entry.telling = telling
            entry.pictures = _pictures(scene, other, before, after)
        return entry

    def _call(self, scene: Scene) -> Pair:
        return self._style.call(self._transform, scene.image, scene.mask, self._guard)

    def _forked(self, scene: Scene) -> Pair:
        def run() -> dict[str, Array | None]:
            image, mask = self._call(scene)
            return {"image": image, "mask": mask}

        found = self._replay(run, self._guard)
        return found["image"], found.get("mask")

    def _windows(self, scene: Scene, index: int) -> tuple[list[Window], bool]:
        """Returns this state's windows of image and mask, and whether they depend on content."""
        of_image, of_mask = self._read(Scene(self._code, self._labels))
        if index % 2:
            under_scene = self._read(Scene(self._code, scene.mask))[0]
            moved = _moved(of_image, under_scene)
        else:
            under_scene = self._read(Scene(scene.image, self._labels))[1]
            moved = _moved(of_mask, under_scene)
        found = [under_scene] if moved else [of_image, of_mask]
        return [window for window in found if window is not None], moved

    def _read(self, scene: Scene) -> tuple[Window | None, Window | None]:
        image, mask = self._forked(scene)
        return read_both(image, mask, self._size, trust_image=self._trust)

    def _place(self, window: Window | None, index: int) -> tuple[int, int]:
        """Picks where the patch stands: right beside the window, or anywhere, mostly out of it."""
        rows, columns = (
            self._size.height - self._patch.height,
            self._size.width - self._patch.width,
        )
        row, column = self._anywhere(window, rows, columns, index)
        if window is None or index % 2:
            return row, column
        gap = window.slack + int(self._rng.integers(_BESIDE))  # nearer by, nothing is judged
        top, left = window.rows.start, window.columns.start
        beside = (
            (top - self._patch.height - gap, None),
            (top + window.rows.length + gap, None),
            (None, left - self._patch.width - gap),
            (None, left + window.columns.length + gap),
        )
        wanted = beside[int(self._rng.integers(4))]
        if wanted[0] is not None and 0 <= wanted[0] <= rows:
            return wanted[0], min(max(left, 0), columns)
        if wanted[1] is not None and 0 <= wanted[1] <= columns:
            return min(max(top, 0), rows), wanted[1]
        return row, column

    def _anywhere(
        self, window: Window | None, rows: int, columns: int, index: int
    ) -> tuple[int, int]:
        """Draws a place; again and again until it misses the window, but for some states."""
        place = int(self._rng.integers(rows + 1)), int(self._rng.integers(columns + 1))
        for _ in range(0 if window is None or index % _MET == 0 else _TRIES):
            if not window.meets(*place, self._patch.height, self._patch.width):  # type: ignore[union-attr]
                break
            place = int(self._rng.integers(rows + 1)), int(self._rng.integers(columns + 1))
        return place

    def _numbers(
        self, windows: list[Window], place: tuple[int, int], moved: bool
    ) -> dict[str, int]:
        numbers = dict.fromkeys(("top", "left", "height", "width", "slack", "distance"), 0)
        numbers |= {"patch_top": place[0], "patch_left": place[1], "moved": int(moved)}
        numbers |= {"decoded": 0, "meets": 0, "copied": 0}
        if not windows:
            return numbers
        box = (*place, self._patch.height, self._patch.width)
        rows, columns = windows[0].rows, windows[0].columns
        numbers |= {"top": rows.start, "left": columns.start, "height": rows.length}
        numbers |= {"width": columns.length, "slack": max(w.slack for w in windows), "decoded": 1}
        numbers["copied"] = int(any(w.padding not in _PLAIN for w in windows))
        numbers["distance"] = min(w.distance(*box) for w in windows)
        numbers["meets"] = int(any(w.meets(*box) or self._copies(w, box) for w in windows))
        return numbers

    def _copies(self, window: Window, box: tuple[int, int, int, int]) -> bool:
        """Returns whether the claimed padding copies a part of the patch into the window."""
        crop = self._crop
        if not isinstance(crop, Crop) or crop.mode == "constant" or window.padding in _PLAIN:
            return False
        border = crop.borders(self._size)
        rows, columns = source_indices(self._size, crop)
        read = []
        for source, axis, before, start, length in (
            (rows, window.rows, border.top, box[0], box[2]),
            (columns, window.columns, border.left, box[1], box[3]),
        ):
            first = max(axis.start + before, 0)
            shown = source[first : axis.start + before + axis.length]
            read.append(bool(((shown >= start) & (shown < start + length)).any()))
        return all(read)

    def _shown(self, telling: bool) -> int:
        return sum(bool(e.pictures) and e.telling == telling for e in self._entries)

    def _pairs(self, where: str) -> Pairs:
        entries = self._entries
        names = ("decoded", "moved", "meets", "copied")
        numbers: dict[str, Any] = {
            name: np.array([entry.numbers[name] for entry in entries], dtype=np.int64)
            for name in entries[0].numbers
        }
        numbers |= {name: numbers[name].astype(np.bool_) for name in names}
        kept = [i for i, entry in enumerate(entries) if entry.pictures]
        shown = sorted(kept, key=lambda i: not entries[i].telling)[:_SHOWN]
        return Pairs(
            replayable=self._replayable,
            image_differs=np.array([e.differs[0] for e in entries]),
            mask_differs=np.array([e.differs[1] for e in entries]),
            features=np.stack([e.features for e in entries]),
            fit=np.array([e.fit for e in entries]),
            shown=np.array(shown, dtype=np.int64),
            where=where,
            **numbers,
            **_stacked([entries[i].pictures for i in shown]),
        )


def _differs(before: Pair, after: Pair) -> tuple[bool, bool]:
    """Returns whether images and masks differ in any bit; equal NaN are equal."""
    found = []
    for one, other in zip(before, after, strict=True):
        if one is None or other is None:
            found.append((one is None) != (other is None))
        else:
            same = one.shape == other.shape and one.dtype == other.dtype
            found.append(not same or one.tobytes() != other.tobytes())
    return found[0], found[1]


def _moved(one: Window | None, other: Window | None) -> bool:
    if one is None or other is None or not (one.exact and other.exact):
        return False
    return one != other


def _features(pair: Pair) -> NDArray[np.float64]:
    """Sums up an output in a few numbers, for transforms that cannot be replayed."""
    image = np.asarray(pair[0], dtype=np.float64)
    corner = image[0, 0].mean(), image[-1, -1].mean()
    return np.array([image.mean(), image.std(), image.min(), image.max(), *corner])


def _pictures(scene: Scene, other: Scene, before: Pair, after: Pair) -> dict[str, Array]:
    one, two = np.asarray(before[0], dtype=np.float64), np.asarray(after[0], dtype=np.float64)
    same = one.shape == two.shape
    leaked = (one != two).any(axis=2) if same else np.ones(one.shape[:2], dtype=np.bool_)
    masks = before[1], after[1]
    if same and masks[0] is not None and masks[1] is not None and masks[0].shape == leaked.shape:
        leaked |= masks[0] != masks[1]
    low, high = min(one.min(), two.min()), max(one.max(), two.max())
    shown = {"out_before": _bytes(one, low, high), "out_after": _bytes(two, low, high)}
    return {"before": scene.image, "after": other.image, "leaked": leaked, **shown}


def _bytes(image: Array, low: float, high: float) -> Array:
    if low >= 0 and 1 < high <= 255:
        return image.astype(np.uint8)
    return ((image - low) / max(high - low, 1e-12) * 255).astype(np.uint8)


def _stacked(pictures: list[dict[str, Array]]) -> dict[str, Any]:
    """Stacks pictures; outputs of different sizes are cut to the smallest."""
    empty = np.zeros((0, 1, 1, 3), dtype=np.uint8)
    if not pictures:
        none = dict.fromkeys(("before", "after", "out_before", "out_after"), empty)
        return {**none, "leaked": np.zeros((0, 1, 1), dtype=np.bool_)}
    return {
        name: np.stack([picture[name][tuple(map(slice, shape))] for picture in pictures])
        for name in pictures[0]
        for shape in [np.min([picture[name].shape for picture in pictures], axis=0)]
    }

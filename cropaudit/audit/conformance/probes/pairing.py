"""Replays: one random state, several images, and what of them comes out.

In one state the transform is run on the coded image with the coded mask, which tells the window; on
a scene that is laid around this window, once with the code in the place of its image and once of
its labels, which tells whether the window moved with the other; on the scene itself; and on the
scene with another patch. Half of the patches stand right beside the window, where interpolation
would read them, the others anywhere.

Only the last call of each state changes anything here. The others are replays: by copies of the
process, or by putting generators back, of which every finding is put to the test by copies.
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
from cropaudit.audit.conformance.probes.codes import WIDE, Labels, image_code
from cropaudit.audit.conformance.probes.contents import GROUNDS, Contents, Scene, with_patch
from cropaudit.audit.conformance.probes.reading import Window, read_both
from cropaudit.audit.conformance.probes.replay import Replay, forked, replay_of
from cropaudit.audit.conformance.probes.styles import Pair, Style
from cropaudit.audit.conformance.probes.windows import replayed
from cropaudit.audit.conformance.worker.guard import Guard, UserError

__all__ = ["PairMaker"]

Array = NDArray[Any]
Windows = tuple[Window | None, Window | None]
_ALIGNED = 4  # of so many states one shows whether labels fit their pixels
_REPLAYED = 6  # states in which equal inputs are replayed
_SHOWN = 2  # counter-examples with pictures
_PLAIN = (0, PADDING_MODES.index("constant"))  # nothing is copied
_MET, _TRIES = 9, 12  # one state in so many is to meet the patch; tries of all
_BESIDE = 3  # pixels beyond what may be the window within which half of the patches begin
_COPIES = 4  # copies of the process are dear: of so many replays one is made then
_LEAST = 60  # but so many in any case
_CONFIRMED = 3  # findings that copies confirmed, after which they are believed


@dataclass(eq=False)
class _Entry:
    """One crop of one replay."""

    numbers: dict[str, int]
    differs: tuple[bool, bool]
    features: NDArray[np.float64]
    fit: tuple[float, float] = (math.nan, math.nan)
    telling: bool = False
    pictures: dict[str, Array] = field(default_factory=dict)

    @property
    def finding(self) -> bool:
        """Whether no sound crop could bring it."""
        return bool(self.numbers["moved"] or (any(self.differs) and not self.numbers["meets"]))


@dataclass(eq=False)
class _State:
    """The crops of one replay, and whether equal inputs gave equal outputs."""

    entries: list[_Entry]
    steady: bool
    filled: int

    @property
    def findings(self) -> list[tuple[bool, tuple[bool, bool]]]:
        """What of it copies must confirm."""
        return [(bool(e.numbers["moved"]), e.differs) for e in self.entries if e.finding]


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
        replay: Replay | None = None,
        labels: Labels = WIDE,
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
            replay: Runs a call in the present random state and leaves that state as it is; found
                by trial if none.
            labels: How masks say where their pixels are.
        """
        self._trust = trust_image
        self._transform, self._style, self._guard = transform, style, guard
        self._size, self._patch, self._crop = size, patch, crop
        self._contents, self._seed = contents, int(rng.integers(2**31))
        self._code, self._labels = image_code(size), labels
        self._masks = labels.masks(size)
        blocks = block_scene(size, rng)
        self._blocks = Scene(blocks.image, blocks.mask.astype(labels.dtype))
        self._states: list[_State] = []
        self._refused: list[UserError] = []
        self._confirmed = _CONFIRMED if replay is not None else 0
        self._replay = replay or self._found_replay()

    def _found_replay(self) -> Replay:
        def run() -> dict[str, Array | None]:
            crops = self._style.crops(self._transform, self._code, self._masks[0], self._guard)
            return {str(k): image for k, (image, _) in enumerate(crops)}

        return replay_of(self._transform, run, self._guard)

    def run(self, count: int, seconds: float, where: str) -> Pairs:
        """Makes ``count`` replays, fewer of copies, and begins none after ``seconds``."""
        end = time.monotonic() + seconds
        index = 0
        while index < self._wanted(count) and (not self._states or time.monotonic() < end):
            state = self._one(index)
            if state is not None:
                self._states.append(state)
            index += 1
        return self._pairs(where, self._wanted(count))

    def _wanted(self, count: int) -> int:
        return count if self._replay is not forked else min(count, max(count // _COPIES, _LEAST))

    def _one(self, index: int) -> _State | None:
        """Returns one state's replays, confirmed by copies, and goes on to the next state."""
        found = self._tried(index)
        odd = found is not None and (bool(found.findings) or not found.steady)
        if odd and found is not None and self._confirmed < _CONFIRMED:
            kept, self._replay = self._replay, forked
            again = self._tried(index)
            if again is not None and again.findings == found.findings:
                self._confirmed += 1
                self._replay = kept
            found = again
        self._style.crops(self._transform, self._code, self._masks[0], self._guard)
        return found

    def _tried(self, index: int) -> _State | None:
        coded = self._read(self._code, None)
        crop = index % len(coded)  # the scene is laid around one of several
        first = next((window for window in coded[crop] if window is not None), None)
        scene = self._contents.around(index, None if first is None else _box(first))
        try:
            return self._shown_in(scene, coded, first, index)
        except UserError as error:
            # Only code for some labels or pictures refuses what no other data set holds.
            if error.trouble.kind != "raised" or self._contents.telling(index):
                raise
            self._refused.append(error)
            if len(self._refused) > _REPLAYED and not self._states:
                raise
            return None

    def _shown_in(
        self, scene: Scene, coded: list[Windows], first: Window | None, index: int
    ) -> _State:
        under_labels = [found[0] for found in self._read(self._code, scene.mask)]
        under_image = [found[1] for found in self._read(scene.image, None)]
        rng = np.random.default_rng([self._seed, index])
        place = self._place(first, index, rng)
        other = with_patch(scene, place, self._patch, index, self._contents.ids)
        before, after = self._replayed(scene), self._replayed(other)
        steady = index >= _REPLAYED or all(
            _differs(one, two) == (False, False)
            for one, two in zip(before, self._replayed(scene), strict=True)
        )
        fitted = self._replayed(self._blocks) if index % _ALIGNED == 0 else None
        entries = []
        for k, windows in enumerate(coded):
            moved = _moved(windows[0], under_labels[k]) or _moved(windows[1], under_image[k])
            seen = [*windows, under_labels[k], under_image[k]] if moved else [*windows]
            known = [window for window in seen if window is not None]
            numbers = self._numbers(known, place, moved)
            features = np.stack([_features(before[k]), _features(after[k])])
            entry = _Entry(numbers, _differs(before[k], after[k]), features)
            if fitted is not None:
                entry.fit = label_fit(*fitted[k])
            telling = self._contents.telling(index)
            if any(entry.differs) and not numbers["meets"] and self._shown(telling) < _SHOWN:
                entry.telling = telling
                entry.pictures = _pictures(scene, other, before[k], after[k])
            entries.append(entry)
        return _State(entries, steady, scene.filled)

    def _replayed(self, scene: Scene) -> list[Pair]:
        return replayed(
            self._transform, self._style, self._guard, scene.image, scene.mask, self._replay
        )

    def _read(self, image: Array, mask: Array | None) -> list[Windows]:
        """Returns the windows of each crop of an image, with the coded masks unless given one."""
        masks = self._masks if mask is None else (mask,)
        found = [self._replayed(Scene(image, each)) for each in masks]
        if len({len(crops) for crops in found}) != 1:
            raise self._guard.fail("type", "returns a number of crops that varies")
        return [
            read_both(
                crops[0][0],
                self._labels.joined([labels for _, labels in crops], self._size),
                self._size,
                trust_image=self._trust,
            )
            for crops in zip(*found, strict=True)
        ]

    def _place(
        self, window: Window | None, index: int, rng: np.random.Generator
    ) -> tuple[int, int]:
        """Picks where the patch stands: right beside the window, or anywhere, mostly out of it."""
        rows, columns = (
            self._size.height - self._patch.height,
            self._size.width - self._patch.width,
        )
        row, column = self._anywhere(window, rows, columns, index, rng)
        # Of each kind of scene some are beside.
        if window is None or index % 4 in (1, 2) or index % _MET == 0:
            return row, column
        gap = window.slack + int(rng.integers(_BESIDE))  # nearer by, nothing is judged
        top, left = window.rows.start, window.columns.start
        beside = (
            (top - self._patch.height - gap, None),
            (top + window.rows.length + gap, None),
            (None, left - self._patch.width - gap),
            (None, left + window.columns.length + gap),
        )
        wanted = beside[int(rng.integers(4))]
        if wanted[0] is not None and 0 <= wanted[0] <= rows:
            return wanted[0], min(max(left, 0), columns)
        if wanted[1] is not None and 0 <= wanted[1] <= columns:
            return min(max(top, 0), rows), wanted[1]
        return row, column

    def _anywhere(
        self,
        window: Window | None,
        rows: int,
        columns: int,
        index: int,
        rng: np.random.Generator,
    ) -> tuple[int, int]:
        """Draws a place; until it misses the window, but for some states until it meets it."""
        wanted = index % _MET == 0
        for _ in range(_TRIES):
            place = int(rng.integers(rows + 1)), int(rng.integers(columns + 1))
            if window is None or wanted == window.meets(
                *place, self._patch.height, self._patch.width
            ):
                break
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
        kept = (entry for state in self._states for entry in state.entries)
        return sum(bool(e.pictures) and e.telling == telling for e in kept)

    def _said(self) -> str:
        """Returns what the scenes showed, in words."""
        filled = len({state.filled for state in self._states} - {-1})
        words = (
            f"{filled} of {len(self._contents.ids)} labels in turn over the whole window or all "
            f"around it, all of them at once, and windows and surroundings in "
            f"{', '.join(GROUNDS)}"
        )
        if self._contents.pictures:
            kind = "photographs" if self._contents.photographs else "drawn streets"
            words += f", and {self._contents.pictures} {kind}"
        if self._refused:
            trouble = self._refused[0].trouble
            words += f" (it raised on {len(self._refused)} more of them: {trouble.words})"
        return words

    def _pairs(self, where: str, wanted: int) -> Pairs:
        entries = [entry for state in self._states for entry in state.entries]
        several = len(entries) // len(self._states)
        names = ("decoded", "moved", "meets", "copied")
        numbers: dict[str, Any] = {
            name: np.array([entry.numbers[name] for entry in entries], dtype=np.int64)
            for name in entries[0].numbers
        }
        numbers |= {name: numbers[name].astype(np.bool_) for name in names}
        kept = [i for i, entry in enumerate(entries) if entry.pictures]
        shown = sorted(kept, key=lambda i: not entries[i].telling)[:_SHOWN]
        return Pairs(
            replayable=all(state.steady for state in self._states),
            image_differs=np.array([e.differs[0] for e in entries]),
            mask_differs=np.array([e.differs[1] for e in entries]),
            features=np.stack([e.features for e in entries]),
            fit=np.array([e.fit for e in entries]),
            shown=np.array(shown, dtype=np.int64),
            where=where,
            wanted=(wanted - len(self._refused)) * several,
            contents=self._said(),
            **numbers,
            **_stacked([entries[i].pictures for i in shown]),
        )


def _box(window: Window) -> tuple[int, int, int, int]:
    rows, columns = window.rows, window.columns
    return rows.start, columns.start, rows.length, columns.length


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

"""Replays: an output differs where, and only where, its window shows the patch or a copy of it.

The random state is that of one generator here, put back after each replay: no process is copied.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate

from cropaudit.accounting.crop_laws import CropLaw
from cropaudit.accounting.geometry import Crop, Size
from cropaudit.audit.conformance.checks.non_interference import check
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.pairs import Pairs
from cropaudit.audit.conformance.probes.contents import Contents, Scene, with_patch
from cropaudit.audit.conformance.probes.pairing import PairMaker
from cropaudit.audit.conformance.probes.styles import styles_named
from cropaudit.audit.conformance.probes.trust import colours_kept
from cropaudit.audit.conformance.probes.windows import near_size, probe_windows
from cropaudit.audit.conformance.seen import Seen
from cropaudit.audit.conformance.worker.guard import Guard

SIZE, PATCH, SIDE = Size(48, 60), Size(7, 5), 14
NUMPY = styles_named("numpy")[0]
Array = np.ndarray[Any, Any]
Pair = tuple[Array, Array]


class Cropping:
    """A crop of arrays, with something done before it or after; its state can be put back."""

    def __init__(
        self,
        seed: int = 0,
        before: Callable[[Array], Array] | None = None,
        after: Callable[[Pair], Pair] | None = None,
        border: int = 0,
        mode: str = "constant",
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self._before, self._after, self._border, self._mode = before, after, border, mode

    def __call__(self, image: Array, mask: Array) -> Pair:
        shown = image if self._before is None else self._before(image)
        border = [(self._border, self._border)] * 2
        images = np.pad(shown, [*border, (0, 0)], mode=self._mode)  # type: ignore[call-overload]
        masks = np.pad(mask, border, mode=self._mode)  # type: ignore[call-overload]
        top, left = self.origin(image, mask)
        cut = np.s_[top : top + SIDE, left : left + SIDE]
        pair = images[cut], masks[cut]
        return pair if self._after is None else self._after(pair)

    def origin(self, image: Array, mask: Array) -> tuple[int, int]:
        height, width = (side + 2 * self._border - SIDE + 1 for side in mask.shape)
        return int(self.rng.integers(height)), int(self.rng.integers(width))

    def replay(
        self, run: Callable[[], Mapping[str, Array | None]], guard: Guard
    ) -> Mapping[str, Array]:
        state = self.rng.bit_generator.state
        found = run()
        self.rng.bit_generator.state = state
        return {name: array for name, array in found.items() if array is not None}


class Seeking(Cropping):
    """Centres the window on what is labelled highest."""

    def origin(self, image: Array, mask: Array) -> tuple[int, int]:
        self.rng.random()
        row, column = np.unravel_index(np.argmax(mask), mask.shape)
        top = min(max(int(row) - SIDE // 2, 0), mask.shape[0] - SIDE)
        return top, min(max(int(column) - SIDE // 2, 0), mask.shape[1] - SIDE)


def guard() -> Guard:
    return Guard("transform", None, lambda: None)


def replays(
    transform: Cropping, count: int = 60, crop: CropLaw | None = None, trust: bool = True
) -> Pairs:
    rng = np.random.default_rng(1)
    contents = Contents(SIZE, None, rng)
    maker = PairMaker(
        transform,
        NUMPY,
        guard(),
        SIZE,
        PATCH,
        crop,
        contents,
        rng,
        trust_image=trust,
        replay=transform.replay,
    )
    return maker.run(count, 60.0, "file.py:1")


def flipped(pair: Pair) -> Pair:
    return pair[0][::-1], pair[1][::-1]


def doubled(pair: Pair) -> Pair:
    return pair[0].repeat(2, axis=0), pair[1].repeat(2, axis=0)


def standardised(image: Array) -> Array:
    return ((image - image.mean()) / (image.std() + 1)).astype(np.float64)


def blurred(image: Array) -> Array:
    # Whole numbers: a running mean of floats would leak its rounding all over the image.
    return np.asarray(correlate(image.astype(np.int64), np.ones((5, 5, 1), dtype=np.int64)))


# Sound transforms.


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["constant", "edge", "reflect", "symmetric"]),
    st.integers(0, 12),
    st.sampled_from([None, flipped, doubled]),
    st.integers(0, 999),
)
def test_outputs_differ_where_the_window_meets_the_patch_and_nowhere_else(
    mode: Any, border: int, after: Any, seed: int
) -> None:
    """All pixels of the patch change, so that one that is shown is enough."""
    if mode != "constant":
        after = None  # flipped or magnified copies of the image read as another window, or as none
    crop = Crop(Size(SIDE, SIDE), border, mode)
    pairs = replays(Cropping(seed, after=after, border=border, mode=mode), 20, crop)
    assert pairs.replayable
    assert not pairs.moved.any()
    judged = pairs.decoded & (pairs.distance >= pairs.slack)
    assert judged.sum() >= 8
    assert (pairs.image_differs == pairs.meets)[judged].all()
    assert (pairs.mask_differs == pairs.meets)[judged].all()
    # Windows in padding alone show nothing, and nothing differs.
    assert not (pairs.image_differs | pairs.mask_differs)[~pairs.decoded].any()


def test_half_of_the_patches_stand_beside_the_window() -> None:
    pairs = replays(Cropping())
    missed = pairs.decoded & ~pairs.meets
    near = ((pairs.distance <= 3) & missed).reshape(-1, 4)
    assert near[:, [0, 3]].mean() > 0.5
    assert near[:, [1, 2]].mean() < 0.3
    assert (pairs.meets & pairs.image_differs).any(), "or the patch would never be seen"
    rows, columns = pairs.patch_top, pairs.patch_left
    assert (rows >= 0).all()
    assert (rows + PATCH.height <= SIZE.height).all()
    assert (columns + PATCH.width <= SIZE.width).all()


def test_a_sound_crop_passes_whatever_happens_after_it() -> None:
    def noisy(pair: Pair) -> Pair:
        return np.sort(pair[0], axis=0), pair[1]

    pairs = replays(Cropping(after=noisy), 90)
    outcome = check(Seen(pairs=pairs), Claimed(image=SIZE))
    assert {test.p_value for test in outcome.tests} == {1.0}
    assert outcome.undecided == ""
    assert outcome.where == "file.py:1"


# Faults.


def test_statistics_of_the_whole_image_leak_into_every_crop() -> None:
    pairs = replays(Cropping(before=standardised))
    missed = pairs.decoded & ~pairs.meets
    assert pairs.image_differs[missed].mean() > 0.9
    assert not pairs.mask_differs[missed].any()


def test_a_filter_leaks_as_far_as_it_reads() -> None:
    pairs = replays(Cropping(before=blurred))
    missed = pairs.decoded & ~pairs.meets
    assert pairs.image_differs[missed & (pairs.distance < 2)].mean() > 0.5
    assert not pairs.image_differs[missed & (pairs.distance >= 2)].any()


def test_copies_in_padding_that_was_not_claimed_are_leaks() -> None:
    crop = Cropping(border=12, mode="reflect")
    unclaimed = replays(crop, 200, Crop(Size(SIDE, SIDE), 12))
    leaks = ~unclaimed.meets & unclaimed.image_differs & unclaimed.decoded
    assert leaks.any()
    assert unclaimed.copied[leaks].all()


def test_windows_that_move_with_the_content_are_seen() -> None:
    pairs = replays(Seeking())
    assert pairs.moved.mean() > 0.4
    assert pairs.replayable


def test_a_new_generator_in_each_call_cannot_be_replayed() -> None:
    class Fresh(Cropping):
        def origin(self, image: Array, mask: Array) -> tuple[int, int]:
            self.rng = np.random.default_rng()
            return super().origin(image, mask)

    transform = Fresh()
    transform.replay = lambda run, guard: run()  # type: ignore[method-assign,assignment,return-value]
    assert not replays(transform, 8).replayable


# What is kept.


def test_two_counter_examples_are_kept_with_what_leaked() -> None:
    pairs = replays(Cropping(before=standardised))
    assert len(pairs.shown) == 2
    assert pairs.before.shape == pairs.after.shape == (2, SIZE.height, SIZE.width, 3)
    assert pairs.out_before.shape == (2, SIDE, SIDE, 3)
    assert pairs.leaked.shape == (2, SIDE, SIDE)
    for k, i in enumerate(pairs.shown):
        changed = (pairs.before[k] != pairs.after[k]).any(axis=2)
        place = np.zeros_like(changed)
        top, left = pairs.patch_top[i], pairs.patch_left[i]
        place[top : top + PATCH.height, left : left + PATCH.width] = True
        assert (changed == place).all()
        assert pairs.leaked[k].any()


def test_sound_replays_keep_no_picture() -> None:
    pairs = replays(Cropping(), 20)
    assert len(pairs.shown) == len(pairs.before) == 0
    assert np.isfinite(pairs.fit[::4]).all() or SIDE < 16


def test_a_replay_in_a_hurry_still_makes_one() -> None:
    rng = np.random.default_rng(0)
    transform = Cropping()
    maker = PairMaker(
        transform,
        NUMPY,
        guard(),
        SIZE,
        PATCH,
        None,
        Contents(SIZE, None, rng),
        rng,
        trust_image=True,
        replay=transform.replay,
    )
    assert len(maker.run(60, 1e-9, "")) >= 1


# Contents.


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 41), st.integers(0, 55), st.integers(0, 50), st.integers(0, 2))
def test_a_patch_changes_each_of_its_pixels_and_no_other(
    top: int, left: int, turn: int, index: int
) -> None:
    scene = Contents(SIZE, None, np.random.default_rng(0))[index]
    other = with_patch(scene, (top, left), PATCH, turn)
    place = np.zeros((SIZE.height, SIZE.width), dtype=bool)
    place[top : top + PATCH.height, left : left + PATCH.width] = True
    assert ((scene.image != other.image).all(axis=2) == place).all()
    assert ((scene.mask != other.mask) == place).all()
    assert (other.image.dtype, other.mask.dtype) == (np.uint8, scene.mask.dtype)


@pytest.mark.data
def test_photographs_are_scaled_to_the_size(camvid_root: Any) -> None:
    contents = Contents(SIZE, camvid_root, np.random.default_rng(0))
    photograph = contents[3]
    assert isinstance(photograph, Scene)
    assert photograph.image.shape == (SIZE.height, SIZE.width, 3)
    assert photograph.mask.shape == (SIZE.height, SIZE.width)
    assert len(np.unique(photograph.image)) > 50


# Consecutive calls.


def test_windows_of_calls_and_the_size_of_small_images() -> None:
    options: dict[str, Any] = {"calls": 30, "seconds": 60.0, "trust_image": True, "where": "here"}
    draws = probe_windows(Cropping(), NUMPY, guard(), SIZE, **options)
    assert (len(draws), draws.where, draws.decoded.all()) == (30, "here", True)
    assert near_size(draws) == Size(SIDE + 15, SIDE + 15)
    hurried = probe_windows(Cropping(), NUMPY, guard(), SIZE, **{**options, "seconds": 0.0})
    assert len(hurried) == 1
    twice = probe_windows(Cropping(after=doubled), NUMPY, guard(), SIZE, **options)
    assert near_size(twice) is None or not twice.slack.any()
    small = probe_windows(Cropping(), NUMPY, guard(), Size(SIDE, SIDE + 3), **options)
    assert near_size(small) is None


def test_codes_are_trusted_where_negatives_tell_the_same(one_thread: None) -> None:
    def inverted(pair: Pair) -> Pair:
        return 255 - pair[0], pair[1]

    assert colours_kept(Cropping(), NUMPY, guard(), SIZE)
    assert not colours_kept(
        Cropping(after=lambda p: (np.minimum(p[0], 20), p[1])), NUMPY, guard(), SIZE
    )

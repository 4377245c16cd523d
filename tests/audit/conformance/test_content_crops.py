"""Crops that are chosen by content, whatever it is that they look at; and what scenes show.

A sound crop cannot move with what is shown, so that no test here has a false alarm by chance.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cropaudit.accounting.geometry import Size
from cropaudit.audit.conformance.checks.non_interference import check
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.pairs import Pairs
from cropaudit.audit.conformance.probes.codes import DIGITS, FEW, WIDE, Labels
from cropaudit.audit.conformance.probes.contents import ALL_IDS, GROUNDS, Contents, with_patch
from cropaudit.audit.conformance.probes.pairing import PairMaker
from cropaudit.audit.conformance.probes.styles import styles_named
from cropaudit.audit.conformance.seen import Seen
from cropaudit.audit.conformance.worker.guard import Guard
from tests.audit.conformance.test_pairing import NUMPY, PATCH, SIDE, SIZE, Array, Cropping

Rule = Callable[[Array, Array], bool]
STATES = 120


class Redrawn(Cropping):
    """Draws windows until one is accepted, at most ten times."""

    def __init__(self, accepts: Rule, seed: int = 0, **rest: Any) -> None:
        super().__init__(seed, **rest)
        self._accepts = accepts

    def origin(self, image: Array, mask: Array) -> tuple[int, int]:
        for _ in range(10):
            top, left = super().origin(image, mask)
            cut = np.s_[top : top + SIDE, left : left + SIDE]
            if self._accepts(image[cut], mask[cut]):
                break
        return top, left


class Fullest(Cropping):
    """Takes the one of five windows that shows most of one label."""

    def __init__(self, label: int) -> None:
        super().__init__()
        self._label = label

    def origin(self, image: Array, mask: Array) -> tuple[int, int]:
        tries = [super(Fullest, self).origin(image, mask) for _ in range(5)]
        cuts = [mask[top : top + SIDE, left : left + SIDE] for top, left in tries]
        return tries[int(np.argmax([(cut == self._label).sum() for cut in cuts]))]


class Centred(Cropping):
    """Centres the window on a pixel whose label is wanted, if there is one."""

    def __init__(self, wanted: Callable[[Array], Array]) -> None:
        super().__init__()
        self._wanted = wanted

    def origin(self, image: Array, mask: Array) -> tuple[int, int]:
        place, at = super().origin(image, mask), np.argwhere(self._wanted(mask))
        if not len(at):
            return place
        row, column = at[self.rng.integers(len(at))]
        limits = np.array(mask.shape) - SIDE
        top, left = np.clip([row - SIDE // 2, column - SIDE // 2], 0, limits)
        return int(top), int(left)


def many_classes(image: Array, mask: Array) -> bool:
    """Accepts as mmsegmentation does with ``cat_max_ratio=0.75``."""
    counts = np.unique(mask[mask != 255], return_counts=True)[1]
    return bool(len(counts) > 1 and counts.max() < 0.75 * counts.sum())


CHOOSY: dict[str, Callable[[], Cropping]] = {
    "mostly void": lambda: Redrawn(lambda image, mask: (mask == 255).mean() < 0.5),
    "class 8 and above": lambda: Centred(lambda mask: (mask >= 8) & (mask < 255)),
    "nearly white": lambda: Redrawn(lambda image, mask: image.mean() < 240),
    "nearly black": lambda: Redrawn(lambda image, mask: image.mean() > 15),
    "saturated": lambda: Redrawn(lambda image, mask: image[..., 0].mean() < 250),
    "without texture": lambda: Redrawn(lambda image, mask: image.std() > 5),
    "one class": lambda: Redrawn(many_classes),
    "mostly class 11": lambda: Redrawn(lambda image, mask: (mask == 11).mean() < 0.5),
    "cars": lambda: Fullest(8),
    "class 182": lambda: Fullest(182),
    "not empty": lambda: Centred(lambda mask: mask != 0),
    "rare label": lambda: Centred(lambda mask: mask == 77),
}


def replays(
    transform: Cropping, labels: Labels = WIDE, data: Path | None = None, **rest: Any
) -> Pairs:
    rng = np.random.default_rng(1)
    options = {"trust_image": True, "replay": transform.replay, "labels": labels}
    maker = PairMaker(
        transform,
        NUMPY,
        Guard("transform", None, lambda: None),
        SIZE,
        PATCH,
        None,
        Contents(SIZE, data, rng, dtype=labels.dtype, **rest),
        rng,
        **options,  # type: ignore[arg-type]
    )
    return maker.run(STATES, 600.0, "crop.py:1")


@pytest.mark.parametrize("kind", CHOOSY)
def test_a_crop_that_is_chosen_by_content_is_found_whatever_it_looks_at(kind: str) -> None:
    pairs = replays(CHOOSY[kind]())
    outcome = check(Seen(pairs=pairs), Claimed(image=SIZE))
    assert pairs.moved.any()
    assert min(test.p_value for test in outcome.tests) == 0
    words = " ".join(test.words for test in outcome.tests if test.p_value == 0)
    assert "the window moves with the content" in words
    assert "interpolation" not in words, "a wrong cause"


@pytest.mark.parametrize("kind", ["mostly void", "cars", "one class"])
def test_it_is_found_where_colours_change_and_labels_alone_are_read(kind: str) -> None:
    transform = CHOOSY[kind]()
    transform._after = lambda pair: (np.sort(pair[0], axis=0), pair[1])
    pairs = replays(transform)
    outcome = check(Seen(pairs=pairs), Claimed(image=SIZE))
    assert min(test.p_value for test in outcome.tests) == 0


@pytest.mark.parametrize("labels", [WIDE, DIGITS, FEW])
def test_a_sound_crop_passes_and_its_power_names_what_was_shown(labels: Labels) -> None:
    pairs = replays(Cropping(), labels, ids=(0, 1) if labels is FEW else ALL_IDS)
    outcome = check(Seen(pairs=pairs), Claimed(image=SIZE))
    assert {test.p_value for test in outcome.tests} == {1.0}
    assert (outcome.undecided, len(pairs)) == ("", STATES)
    shown = "2 of 2 labels" if labels is FEW else "of 256 labels in turn"
    assert shown in outcome.power
    assert "for contents as were shown" in outcome.power
    assert all(name in outcome.power for name in GROUNDS)


@pytest.mark.data
def test_labels_of_photographs_come_first_as_their_files_hold_them(camvid_root: Path) -> None:
    """Id 11 of CamVid is read as ignored in training, and is an id like any other here."""
    contents = Contents(SIZE, camvid_root, np.random.default_rng(0))
    assert set(contents.ids[:12]) == set(range(12))
    found = {int(v) for i in range(64) if contents.telling(i) for v in np.unique(contents[i].mask)}
    assert 11 in found
    assert 255 not in found
    pairs = replays(CHOOSY["mostly class 11"](), data=camvid_root)
    assert pairs.moved.sum() > 1
    assert "photographs" in pairs.contents


# Code that takes some labels only, and what raises.


def test_what_raises_on_some_contents_is_said_and_the_others_are_judged() -> None:
    def spoiled(pair: tuple[Array, Array]) -> tuple[Array, Array]:
        if (pair[1] == 255).all():
            raise ValueError("nothing but void")
        return pair

    pairs = replays(Cropping(after=spoiled))
    assert 0 < len(pairs) < STATES
    assert len(pairs) == pairs.wanted, "what was refused is not missing"
    assert "it raised on" in pairs.contents
    assert "nothing but void" in pairs.contents


def test_what_raises_on_all_contents_is_no_pass() -> None:
    from cropaudit.audit.conformance.worker.guard import UserError

    def spoiled(pair: tuple[Array, Array]) -> tuple[Array, Array]:
        if (pair[1] < 1000).any():
            raise ValueError("unknown label")
        return pair

    with pytest.raises(UserError, match="unknown label"):
        replays(Cropping(after=spoiled))


# Budgets are numbers of samples.


@pytest.mark.parametrize("seconds", [0.0, 600.0])
def test_replays_that_are_missing_are_counted_and_leave_it_undecided(seconds: float) -> None:
    transform, rng = Cropping(), np.random.default_rng(0)
    maker = PairMaker(
        transform,
        styles_named("numpy")[0],
        Guard("transform", None, lambda: None),
        SIZE,
        PATCH,
        None,
        Contents(SIZE, None, rng),
        rng,
        trust_image=True,
        replay=transform.replay,
    )
    outcome = check(Seen(pairs=maker.run(90, seconds, "")), Claimed(image=SIZE))
    assert outcome.undecided.startswith("1 of 90 replays were made") == (seconds == 0)


# Scenes.


@pytest.mark.parametrize("window", [(10, 20, SIDE, SIDE), (-5, 50, SIDE, SIDE), (40, -3, 30, 9)])
def test_scenes_fill_the_window_with_one_content_and_all_around_it_with_another(
    window: tuple[int, int, int, int],
) -> None:
    contents = Contents(SIZE, None, np.random.default_rng(0))
    top, left, height, width = window
    inside = np.zeros((SIZE.height, SIZE.width), dtype=bool)
    inside[max(top, 0) : top + height, max(left, 0) : left + width] = True
    filled, around = set(), set()
    for index in range(0, 1200, 2):
        scene = contents.around(index, window)
        assert {scene.filled} == {*np.unique(scene.mask[inside])}
        outer = np.unique(scene.mask[~inside])
        assert len(outer) == 1
        assert outer[0] != scene.filled
        filled.add(scene.filled)
        around.add(int(outer[0]))
    assert filled == around == set(range(256))


def test_scenes_show_all_labels_at_once_and_images_of_one_label() -> None:
    contents = Contents(SIZE, None, np.random.default_rng(0))
    assert len(np.unique(contents[1].mask)) > 250
    assert {len(np.unique(contents[k].mask)) for k in (5, 13, 21)} == {1}
    assert contents.telling(3)
    assert contents.telling(7)


def test_patches_let_objects_of_all_kinds_appear() -> None:
    """Or vanish: the two images are compared, and none of them comes first."""
    contents = Contents(SIZE, None, np.random.default_rng(0))
    come = set()
    for turn in range(400):
        scene = contents.around(turn, (10, 20, SIDE, SIDE))
        other = with_patch(scene, (3, 5), PATCH, turn)
        come |= {*np.unique(other.mask)} - {*np.unique(scene.mask)}
    assert {0, 255} <= come
    assert len(come) > 50


def test_few_labels_are_no_more_than_these() -> None:
    contents = Contents(Size(20, 20), None, np.random.default_rng(0), ids=(0, 1), dtype=np.uint8)
    for turn in range(40):
        scene = contents[turn]
        other = with_patch(scene, (2, 2), Size(4, 4), turn, contents.ids)
        assert {*np.unique(scene.mask), *np.unique(other.mask)} <= {0, 1}
        assert scene.mask.dtype == other.mask.dtype == np.uint8
        assert (other.mask[2:6, 2:6] != scene.mask[2:6, 2:6]).all()

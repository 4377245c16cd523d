"""Calls in a copy of the process draw the same numbers, wherever their generator is kept."""

import os
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from cropaudit.accounting.geometry import Size
from cropaudit.audit.conformance.checks.non_interference import check
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.pairs import Pairs
from cropaudit.audit.conformance.probes.contents import Contents
from cropaudit.audit.conformance.probes.pairing import PairMaker
from cropaudit.audit.conformance.probes.replay import forked
from cropaudit.audit.conformance.probes.styles import styles_named
from cropaudit.audit.conformance.seen import Seen
from cropaudit.audit.conformance.worker.guard import Guard, UserError
from tests.audit.conformance.test_styles import library

# Newer Pythons warn of forks beside threads; the copies use none.
pytestmark = [
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]
Draw = Callable[[], float]
SIZE, SIDE = Size(48, 60), 12


def guard() -> Guard:
    return Guard("transform", None, lambda: None)


def albumentations_draw() -> Draw:
    made = library("albumentations").Compose([library("albumentations").RandomCrop(4, 4)])
    image = np.arange(30 * 40 * 3).reshape(30, 40, 3).astype(np.float32)
    return lambda: float(made(image=image)["image"][0, 0, 0])


def kornia_draw() -> Draw:
    made = library("kornia").augmentation.RandomCrop((4, 4))
    image = torch.arange(30 * 40 * 3).reshape(1, 3, 30, 40).float()
    return lambda: float(made(image)[0, 0, 0, 0])


def kept_generator() -> Draw:
    kept = np.random.default_rng(5)
    return lambda: float(kept.random())


def torch_generator() -> Draw:
    kept = torch.Generator().manual_seed(4)
    return lambda: float(torch.rand((), generator=kept))


SOURCES: dict[str, Callable[[], Draw]] = {
    "random": lambda: random.random,
    "an instance of random": lambda: random.Random(3).random,
    "numpy, legacy": lambda: lambda: float(np.random.rand()),  # noqa: NPY002 - what users draw from
    "a generator of numpy": kept_generator,
    "torch": lambda: lambda: float(torch.rand(())),
    "a generator of torch": torch_generator,
    "albumentations": albumentations_draw,
    "kornia": kornia_draw,
}


def run(function: Callable[[], Any], owner: Guard | None = None) -> Any:
    return forked(lambda: {"x": np.asarray(function())}, owner or guard())["x"]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_copy_draws_what_this_process_is_about_to_draw(source: str) -> None:
    draw = SOURCES[source]()
    for _ in range(3):
        copies = [float(run(draw)) for _ in range(2)]
        assert copies == [draw()] * 2
    assert len({draw() for _ in range(9)}) > 1


@pytest.mark.parametrize(
    "draw", [lambda: np.random.default_rng().random(), os.getpid, lambda: os.urandom(8)[0] + 256.0]
)
def test_what_asks_the_system_is_not_replayed(draw: Callable[[], float]) -> None:
    """Four bytes of entropy agree with a probability of 2^-32."""
    if draw() > 255:  # one byte of entropy alone is too few to be sure
        return
    assert run(draw) != run(draw)


def test_nothing_changes_here() -> None:
    kept: list[int] = []

    def spoil() -> int:
        kept.append(3)
        torch.manual_seed(0)
        os.environ["CROPAUDIT_TEST"] = "1"
        return len(kept)

    before = random.getstate(), torch.get_rng_state()
    assert run(spoil) == run(spoil) == 1
    assert kept == []
    assert "CROPAUDIT_TEST" not in os.environ
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_large_arrays_come_back_whole_and_missing_ones_are_left_out() -> None:
    wide = np.arange(3_000_000)
    found = forked(lambda: {"wide": wide, "none": None}, guard())
    assert list(found) == ["wide"]
    assert (found["wide"] == wide).all()


# What goes wrong in the copy.


def test_an_exception_comes_back_with_its_line() -> None:
    owner = guard()

    def broken() -> int:
        raise KeyError("lost")

    with pytest.raises(UserError) as caught:
        forked(lambda: {"x": owner.call(broken)}, owner)
    trouble = caught.value.trouble
    assert (trouble.kind, trouble.words) == ("raised", "KeyError: 'lost'")
    assert trouble.where == f"{__file__}:{broken.__code__.co_firstlineno + 1}"


def test_a_copy_that_ends_itself_is_told() -> None:
    with pytest.raises(UserError, match="died without a word"):
        run(lambda: os._exit(3))


def test_prints_in_the_copy_are_noted_here(capfd: pytest.CaptureFixture[str]) -> None:
    owner = guard()

    def talk() -> int:
        print("hello")
        return 1

    assert run(lambda: owner.call(talk), owner) == 1
    (trouble,) = owner.troubles
    assert (trouble.kind, trouble.words) == ("printed", "printed 'hello'")
    assert trouble.where.startswith(f"{__file__}:")
    assert capfd.readouterr().out == ""


# Replays of whole transforms.


class Crop:
    """Cuts one window of image and mask; places come from ``draw``, a number in [0, 1)."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw

    def __call__(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        top = int(self._draw() * (SIZE.height - SIDE + 1))
        left = int(self._draw() * (SIZE.width - SIDE + 1))
        cut = np.s_[top : top + SIDE, left : left + SIDE]
        return image[cut], mask[cut]


def replays(transform: Any, count: int = 12) -> Pairs:
    rng = np.random.default_rng(0)
    maker = PairMaker(
        transform,
        styles_named("numpy")[0],
        guard(),
        SIZE,
        Size(8, 8),
        None,
        Contents(SIZE, None, rng),
        rng,
        trust_image=True,
    )
    return maker.run(count, 60.0, "")


def test_a_kept_generator_is_replayed_and_a_new_one_is_said_not_to_be() -> None:
    kept = replays(Crop(kept_generator()))
    assert kept.replayable
    assert not kept.moved.any()
    assert check(Seen(pairs=kept), Claimed()).tests[0].p_value == 1.0
    fresh = replays(Crop(lambda: float(np.random.default_rng().random())))
    assert not fresh.replayable
    assert "cannot be replayed" in check(Seen(pairs=fresh), Claimed()).undecided


def test_a_replay_takes_little_time() -> None:
    begun = time.monotonic()
    replays(Crop(kept_generator()), 4)
    assert time.monotonic() - begun < 30

"""Copied rows: refused; discrete, saturated, rounded and very many scores: let through."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from cropaudit.audit.repeated_rows import RepeatWatch, refuse_repeats
from cropaudit.audit.score_tables import ScoreTable
from cropaudit.errors import InputError

Array = NDArray[np.float64]
CURE = "give --repeats-are-independent if each was played anew"


def games(seed: int, size: int = 120, shift: float = 0.0) -> tuple[Array, NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    member = rng.permutation(np.arange(size) % 2 == 0)
    return rng.normal(shift * member), member


def refused(values: Array, member: NDArray[np.bool_]) -> bool:
    """Whether a file is; the message says the cure."""
    table = ScoreTable("", np.asarray(values, np.float64), member)
    return _raises(lambda: refuse_repeats([table]))


def watched(values: Array, member: NDArray[np.bool_]) -> bool:
    """Whether games that come one by one are."""
    watch = RepeatWatch()

    def play() -> None:
        for score, bit in zip(values.tolist(), member.tolist(), strict=True):
            watch.add(score, int(bit))

    return _raises(play)


def _raises(act: Callable[[], None]) -> bool:
    said = ""
    try:
        act()
    except InputError as error:
        said = str(error)
    assert said == "" or said.endswith(CURE)
    return bool(said)


COPIES = {
    "ten times over": lambda x: np.tile(x, 10),
    "each row ten times": lambda x: np.repeat(x, 10),
    "a part appended again": lambda x: np.concatenate([x, x[:20]]),
    "a few rows": lambda x: np.concatenate([x, x[5:25], x[5:25]]),
    "drawn with replacement": lambda x: x[np.random.default_rng(0).integers(len(x), size=len(x))],
}


@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize("shift", [0.0, 3.0])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_copies_are_refused(name: str, shift: float, kind: type) -> None:
    """In any order, and as they come. Nothing is left to chance but the seeds, all of them here."""
    for seed in range(10):
        values, member = games(seed, shift=shift)
        rows = COPIES[name](np.arange(len(values)))
        order = np.random.default_rng(seed).permutation(rows)
        for chosen in (rows, order):
            assert refused(values.astype(kind)[chosen], member[chosen])
            assert watched(values.astype(kind)[chosen].astype(float), member[chosen])


def test_rounded_scores_that_were_all_copied_are_refused() -> None:
    values, member = games(1)
    rows = np.tile(np.arange(120), 3)
    assert refused(np.round(values, 3)[rows], member[rows])


def sevenths(rng: np.random.Generator, shift: float) -> tuple[Array, NDArray[np.bool_]]:
    member = rng.random(500) < 0.5
    return rng.binomial(7, 0.3 + 0.2 * shift * member) / 7, member


def shares(rng: np.random.Generator, shift: float) -> tuple[Array, NDArray[np.bool_]]:
    """Of twelve reference models: all of them for members, so that every tie is of one world."""
    member = rng.random(500) < 0.5
    return np.where(member, 1.0, rng.integers(12, size=500) / 12), member


def saturated(rng: np.random.Generator, shift: float) -> tuple[Array, NDArray[np.bool_]]:
    member = rng.random(500) < 0.5
    return np.minimum(rng.normal(shift * member), 0.4 + np.pi / 9), member


def rounded(rng: np.random.Generator, shift: float) -> tuple[Array, NDArray[np.bool_]]:
    member = rng.random(2000) < 0.5
    return np.round(rng.normal(shift * member), 2).astype(np.float32).astype(float), member


def plain(rng: np.random.Generator, shift: float) -> tuple[Array, NDArray[np.bool_]]:
    member = rng.random(500) < 0.5
    return rng.normal(shift * member), member


def logits(rng: np.random.Generator, shift: float) -> tuple[Array, NDArray[np.bool_]]:
    values, member = sevenths(rng, shift)
    return np.log((values * 7 + 0.5) / (7.5 - values * 7)), member


def float32(rng: np.random.Generator, shift: float) -> tuple[Array, NDArray[np.bool_]]:
    """Sixty thousand: some tie by chance, and with a strong attack in one world each."""
    member = rng.random(60_000) < 0.5
    return rng.normal(20 * shift * member).astype(np.float32).astype(float), member


@pytest.mark.parametrize("make", [sevenths, shares, saturated, rounded, plain, logits, float32])
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_scores_that_tie_for_a_reason_pass(make, shift: float) -> None:
    """Of each kind 10 files; the whole is seeded."""
    for seed in range(2 if make is float32 else 10):
        values, member = make(np.random.default_rng(seed), shift)
        assert not refused(values, member)
        if make is not float32:
            assert not watched(values, member)


def test_extreme_values_are_no_copies() -> None:
    values = np.array([np.inf, -np.inf, 0.0, 1e308, -1.23456789e307, 5e-324, 1e-300] * 40)
    member = np.arange(280) % 3 == 0
    assert not refused(values, member)
    assert not watched(values, member)

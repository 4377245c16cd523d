"""Observations as a probe would bring them, built from numbers: no user's code, no process."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.draws import Draws
from cropaudit.audit.conformance.observe.pairs import Pairs
from cropaudit.audit.conformance.outcome import Finding, Outcome, decide

__all__ = [
    "IMAGE",
    "alarms_allowed",
    "claim",
    "crop_draws",
    "draws_of",
    "found",
    "pairs_of",
    "uniform_origins",
]

IMAGE, WINDOW = Size(120, 160), Size(40, 40)
Integers = NDArray[np.int64]


def claim(**changes: Any) -> Claimed:
    """Returns the claim that `crop_draws` are true of."""
    said = {"image": IMAGE, "patch": Rectangle(Size(10, 10)), "crop": Crop(WINDOW)}
    return Claimed(**{**said, **changes})


def draws_of(image: Size, top: Any, left: Any, height: Any, width: Any, **changes: Any) -> Draws:
    """Returns windows; all that ``changes`` does not name is as in a plain crop."""
    n = len(top)
    no, whole = np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.int64)
    flags = dict.fromkeys(("skewed", "blank", "flipped_rows", "flipped_columns"), no)
    flags |= dict.fromkeys(("decoded", "label_decoded", "label_aligned"), ~no)
    numbers = dict.fromkeys(("slack", "padding", "label_shift", "epoch"), whole)
    numbers |= dict.fromkeys(("record", "step", "slot", "worker"), whole - 1)
    sides = {"top": top, "left": left, "height": height, "width": width}
    numbers |= {name: whole + np.asarray(value, dtype=np.int64) for name, value in sides.items()}
    # Copies, so that a test may change one entry of one array.
    arrays = {name: array.copy() for name, array in (flags | numbers).items()}
    return Draws(image_height=image.height, image_width=image.width, **{**arrays, **changes})


def uniform_origins(
    rng: np.random.Generator, n: int, image: Size = IMAGE, border: int = 0
) -> tuple[Integers, Integers]:
    """Returns uniform origins of windows in an image with a border all around."""
    rows = image.height - WINDOW.height + 2 * border + 1
    columns = image.width - WINDOW.width + 2 * border + 1
    return rng.integers(rows, size=n) - border, rng.integers(columns, size=n) - border


def crop_draws(
    rng: np.random.Generator, n: int, image: Size = IMAGE, border: int = 0, **changes: Any
) -> Draws:
    """Returns windows of a sound crop."""
    top, left = uniform_origins(rng, n, image, border)
    return draws_of(image, top, left, WINDOW.height, WINDOW.width, **changes)


def pairs_of(distance: Sequence[int], **changes: Any) -> Pairs:
    """Returns sound replays with patches so far from their windows; below 0 they meet."""
    gaps = np.asarray(distance, dtype=np.int64)
    n = len(gaps)
    no, whole = np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.int64)
    blank = np.zeros((0, 8, 8, 3), dtype=np.uint8)
    sound = Pairs(
        replayable=True,
        decoded=~no,
        moved=no,
        meets=gaps < 0,
        distance=gaps.clip(min=0),
        slack=whole,
        image_differs=gaps < 0,
        mask_differs=gaps < 0,
        top=whole + 20,
        left=whole + 30,
        height=whole + 40,
        width=whole + 40,
        patch_top=whole + 60 + gaps,
        patch_left=whole + 30,
        copied=no,
        features=np.random.default_rng(0).normal(size=(n, 2, 6)),
        fit=np.full((n, 2), [0.9, 0.4]),
        shown=np.zeros(0, dtype=np.int64),
        before=blank,
        after=blank,
        out_before=blank,
        out_after=blank,
        leaked=np.zeros((0, 8, 8), dtype=np.bool_),
    )
    return replace(sound, **changes)


def found(outcome: Outcome, level: float = 0.05) -> Finding:
    """Returns what a check finds when it is alone in the battery."""
    return decide([outcome], level)[0]


def alarms_allowed(runs: int, level: float = 0.05) -> int:
    """Returns how many sound runs of so many may fail: more do so with a probability of 1e-4."""
    return int(binom.isf(1e-4, runs, level))

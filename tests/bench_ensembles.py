"""Rows of `tests.bench`: many small models trained at once, beside one Opacus run after the other.

32 runs of tiny-net, batch 16 of 32x32, on the same cores with all their threads: whole runs, with
their weights, batches, windows, noise and updates. The two-world game is 500 + 500 such runs of 60
steps; a tenth of it is played and scaled.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from cropaudit.accounting.geometry import Crop, Size
from cropaudit.audit.config import load_config
from cropaudit.audit.subject import prepare_subject
from cropaudit.audit.two_world_game import Runs, play_two_world
from cropaudit.training.dpsgd import DpSgdSpec, train
from cropaudit.training.ensemble import Members, train_ensemble
from cropaudit.training.samplers import FixedSize
from cropaudit.training.scenes import street_scenes

__all__ = ["ensemble_rows"]

RUNS, STEPS, BATCH, ROUNDS = 32, 10, 16, 3
GAME, PLAYED = 500, 50  # runs of a world

Line = tuple[str, float, str, str, float | None, float | None, str]


def ensemble_rows() -> Iterator[Line]:
    """Times an ensemble beside its runs one by one, and a two-world game."""
    for model in ("tiny-net", "small-unet"):
        yield _ensemble_line(model)
    yield _game_line()


def _ensemble_line(model: str) -> Line:
    pool = street_scenes(32, Size(48, 96), 0)
    variants = np.tile(np.arange(32), (RUNS, 1))
    spec = DpSgdSpec(model, Crop(Size(32, 32)), FixedSize(BATCH), STEPS, 1.0, 0.5, 0.5)
    members = Members(pool, variants, list(range(RUNS)))

    def apart() -> None:
        for seed in members.seeds:
            train(pool, replace(spec, seed=seed))

    together = _seconds(lambda: train_ensemble(members, spec))
    alone = _seconds(apart)
    count = RUNS * STEPS
    note = f"{RUNS} runs of {STEPS} steps, batch {BATCH} of 32x32"
    return (
        f"steps of an ensemble, {model}",
        count / together,
        "/s",
        "Opacus runs in turn",
        count / alone,
        alone / together,
        note,
    )


def _game_line() -> Line:
    changes = {"training.batch": 16, "data.size": "64x64", "training.steps": 60}
    subject = prepare_subject(load_config("whitebox-small", changes))
    start = time.perf_counter()
    play_two_world(subject, Runs(PLAYED, 0))
    taken = (time.perf_counter() - start) * GAME / PLAYED
    note = f"{GAME} + {GAME} runs of 60 steps, batch 16 of 32x32, scored; from {PLAYED} + {PLAYED}"
    return "two-world game", taken, "s", "", None, None, note


def _seconds(work: Callable[[], object]) -> float:
    """Returns the median time, after one call to warm up."""
    work()
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)

"""How loud canaries are: the two-world game of `whitebox-small` over designs, as a Markdown table.

Every row is the preset with one thing changed. The bound is held against the epsilon of the pair
that the claim composes, the largest that any attack on any canary may show.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cropaudit.accounting.accountant import pair_curve
from cropaudit.audit.config import load_config
from cropaudit.audit.design import plan_game
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.games import plan_bounds
from cropaudit.audit.simulated import pair_scores
from cropaudit.audit.subject import Subject, prepare_subject
from cropaudit.audit.two_world_game import Runs, play_two_world
from cropaudit.training.canaries.alignment import alignment
from cropaudit.training.initial import level_start
from cropaudit.training.models import build_model

__all__ = ["two_world_table"]

Tick = Callable[[str], None]
_LEVEL = 0.05


@dataclass(frozen=True)
class Row:
    """One change of the preset."""

    words: str
    changes: dict[str, Any] = field(default_factory=dict)


LEVEL = "two_world.initial"
DESIGN, GROUND, TEXTURE = "canary.design", "canary.background", "canary.texture"
ROWS = (
    Row("the preset: labels alone, ignored background, photograph"),
    Row("flat record", {TEXTURE: "flat"}),
    Row("periodic record", {TEXTURE: "periodic"}),
    Row("sparse background", {GROUND: "sparse"}),
    Row("own labels outside", {GROUND: "natural"}),
    Row(
        "opposed halves, blocks, ignored background",
        {
            DESIGN: "opposed",
            GROUND: "ignore",
            TEXTURE: "blocks",
        },
    ),
    Row("bright texture on a photograph", {DESIGN: "bright", GROUND: None, TEXTURE: None}),
    Row("a pasted face", {DESIGN: "face", GROUND: None, TEXTURE: None, "data.foreground": ()}),
    Row("ten classes", {"data.foreground": ()}),
    Row("random initial weights", {LEVEL: "random"}),
    Row("random initial weights, flat record", {LEVEL: "random", TEXTURE: "flat"}),
    Row("background unknown", {"two_world.adversary": "unknown"}),
    Row("learning rate 1", {"training.learning_rate": 1.0}),
    Row("one window looked at", {"two_world.hits": 1, "two_world.misses": 1}),
    Row("gradients of every fifth step", {"two_world.refresh": 5}),
)


def two_world_table(models: int, seed: int, tick: Tick) -> str:
    """Plays one game for each row; returns a Markdown table.

    Args:
        models: Runs of each world; 300 show what 1,000 do, less sharply.
        seed: Of the configuration.
        tick: Told what has been done.
    """
    lines = [
        "| canary and adversary | m_A | m_B | m_miss | AUC (ideal) | bound | of the pair's |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        changes = {**row.changes, "seed": seed, "two_world.models": models}
        lines.append(_line(row.words, prepare_subject(load_config("whitebox-small", changes))))
        tick(row.words)
    return "\n".join(lines)


def _line(words: str, subject: Subject) -> str:
    models, delta = subject.config.two_world.models, subject.config.game.delta
    mechanism = subject.mechanism
    values, member = play_two_world(subject, Runs(models, subject.seeds.two_world))
    scores = [Scores.labelled(row, member) for row in values]
    plan = plan_game(mechanism, delta, models, models, _LEVEL)
    tests = plan.tests(scores, _LEVEL)
    bound = max(item.epsilon for item in plan_bounds(plan, tests, delta, _LEVEL))
    pair = pair_curve(mechanism.pair(), mechanism.compositions, delta).epsilon(delta)
    ideal = pair_scores(mechanism, (4000, 4000), np.random.default_rng(0)).auc()
    shown = " | ".join(f"{value:.2f}" for value in _aligned(subject))
    return (
        f"| {words} | {shown} | {scores[0].auc():.3f} ({ideal:.3f}) | {bound:.2f} | "
        f"{bound / pair:.2f} |"
    )


def _aligned(subject: Subject) -> tuple[float, float, float]:
    """Returns the projections of the target's gradients at three initial weights, on average."""
    found = []
    for seed in range(3):
        model = build_model(subject.config.training.model, len(subject.empty.classes), seed)
        if subject.config.two_world.initial == "level":
            level_start(model)
        seen = alignment(
            model,
            subject.empty,
            subject.slots[0],
            subject.crop,
            windows=60,
            max_grad_norm=subject.config.training.max_grad_norm,
            seed=seed,
        )
        found.append((seen.m_a, seen.m_b, seen.m_miss or 0.0))
    a, b, miss = (statistics.fmean(column) for column in zip(*found, strict=True))
    return a, b, miss

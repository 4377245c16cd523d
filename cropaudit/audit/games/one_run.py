"""Plays attacks on one training run: the audit's own, or a saved one.

Attacks that watch the training share one run; those that query the model share its answers and the
reference models. No attack is shown a coin.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from cropaudit.attacks.base import Comparing, Querying, Watcher, Watching
from cropaudit.attacks.registry import OneRun, one_run_attacks
from cropaudit.attacks.signals import Decoys
from cropaudit.audit.experiment.adversaries import attacked_run
from cropaudit.audit.experiment.subject import Subject, decoys_of
from cropaudit.audit.games.reference_models import (
    Asking,
    References,
    ask_references,
    ask_target,
)
from cropaudit.errors import require
from cropaudit.stages import Stage
from cropaudit.training.streams import spawn_seeds

__all__ = ["Scored", "Settings", "scored_after", "watchers"]

Scored = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Settings:
    """How attacks are played.

    Attributes:
        windows: Crops shown of each slot.
        references: Reference models.
        seed: Of all draws of the attacks; none of the training's.
        shown: Seed of the crops that are shown; from ``seed`` unless given.

    Raises:
        InputError: If the seed is below 0.
    """

    windows: int
    references: int
    seed: int
    shown: int | None = None

    def __post_init__(self) -> None:
        require(self.seed >= 0, "seed", "at least 0", self.seed)


def watchers(
    subject: Subject, attacks: Sequence[OneRun], seed: int, first: int | None = None
) -> dict[str, Watcher]:
    """Returns the observers of the attacks that watch a training.

    Args:
        subject: What is trained on.
        attacks: Some of which may watch.
        seed: Of their windows; each has its own, by its place among all that watch.
        first: The seed of the first of these, if it has one of its own.
    """
    known = [item.name for item in one_run_attacks() if isinstance(item, Watching)]
    seeds = spawn_seeds(np.random.SeedSequence([seed, 0]), len(known))
    seeds[0] = seeds[0] if first is None else first
    run = attacked_run(subject)
    return {
        item.name: item.watch(run, seeds[known.index(item.name)])
        for item in attacks
        if isinstance(item, Watching)
    }


def scored_after(
    subject: Subject,
    attacks: Sequence[OneRun],
    before: nn.Module,
    after: nn.Module,
    settings: Settings,
    stage: Stage,
) -> Scored:
    """Plays the attacks that look at the trained model.

    Args:
        subject: What it was trained on.
        attacks: Those that watch the training are left out.
        before: With the weights before the first update.
        after: With those after the last.
        settings: How.
        stage: As in `run_audit`.

    Raises:
        InputError: If an attack cannot be played on this run.
    """
    run, found = attacked_run(subject, settings.windows), Scored()
    shown, trained = spawn_seeds(np.random.SeedSequence([settings.seed, 2]), 2)
    shown = shown if settings.shown is None else settings.shown
    asking = [item for item in attacks if isinstance(item, Querying) and item.score]
    # Queries first: what is wrong with them is then told before an hour of replay.
    if asking:
        found |= _answered(subject, asking, after, settings, (shown, trained), stage)
    for item in attacks:
        if isinstance(item, Querying) and item.ask:
            stage(f"{item.name.capitalize()} attack", 0)
            found[item.name] = item.ask(run, after, shown)
        if isinstance(item, Comparing):
            stage(item.title, 0)
            seed = spawn_seeds(np.random.SeedSequence([settings.seed, 1]), 1)[0]
            found[item.name] = item.score(run, before, after, seed)
    return found


def _answered(
    subject: Subject,
    attacks: Sequence[Querying],
    model: nn.Module,
    settings: Settings,
    seeds: tuple[int, int],
    stage: Stage,
) -> Scored:
    stage("Queries", 0)
    decoys = (
        Decoys(*decoys_of(subject)) if any(item.needs == "decoys" for item in attacks) else None
    )
    asked = Asking(settings.windows, seeds[0], max(item.maps for item in attacks))
    target = ask_target(subject, model, asked, decoys)
    references = coins = None
    needed = {item.needs for item in attacks if item.references}
    if needed:
        # References of world B alone serve attacks that take no others better.
        share = 0.0 if needed == {"references of world B"} else 0.5
        trained = References(settings.references, seeds[1], share)
        told = stage("Reference models", trained.count)
        references, coins = ask_references(subject, model, asked, trained, told)
    return {
        item.name: item.score(target, references, coins)[0]
        for item in sorted(attacks, key=lambda item: item.name)
        if item.score is not None
    }

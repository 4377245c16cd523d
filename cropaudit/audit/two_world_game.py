"""The white-box game of many runs: real models, half of them trained with content A in one patch.

Every run is the configured DP-SGD run with its own batches, windows and noise; the coins of all
other slots are those of the audited run. Runs are independent, so that the probe's own tests apply.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cropaudit.attacks.two_world import (
    Adversary,
    KnownBackground,
    Looks,
    Target,
    TwoWorldScorer,
    UnknownBackground,
)
from cropaudit.audit.design import NOISE_FACTORS
from cropaudit.audit.game_entry import Played, Words
from cropaudit.audit.independent_games import independent_game
from cropaudit.audit.initial_model import initial_model
from cropaudit.audit.subject import Subject
from cropaudit.audit.training_plan import training_spec
from cropaudit.errors import require
from cropaudit.training.canaries import fill_slots
from cropaudit.training.divergence import named_run
from cropaudit.training.dpsgd import DpSgdSpec, pick_device
from cropaudit.training.ensemble import train_ensemble
from cropaudit.training.initial import level_start
from cropaudit.training.samplers import Poisson
from cropaudit.training.stacked import StackedModels
from cropaudit.training.streams import spawn_seeds
from cropaudit.training.worlds import members_of_coins

__all__ = ["Runs", "common_start", "play_two_world", "two_world_game"]

_TOGETHER = 100  # models of one ensemble: what they hold at once fits the memory


@dataclass(frozen=True)
class Runs:
    """Which runs a game makes.

    Attributes:
        models: Of each world.
        seed: Of all draws.
        noise_multiplier: The configured one unless given; 0 is a positive control.
        different: Whether A differs from B; if not, this is a null control.
    """

    models: int
    seed: int
    noise_multiplier: float | None = None
    different: bool = True


def two_world_game(subject: Subject, progress: Callable[[int], None] | None) -> Played:
    """Plays the game and holds it against the configured mechanism.

    Raises:
        InputError: If there is no slot, or the run is of a kind that is not vectorised.
    """
    start = time.perf_counter()
    runs = Runs(subject.config.two_world.models, subject.seeds.two_world)
    values, member = play_two_world(subject, runs, progress)
    seconds = time.perf_counter() - start
    return independent_game(subject, "two-world", _words(subject), list(values), member, seconds)


def play_two_world(
    subject: Subject, runs: Runs, progress: Callable[[int], None] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Trains and scores all runs.

    Args:
        subject: What is audited; its first slot is the target.
        runs: Which runs.
        progress: Called with the number of runs done.

    Returns:
        Scores, one row for each expected noise, shape (4, 2 * models), and which runs held A.

    Raises:
        InputError: If there is no slot, or the run is of a kind that is not vectorised.
    """
    require(len(subject.slots) >= 1, "canary slots", "at least 1", len(subject.slots))
    game = _Game(subject, runs)
    member = np.arange(2 * runs.models) % 2 == 0
    parts = []
    for first in range(0, len(member), _TOGETHER):
        parts.append(game.play(first, member[first : first + _TOGETHER]))
        if progress is not None:
            progress(min(first + _TOGETHER, len(member)))
    return np.concatenate(parts, axis=1), member


class _Game:
    """What all ensembles of a game share."""

    def __init__(self, subject: Subject, runs: Runs) -> None:
        self.subject, self.runs = subject, runs
        own = subject.config.two_world
        slot, *others = subject.slots
        if not runs.different:
            slot = replace(slot, texture_a=slot.texture_b, labels_a=slot.labels_b)
        self.slots = (slot, *others)
        known = fill_slots(subject.empty, others, subject.member[1:])
        self.spec = _spec(subject, runs)
        self.target = Target(
            data=known,
            slot=slot,
            crop=subject.crop,
            sample_rate=subject.mechanism.sample_rate,
            max_grad_norm=self.spec.max_grad_norm,
        )
        noise = subject.mechanism.noise_multiplier
        self.deviations = [factor * noise for factor in NOISE_FACTORS]
        self.adversary = _adversary(subject)
        self.looks = Looks(own.hits, own.misses, own.refresh)
        # One for all ensembles: the windows that are tried belong to the attack. Drawn anew for
        # each ensemble they would make its runs depend on each other.
        self.look = spawn_seeds(np.random.SeedSequence([runs.seed, 0]), 1)[0]
        self.seeds = spawn_seeds(np.random.SeedSequence([runs.seed, 1]), 2 * runs.models)
        self.device = pick_device()
        self.models, self.initial = common_start(subject, self.spec, own.initial, self.device)

    def play(self, first: int, member: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Trains and scores one ensemble, shape (deviations, members)."""
        coins = np.tile(self.subject.member, (len(member), 1))
        coins[:, 0] = member
        seeds = self.seeds[first : first + len(member)]
        members = replace(
            members_of_coins(self.subject.empty, self.slots, coins, seeds), first=first
        )
        scorer = TwoWorldScorer(
            self.models,
            self.target,
            self.deviations,
            self.look,
            adversary=self.adversary,
            looks=self.looks,
        )
        with named_run("two-world game"):
            train_ensemble(
                members, self.spec, device=self.device, observe=scorer, initial=self.initial
            )
        return scorer.scores()


def _spec(subject: Subject, runs: Runs) -> DpSgdSpec:
    spec = training_spec(subject)
    noise = runs.noise_multiplier
    return spec if noise is None else replace(spec, noise_multiplier=noise)


def _adversary(subject: Subject) -> Adversary:
    if subject.config.two_world.adversary == "unknown":
        return UnknownBackground()
    sampler = subject.config.training.sampler
    legal = "unknown, for a batch of a given size shows by the others whether the target is in it"
    require(isinstance(subject.sampling, Poisson), f"adversary under {sampler}", legal, "known")
    return KnownBackground()


def common_start(
    subject: Subject, spec: DpSgdSpec, initial: str, device: torch.device
) -> tuple[StackedModels, Tensor | None]:
    """Returns the architecture, and the weights at which all runs start if there are such.

    Args:
        subject: What is audited.
        spec: The run.
        initial: "level", weights that the adversary chose; "public", those of the audited run; or
            "random", where each run draws its own and none are returned.
        device: Where to put them.
    """
    classes = len(subject.empty.classes)
    model = initial_model(subject.config.training, classes, subject.seeds.weights)
    models = StackedModels((level_start(model) if initial == "level" else model).to(device))
    return models, None if initial == "random" else models.flatten(model)


def _words(subject: Subject) -> Words:
    own = subject.config.two_world
    background = {
        "known": "the other records of every batch with their windows",
        "unknown": "not which records a batch holds",
    }[own.adversary]
    start = {
        "level": "chose the initial weights",
        "random": "knows the initial weights",
    }[own.initial]
    return Words(
        "White-box over many runs",
        f"sees every noisy update, knows all images and both contents of the patch, {background}, "
        f"and {start}; does not know whether a batch holds the target, nor its window",
        f"{own.models} whole training runs in either world, independent of each other",
    )

"""The real model of an audit: trained once, watched, attacked, and set beside its twins."""

import time
from dataclasses import dataclass

from cropaudit.attacks.black_box import black_box_scores
from cropaudit.audit.game_entry import Played
from cropaudit.audit.initial_model import initial_model
from cropaudit.audit.model_utility import measure_utility
from cropaudit.audit.reference_game import needs_references, reference_game
from cropaudit.audit.result import Utility
from cropaudit.audit.run_games import one_run_game
from cropaudit.audit.stages import Stage
from cropaudit.audit.subject import Subject
from cropaudit.audit.training_plan import training_spec
from cropaudit.audit.two_world_game import two_world_game
from cropaudit.audit.watchers import Watcher, projected_watcher, white_box_watcher
from cropaudit.training.divergence import named_run
from cropaudit.training.dpsgd import Trained, train

__all__ = ["RealModel", "audit_model", "ensemble_games"]

_HELD = 1_000_000  # trainable parameters: gradients of larger models are projected, not held


@dataclass(frozen=True, eq=False)
class RealModel:
    """The audited training run.

    Attributes:
        trained: The model, with its tape.
        games: Attacks on this run.
        utility: How well it segments, beside its twins.
    """

    trained: Trained
    games: tuple[Played, ...]
    utility: Utility


def audit_model(subject: Subject, stage: Stage) -> RealModel:
    """Trains the model, plays the attacks on this one run, and trains its twins.

    Args:
        subject: What is audited.
        stage: As in `run_audit`.
    """
    spec, wanted = training_spec(subject), subject.config.game.attacks
    watcher = _watcher(subject) if "white-box" in wanted else None
    start = time.perf_counter()
    words = "Private training, watched" if watcher else "Private training"
    with named_run("the audited model"):
        trained = train(subject.filled, spec, observe=watcher, progress=stage(words, spec.steps))
    games = []
    if watcher is not None:
        seconds = time.perf_counter() - start
        games.append(one_run_game(subject, "white-box", watcher.scores(), seconds))
    if "black-box" in wanted:
        stage("Black-box attack", 0)
        games.append(_black_box(subject, trained))
    return RealModel(trained, tuple(games), measure_utility(subject, spec, trained, stage))


def ensemble_games(subject: Subject, stage: Stage) -> tuple[Played, ...]:
    """Plays the games that train many models."""
    wanted, games = subject.config.game.attacks, []
    if "two-world" in wanted:
        runs = 2 * subject.config.two_world.models
        games.append(two_world_game(subject, stage("Two worlds, many runs", runs)))
    if "reference" in wanted:
        own = subject.config.references
        models = own.targets + (own.models if needs_references(own.attack) else 0)
        games.append(reference_game(subject, stage("Black box with references", models)))
    return tuple(games)


def _watcher(subject: Subject) -> Watcher:
    model = initial_model(subject.config.training, len(subject.empty.classes), 0)
    size = sum(p.numel() for p in model.parameters() if p.requires_grad)
    watcher = projected_watcher if size > _HELD else white_box_watcher
    return watcher(subject, subject.seeds.white_box)


def _black_box(subject: Subject, trained: Trained) -> Played:
    start = time.perf_counter()
    values = black_box_scores(
        trained.model,
        subject.empty,
        subject.slots,
        subject.crop,
        windows=subject.config.game.black_box_windows,
        seed=subject.seeds.black_box,
    )
    return one_run_game(subject, "black-box", values, time.perf_counter() - start)

"""The real model of an audit: trained once, watched, attacked, and set beside its twins."""

import time
from dataclasses import dataclass

from cropaudit.attacks.black_box import black_box_scores
from cropaudit.audit.experiment.adversaries import Watcher, projected_watcher, white_box_watcher
from cropaudit.audit.experiment.initial_model import initial_model
from cropaudit.audit.experiment.model_utility import measure_utility
from cropaudit.audit.experiment.subject import Subject
from cropaudit.audit.experiment.training_plan import training_spec
from cropaudit.audit.games.game_entry import Played
from cropaudit.audit.games.reference_game import models_trained, reference_game
from cropaudit.audit.games.run_games import one_run_game
from cropaudit.audit.games.two_world_game import two_world_game
from cropaudit.audit.results.result import Utility
from cropaudit.certificate.transcript_logs import ResidualNoise
from cropaudit.stages import Stage
from cropaudit.training.dpsgd.divergence import named_run
from cropaudit.training.dpsgd.loop import StepView, Trained, train

__all__ = ["RealModel", "audit_model", "ensemble_games"]

_HELD = 1_000_000  # trainable parameters: gradients of larger models are projected, not held


@dataclass(frozen=True, eq=False)
class RealModel:
    """The audited training run.

    Attributes:
        trained: The model, with its transcript.
        games: Attacks on this run.
        utility: How well it segments, beside its twins.
        noise: The run's noise, as it was added.
    """

    trained: Trained
    games: tuple[Played, ...]
    utility: Utility
    noise: ResidualNoise


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
    noise = ResidualNoise(spec, seed=spec.seed)

    def observe(view: StepView) -> None:
        noise(view)
        if watcher is not None:
            watcher(view)

    with named_run("the audited model"):
        trained = train(subject.filled, spec, observe=observe, progress=stage(words, spec.steps))
    games = []
    if watcher is not None:
        seconds = time.perf_counter() - start
        games.append(one_run_game(subject, "white-box", watcher.scores(), seconds))
    if "black-box" in wanted:
        stage("Black-box attack", 0)
        games.append(_black_box(subject, trained))
    utility = measure_utility(subject, spec, trained, stage)
    return RealModel(trained, tuple(games), utility, noise)


def ensemble_games(subject: Subject, stage: Stage) -> tuple[Played, ...]:
    """Plays the games that train many models."""
    wanted, games = subject.config.game.attacks, []
    if "two-world" in wanted:
        runs = 2 * subject.config.two_world.models
        games.append(two_world_game(subject, stage("Two worlds, many runs", runs)))
    if "reference" in wanted:
        models = models_trained(subject.config.references)
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

"""The real model of an audit: trained once, watched, attacked, and set beside its twins."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cropaudit.attacks.registry import ATTACKS, OneRun
from cropaudit.attacks.white_box.likelihood_ratio import WHITE_BOX
from cropaudit.attacks.white_box.projected import PROJECTED
from cropaudit.audit.experiment.initial_model import initial_model
from cropaudit.audit.experiment.model_utility import measure_utility
from cropaudit.audit.experiment.subject import Subject
from cropaudit.audit.experiment.training_plan import training_spec
from cropaudit.audit.games.game_entry import Played
from cropaudit.audit.games.one_run import Settings, scored_after, watchers
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
    spec, attacks = training_spec(subject), _attacks(subject)
    seeds, game = subject.seeds, subject.config.game
    watching = watchers(subject, attacks, seeds.white_box, seeds.white_box)
    noise = ResidualNoise(spec, seed=spec.seed)
    start = time.perf_counter()
    words = "Private training, watched" if watching else "Private training"
    with named_run("the audited model"):
        trained = train(
            subject.filled,
            spec,
            observe=_in_turn([noise, *watching.values()]),
            progress=stage(words, spec.steps),
        )
    found = {name: watcher.scores() for name, watcher in watching.items()}
    between = time.perf_counter()
    settings = Settings(
        game.black_box_windows, subject.config.references.models, seeds.black_box, seeds.black_box
    )
    before = copy.deepcopy(trained.model)
    before.load_state_dict(trained.initial)
    found |= scored_after(subject, attacks, before, trained.model, settings, stage)
    took = between - start, time.perf_counter() - between
    games = [
        one_run_game(subject, item, found[item.name], took[item.name not in watching])
        for item in attacks
    ]
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


def _attacks(subject: Subject) -> list[OneRun]:
    """Returns the attacks on the audited run; gradients of large models are projected, not held."""
    wanted = (ATTACKS[name] for name in subject.config.game.attacks)
    found = [item for item in wanted if isinstance(item, OneRun)]
    if WHITE_BOX not in found:
        return found
    model = initial_model(subject.config.training, len(subject.empty.classes), 0)
    size = sum(p.numel() for p in model.parameters() if p.requires_grad)
    chosen = WHITE_BOX if size <= _HELD else replace(WHITE_BOX, watch=PROJECTED.watch)
    return [chosen if item is WHITE_BOX else item for item in found]


def _in_turn(observers: Sequence[Callable[[StepView], None]]) -> Callable[[StepView], None]:
    """Returns one observer that shows every step to all."""

    def show(view: StepView) -> None:
        for observer in observers:
            observer(view)

    return show

"""The black-box game with reference models: several audited runs, their canaries put together.

Target runs have fair, independent coins; reference runs have the adversary's own and go through the
same DP and crop pipeline. With one canary a run trials are independent; canaries of several runs,
several in each, are canaries of one game (`run_games`).
"""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cropaudit.attacks.black_box.collecting import collect
from cropaudit.attacks.black_box.references import (
    TrainedWorlds,
    train_references,
    train_targets,
)
from cropaudit.attacks.registry import querying
from cropaudit.attacks.signals import Decoys, Signals
from cropaudit.audit.config.sections import ReferencesConfig
from cropaudit.audit.experiment.subject import Subject, decoys_of
from cropaudit.audit.experiment.training_plan import training_spec
from cropaudit.audit.games.game_entry import Played, Words
from cropaudit.audit.games.run_games import canary_game, independent_game
from cropaudit.audit.games.two_world_game import common_start
from cropaudit.errors import require
from cropaudit.training.dpsgd.loop import DpSgdSpec, pick_device

__all__ = ["models_trained", "needs_references", "play_reference", "reference_game"]


def reference_game(subject: Subject, progress: Callable[[int], None] | None) -> Played:
    """Plays the game and holds it against the configured mechanism.

    Raises:
        InputError: If there is no slot, too few references, or a run that is not vectorised.
    """
    start = time.perf_counter()
    values, coins = play_reference(subject, training_spec(subject), progress)
    seconds = time.perf_counter() - start
    words, member = _words(subject), coins.ravel()
    if len(subject.slots) == 1:
        # One canary a run: trials are independent, and their tests far stronger.
        return independent_game(subject, "reference", words, [values.ravel()], member, seconds)
    return canary_game(subject, "reference", words, values.ravel(), member, seconds)


def needs_references(attack: str) -> bool:
    """Returns whether an attack takes models of the adversary's own."""
    return querying()[attack].references


def models_trained(own: ReferencesConfig) -> int:
    """Returns how many models the game trains: those that are attacked, and references."""
    return own.targets + (own.models if needs_references(own.attack) else 0)


def play_reference(
    subject: Subject, spec: DpSgdSpec, progress: Callable[[int], None] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Trains targets and references, and scores every slot of every target.

    Args:
        subject: What is audited.
        spec: The run of all models, but for their seeds.
        progress: Called with the number of models done.

    Returns:
        Scores and coins, shape (targets, slots) each; high means world A.
    """
    require(len(subject.slots) >= 1, "canary slots", "at least 1", len(subject.slots))
    own, seed = subject.config.references, subject.seeds.references
    attack = querying()[own.attack]
    given = subject.empty, subject.slots, spec
    device = pick_device()
    _, initial = common_start(subject, spec, own.initial, device)

    def told(before: int) -> Callable[[int, int], None]:
        def tell(done: int, total: int) -> None:
            if progress is not None:
                progress(before + done // spec.steps)

        return tell

    targets = train_targets(
        *given, own.targets, seed, initial=initial, device=device, progress=told(0)
    )
    references = None
    if attack.references:
        share = 0.0 if attack.needs == "references of world B" else 0.5
        after = told(own.targets)
        references = train_references(
            *given,
            own.models,
            seed,
            share=share,
            initial=initial,
            device=device,
            progress=after,
        )
    shown = [_answers(subject, trained) for trained in (targets, references) if trained]
    coins = None if references is None else references.coins
    assert attack.score is not None  # as `querying` has it
    scores = attack.score(shown[0], shown[1] if coins is not None else None, coins)
    return scores, targets.coins


def _answers(subject: Subject, trained: TrainedWorlds) -> Signals:
    """Asks models; the queries depend on the subject alone, so they are the same for all."""
    own = subject.config.references
    attack = querying()[own.attack]
    # RMIA compares a slot with a population: other slots, or where there are none, decoys.
    alone = own.attack == "rmia" and len(subject.slots) == 1
    wanted = alone or attack.needs == "decoys"
    decoys = Decoys(*decoys_of(subject)) if wanted else None
    return collect(
        trained.models,
        trained.parameters,
        subject.empty,
        subject.slots,
        subject.crop,
        windows=own.windows,
        seed=subject.seeds.black_box,
        maps=attack.maps,
        decoys=decoys,
    )


def _words(subject: Subject) -> Words:
    own = subject.config.references
    entry = querying()[own.attack]
    beside = {
        "nothing": "no model of its own",
        "references": f"{own.models} reference models with coins of its own",
        "references of world B": f"{own.models} reference models, none of which saw content A",
        "decoys": "contents that were in no world",
    }[entry.needs]
    return Words(
        entry.title,
        f"queries the released model on crops of the canary's image, knows both contents, and has "
        f"{beside}, trained through the same pipeline ({entry.source})",
        f"{own.targets} training runs with {len(subject.slots)} canaries each, a fair coin for "
        "every canary of every run",
    )

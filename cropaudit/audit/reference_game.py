"""The black-box game with reference models: several audited runs, their canaries put together.

Target runs have fair, independent coins; reference runs have the adversary's own and go through the
same DP and crop pipeline. With one canary a run trials are independent; canaries of several runs,
several in each, are canaries of one game (`run_games`).
"""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cropaudit.attacks.black_box import ATTACKS, Decoys, Signals, attack_named, collect
from cropaudit.attacks.black_box.references import (
    TrainedWorlds,
    train_references,
    train_targets,
)
from cropaudit.audit.game_entry import Played, Words
from cropaudit.audit.independent_games import independent_game
from cropaudit.audit.run_games import canary_game
from cropaudit.audit.subject import Subject, decoys_of
from cropaudit.audit.training_plan import training_spec
from cropaudit.audit.two_world_game import common_start
from cropaudit.errors import require
from cropaudit.training.dpsgd import DpSgdSpec, pick_device

__all__ = ["needs_references", "play_reference", "reference_game"]

_MAP_CELLS = 4  # along each side of a patch, for attacks that learn from loss maps


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
    return ATTACKS[attack].needs in ("references", "references of world B")


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
    if needs_references(own.attack):
        share = 0.0 if ATTACKS[own.attack].needs == "references of world B" else 0.5
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
    scores = attack_named(own.attack).score(
        shown[0], shown[1] if coins is not None else None, coins
    )
    return scores, targets.coins


def _answers(subject: Subject, trained: TrainedWorlds) -> Signals:
    """Asks models; the queries depend on the subject alone, so they are the same for all."""
    own = subject.config.references
    # RMIA compares a slot with a population: other slots, or where there are none, decoys.
    alone = own.attack == "rmia" and len(subject.slots) == 1
    wanted = alone or ATTACKS[own.attack].needs == "decoys"
    decoys = Decoys(*decoys_of(subject)) if wanted else None
    return collect(
        trained.models,
        trained.parameters,
        subject.empty,
        subject.slots,
        subject.crop,
        windows=own.windows,
        seed=subject.seeds.black_box,
        maps=_MAP_CELLS if own.attack == "learned" else 0,
        decoys=decoys,
    )


def _words(subject: Subject) -> Words:
    own, entry = subject.config.references, ATTACKS[subject.config.references.attack]
    beside = {
        "nothing": "no model of its own",
        "references": f"{own.models} reference models with coins of its own",
        "references of world B": f"{own.models} reference models, none of which saw content A",
        "decoys": "contents that were in no world",
    }[entry.needs]
    return Words(
        f"Black-box: {own.attack}",
        f"queries the released model on crops of the canary's image, knows both contents, and has "
        f"{beside}, trained through the same pipeline ({entry.source})",
        f"{own.targets} training runs with {len(subject.slots)} canaries each, a fair coin for "
        "every canary of every run",
    )

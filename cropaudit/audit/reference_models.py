"""What black-box attacks ask: the released model, and reference models of the same pipeline.

Small models are trained many at once; larger ones, or ones that start from a file of weights, one
after the other, and only their answers are kept.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cropaudit.attacks.black_box import Decoys, Signals, collect, collect_one
from cropaudit.attacks.black_box.references import train_references
from cropaudit.audit.canary_plan import plant_canaries
from cropaudit.audit.saved_run import SavedRun
from cropaudit.audit.subject import Subject, decoys_of
from cropaudit.audit.training_plan import training_spec
from cropaudit.errors import require
from cropaudit.training.canaries import fill_slots
from cropaudit.training.divergence import named_run
from cropaudit.training.dpsgd import DpSgdSpec, train
from cropaudit.training.streams import spawn_seeds

__all__ = ["Asking", "References", "ask_references", "ask_target", "made_decoys", "vectorised"]

_SMALL = 100_000  # parameters: what 128 models of a batch hold at once then fits the memory
_LEAST = 4  # two references in either world of each slot

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Asking:
    """How models are asked.

    Attributes:
        windows: Crops shown of each slot.
        seed: Of the windows.
        maps: Cells along each side of the loss maps; 0 for none.
    """

    windows: int
    seed: int
    maps: int = 0


@dataclass(frozen=True)
class References:
    """Which references are trained.

    Attributes:
        count: Number of models.
        seed: Of their coins and runs.
        share: Of them in world A of each slot.
    """

    count: int
    seed: int
    share: float = 0.5

    def __post_init__(self) -> None:
        require(self.count >= _LEAST, "references", f"at least {_LEAST}", self.count)


def vectorised(run: SavedRun) -> bool:
    """Whether references of a run can be trained many at once."""
    spec = training_spec(run.subject)
    parameters = sum(value.numel() for value in run.final.values())
    plain = spec.weights is None and spec.norm == "group" and spec.precision == "float32"
    return plain and parameters <= _SMALL


def made_decoys(subject: Subject) -> Decoys:
    """Returns contents of the canaries' own law that were in no world.

    Raises:
        InputError: If the canaries are the photographs' own objects and the held-out photographs
            have none that fit.
    """
    config, seeds = subject.config, subject.seeds
    if config.canary.design != "real-object":
        return Decoys(*decoys_of(subject))
    game = config.game.model_copy(update={"canary_slots": len(subject.validation)})
    planned = config.model_copy(update={"game": game})
    where = subject.crop, subject.patch
    return Decoys(*plant_canaries(subject.validation, planned, *where, seeds.decoys, seeds.weights))


def ask_target(run: SavedRun, asking: Asking, decoys: Decoys | None) -> Signals:
    """Returns the released model's answers."""
    subject = run.subject
    return collect_one(
        run.model(run.final),
        subject.empty,
        subject.slots,
        subject.crop,
        windows=asking.windows,
        seed=asking.seed,
        maps=asking.maps,
        decoys=decoys,
    )


def ask_references(
    run: SavedRun, asking: Asking, wanted: References, progress: Progress | None = None
) -> tuple[Signals, NDArray[np.bool_]]:
    """Trains references and returns their answers and coins.

    Args:
        run: The run that is attacked.
        asking: As the target was asked.
        wanted: Which references.
        progress: Called with the number of references done.
    """
    spec = training_spec(run.subject)
    if vectorised(run):
        return _together(run.subject, spec, asking, wanted, progress)
    return _in_turn(run.subject, spec, asking, wanted, progress)


def _together(
    subject: Subject,
    spec: DpSgdSpec,
    asking: Asking,
    wanted: References,
    progress: Progress | None,
) -> tuple[Signals, NDArray[np.bool_]]:
    def told(done: int, total: int) -> None:
        if progress is not None:
            progress(done * wanted.count // total)

    worlds = train_references(
        subject.empty,
        subject.slots,
        spec,
        wanted.count,
        wanted.seed,
        share=wanted.share,
        progress=told,
    )
    signals = collect(
        worlds.models,
        worlds.parameters,
        subject.empty,
        subject.slots,
        subject.crop,
        windows=asking.windows,
        seed=asking.seed,
        maps=asking.maps,
    )
    return signals, worlds.coins


def _in_turn(
    subject: Subject,
    spec: DpSgdSpec,
    asking: Asking,
    wanted: References,
    progress: Progress | None,
) -> tuple[Signals, NDArray[np.bool_]]:
    """Coins are balanced over the models for every slot, as in `train_references`."""
    coin_seed, *seeds = spawn_seeds(np.random.SeedSequence(wanted.seed), 1 + wanted.count)
    generator = np.random.default_rng(coin_seed)
    ranks = generator.random((wanted.count, len(subject.slots))).argsort(axis=0)
    coins = ranks < round(wanted.count * wanted.share)
    answers = []
    for number, (seed, own) in enumerate(zip(seeds, coins, strict=True)):
        data = fill_slots(subject.empty, subject.slots, own)
        with named_run(f"reference model {number + 1} of {wanted.count}"):
            trained = train(data, replace(spec, seed=seed))
        answers.append(
            collect_one(
                trained.model,
                subject.empty,
                subject.slots,
                subject.crop,
                windows=asking.windows,
                seed=asking.seed,
                maps=asking.maps,
            )
        )
        if progress is not None:
            progress(number + 1)
    return _stacked(answers), coins


def _stacked(answers: list[Signals]) -> Signals:
    maps = [one.maps for one in answers if one.maps is not None]
    return replace(
        answers[0],
        losses=np.concatenate([one.losses for one in answers]),
        confidences=np.concatenate([one.confidences for one in answers]),
        maps=np.concatenate(maps) if maps else None,
    )

"""Models trained for the attacks: references of the adversary's own, and targets of a game.

All go through the same DP and crop pipeline, many at once. The adversary chooses the references'
coins: as many models in world A as in world B for every slot. Targets' coins are thrown: fair,
independent, and told to nobody. Balanced coins of targets would give the last one away.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cropaudit.attacks.black_box.base import Array, Attack, Coins
from cropaudit.attacks.black_box.signals import Signals
from cropaudit.errors import require
from cropaudit.training.canaries import CanarySlot
from cropaudit.training.data import SegmentationData
from cropaudit.training.divergence import named_run
from cropaudit.training.dpsgd import DpSgdSpec
from cropaudit.training.ensemble import train_ensemble
from cropaudit.training.stacked import StackedModels
from cropaudit.training.streams import spawn_seeds
from cropaudit.training.worlds import members_of_coins

__all__ = ["TrainedWorlds", "leave_one_out", "train_references", "train_targets"]

_AT_ONCE = 128  # models trained together: more do not make a step cheaper, and cost memory

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class TrainedWorlds:
    """Models and the worlds that they were trained in.

    Attributes:
        models: The architecture.
        parameters: Final ones, shape (M, P).
        coins: True for world A, shape (M, S).
    """

    models: StackedModels
    parameters: Tensor
    coins: Coins

    def __len__(self) -> int:
        return len(self.coins)


def train_references(
    empty: SegmentationData,
    slots: Sequence[CanarySlot],
    spec: DpSgdSpec,
    count: int,
    seed: int,
    *,
    share: float = 0.5,
    initial: Tensor | None = None,
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> TrainedWorlds:
    """Trains reference models; their coins are balanced over the models for every slot.

    Args:
        empty: The records, slots empty.
        slots: The canaries.
        spec: The run of the targets, but for its seed.
        count: Number of models.
        seed: Of coins and runs; independent of targets' even where equal.
        share: Of the models that have world A, for each slot; 0 for the offline attack.
        initial: Public initial parameters, shape (P,), if targets have them too.
        device: Where to train.
        progress: Called with the model steps done and those to do.

    Raises:
        InputError: If a number is out of its range.
    """
    require(count >= 1, "references", "at least 1", count)
    require(0 <= share <= 1, "share", "in [0, 1]", share)
    coin_seed, run_seed = _seeds(seed, 1)
    ranks = np.random.default_rng(coin_seed).random((count, len(slots))).argsort(axis=0)
    coins = ranks < round(count * share)
    with named_run("reference models"):
        return _trained(empty, slots, coins, spec, run_seed, initial, device, progress)


def train_targets(
    empty: SegmentationData,
    slots: Sequence[CanarySlot],
    spec: DpSgdSpec,
    count: int,
    seed: int,
    *,
    initial: Tensor | None = None,
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> TrainedWorlds:
    """Trains target models; each has fair, independent coins. Arguments as `train_references`."""
    require(count >= 1, "targets", "at least 1", count)
    coin_seed, run_seed = _seeds(seed, 0)
    coins = np.random.default_rng(coin_seed).random((count, len(slots))) < 0.5
    with named_run("target models"):
        return _trained(empty, slots, coins, spec, run_seed, initial, device, progress)


def leave_one_out(attack: Attack, signals: Signals, coins: Coins) -> Array:
    """Scores every model of one ensemble with all the others as its references.

    This estimates an attack's power from few models. For a lower bound on epsilon take references
    apart from targets: here each coin also acts on the scores of the other models.

    Args:
        attack: The attack.
        signals: Of M models.
        coins: Theirs, fair and independent (`train_targets`), shape (M, S).

    Returns:
        Shape (M, S).
    """
    everyone = np.arange(len(signals))
    scores = []
    for one in everyone:
        others = np.delete(everyone, one)
        target = signals.take(everyone[one : one + 1])
        scores.append(attack.score(target, signals.take(others), coins[others])[0])
    return np.stack(scores)


def _seeds(seed: int, role: int) -> tuple[int, int]:
    """Returns seeds of the coins and of the runs; roles never share one."""
    first, second = spawn_seeds(np.random.SeedSequence([seed, role]), 2)
    return first, second


def _trained(
    empty: SegmentationData,
    slots: Sequence[CanarySlot],
    coins: NDArray[np.bool_],
    spec: DpSgdSpec,
    seed: int,
    initial: Tensor | None,
    device: torch.device | None,
    progress: Progress | None,
) -> TrainedWorlds:
    seeds = spawn_seeds(np.random.SeedSequence(seed), len(coins))
    members = members_of_coins(empty, slots, coins, seeds)
    parts, done, total = [], 0, len(coins) * spec.steps
    for start in range(0, len(coins), _AT_ONCE):
        part = members.part(slice(start, start + _AT_ONCE))

        def told(step: int, done: int = done, size: int = len(part)) -> None:
            if progress is not None:
                progress(done + step * size, total)

        trained = train_ensemble(part, spec, device=device, initial=initial, progress=told)
        parts.append(trained.parameters)
        done += len(part) * spec.steps
    return TrainedWorlds(trained.models, torch.cat(parts), coins)

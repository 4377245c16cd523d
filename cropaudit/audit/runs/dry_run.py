"""The dry run: a configuration's claim, plan and cost, without its data and without training."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cropaudit.accounting.bounds.bound import PatchBound
from cropaudit.attacks.base import Work as WorkSize
from cropaudit.attacks.registry import ATTACKS
from cropaudit.audit.config.audit_config import AuditConfig
from cropaudit.audit.experiment.planned import Planned, plan_experiment
from cropaudit.audit.experiment.step_cost import StepCost, measure_step
from cropaudit.audit.games.design import detectable_epsilon
from cropaudit.audit.games.reference_game import models_trained
from cropaudit.estimators.evidence import Guesses
from cropaudit.estimators.one_run.steinke import Steinke
from cropaudit.estimators.trials.family import Order
from cropaudit.training.sampling.samplers import expected_batch

__all__ = ["Cost", "DryRun", "PlannedGame", "Work", "dry_run"]

_NUMBER = 8  # bytes of a number on the transcript
_RECORDED = 6 * _NUMBER + 2  # record, window's corner and size, offset, flips


@dataclass(frozen=True)
class PlannedGame:
    """What one attack plays for.

    Attributes:
        attack: Its name.
        trials: Canaries or runs that are scored.
        level: Its share of one minus the confidence.
        detectable: Smallest true epsilon that contradicts the claim with 90% power, of games whose
            trials are independent; None if there is none, or the game is of another kind.
        cap: Largest bound that assumes nothing about the mechanism, if every coin is guessed.
    """

    attack: str
    trials: int
    level: float
    detectable: float | None
    cap: float | None


@dataclass(frozen=True)
class Work:
    """One part of the work.

    Attributes:
        what: In words.
        crops: Gradients of a crop that it takes; a forward pass counts as a third of one.
        seconds: About how long on this machine; None if nothing was measured.
    """

    what: str
    crops: float
    seconds: float | None


@dataclass(frozen=True)
class Cost:
    """What the work costs.

    Attributes:
        work: Its parts.
        step: What was measured; None if nothing was.
        physical_batch: Crops that pass through the model at once.
        transcript_bytes: Of the transcript, before it is compressed.
    """

    work: tuple[Work, ...]
    step: StepCost | None
    physical_batch: int
    transcript_bytes: int

    @property
    def seconds(self) -> float | None:
        """Returns the sum over the work."""
        parts = [item.seconds for item in self.work if item.seconds is not None]
        return sum(parts) if len(parts) == len(self.work) else None


@dataclass(frozen=True, eq=False)
class DryRun:
    """What a configuration comes to.

    Attributes:
        planned: Its claim, and the sizes that it rests on.
        parts: Parts of a step that pass through the model one after the other.
        games: The attacks; none for a training without them.
        cost: What the work costs.
    """

    planned: Planned
    parts: int
    games: tuple[PlannedGame, ...]
    cost: Cost

    @property
    def bound(self) -> PatchBound:
        """The bounds of the configured mechanism."""
        return self.planned.bound


def dry_run(config: AuditConfig, *, attacks: bool, measure: bool) -> DryRun:
    """Validates a configuration and says what it would do.

    Args:
        config: What to look at.
        attacks: Whether attacks are played after the training.
        measure: Whether to time steps of the model on this machine.

    Raises:
        InputError: If the configuration does not fit itself.
    """
    planned, training = plan_experiment(config), config.training
    expected = expected_batch(planned.sampling, planned.records) * config.crop.per_image
    crop, wanted = config.shown_size(), config.game.attacks if attacks else ()
    step = measure_step(training, crop, planned.classes) if measure else None
    physical = min(training.physical_batch or math.ceil(expected), math.ceil(expected))
    share = (1 - config.game.confidence) / len(config.game.attacks)
    games = tuple(_game(planned, name, share) for name in wanted)
    recorded = int(planned.bound.steps * expected * _RECORDED)
    cost = Cost(tuple(_work(planned, expected, step, wanted)), step, physical, recorded)
    return DryRun(planned, math.ceil(expected / physical), games, cost)


def _game(planned: Planned, name: str, share: float) -> PlannedGame:
    game, slots = planned.config.game, planned.config.game.canary_slots
    trials = {
        "probe": game.probe_slots,
        "two-world": 2 * planned.config.two_world.models,
        "reference": planned.config.references.targets * slots,
    }.get(name, slots)
    # One canary a run makes independent trials; several in each are guessed.
    if name in ("probe", "two-world") or (name == "reference" and slots == 1):
        order: Order = "forward" if name == "probe" else "adaptive"
        hypothesis = planned.claim.hypothesis(
            planned.mechanism, game.confidence, share / (1 - game.confidence), order=order
        )
        found = detectable_epsilon(hypothesis, (trials // 2, trials // 2))
        return PlannedGame(name, trials, share, found, None)
    # Three rules of guessing divide the share; the test that knows the mechanism has no such limit.
    cap = Steinke().epsilon(Guesses(trials, trials, trials), game.delta, share / 3).epsilon
    return PlannedGame(name, trials, share, None, cap)


def _work(
    planned: Planned, expected: float, cost: StepCost | None, attacks: Sequence[str]
) -> Iterator[Work]:
    training, steps = planned.config.training, planned.bound.steps
    own, run = steps * expected, None if cost is None else steps * cost.step_seconds(expected)
    yield Work("private training", own, run)
    for twin in training.twins:
        yield Work(f"the same, {twin.replace('-', ' ')}", own, run)
    for name in attacks:
        crops = _attack_crops(planned, name, expected)
        if crops:  # vectorised over models, or apart from the update: no fixed cost for a step
            yield Work(f"{name} attack", crops, None if cost is None else crops * cost.crop_seconds)


def _attack_crops(planned: Planned, name: str, expected: float) -> float:
    """Returns how many gradients an attack takes; the probe takes none of the model's."""
    config, windows = planned.config, planned.config.game.black_box_windows
    options: dict[str, Any] = {}
    if name == "two-world":
        options = config.two_world.model_dump()
    if name == "reference":
        own, windows = config.references, config.references.windows
        options = {"targets": own.targets, "references": models_trained(own) - own.targets}
    size = WorkSize(planned.bound.steps, expected, config.game.canary_slots, windows, options)
    return ATTACKS[name].cost(size)

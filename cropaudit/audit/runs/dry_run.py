"""The dry run: a configuration's claim, plan and cost, without its data and without training."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cropaudit.accounting.bounds.bound import PatchBound
from cropaudit.attacks.base import Work as Size
from cropaudit.attacks.registry import ATTACKS, querying
from cropaudit.audit.config.audit_config import AuditConfig
from cropaudit.audit.config.mixing import refuse_mixture
from cropaudit.audit.experiment.declared import Declared, declare
from cropaudit.audit.experiment.step_cost import StepCost, measure_step
from cropaudit.audit.games.design import detectable_epsilon, scoring_pairs
from cropaudit.estimators.evidence import Guesses
from cropaudit.estimators.one_run.steinke import Steinke
from cropaudit.estimators.trials.family import Order
from cropaudit.training.sampling.samplers import expected_batch, sampling_of

__all__ = ["Cost", "DryRun", "PlannedGame", "Work", "dry_run"]

_NUMBER = 8  # bytes of a number on the transcript
_TAPED = 6 * _NUMBER + 2  # record, window's corner and size, offset, flips


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
        tape_bytes: Of the transcript, before it is compressed.
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
        declared: Its claim, and the sizes that it rests on.
        parts: Parts of a step that pass through the model one after the other.
        games: The attacks; none for a training without them.
        cost: What the work costs.
    """

    declared: Declared
    parts: int
    games: tuple[PlannedGame, ...]
    cost: Cost

    @property
    def bound(self) -> PatchBound:
        """The bounds of the configured mechanism."""
        return self.declared.bound


def dry_run(config: AuditConfig, *, attacks: bool, measure: bool) -> DryRun:
    """Validates a configuration and says what it would do.

    Args:
        config: What to look at.
        attacks: Whether attacks are played after the training.
        measure: Whether to time steps of the model on this machine.

    Raises:
        InputError: If the configuration does not fit itself.
    """
    declared, training = declare(config), config.training
    sampling = sampling_of(training.sampler, training.batch, declared.records)
    pairs = scoring_pairs(declared.mechanism)
    refuse_mixture(declared.mechanism, sampling, pairs, declared.claim.mechanism)
    crop = config.shown_size()
    cost = measure_step(training, crop, declared.classes) if measure else None
    expected = expected_batch(sampling, declared.records) * config.crop.per_image
    physical = min(training.physical_batch or math.ceil(expected), math.ceil(expected))
    steps = declared.bound.steps
    return DryRun(
        declared,
        math.ceil(expected / physical),
        _games(declared) if attacks else (),
        Cost(
            tuple(_work(declared, expected, cost, attacks=attacks)),
            cost,
            physical,
            int(steps * expected * _TAPED),
        ),
    )


def _games(declared: Declared) -> tuple[PlannedGame, ...]:
    config = declared.config
    wanted, level = config.game.attacks, 1 - config.game.confidence
    share = level / len(wanted)
    return tuple(_game(declared, name, share) for name in wanted)


def _game(declared: Declared, name: str, share: float) -> PlannedGame:
    config = declared.config
    match name:
        case "probe":
            return _independent(declared, name, config.game.probe_slots, share)
        case "two-world":
            return _independent(declared, name, 2 * config.two_world.models, share)
        case "reference":
            trials = config.references.targets * declared.canaries
            # One canary a run makes independent trials; several in each are guessed.
            play = _independent if declared.canaries == 1 else _guessed
            return play(declared, name, trials, share)
        case _:
            return _guessed(declared, name, declared.canaries, share)


def _independent(declared: Declared, name: str, trials: int, share: float) -> PlannedGame:
    game, half = declared.config.game, trials // 2
    order: Order = "forward" if name == "probe" else "adaptive"
    hypothesis = declared.claim.hypothesis(
        declared.mechanism, game.confidence, share / (1 - game.confidence), order=order
    )
    return PlannedGame(name, trials, share, detectable_epsilon(hypothesis, (half, half)), None)


def _guessed(declared: Declared, name: str, trials: int, share: float) -> PlannedGame:
    perfect = Guesses(trials, trials, trials)
    # Three rules of guessing divide the share; the test that knows the mechanism has no such limit.
    cap = Steinke().epsilon(perfect, declared.config.game.delta, share / 3).epsilon
    return PlannedGame(name, trials, share, None, cap)


def _work(
    declared: Declared, expected: float, cost: StepCost | None, *, attacks: bool
) -> Sequence[Work]:
    training, steps = declared.config.training, declared.bound.steps
    own = steps * expected
    run = None if cost is None else steps * cost.step_seconds(expected)
    found = [Work("private training", own, run)]
    found += [Work(f"the same, {twin.replace('-', ' ')}", own, run) for twin in training.twins]
    if attacks:
        for name in declared.config.game.attacks:
            crops = _attack_crops(declared, name, expected)
            # Vectorised over models, or apart from the update: no fixed cost for a step.
            seconds = None if cost is None else crops * cost.crop_seconds
            found += [Work(f"{name} attack", crops, seconds)] if crops else []
    return found


def _attack_crops(declared: Declared, name: str, expected: float) -> float:
    """Returns how many gradients an attack takes; the probe takes none of the model's."""
    config, windows = declared.config, declared.config.game.black_box_windows
    options: dict[str, Any] = {}
    if name == "two-world":
        options = config.two_world.model_dump()
    if name == "reference":
        own, windows = config.references, config.references.windows
        references = querying()[own.attack].references
        options = {"targets": own.targets, "references": own.models if references else 0}
    size = Size(declared.bound.steps, expected, declared.canaries, windows, options)
    return ATTACKS[name].cost(size)

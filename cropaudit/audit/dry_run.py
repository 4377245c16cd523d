"""The dry run: a configuration's claim, plan and cost, without its data and without training."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cropaudit.accounting.bound import PatchBound
from cropaudit.attacks.black_box.registry import ATTACKS
from cropaudit.audit.config import AuditConfig
from cropaudit.audit.declared import Declared, declare
from cropaudit.audit.design import detectable_epsilon, plan_game, scoring_pairs
from cropaudit.audit.estimators.evidence import Guesses
from cropaudit.audit.estimators.steinke import Steinke
from cropaudit.audit.mixing import refuse_mixture
from cropaudit.audit.step_cost import StepCost, measure_step
from cropaudit.training.samplers import expected_batch, sampling_of

__all__ = ["Cost", "DryRun", "PlannedGame", "Work", "dry_run"]

_FORWARD = 1 / 3  # of a gradient, at most: a backward pass takes twice as long
_WATCHED = (4, 48, 5)  # crops tried for a slot, other crops, steps between two looks
_NUMBER = 8  # bytes of a number on the tape
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
        tape_bytes: Of the tape, before it is compressed.
    """

    work: tuple[Work, ...]
    step: StepCost | None
    physical_batch: int
    tape_bytes: int

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


def dry_run(config: AuditConfig, *, attacks: bool, measure: bool, seconds: float = 20.0) -> DryRun:
    """Validates a configuration and says what it would do.

    Args:
        config: What to look at.
        attacks: Whether attacks are played after the training.
        measure: Whether to time steps of the model on this machine.
        seconds: About how long to measure.

    Raises:
        InputError: If the configuration does not fit itself.
    """
    declared, training = declare(config), config.training
    sampling = sampling_of(training.sampler, training.batch, declared.records)
    pairs = scoring_pairs(declared.mechanism)
    refuse_mixture(declared.mechanism, sampling, pairs, declared.claim.mechanism)
    crop = config.crop_law().size
    cost = measure_step(training, crop, declared.classes, seconds=seconds) if measure else None
    expected = expected_batch(sampling, declared.records)
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
    config, half = declared.config, trials // 2
    plan = plan_game(declared.mechanism, config.game.delta, half, half, share)
    found = detectable_epsilon(plan, declared.claim.contradicted_by, share)
    return PlannedGame(name, trials, share, found, None)


def _guessed(declared: Declared, name: str, trials: int, share: float) -> PlannedGame:
    perfect = Guesses(trials, trials, trials)
    # Half of the share is for the test that knows the mechanism, whose limit is far above; three
    # rules of guessing divide the rest.
    cap = Steinke().epsilon(perfect, declared.config.game.delta, share / 6).epsilon
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
    config, steps, slots = declared.config, declared.bound.steps, declared.canaries
    match name:
        case "white-box":
            tried, others, every = _WATCHED
            return math.ceil(steps / every) * (tried * slots + others)
        case "black-box":
            return 2 * slots * config.game.black_box_windows * _FORWARD
        case "two-world":
            own = config.two_world
            looks = (2 * own.hits + own.misses) / own.refresh
            return 2 * own.models * steps * (expected + looks)
        case "reference":
            own_game = config.references
            trained = ATTACKS[own_game.attack].needs.startswith("references")
            models = own_game.targets + (own_game.models if trained else 0)
            queries = 2 * slots * own_game.windows * _FORWARD
            return models * (steps * expected + queries)
        case _:
            return 0.0

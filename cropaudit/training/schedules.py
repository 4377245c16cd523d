"""Learning rates over a run: constant, polynomial, cosine or in steps, each after a linear warmup.

Assumes that a rate depends on the number of the step alone and never on the data, so that it is
post-processing of the noisy means and costs no privacy.
"""

import math
from dataclasses import dataclass, field

from cropaudit.errors import require

__all__ = ["Constant", "Cosine", "Poly", "Schedule", "Steps", "learning_rates"]


@dataclass(frozen=True)
class _Warm:
    """What all schedules share.

    Attributes:
        warmup: Steps over which the rate rises linearly to its start; 0 for none.
    """

    warmup: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        require(self.warmup >= 0, "warmup", "at least 0", self.warmup)


@dataclass(frozen=True)
class Constant(_Warm):
    """The same rate in every step."""


@dataclass(frozen=True)
class Poly(_Warm):
    """(1 - t) ** power, where t goes from 0 to just below 1: usual for segmentation."""

    power: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.power < math.inf, "power", "above 0 and finite", self.power)


@dataclass(frozen=True)
class Cosine(_Warm):
    """(1 + cos(pi t)) / 2, where t goes from 0 to just below 1."""


@dataclass(frozen=True)
class Steps(_Warm):
    """Times ``factor`` after every ``every`` steps."""

    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.every >= 1, "every", "at least 1", self.every)
        require(0 < self.factor <= 1, "factor", "above 0 and at most 1", self.factor)


Schedule = Constant | Poly | Cosine | Steps


def learning_rates(schedule: Schedule, start: float, steps: int) -> tuple[float, ...]:
    """Returns the rate of every step.

    Args:
        schedule: How it changes.
        start: The rate after the warmup.
        steps: Of the whole run, warmup included.

    Raises:
        InputError: If the warmup takes the whole run.

    >>> learning_rates(Poly(power=1.0, warmup=1), 0.8, 5)
    (0.4, 0.8, 0.6000000000000001, 0.4, 0.2)
    """
    warmup = schedule.warmup
    require(warmup < steps, "warmup", f"below the {steps} steps", warmup)
    rising = [start * (step + 1) / (warmup + 1) for step in range(warmup)]
    left = steps - warmup
    return (*rising, *(start * _share(schedule, step, left) for step in range(left)))


def _share(schedule: Schedule, step: int, steps: int) -> float:
    done = step / steps
    match schedule:
        case Constant():
            return 1.0
        case Poly(power):
            return float((1 - done) ** power)
        case Cosine():
            return (1 + math.cos(math.pi * done)) / 2
        case Steps(every, factor):
            return float(factor ** (step // every))

"""Seeds of independent random streams, all from one."""

import numpy as np

__all__ = ["spawn_seeds", "step_seed"]


def spawn_seeds(sequence: np.random.SeedSequence, count: int) -> list[int]:
    """Returns ``count`` independent 64-bit seeds.

    >>> spawn_seeds(np.random.SeedSequence(0), 2) == spawn_seeds(np.random.SeedSequence(0), 3)[:2]
    True
    """
    return [int(child.generate_state(1, np.uint64)[0]) for child in sequence.spawn(count)]


def step_seed(seed: int, step: int) -> int:
    """Returns the 64-bit seed of one step's noise, so that any step can be drawn again alone.

    >>> step_seed(7, 0) != step_seed(7, 1)
    True
    """
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0])

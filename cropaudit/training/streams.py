"""Seeds of independent random streams, all from one."""

import numpy as np

__all__ = ["spawn_seeds"]


def spawn_seeds(sequence: np.random.SeedSequence, count: int) -> list[int]:
    """Returns ``count`` independent 64-bit seeds.

    >>> spawn_seeds(np.random.SeedSequence(0), 2) == spawn_seeds(np.random.SeedSequence(0), 3)[:2]
    True
    """
    return [int(child.generate_state(1, np.uint64)[0]) for child in sequence.spawn(count)]

"""Searches for where a statement ceases to hold: growing steps, then halving.

What is tried far from the start is tried last: curves far from a configured one cost most.
"""

from collections.abc import Callable

__all__ = ["last_epsilon", "turning"]


def turning(
    holds: Callable[[int], bool],
    low: int,
    high: int,
    start: int | None = None,
    within: int = 1,
) -> tuple[int, int]:
    """Brackets where a statement about whole numbers turns from true to false.

    Args:
        holds: The statement; what holds at a number holds at all smaller ones.
        low: It is taken to hold here.
        high: It is taken to be false here.
        start: Where to begin; halfway unless given.
        within: Wanted distance between both numbers.

    Returns:
        A number where it holds, and a larger one where it does not.

    >>> turning(lambda n: n * n <= 200, 0, 1000)
    (14, 15)
    """
    probe, step = (low + high) // 2 if start is None else start, 64
    while low < probe < high:
        if holds(probe):
            low, probe = probe, probe + step
        else:
            high, probe = probe, probe - step
        step *= 2
    while high - low > within:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low, high


def last_epsilon(rejected: Callable[[float], bool], tolerance: float = 1e-6) -> float:
    """Returns the largest epsilon that is rejected, from below; at least 0, at most about 1000."""
    if not rejected(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while high < 1e3 and rejected(high):
        low, high = high, 2 * high
    while high - low > tolerance * max(1.0, high):
        middle = (low + high) / 2
        low, high = (middle, high) if rejected(middle) else (low, middle)
    return low

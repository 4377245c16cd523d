"""Search for the last whole number that is still allowed."""

from collections.abc import Callable

__all__ = ["last_allowed"]


def last_allowed(allowed: Callable[[int], bool], low: int, high: int) -> int:
    """Returns a number that is allowed while the next one is not.

    Args:
        allowed: What to ask; where it does not fall once and for all, one of its falls is found.
        low: A number that is allowed; not asked about again.
        high: A larger one that is not.

    >>> last_allowed(lambda n: n * n <= 50, 1, 50)
    7
    """
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if allowed(middle) else (low, middle)
    return low

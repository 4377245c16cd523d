"""Rounding to the honest side."""

import math

__all__ = ["round_down"]


def round_down(value: float, digits: int = 6) -> float:
    """Rounds a lower bound down to so many significant digits, and to 0 if it is negative.

    >>> round_down(7.4500009), round_down(-1.0)
    (7.45, 0.0)
    """
    if not value > 1e-300 or math.isinf(value):
        return value if value > 1 else 0.0
    scale = 10.0 ** (digits - 1 - math.floor(math.log10(value)))
    rounded = math.floor(value * scale) / scale
    return rounded if rounded <= value else math.nextafter(rounded, 0.0)

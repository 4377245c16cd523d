"""Numbers as text: only the digits that are supported, rounded towards the honest side.

A lower bound is rounded down and an upper bound up, so that no printed number claims more than the
computed one, and one number is printed alike wherever it stands. Rounding is done in decimal on the
shortest text that reads back as the same float: 0.3 stays 0.300 and does not become 0.299 because
of its binary tail.
"""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

from cropaudit.errors import require

__all__ = ["format_lower", "format_upper", "format_value"]

# Decimal exponents outside this range are written as 1.23e-7.
_PLAIN = range(-4, 6)


def format_lower(x: float, digits: int = 3) -> str:
    """Returns ``x`` with ``digits`` significant digits, rounded down: for lower bounds.

    >>> format_lower(6.4789), format_lower(0.3), format_lower(1239.9), format_lower(0.0)
    ('6.47', '0.300', '1230', '0')
    >>> format_lower(1.239e-7)
    '1.23e-7'
    """
    return _directed(x, digits, ROUND_FLOOR)


def format_upper(x: float, digits: int = 3) -> str:
    """Returns ``x`` with ``digits`` significant digits, rounded up: for claims and upper bounds.

    >>> format_upper(7.4501), format_upper(0.3), format_upper(118.4), format_upper(9.999)
    ('7.46', '0.300', '119', '10.0')
    """
    return _directed(x, digits, ROUND_CEILING)


def format_value(x: float, digits: int = 4) -> str:
    """Returns ``x`` to the nearest, without trailing zeros: for parameters, which bound nothing.

    >>> format_value(1 / 2975), format_value(0.00001), format_value(1.0), format_value(250)
    ('0.0003361', '1e-5', '1', '250')
    """
    text = _directed(x, digits, ROUND_HALF_EVEN)
    mantissa, e, exponent = text.partition("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return mantissa + e + exponent


def _directed(x: float, digits: int, rounding: str) -> str:
    """Returns ``x`` with ``digits`` significant digits, rounded as told."""
    require(math.isfinite(x), "a printed number", "finite", x)
    value = Decimal(repr(float(x)))
    if value == 0:
        return "0"
    rounded = _quantize(value, digits, rounding)
    # 9.999 rounded up has become 10.00: one digit too many, taken off again without loss.
    rounded = _quantize(rounded, digits, rounding)
    exponent = rounded.adjusted()
    if exponent in _PLAIN:
        return format(rounded, "f")
    return f"{rounded.scaleb(-exponent):f}e{exponent}"


def _quantize(value: Decimal, digits: int, rounding: str) -> Decimal:
    """Returns ``value`` on the grid of its own ``digits`` significant digits."""
    return value.quantize(Decimal(1).scaleb(value.adjusted() - digits + 1), rounding)

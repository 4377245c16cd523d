"""Numbers as text: only the digits that are supported, rounded towards the honest side.

A lower bound is rounded down and an upper bound up, so that no printed number claims more than the
computed one. Rounding is done in decimal on the shortest text that reads back as the same float:
0.3 stays 0.300 and does not become 0.299 because of its binary tail.
"""

import math
import re
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

from cropaudit.errors import require

__all__ = [
    "format_confidence",
    "format_duration",
    "format_lower",
    "format_percent",
    "format_upper",
    "format_value",
    "superscript",
]

# Decimal exponents outside this range are written as 1.23e-7.
_PLAIN = range(-4, 6)
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


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


def format_percent(x: float, digits: int = 3) -> str:
    """Returns a probability as a percentage to the nearest.

    >>> format_percent(0.001), format_percent(0.12345), format_percent(1.0)
    ('0.1%', '12.3%', '100%')
    """
    return format_value(100 * x, digits) + "%"


def format_confidence(x: float) -> str:
    """Returns a confidence level as a percentage, rounded down so that it is never overstated.

    >>> format_confidence(0.95), format_confidence(0.9875), format_confidence(0.99999)
    ('95%', '98.75%', '99.99%')
    """
    text = format(Decimal(repr(float(x))).scaleb(2).quantize(Decimal("0.01"), ROUND_FLOOR), "f")
    return text.rstrip("0").rstrip(".") + "%"


def format_duration(seconds: float) -> str:
    """Returns a time in the largest unit that keeps two digits.

    >>> format_duration(0.84), format_duration(75), format_duration(4000), format_duration(86400)
    ('0.8 s', '75 s', '67 min', '24.0 h')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def superscript(text: str) -> str:
    """Returns a number's text with its exponent, if it has one, as a power of ten.

    >>> superscript("1.23e-7"), superscript("1e-5"), superscript("7.45")
    ('1.23 × 10⁻⁷', '10⁻⁵', '7.45')
    """
    match = re.fullmatch(r"(-?[\d.]+)e([+-]?\d+)", text)
    if match is None:
        return text
    power = "10" + str(int(match[2])).translate(_SUPERSCRIPTS)
    return power if match[1] == "1" else f"{match[1]} × {power}"


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

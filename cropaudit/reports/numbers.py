"""Numbers as text beyond those of `digits`: shares, confidences, times, powers of ten."""

import re
from decimal import ROUND_FLOOR, Decimal

from cropaudit.accounting.digits import format_lower, format_upper, format_value

__all__ = [
    "format_confidence",
    "format_duration",
    "format_lower",
    "format_percent",
    "format_upper",
    "format_value",
    "superscript",
]

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


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

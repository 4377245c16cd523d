"""Ticks, legends and notes of the pictures of ``cropaudit bound``.

All layout is in inches, measured in DejaVu Sans, which is wider than most readers' faces.
"""

import math
import textwrap
from collections.abc import Iterable, Sequence

import matplotlib.ticker as ticker
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from numpy.typing import NDArray

__all__ = [
    "DPI",
    "LETTER",
    "LINE",
    "missing_note",
    "place_legend",
    "place_notes",
    "plain_ticks",
    "with_gaps",
    "wrapped",
]

DPI = 180
"""Dots per inch of a PNG, and of pixels inside an SVG."""

LETTER = 0.078
"""Width of a letter at 9 points, in inches."""

LINE = 0.19
"""Height of a line of legend or note, in inches."""


def wrapped(text: str, width: float) -> list[str]:
    """Returns a text's lines, at least one, none wider than ``width`` inches."""
    return textwrap.wrap(text, max(int(width / LETTER), 1)) or [""]


def with_gaps(values: Iterable[float], *, log: bool) -> NDArray[np.float64]:
    """Returns the values, NaN where the axis has no place for them."""
    y = np.array(tuple(values), dtype=np.float64)
    y[~np.isfinite(y) | ((y <= 0) & log)] = np.nan
    return y


def missing_note(values: Iterable[float], *, log: bool) -> str:
    """Returns in words what `with_gaps` leaves out, or nothing.

    >>> missing_note([1.0, math.inf, 0.0], log=True)
    'Not drawn: 1 infinite and 1 zero values of ε.'
    """
    listed = list(values)
    infinite = sum(math.isinf(value) for value in listed)
    zero = sum(value == 0 for value in listed) if log else 0
    parts = [f"{infinite} infinite"] * bool(infinite) + [f"{zero} zero"] * bool(zero)
    plural = "s" if infinite + zero > 1 else ""
    return f"Not drawn: {' and '.join(parts)} value{plural} of ε." if parts else ""


def plain_ticks(axis: Axis, *, log: bool) -> None:
    """Labels an axis with plain numbers, on a log axis at 1, 2 and 5 where there is room."""
    if log:
        low, high = axis.get_view_interval()
        steps = (1.0, 2.0, 5.0) if math.log10(high / low) < 3 else (1.0,)
        axis.set_major_locator(ticker.LogLocator(subs=steps))
        axis.set_minor_formatter(ticker.NullFormatter())
    else:
        axis.set_major_locator(ticker.MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:g}"))


def place_legend(
    figure: Figure,
    handles: Sequence[Artist],
    labels: Sequence[str],
    *,
    columns: int,
    corner: tuple[float, float],
    upper: bool = False,
) -> None:
    """Puts a legend's lower left corner, or its upper left one, at a place in inches."""
    wide, high = figure.get_size_inches()
    figure.legend(
        handles,
        # A leading underscore would hide the entry.
        [label.lstrip("_") for label in labels],
        loc="upper left" if upper else "lower left",
        bbox_to_anchor=(corner[0] / wide, corner[1] / high),
        ncols=columns,
        borderaxespad=0,
        borderpad=0,
        labelspacing=0.35,
        handlelength=3.4,
    )


def place_notes(figure: Figure, notes: Sequence[str]) -> None:
    """Writes lines of notes at the figure's foot."""
    wide, high = figure.get_size_inches()
    if notes:
        figure.text(0.5 / wide, 0.1 / high, "\n".join(notes), fontsize=8.5, va="bottom")

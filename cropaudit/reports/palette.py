"""Colours, dashes and markers that every picture shares, and axes placed in inches.

Mid-tone colours (from Okabe and Ito's colour-blind safe set, darkened or lightened to at least 3:1
against white and against near-black) read in light and in dark mode; dashes or markers tell the
series apart without colour.
"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["DASHES", "EXCLUDED", "GREY", "MARKERS", "SERIES", "place_axes"]

SERIES = ("#3b7dd8", "#d5661a", "#0f9d78", "#b45fb0", "#a8892a", "#6f7f8f")
DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = (
    "-",
    (0, (6, 2)),
    (0, (2, 1)),
    (0, (6, 2, 1, 2)),
    (0, (1, 1)),
    (0, (8, 3)),
)
# Seven markers beside six colours: the pairs repeat only after 42 series.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
EXCLUDED = "#d0524a"
GREY = "#808890"


def place_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Adds axes whose corner and size are given in inches."""
    wide, high = figure.get_size_inches()
    return figure.add_axes((left / wide, bottom / high, width / wide, height / high))

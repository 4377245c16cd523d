"""The figure of a `BoundMap`: inclusion probability and epsilon by the place of the patch's centre.

Pixel (0, 0) reaches from 0 to 1 on both axes, so that a patch or a window is a rectangle with its
own numbers. Centres keep half a patch away from the border: so does the heat map. Maps are reduced
to blocks that show their largest value, which never hides the worst place.
"""

import matplotlib.ticker as ticker
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from cropaudit.reports.blocks import largest_blocks
from cropaudit.reports.bound_data import BoundMap, MapPanel, map_panels
from cropaudit.reports.bound_layout import DPI, wrapped
from cropaudit.reports.bound_words import bound_number, delta_text
from cropaudit.reports.palette import EXCLUDED, place_axes

__all__ = ["map_figure"]

_CELLS = 600
_EXAMPLE_SIDE = 1500
_DARK, _LIGHT = "#101418", "#ffffff"
_LEFT, _RIGHT, _LABELS = 0.75, 0.95, 0.6
# A patch drawn smaller than this, in inches, gets a ring around it.
_SMALL = 0.16


def map_figure(data: BoundMap) -> Figure:
    """Draws rho on the left and epsilon on the right."""
    rows, columns = data.image
    scale = min(4.2 / columns, 3.4 / rows)
    # A strip is widened to hold its words; the axes tell its true size.
    width, height = max(columns * scale, 2.7), max(rows * scale, 1.5)
    panels = map_panels(data, delta_text(data.delta))
    bottom = _LABELS + 0.16 * max(len(_caption(data, panel)) for panel in panels)
    titles = max(len(_title(panel, width)) for panel in panels)
    cell = _LEFT + width + _RIGHT
    figure = Figure(figsize=(2 * cell, bottom + height + 0.17 + 0.18 * titles), dpi=DPI)
    beneath = None if data.example is None else _light_grey(data.example)
    for number, panel in enumerate(panels):
        left = number * cell + _LEFT
        axes = place_axes(figure, left, bottom, width, height)
        if beneath is not None:
            span = (0, columns, rows, 0)
            axes.imshow(beneath, cmap="gray", vmin=0, vmax=255, extent=span, aspect="auto")
        heat, lines = _heat(axes, data, panel, 1.0 if beneath is None else 0.6)
        bar_axes = place_axes(figure, left + width + 0.12, bottom, 0.14, height)
        bar = figure.colorbar(heat, cax=bar_axes, ticks=_round_levels(panel.top))
        bar.ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:g}"))
        if lines is not None:
            bar.add_lines(lines)
        _frame(axes, data)
        axes.set_title("\n".join(_title(panel, width)), fontsize=9.5, loc="left")
        _window(axes, data)
        _worst(axes, data, panel, (width, height))
        wide, high = figure.get_size_inches()
        words = "\n".join(_caption(data, panel))
        figure.text(left / wide, (bottom - 0.52) / high, words, fontsize=8.5, va="top")
    return figure


def _light_grey(example: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns an image as grey levels from light grey to white, at most `_EXAMPLE_SIDE` wide."""
    picture = Image.fromarray(example).convert("L")
    picture.thumbnail((_EXAMPLE_SIDE, _EXAMPLE_SIDE), Image.Resampling.BOX)
    grey = 130 + np.asarray(picture, dtype=np.float64) * (125 / 255)
    return np.asarray(grey, dtype=np.uint8)


def _round_levels(top: float) -> list[float]:
    """Returns few round numbers from zero to ``top``.

    >>> _round_levels(0.329), _round_levels(7.46)
    ([0.0, 0.1, 0.2, 0.3], [0.0, 2.0, 4.0, 6.0])
    """
    values = ticker.MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]).tick_values(0.0, top or 1.0)
    # The locator's 0.30000000000000004 is 0.3, and belongs on a scale that ends there.
    rounded = (round(float(value), 12) for value in values)
    return [value for value in rounded if 0 <= value <= (top or 1.0)]


def _heat(
    axes: Axes, data: BoundMap, panel: MapPanel, alpha: float
) -> tuple[AxesImage, QuadContourSet | None]:
    """Draws the heat map with lines at the colour bar's ticks; infinities in a colour apart."""
    top = panel.top or 1.0
    # An infinity would spoil the resampling; twice the scale's end has the same colour.
    finite = np.where(np.isfinite(panel.values), panel.values, 2 * top)
    cells, step = largest_blocks(finite, _CELLS)
    (rows, columns), (h, w) = panel.values.shape, data.patch
    north, west = (h - 1) / 2, (w - 1) / 2
    heat = axes.imshow(
        cells,
        cmap=colormaps["viridis"].with_extremes(over=EXCLUDED),
        vmin=0.0,
        vmax=top,
        alpha=alpha,
        interpolation="none",
        extent=(west, west + cells.shape[1] * step, north + cells.shape[0] * step, north),
        aspect="auto",
    )
    # The last blocks may reach beyond the last place.
    heat.set_clip_path(Rectangle((west, north), columns, rows, transform=axes.transData))
    # A line at the level of the topmost plateau would follow its rounding errors.
    levels = [x for x in _round_levels(top) if cells.min() < x < 0.999 * min(cells.max(), top)]
    if not levels or min(cells.shape) < 2:
        return heat, None
    y, x = ((np.arange(side) + 0.5) * step for side in cells.shape)
    lines = axes.contour(
        west + np.minimum(x, columns),
        north + np.minimum(y, rows),
        np.minimum(cells, top),
        levels=levels,
        colors=_LIGHT,
        linewidths=0.7,
    )
    return heat, lines


def _title(panel: MapPanel, width: float) -> list[str]:
    # The colour bar's place is free above it.
    return wrapped(panel.title, width + 0.7)


def _frame(axes: Axes, data: BoundMap) -> None:
    axes.set(xlim=(0, data.image[1]), ylim=(data.image[0], 0))
    axes.set(xlabel="column of the patch's centre", ylabel="row of the patch's centre")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(ticker.MaxNLocator(nbins=5, integer=True))
    for spine in axes.spines.values():
        spine.set_visible(True)


def _window(axes: Axes, data: BoundMap) -> None:
    """Draws the crop window for scale, in the corner that is farthest from the worst place."""
    if data.crop is None:
        return
    centre, (height, width) = data.centre(data.worst), data.crop
    south, east = centre[0] < data.image[0] / 2, centre[1] < data.image[1] / 2
    top = data.image[0] - height if south else 0
    left = data.image[1] - width if east else 0
    for colour, thickness in ((_DARK, 2.2), (_LIGHT, 1.1)):
        axes.add_patch(
            Rectangle(
                (left, top), width, height, fill=False, ec=colour, lw=thickness, ls=(0, (4, 2))
            )
        )
    axes.annotate(
        f"crop {height}×{width}",
        (float(east), float(not south)),
        xycoords="axes fraction",
        xytext=(-6 if east else 6, 6 if south else -6),
        textcoords="offset points",
        ha="right" if east else "left",
        va="bottom" if south else "top",
        fontsize=8,
        bbox=_BOX,
    )


_BOX = {"boxstyle": "round,pad=0.2", "facecolor": _LIGHT, "alpha": 0.85, "linewidth": 0}


def _worst(axes: Axes, data: BoundMap, panel: MapPanel, size: tuple[float, float]) -> None:
    """Draws the patch's outline at the worst place and prints the value beside it."""
    (row, column), (h, w) = data.worst, data.patch
    high, wide = h * size[1] / data.image[0], w * size[0] / data.image[1]
    y, x = data.centre(data.worst)
    ring = min(high, wide) < _SMALL
    for colour, thickness in ((_DARK, 3.0), (_LIGHT, 1.4)):
        outline = Rectangle((column, row), w, h, fill=False, ec=colour, lw=thickness, zorder=5)
        if ring:
            outline.set_linewidth(thickness / 2)
            axes.plot(x, y, "o", ms=12, mfc="none", mec=colour, mew=thickness, zorder=6)
        axes.add_patch(outline)
    right, down = x < data.image[1] / 2, y < data.image[0] / 2
    # From the outline's corner, or the ring's, towards the picture's middle, where there is room.
    across, along = (36 * max(side, _SMALL * ring) + 4 for side in (wide, high))
    axes.annotate(
        f"worst: {panel.symbol} = {bound_number(panel.worst)}",
        (x, y),
        xytext=(across if right else -across, -along if down else along),
        textcoords="offset points",
        ha="left" if right else "right",
        va="top" if down else "bottom",
        fontsize=8,
        bbox=_BOX,
        zorder=7,
    )


def _caption(data: BoundMap, panel: MapPanel) -> list[str]:
    """Returns the extremes in words, and what the colour beyond the scale means."""
    lines = [
        f"worst: {panel.symbol} = {bound_number(panel.worst)}, "
        f"patch's top left at row {data.worst[0]}, column {data.worst[1]}",
        f"best: {panel.symbol} = {bound_number(panel.best)}, "
        f"patch's top left at row {panel.best_place[0]}, column {panel.best_place[1]}",
    ]
    if not np.isfinite(panel.values).all():
        lines.append(f"red: {panel.symbol} is infinite, no bound")
    return lines

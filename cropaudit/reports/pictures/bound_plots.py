"""The pictures of ``cropaudit bound``: sweeps, privacy profiles, and maps over the image.

Every epsilon is an upper bound under patch substitution, at the delta that stands beside it, and
may be infinite: then nothing is claimed, and the pictures say so instead of drawing it.
"""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib.ticker as ticker
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from cropaudit.accounting.bounds.answers import Curve, PlaceMap
from cropaudit.accounting.bounds.sweeps import Sweep
from cropaudit.reports.pictures.canvas import (
    BOX,
    DARK,
    EXCLUDED,
    GREY,
    LIGHT,
    MARKERS,
    SERIES,
    Drawing,
    blank,
    canvas,
    colour_bar,
    largest_blocks,
    legend,
    plain_ticks,
    power_ticks,
    whole_ticks,
)
from cropaudit.reports.pictures.charts import Entries
from cropaudit.reports.text.numbers import format_percent, format_upper, format_value, superscript

__all__ = ["SweepPanel", "curves_drawing", "map_drawing", "sweeps_drawing", "use_log"]

_LOG_RATIO = 20.0  # of the largest number to the smallest, from which logs are read better
_DASHED, _DOTTED = (0, (4, 2)), (0, (1, 1.6))  # without crop; not a bound, and nothing else
_DASHES = ("-", (0, (4, 1.5)), (0, (4, 1.5, 1.5, 1.5)), (0, (8, 2)), (0, (2.5, 1)))
# Smaller deltas are rounding errors of the composition (docs/theory.md, discretisation).
_FLOOR = 1e-14
_CELLS, _EXAMPLE_SIDE = 600, 1500
_SMALL = 0.16  # a patch drawn smaller than this, in inches, gets a ring around it


def use_log(values: Iterable[float]) -> bool:
    """Whether an axis of these numbers should be logarithmic; infinities and zeros do not count.

    >>> use_log([1.0, 19.0]), use_log([0.0, 1.0, 21.0, math.inf]), use_log([])
    (False, True, False)
    """
    shown = [value for value in values if 0 < value < math.inf]
    return bool(shown) and max(shown) > _LOG_RATIO * min(shown)


def _spread(places: NDArray[np.float64]) -> bool:
    """Whether rising places of points are spread wide, and more evenly in logs."""
    if places.size < 3 or places[0] <= 0 or not use_log(places):
        return False
    plain, logs = np.diff(places), np.diff(np.log(places))
    return bool(logs.std() / logs.mean() < plain.std() / plain.mean())


def _upper(value: float) -> str:
    return "∞" if math.isinf(value) else superscript(format_upper(value))


def _delta(delta: float) -> str:
    return superscript(format_value(delta))


@dataclass(frozen=True)
class SweepPanel:
    """One sweep and its words.

    Attributes:
        title: Stands above it.
        sweep: What was found.
        unnamed: What a line without a name is called.
    """

    title: str
    sweep: Sweep
    unnamed: str = "epsilon"

    def lines(self) -> Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]:
        """Returns epsilon with crops and without by name."""
        return {
            line.name or self.unnamed: (line.epsilon, line.epsilon_without_crop)
            for line in self.sweep.series
        }


def sweeps_drawing(panels: Sequence[SweepPanel]) -> Drawing:
    """Returns sweeps side by side, three in a row, on one scale of epsilon with one legend."""
    title = "; ".join(dict.fromkeys(panel.title for panel in panels))
    words = " ".join(_sweep_words(panel) for panel in panels)
    return Drawing("sweep", title, words, lambda: _sweeps(panels))


def _sweep_words(panel: SweepPanel) -> str:
    values = panel.sweep.values
    first, last = int(np.argmin(values)), int(np.argmax(values))
    lines = "; ".join(
        f"{name}: epsilon {_upper(within[first])} to {_upper(within[last])}, without crop "
        f"{_upper(without[first])} to {_upper(without[last])}"
        for name, (within, without) in panel.lines().items()
    )
    ends = f"from {format_value(values[first])} to {format_value(values[last])}"
    at = f"epsilon at delta {_delta(panel.sweep.delta)} over {panel.sweep.axis}"
    return f"{panel.title}: {at}, {ends}. {lines}."


def _sweeps(panels: Sequence[SweepPanel]) -> Figure:
    columns = min(len(panels), 3)
    rows = math.ceil(len(panels) / columns)
    wide, high = (6.6, 3.9) if columns == 1 else (4.2, 3.3)
    figure = canvas(columns * wide, rows * high + 0.5)
    cells = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten()
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines()))
    values = [x for p in panels for pair in p.lines().values() for line in pair for x in line]
    log = use_log(values)
    for axes, panel in zip(cells, panels, strict=False):
        _sweep(axes, panel, names, log=log, letters=round(11 * wide))
    for axes in cells[len(panels) :]:
        axes.set_visible(False)
    cells[0].set_ylim(*_limits(values, log=log))
    plain_ticks(cells[0].yaxis, log=log)
    entries: Entries = [
        (Line2D([], [], color=_colour(at), marker=_marker(at), lw=1.8, ms=5), name)
        for at, name in enumerate(names)
    ]
    entries.append((Line2D([], [], color=GREY, lw=0.9, ls=_DASHED), "dashed: without crop"))
    note = _missing(values, log=log)
    entries += [(blank(), note)] if note else []
    # About eleven letters of a label to the inch, and its line before it.
    across = int(columns * wide / (max(len(name) for _, name in entries) / 11 + 0.8))
    fit = max(1, min(len(entries), across))
    legend(figure, entries, "lower center", width=80, columns=fit)
    return figure


def _colour(at: int) -> str:
    return SERIES[at % len(SERIES)]


def _marker(at: int) -> str:
    return MARKERS[at % len(MARKERS)]


def _limits(values: Sequence[float], *, log: bool) -> tuple[float, float]:
    """Returns the ends of the axis of epsilon."""
    finite = [value for value in values if math.isfinite(value)]
    if log:
        return min(value for value in finite if value > 0) / 1.3, max(finite) * 1.3
    return 0.0, 1.06 * (max(finite, default=0.0) or 1.0)


def _missing(values: Sequence[float], *, log: bool) -> str:
    """Returns in words what the axis has no place for, or nothing.

    >>> _missing([1.0, math.inf, 0.0], log=True)
    'Not drawn: 1 infinite and 1 zero values of ε.'
    """
    infinite = sum(math.isinf(value) for value in values)
    zero = sum(value == 0 for value in values) if log else 0
    parts = [f"{infinite} infinite"] * bool(infinite) + [f"{zero} zero"] * bool(zero)
    plural = "s" if infinite + zero > 1 else ""
    return f"Not drawn: {' and '.join(parts)} value{plural} of ε." if parts else ""


def _with_gaps(values: Iterable[float], *, log: bool) -> NDArray[np.float64]:
    """Returns the values, NaN where the axis has no place for them."""
    y = np.array(tuple(values), dtype=np.float64)
    y[~np.isfinite(y) | ((y <= 0) & log)] = np.nan
    return y


def _sweep(axes: Axes, panel: SweepPanel, names: list[str], *, log: bool, letters: int) -> None:
    """Draws one panel: a setting has a colour and a marker, the same in every panel."""
    order = np.argsort(panel.sweep.values, kind="stable")
    x = np.array(panel.sweep.values, dtype=np.float64)[order]
    for name, (within, without) in panel.lines().items():
        at = names.index(name)
        look = {"color": _colour(at), "marker": _marker(at)}
        axes.plot(x, _with_gaps(within, log=log)[order], lw=1.8, ms=5, zorder=4, **look)  # type: ignore[arg-type]
        thin = _with_gaps(without, log=log)[order]
        axes.plot(x, thin, lw=0.9, ls=_DASHED, ms=4, mfc="none", mew=0.8, zorder=3, **look)  # type: ignore[arg-type]
    axes.set_title(textwrap.fill(panel.title, letters))
    axes.set_xlabel(textwrap.fill(panel.sweep.axis, letters))
    axes.set_ylabel(f"ε at δ = {_delta(panel.sweep.delta)}")
    axes.set_yscale("log" if log else "linear")
    spread = _spread(x)
    axes.set_xscale("log" if spread else "linear")
    plain_ticks(axes.xaxis, log=spread)
    axes.tick_params(axis="y", labelleft=True)
    axes.grid(True)


def curves_drawing(curves: Sequence[Curve]) -> Drawing:
    """Returns delta by epsilon of several accountings; the first is what the picture is about."""
    names = ", ".join(_curve_name(curve) for curve in curves)
    alt = f"Delta by epsilon, with a logarithmic axis of delta, for {names}."
    return Drawing("profile", "Privacy profile", alt, lambda: _curves(curves))


def _curve_name(curve: Curve) -> str:
    known = curve.is_bound or "not a bound" in curve.name
    return curve.name if known else f"{curve.name} (not a bound)"


def _curves(curves: Sequence[Curve]) -> Figure:
    figure = canvas(9.6, 4.2)
    axes = figure.subplots()
    entries = [
        (
            _curve(axes, curve, at),
            _curve_name(curve).replace("not a bound", "not\u00a0a\u00a0bound"),
        )
        for at, curve in enumerate(curves)
    ]
    drawn = [(curve.epsilon[_shown(curve)], curve.delta[_shown(curve)]) for curve in curves]
    log = use_log(float(x.max()) for x, _ in drawn if x.size and x.max() > 0)
    axes.set(xlabel="ε", ylabel="δ(ε)", xscale="log" if log else "linear", yscale="log")
    deltas = np.concatenate([y for _, y in drawn])
    low, high = (float(deltas.min()), float(deltas.max())) if deltas.size else (1e-8, 1.0)
    axes.set_ylim(low / 1.5, min(2.0, 2 * high))
    plain_ticks(axes.xaxis, log=log)
    power_ticks(axes.yaxis)
    axes.grid(True)
    legend(figure, entries, "right upper", width=36)
    return figure


def _shown(curve: Curve) -> NDArray[np.bool_]:
    return np.isfinite(curve.epsilon) & (curve.delta >= _FLOOR)


def _curve(axes: Axes, curve: Curve, at: int) -> Line2D:
    shown, strong = _shown(curve), at == 0
    (line,) = axes.plot(
        curve.epsilon[shown],
        curve.delta[shown],
        color=_colour(at),
        ls=_DASHES[at % len(_DASHES)] if curve.is_bound else _DOTTED,
        lw=2.8 if strong else 1.5,
        marker=_marker(at),
        ms=6 if strong else 4.5,
        # Started apart, so that markers of curves that lie close do not cover each other.
        markevery=(0.02 + 0.03 * (at % 5), 0.16),
        zorder=4 if strong else 3,
    )
    return line


@dataclass(frozen=True)
class _Panel:
    """One quantity of a map: its letter, its title and its extremes."""

    symbol: str
    title: str
    values: NDArray[np.float64]
    worst: tuple[int, int]
    best: tuple[int, int]

    @property
    def top(self) -> float:
        """The largest finite value, for the scale."""
        finite = self.values[np.isfinite(self.values)]
        return float(finite.max(initial=0.0)) or 1.0

    @property
    def caption(self) -> str:
        """The extremes in words, and what the colour beyond the scale means."""
        lines = [
            f"{name}: {self.symbol} = {_upper(float(self.values[place]))}, patch's top left at row "
            f"{place[0]}, column {place[1]}"
            for name, place in (("worst (outlined)", self.worst), ("best", self.best))
        ]
        if not np.isfinite(self.values).all():
            lines.append(f"red: {self.symbol} is infinite, no bound")
        return "\n".join(lines)

    @property
    def words(self) -> str:
        """The same for those who cannot see it."""
        worst, best = (_upper(float(self.values[place])) for place in (self.worst, self.best))
        share = format_percent(float(np.mean(self.values >= self.values[self.worst])))
        return (
            f"{self.title}: {best} at the best place, {worst} at the worst, row {self.worst[0]}, "
            f"column {self.worst[1]}; {share} of all places are as bad."
        )


def map_drawing(
    data: PlaceMap,
    delta: float,
    crop: tuple[int, int] | None,
    example: NDArray[np.uint8] | None = None,
) -> Drawing:
    """Returns inclusion probability and epsilon by the place of the patch's centre.

    Args:
        data: Both, by the patch's top left.
        delta: Of every epsilon.
        crop: Height and width of the window, or none to leave it out.
        example: An image of the map's size to show beneath, or none.
    """
    # Epsilon grows with rho: one place is the best of both panels.
    row, column = np.unravel_index(int(np.argmin(data.rho)), data.rho.shape)
    best = int(row), int(column)
    rho = "ρ(z): probability that the crop meets the patch"
    panels = (
        _Panel("ρ", rho, data.rho, data.worst, best),
        _Panel("ε", f"ε(z) at δ = {_delta(delta)}", data.epsilon, data.worst, best),
    )
    alt = (
        f"Two heat maps over an image of {data.image.height} by {data.image.width} pixels, by the "
        f"place of the centre of a patch of {data.patch.height} by {data.patch.width}."
        + (f" A crop of {crop[0]} by {crop[1]} is outlined." if crop else "")
        + "".join(f" {panel.words}" for panel in panels)
    )
    title = "Inclusion probability and epsilon by the place of the patch"
    return Drawing("map", title, alt, lambda: _map(data, panels, crop, example))


def _map(
    data: PlaceMap,
    panels: Sequence[_Panel],
    crop: tuple[int, int] | None,
    example: NDArray[np.uint8] | None,
) -> Figure:
    """Draws both panels.

    Pixel (0, 0) reaches from 0 to 1 on both axes, so that a patch or a window is a rectangle with
    its own numbers. Centres keep half a patch away from the border: so does the heat map.
    """
    rows, columns = data.image.height, data.image.width
    # A strip is widened, to hold its words; the axes tell its true size.
    shape = min(max(rows / columns, 0.36), 1.3)
    width = min(4.2, 3.6 / shape)
    figure = canvas(2 * (width + 1.6), width * shape + 1.7)
    for axes, panel in zip(figure.subplots(1, 2), panels, strict=True):
        if example is not None:
            span = (0, columns, rows, 0)
            axes.imshow(_grey(example), cmap="gray", vmin=0, vmax=255, extent=span, aspect="auto")
        heat, lines = _heat(axes, data, panel, 1.0 if example is None else 0.6)
        bar = colour_bar(axes, heat)
        bar.set_ticks(_levels(panel.top))
        bar.ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:g}"))
        if lines is not None:
            bar.add_lines(lines)
        axes.set(xlim=(0, columns), ylim=(rows, 0), ylabel="row of the patch's centre")
        axes.set_box_aspect(shape)
        axes.set_xlabel(f"column of the patch's centre\n\n{panel.caption}", ma="left")
        axes.set_title(textwrap.fill(panel.title, round(12 * width)))
        whole_ticks(axes)
        if crop is not None:
            _window(axes, data, crop)
        _worst(axes, data, (width * shape, width))
    return figure


def _grey(example: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns an image as grey levels from light grey to white, at most `_EXAMPLE_SIDE` wide."""
    picture = Image.fromarray(example).convert("L")
    picture.thumbnail((_EXAMPLE_SIDE, _EXAMPLE_SIDE), Image.Resampling.BOX)
    return np.asarray(130 + np.asarray(picture, dtype=np.float64) * (125 / 255), dtype=np.uint8)


def _levels(top: float) -> list[float]:
    """Returns few round numbers from zero to ``top``.

    >>> _levels(0.329), _levels(7.46)
    ([0.0, 0.1, 0.2, 0.3], [0.0, 2.0, 4.0, 6.0])
    """
    values = ticker.MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]).tick_values(0.0, top)
    # The locator's 0.30000000000000004 is 0.3, and belongs on a scale that ends there.
    rounded = (round(float(value), 12) for value in values)
    return [value for value in rounded if 0 <= value <= top]


def _heat(
    axes: Axes, data: PlaceMap, panel: _Panel, alpha: float
) -> tuple[AxesImage, QuadContourSet | None]:
    """Draws the heat map with lines at the colour bar's ticks; infinities in a colour apart.

    Maps are reduced to blocks that show their largest value: the worst place is never hidden.
    """
    # An infinity would spoil the resampling; twice the scale's end has the same colour.
    finite = np.where(np.isfinite(panel.values), panel.values, 2 * panel.top)
    cells, step = largest_blocks(finite, _CELLS)
    rows, columns = panel.values.shape
    north, west = (data.patch.height - 1) / 2, (data.patch.width - 1) / 2
    heat = axes.imshow(
        cells,
        cmap=colormaps["viridis"].with_extremes(over=EXCLUDED),
        vmin=0.0,
        vmax=panel.top,
        alpha=alpha,
        interpolation="none",
        extent=(west, west + cells.shape[1] * step, north + cells.shape[0] * step, north),
        aspect="auto",
    )
    # The last blocks may reach beyond the last place.
    heat.set_clip_path(Rectangle((west, north), columns, rows, transform=axes.transData))
    # A line at the level of the topmost plateau would follow its rounding errors.
    highest = 0.999 * min(cells.max(), panel.top)
    levels = [x for x in _levels(panel.top) if cells.min() < x < highest]
    if not levels or min(cells.shape) < 2:
        return heat, None
    y, x = ((np.arange(side) + 0.5) * step for side in cells.shape)
    lines = axes.contour(
        west + np.minimum(x, columns),
        north + np.minimum(y, rows),
        np.minimum(cells, panel.top),
        levels=levels,
        colors=LIGHT,
        linewidths=0.7,
    )
    return heat, lines


def _window(axes: Axes, data: PlaceMap, crop: tuple[int, int]) -> None:
    """Draws the crop window for scale, in the corner that is farthest from the worst place."""
    (y, x), (height, width) = _centre(data), crop
    south, east = y < data.image.height / 2, x < data.image.width / 2
    corner = (
        data.image.width - width if east else 0,
        data.image.height - height if south else 0,
    )
    for colour, thickness in ((DARK, 2.2), (LIGHT, 1.1)):
        look = {"fill": False, "ec": colour, "lw": thickness, "ls": (0, (4, 2))}
        axes.add_patch(Rectangle(corner, width, height, **look))  # type: ignore[arg-type]
    axes.annotate(
        f"crop {height}×{width}",
        (float(east), float(not south)),
        xycoords="axes fraction",
        xytext=(-6 if east else 6, 6 if south else -6),
        textcoords="offset points",
        ha="right" if east else "left",
        va="bottom" if south else "top",
        fontsize=8,
        bbox=BOX,
    )


def _centre(data: PlaceMap) -> tuple[float, float]:
    """Returns row and column of the patch's centre at the worst place."""
    return data.worst[0] + data.patch.height / 2, data.worst[1] + data.patch.width / 2


def _worst(axes: Axes, data: PlaceMap, size: tuple[float, float]) -> None:
    """Draws the patch's outline at the worst place, with a ring around a small one."""
    (row, column), (h, w) = data.worst, (data.patch.height, data.patch.width)
    ring = min(h * size[0] / data.image.height, w * size[1] / data.image.width) < _SMALL
    y, x = _centre(data)
    for colour, thickness in ((DARK, 3.0), (LIGHT, 1.4)):
        thin = thickness / 2 if ring else thickness
        axes.add_patch(Rectangle((column, row), w, h, fill=False, ec=colour, lw=thin, zorder=5))
        if ring:
            axes.plot(x, y, "o", ms=12, mfc="none", mec=colour, mew=thickness, zorder=6)

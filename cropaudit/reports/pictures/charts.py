"""ROC curves and bars of lower bounds, on the axes of any picture: an audit's or an estimate's.

What is shown is plain numbers and labels; zeros on logarithmic axes are lifted to their floor, so
that they stand at the edge instead of vanishing.
"""

import textwrap
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch as Swatch
from numpy.typing import NDArray

from cropaudit.reports.pictures.canvas import (
    DASHES,
    EXCLUDED,
    GREY,
    INK,
    SERIES,
    percent_ticks,
    plain_ticks,
)
from cropaudit.reports.text.numbers import format_lower, format_upper, superscript

__all__ = [
    "COLOURS",
    "FLOOR",
    "Bar",
    "BarGroup",
    "Bars",
    "Entries",
    "OperatingPoint",
    "Reference",
    "Roc",
    "RocLine",
    "bars_on",
    "bars_words",
    "roc_on",
]

FLOOR = 1e-4
"""Smallest rate on the axes of the ROC."""

COLOURS = {
    "exact": SERIES[0],
    "model-based": SERIES[1],
    "credible": SERIES[3],
    "asymptotic": SERIES[4],
}
_MEANINGS = {
    "exact": "exact",
    "model-based": "model-based: holds if the model does",
    "credible": "credible: a posterior probability",
    "asymptotic": "asymptotic: for large counts",
}
# A chart whose largest number is this many times its smallest is read better on a log axis.
_LOG_RATIO = 40.0

Entries = list[tuple[Artist, str]]
"""What a legend names, each with its name."""


@dataclass(frozen=True)
class OperatingPoint:
    """Rates at the pre-registered threshold with 95% Clopper-Pearson intervals."""

    fpr: float
    tpr: float
    fpr_interval: tuple[float, float]
    tpr_interval: tuple[float, float]


@dataclass(frozen=True)
class RocLine:
    """One attack's observed curve and, if it has one, its pre-registered point.

    ``band`` holds the lower and upper 95% limits of ``tpr``, point by point, where trials are few.
    """

    title: str
    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]
    point: OperatingPoint | None = None
    band: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None


@dataclass(frozen=True)
class Roc:
    """Every attack's curve beside the largest true positive rates that the claim allows, if any."""

    lines: tuple[RocLine, ...]
    limit_fpr: NDArray[np.float64]
    limit_tpr: NDArray[np.float64]
    limit_title: str


def roc_on(axes: Axes, data: Roc) -> Entries:
    """Draws curves on log axes with the region that the claim excludes; returns a legend."""
    entries: Entries = []
    limit: Entries = []
    if len(data.limit_fpr):
        axes.fill_between(data.limit_fpr, data.limit_tpr, 1.0, color=EXCLUDED, alpha=0.22, lw=0)
        (line,) = axes.plot(data.limit_fpr, data.limit_tpr, color=INK, lw=2.0)
        swatch = Swatch(facecolor=EXCLUDED, alpha=0.22, lw=0)
        limit = [(line, data.limit_title), (swatch, "excluded by the claim")]
    (chance,) = axes.plot([FLOOR, 1], [FLOOR, 1], color=GREY, lw=1.0, ls=(0, (1, 3)))
    for index, item in enumerate(data.lines):
        entries.append((_roc_line(axes, item, index), item.title))
    axes.set(xscale="log", yscale="log", xlim=(FLOOR, 1), ylim=(FLOOR, 1))
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    axes.set_box_aspect(1)
    for axis in (axes.xaxis, axes.yaxis):
        percent_ticks(axis)
    axes.grid(True)
    entries += [*limit, (chance, "chance")]
    if any(item.point for item in data.lines):
        cross = Line2D([], [], color=GREY, marker="o", ls="-", lw=1.2, ms=6)
        entries.append((cross, "at the pre-registered threshold, 95% intervals"))
    return entries


def _roc_line(axes: Axes, line: RocLine, index: int) -> Line2D:
    """Draws one attack's curve and its measured point."""
    colour, dash = SERIES[index % len(SERIES)], DASHES[index % len(DASHES)]
    (handle,) = axes.plot(line.fpr, line.tpr, color=colour, ls=dash, lw=1.7, drawstyle="steps-post")
    if line.band is not None:
        axes.fill_between(line.fpr, *line.band, step="post", color=colour, alpha=0.15, lw=0)
    if line.point is None:
        return handle
    point = line.point
    fpr, tpr = max(point.fpr, FLOOR), max(point.tpr, FLOOR)
    axes.plot(np.maximum(point.fpr_interval, FLOOR), [tpr, tpr], color=colour, lw=1.3, zorder=6)
    axes.plot([fpr, fpr], np.maximum(point.tpr_interval, FLOOR), color=colour, lw=1.3, zorder=6)
    # An arrow to the left says that no false positive was seen: zero has no place on a log axis.
    marker = "<" if point.fpr < FLOOR else "o"
    axes.plot(fpr, tpr, marker, color=colour, ms=8, mec=INK, mew=0.8, clip_on=False, zorder=7)
    return handle


@dataclass(frozen=True)
class Bar:
    """One lower bound on epsilon; ``strong`` is drawn thick: the headline, or what decides."""

    title: str
    epsilon: float
    validity: str
    cap: float | None
    strong: bool


@dataclass(frozen=True)
class BarGroup:
    """Bars under one heading; an empty one takes no row."""

    title: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Reference:
    """An epsilon that the bounds are compared with; ``title`` may join several that coincide."""

    title: str
    epsilon: float

    @property
    def words(self) -> str:
        """Its name and its number, rounded up."""
        return f"{self.title}: {format_upper(self.epsilon)}"


@dataclass(frozen=True)
class Bars:
    """Lower bounds, top to bottom, and the epsilons that they are compared with, rising."""

    groups: tuple[BarGroup, ...]
    references: tuple[Reference, ...]

    @property
    def all(self) -> tuple[Bar, ...]:
        """The bars of all groups."""
        return tuple(bar for group in self.groups for bar in group.bars)

    @property
    def rows(self) -> int:
        """Rows that bars and headings take."""
        return sum(len(group.bars) + bool(group.title) for group in self.groups)

    @property
    def log(self) -> bool:
        """Whether a linear axis would hide the small numbers."""
        shown = [value for value in self._values() if value > 0]
        return bool(shown) and max(shown) > _LOG_RATIO * min(shown)

    def span(self) -> tuple[float, float]:
        """Returns the ends of the axis: room for all bars, references, and caps that are near."""
        values = self._values()
        if self.log:
            smallest = min(value for value in values if value > 0)
            return smallest / 1.6, max(values) * (max(values) / smallest) ** 0.05
        largest = max([*values, 0.1])
        near = [bar.cap for bar in self.all if bar.cap is not None and bar.cap <= 2 * largest]
        return 0.0, 1.06 * max([largest, *near])

    def _values(self) -> list[float]:
        return [bar.epsilon for bar in self.all] + [line.epsilon for line in self.references]


def bars_on(axes: Axes, data: Bars, *, letters: int = 36) -> Entries:
    """Draws bars, caps and references; returns a legend.

    Args:
        axes: Where.
        data: What.
        letters: In a line of a row's name.
    """
    low, high = data.span()
    names: list[str] = []
    headings, caps = [], False
    axes.set(xscale="log" if data.log else "linear", xlim=(low, high), ylim=(data.rows - 0.5, -0.5))
    for group in data.groups:
        if group.title:
            headings.append(len(names))
            names.append(group.title)
        for bar in group.bars:
            _bar(axes, len(names), bar, low, log=data.log)
            if bar.cap is not None and low < bar.cap < high:
                axes.plot(bar.cap, len(names), "|", color=GREY, ms=13, mew=1.6)
                caps = True
            names.append(bar.title)
    short = [textwrap.shorten(name, 2 * letters - 4, placeholder="…") or name for name in names]
    axes.set_yticks(range(len(names)), [textwrap.fill(name, letters) for name in short])
    axes.tick_params(axis="y", length=0, labelsize=8)
    for row in headings:
        axes.get_yticklabels()[row].set_fontweight("bold")
    axes.set_xlabel("ε, lower bounds" + (" (log axis)" if data.log else ""))
    plain_ticks(axes.xaxis, log=data.log)
    axes.grid(True, axis="x")
    entries: Entries = [
        (axes.axvline(line.epsilon, color=INK, lw=1.3, ls=DASHES[index % 4]), line.words)
        for index, line in enumerate(data.references)
    ]
    seen = {bar.validity for bar in data.all}
    entries += [
        (Swatch(facecolor=COLOURS[name], lw=0), _MEANINGS[name]) for name in COLOURS if name in seen
    ]
    if caps:
        tick = Line2D([], [], color=GREY, marker="|", ls="", ms=11, mew=1.6)
        entries.append((tick, "largest bound that so many trials can give"))
    return entries


def _bar(axes: Axes, row: int, bar: Bar, start: float, *, log: bool) -> None:
    """Draws one bar and its number; on a log axis, where length means nothing, a dot on a rule."""
    epsilon, colour = max(bar.epsilon, 0.0), COLOURS[bar.validity]
    if epsilon > 0 and log:
        axes.plot([start, epsilon], [row, row], color=colour, lw=1.4)
        axes.plot(epsilon, row, "o", color=colour, ms=8 if bar.strong else 6)
    elif epsilon > 0:
        axes.barh(row, epsilon, height=0.66 if bar.strong else 0.42, color=colour, lw=0)
    axes.annotate(
        "≥ " + superscript(format_lower(epsilon)),
        # In a column of their own beside the axes, where no line crosses the numbers.
        (1.02, row),
        xycoords=axes.get_yaxis_transform(),
        va="center",
        fontweight="bold" if bar.strong else "normal",
    )


def bars_words(data: Bars) -> str:
    """Returns bars and references in words."""
    groups = [
        (f"{group.title}: " if group.title else "")
        + "; ".join(f"{bar.title} {format_lower(max(bar.epsilon, 0.0))}" for bar in group.bars)
        for group in data.groups
    ]
    lines = "; ".join(line.words for line in data.references)
    return ". ".join(["Bars of lower bounds on epsilon", *groups]) + (
        f". Vertical lines: {lines}." if lines else "."
    )

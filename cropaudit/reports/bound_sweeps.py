"""The figure of sweeps: epsilon over a parameter, for several settings of another one.

A setting has a colour and a marker, the same in every panel; thin dashes with hollow markers say
"without crop". Infinite values are not drawn; a note beneath the axes counts them.
"""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cropaudit.reports.bound_data import SweepPlot, prefers_log, use_log
from cropaudit.reports.bound_layout import (
    DPI,
    LETTER,
    LINE,
    missing_note,
    place_legend,
    place_notes,
    plain_ticks,
    with_gaps,
    wrapped,
)
from cropaudit.reports.bound_words import delta_text
from cropaudit.reports.palette import GREY, MARKERS, SERIES, place_axes

__all__ = ["sweep_figure"]

_DASHED = (0, (4, 2))
_LEFT, _RIGHT = 0.8, 0.2


def sweep_figure(sweeps: Sequence[SweepPlot]) -> Figure:
    """Draws sweeps side by side, three in a row, on one scale of epsilon with one legend."""
    columns = min(len(sweeps), 3)
    rows = math.ceil(len(sweeps) / columns)
    width, height = (5.6, 3.3) if columns == 1 else (3.3, 2.7)
    wide = columns * (_LEFT + width + _RIGHT)
    names = list(dict.fromkeys(line.name for sweep in sweeps for line in sweep.series))
    handles, labels = _sweep_legend(sweeps, names)
    across = _legend_columns(labels, wide)
    limits, values = _sweep_limits(sweeps), _epsilons(sweeps)
    note = missing_note(values, log=limits[0])
    notes = wrapped(note, wide - 0.6) if note else []
    foot = 0.2 + LINE * (math.ceil(len(labels) / across) + len(notes))
    titles = max(len(wrapped(sweep.title, width)) for sweep in sweeps)
    names_below = max(len(wrapped(sweep.parameter, width)) for sweep in sweeps)
    cell = height + 0.16 + 0.2 * titles + 0.3 + 0.17 * names_below
    figure = Figure(figsize=(wide, foot + rows * cell), dpi=DPI)
    for number, sweep in enumerate(sweeps):
        row, column = divmod(number, columns)
        left = column * (_LEFT + width + _RIGHT) + _LEFT
        bottom = foot + (rows - 1 - row) * cell + 0.3 + 0.17 * names_below
        _sweep_panel(place_axes(figure, left, bottom, width, height), sweep, names, limits, width)
    place_legend(figure, handles, labels, columns=across, corner=(0.5, 0.12 + LINE * len(notes)))
    place_notes(figure, notes)
    return figure


def _epsilons(sweeps: Sequence[SweepPlot]) -> list[float]:
    return [value for sweep in sweeps for line in sweep.series for value in line.all_epsilons()]


def _sweep_limits(sweeps: Sequence[SweepPlot]) -> tuple[bool, float, float]:
    """Returns whether the axis of epsilon is logarithmic, and its ends."""
    values = [value for value in _epsilons(sweeps) if math.isfinite(value)]
    if not values:
        return False, 0.0, 1.0
    if not use_log(values):
        return False, 0.0, 1.06 * (max(values) or 1.0)
    low = min(value for value in values if value > 0)
    return True, low / 1.3, max(values) * 1.3


def _sweep_panel(
    axes: Axes, sweep: SweepPlot, names: list[str], limits: tuple[bool, float, float], width: float
) -> None:
    log, low, high = limits
    order = np.argsort(sweep.values, kind="stable")
    x = np.array(sweep.values, dtype=np.float64)[order]
    for line in sweep.series:
        number = names.index(line.name)
        (full,) = axes.plot(x, with_gaps(line.epsilon, log=log)[order], lw=1.8, ms=5, zorder=4)
        full.set(color=SERIES[number % len(SERIES)], marker=MARKERS[number % len(MARKERS)])
        if line.epsilon_without_crop is not None:
            y = with_gaps(line.epsilon_without_crop, log=log)[order]
            (thin,) = axes.plot(x, y, lw=0.9, ls=_DASHED, ms=4, mfc="none", mew=0.8, zorder=3)
            thin.set(color=full.get_color(), marker=full.get_marker())
    axes.set_title("\n".join(wrapped(sweep.title, width)), fontsize=9.5, loc="left")
    axes.set_xlabel("\n".join(wrapped(sweep.parameter, width)))
    axes.set_ylabel(f"ε at δ = {delta_text(sweep.delta)}")
    axes.set(yscale="log" if log else "linear", ylim=(low, high))
    spread = prefers_log(x)
    axes.set_xscale("log" if spread else "linear")
    plain_ticks(axes.xaxis, log=spread)
    plain_ticks(axes.yaxis, log=log)
    axes.grid(True)


def _sweep_legend(sweeps: Sequence[SweepPlot], names: list[str]) -> tuple[list[Artist], list[str]]:
    handles: list[Artist] = [
        Line2D(
            [],
            [],
            color=SERIES[number % len(SERIES)],
            marker=MARKERS[number % len(MARKERS)],
            lw=1.8,
            ms=5,
        )
        for number in range(len(names))
    ]
    lines = [line for sweep in sweeps for line in sweep.series]
    if any(line.epsilon_without_crop is not None for line in lines):
        handles.append(Line2D([], [], color=GREY, lw=0.9, ls=_DASHED))
        return handles, [*names, "dashed: without crop"]
    return handles, names


def _legend_columns(labels: Sequence[str], wide: float) -> int:
    """Returns how many legend entries fit side by side."""
    # A long label comes near the mean width of a letter, which is less than `LETTER`.
    longest = max(map(len, labels)) * 0.87 * LETTER + 0.75
    return max(1, min(len(labels), int(wide / longest)))

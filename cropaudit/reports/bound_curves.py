"""Figures of delta over epsilon for several accountings, and of epsilon over training steps.

Dots mean "not a bound", and nothing else is dotted. Infinite epsilons are not drawn; a note beneath
the steps counts them.
"""

import textwrap
from collections.abc import Sequence

import matplotlib.ticker as ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cropaudit.reports.bound_data import ProfileCurve, StepsPlot, use_log
from cropaudit.reports.bound_layout import (
    DPI,
    LINE,
    missing_note,
    place_legend,
    place_notes,
    plain_ticks,
    with_gaps,
)
from cropaudit.reports.bound_words import delta_text, profile_name
from cropaudit.reports.numbers import format_upper, superscript
from cropaudit.reports.palette import MARKERS, SERIES, place_axes
from cropaudit.reports.svg import INK

__all__ = ["profile_figure", "steps_figure"]

_DOTTED = (0, (1, 1.6))
_DASHES = ("-", (0, (4, 1.5)), (0, (4, 1.5, 1.5, 1.5)), (0, (8, 2)), (0, (2.5, 1)))
# Smaller deltas are rounding errors of the composition (docs/theory.md, discretisation).
_FLOOR = 1e-14


def profile_figure(curves: Sequence[ProfileCurve]) -> Figure:
    """Draws delta by epsilon, with the legend on the right."""
    figure = Figure(figsize=(9.9, 4.3), dpi=DPI)
    axes = place_axes(figure, 0.85, 0.6, 5.4, 3.5)
    handles = [_profile_line(axes, curve, number) for number, curve in enumerate(curves)]
    log = _far_apart(curves)
    axes.set(xlabel="ε", ylabel="δ(ε)", xscale="log" if log else "linear", yscale="log")
    drawn = [y for curve in curves for y in curve.delta.tolist() if y >= _FLOOR]
    low, high = (min(drawn), max(drawn)) if drawn else (1e-8, 1.0)
    axes.set_ylim(low / 1.5, min(2.0, 2 * high))
    plain_ticks(axes.xaxis, log=log)
    axes.yaxis.set_major_locator(ticker.LogLocator(numticks=8))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: superscript(f"{y:.0e}")))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    axes.grid(True)
    place_legend(
        figure,
        handles,
        [_legend_text(curve) for curve in curves],
        columns=1,
        corner=(6.45, 4.1),
        upper=True,
    )
    return figure


def _legend_text(curve: ProfileCurve) -> str:
    """Returns a curve's name in lines, of which none breaks "(not a bound)"."""
    whole = profile_name(curve).replace("(not a bound)", "(not\u00a0a\u00a0bound)")
    return textwrap.fill(whole, 38).replace("\u00a0", " ")


def _far_apart(curves: Sequence[ProfileCurve]) -> bool:
    """Whether the curves end at epsilons so different that a linear axis would hide some."""
    ends = []
    for curve in curves:
        seen = np.isfinite(curve.epsilon) & (curve.epsilon > 0) & (curve.delta >= _FLOOR)
        ends += [float(curve.epsilon[seen].max())] if seen.any() else []
    return use_log(ends)


def _profile_line(axes: Axes, curve: ProfileCurve, number: int) -> Line2D:
    shown = np.isfinite(curve.epsilon) & (curve.delta >= _FLOOR)
    (line,) = axes.plot(
        curve.epsilon[shown],
        curve.delta[shown],
        color=SERIES[number % len(SERIES)],
        ls=_DASHES[number % len(_DASHES)] if curve.valid else _DOTTED,
        lw=2.8 if curve.emphasised else 1.5,
        marker=MARKERS[number % len(MARKERS)],
        ms=6 if curve.emphasised else 4.5,
        # Started apart, so that markers of curves that lie close do not cover each other.
        markevery=(0.02 + 0.03 * (number % 5), 0.16),
        zorder=4 if curve.emphasised else 3,
    )
    return line


def steps_figure(data: StepsPlot) -> Figure:
    """Draws epsilon over training steps, with its last finite value."""
    note = missing_note(data.epsilon.tolist(), log=False)
    foot = LINE * bool(note)
    figure = Figure(figsize=(6.6, 3.5 + foot), dpi=DPI)
    axes = place_axes(figure, 0.8, 0.6 + foot, 5.5, 2.7)
    order = np.argsort(data.steps, kind="stable")
    x, y = data.steps[order], with_gaps(data.epsilon.tolist(), log=False)[order]
    axes.plot(x, y, color=SERIES[0], lw=1.9, marker="o" if x.size < 30 else "", ms=4)
    drawn = np.flatnonzero(np.isfinite(y))
    axes.set_ylim(0.0, 1.15 * (float(y[drawn].max()) or 1.0) if drawn.size else 1.0)
    if drawn.size:
        last = drawn[-1]
        axes.plot(x[last], y[last], "o", color=SERIES[1], mec=INK, mew=0.8, ms=7, zorder=5)
        axes.annotate(
            f"ε = {format_upper(float(y[last]))} after {x[last]:g} steps",
            (x[last], y[last]),
            xytext=(-2, 8),
            textcoords="offset points",
            ha="right",
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "#ffffff", "linewidth": 0},
        )
    axes.set(xlabel="training steps", ylabel=f"ε at δ = {delta_text(data.delta)}")
    for axis in (axes.xaxis, axes.yaxis):
        plain_ticks(axis, log=False)
    axes.grid(True)
    place_notes(figure, [note] if note else [])
    return figure

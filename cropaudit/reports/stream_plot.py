"""The picture of a stream of games: the lower bound as it rises, the claim, and the decision.

Data apart from drawing: `stream_data` picks what is shown, `plot_stream` draws it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.ticker as ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cropaudit.audit.stream import Decision, StreamState
from cropaudit.errors import require
from cropaudit.reports.numbers import (
    format_confidence,
    format_lower,
    format_upper,
    format_value,
)
from cropaudit.reports.palette import DASHES, EXCLUDED, SERIES, place_axes
from cropaudit.reports.svg import INK, Picture, style, to_picture

__all__ = ["StreamLine", "plot_stream", "stream_data", "stream_figure", "stream_words"]

_WORDS = {"violation": "claim contradicted", "close": "bound close to the claim"}


@dataclass(frozen=True)
class StreamLine:
    """What is shown.

    Attributes:
        games: Numbers of games, rising, shape (n,).
        epsilon: Lower bound after each, never falling, shape (n,).
        claim: Claimed epsilon.
        delta: For which both epsilons hold.
        confidence: Of the bound, at all times at once.
        decision: The last decision.
        decided: Games and bound when that decision was first seen; none while undecided.
    """

    games: NDArray[np.int64]
    epsilon: NDArray[np.float64]
    claim: float
    delta: float
    confidence: float
    decision: Decision
    decided: tuple[int, float] | None


def stream_data(
    history: Sequence[StreamState], claim: float, delta: float, confidence: float
) -> StreamLine:
    """Returns what a stream's history shows.

    Raises:
        InputError: If there is no state, or a number is outside its range.
    """
    require(len(history) > 0, "history", "at least one state long", "none")
    require(0 < claim < math.inf, "claimed epsilon", "positive and finite", claim)
    require(0 < confidence < 1, "confidence", "in (0, 1)", confidence)
    last = history[-1]
    first = next(state for state in history if state.decision == last.decision)
    return StreamLine(
        games=np.array([state.games for state in history], dtype=np.int64),
        epsilon=np.array([state.epsilon for state in history], dtype=np.float64),
        claim=claim,
        delta=delta,
        confidence=confidence,
        decision=last.decision,
        decided=None if last.decision == "undecided" else (first.games, first.epsilon),
    )


def plot_stream(data: StreamLine) -> Picture:
    """Returns the lower bound by games."""
    alt = stream_words(data)
    with style("stream"):
        return to_picture(stream_figure(data), name="stream", title="Lower bound by games", alt=alt)


def stream_words(data: StreamLine) -> str:
    """Returns what the picture shows, in words."""
    last = int(data.games[-1])
    outcome = "No decision was reached."
    if data.decided is not None:
        words = _WORDS[data.decision]
        outcome = f"After {data.decided[0]:,} games the decision is marked: {words}."
    return (
        f"Lower bound on epsilon at delta {format_value(data.delta)} by the number of games, on a "
        f"logarithmic axis, valid at all times at once with {format_confidence(data.confidence)} "
        f"confidence. It rises from {_lower(float(data.epsilon[0]))} to "
        f"{_lower(float(data.epsilon[-1]))} after {last:,} games; a horizontal line stands at the "
        f"claimed epsilon of {format_upper(data.claim)}. {outcome}"
    )


def _lower(epsilon: float) -> str:
    return format_lower(epsilon) if math.isfinite(epsilon) else "infinity"


def stream_figure(data: StreamLine) -> Figure:
    """Draws the lower bound by games; to be called inside ``style``."""
    figure = Figure(figsize=(7.6, 3.6))
    axes = place_axes(figure, 0.75, 0.6, 6.4, 2.8)
    finite = data.epsilon[np.isfinite(data.epsilon)]
    # Room for the decision's label above the claim and the bound.
    top = 1.2 * max(data.claim, float(finite.max()) if len(finite) else 0.0)
    shown = np.minimum(data.epsilon, top)  # an infinite bound leaves at the top
    axes.set(xscale="log", ylim=(0, top), xlim=_span(data.games))
    axes.fill_between(axes.get_xlim(), data.claim, top, color=EXCLUDED, alpha=0.12, lw=0)
    axes.axhline(data.claim, color=INK, lw=1.3, ls=DASHES[1])
    axes.plot(data.games, shown, color=SERIES[0], lw=1.9, drawstyle="steps-post")
    _label_claim(axes, data)
    if data.decided is not None:
        _mark(axes, data.decision, data.decided, top)
    axes.set(xlabel="games (log axis)", ylabel="ε, lower bound")
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.grid(True)
    axes.set_axisbelow(True)
    return figure


def _span(games: NDArray[np.int64]) -> tuple[float, float]:
    """Returns the limits of the axis of games; even a single state gets some width."""
    low, high = float(max(games[0], 1)), float(max(games[-1], 1))
    return low / 1.1, max(high * 1.1, 2 * low)


def _label_claim(axes: Axes, data: StreamLine) -> None:
    """Names the claim at the left, where the bound has not risen yet."""
    axes.annotate(
        f"claimed: ε = {format_upper(data.claim)}",
        (0.0, data.claim),
        xycoords=axes.get_yaxis_transform(),
        xytext=(5, 4),
        textcoords="offset points",
    )


def _mark(axes: Axes, decision: Decision, decided: tuple[int, float], top: float) -> None:
    """Marks where the last decision was reached; its label stands above all that is drawn."""
    games, epsilon = decided
    low, high = np.log(axes.get_xlim())
    left = math.log(max(games, 1)) > (low + high) / 2
    colour = EXCLUDED if decision == "violation" else SERIES[2]
    axes.plot([games, games], [0, top], color=colour, lw=1.0, ls=DASHES[2])
    axes.plot(games, min(epsilon, top), "o", color=colour, mec=INK, mew=0.8, ms=8, zorder=5)
    axes.annotate(
        f"{_WORDS[decision]}, {games:,} games",
        (games, 0.94),
        xycoords=axes.get_xaxis_transform(),
        xytext=(-6 if left else 6, 0),
        textcoords="offset points",
        ha="right" if left else "left",
    )

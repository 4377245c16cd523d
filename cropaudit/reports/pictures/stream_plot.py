"""The picture of a stream of games: the lower bound as it rises, the claim, and the decision."""

import math
from collections.abc import Sequence

import matplotlib.ticker as ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cropaudit.audit.verdict.stream import StreamState
from cropaudit.errors import require
from cropaudit.reports.pictures.canvas import DASHES, EXCLUDED, INK, SERIES, Drawing, canvas
from cropaudit.reports.text.numbers import (
    format_confidence,
    format_lower,
    format_upper,
    format_value,
)

__all__ = ["stream_drawing"]

_WORDS = {"violation": "claim contradicted", "close": "bound close to the claim"}


def stream_drawing(
    history: Sequence[StreamState], claim: float, delta: float, confidence: float
) -> Drawing:
    """Returns the lower bound by games.

    Args:
        history: States of the stream, in order.
        claim: Claimed epsilon.
        delta: For which both epsilons hold.
        confidence: Of the bound, at all times at once.

    Raises:
        InputError: If there is no state, or a number is outside its range.
    """
    require(len(history) > 0, "history", "at least one state long", "none")
    require(0 < claim < math.inf, "claimed epsilon", "positive and finite", claim)
    require(0 < confidence < 1, "confidence", "in (0, 1)", confidence)
    first, last = history[0], history[-1]
    decided = _decided(history)
    outcome = "No decision was reached."
    if last.decision == "withheld":
        outcome = "It is withheld: the order of the games knows something of their scores."
    if decided is not None:
        words = _WORDS[decided.decision]
        outcome = f"After {decided.games:,} games the decision is marked: {words}."
    alt = (
        f"Lower bound on epsilon at delta {format_value(delta)} by the number of games, on a "
        f"logarithmic axis, valid at all times at once with {format_confidence(confidence)} "
        f"confidence. It rises from {_lower(first.epsilon)} to {_lower(last.epsilon)} after "
        f"{last.games:,} games; a horizontal line stands at the claimed epsilon of "
        f"{format_upper(claim)}. {outcome}"
    )
    return Drawing("stream", "Lower bound by games", alt, lambda: _stream(history, claim))


def _lower(epsilon: float) -> str:
    return format_lower(epsilon) if math.isfinite(epsilon) else "infinity"


def _decided(history: Sequence[StreamState]) -> StreamState | None:
    """Returns the state in which the last decision was first reached, if any was."""
    decision = history[-1].decision
    if decision not in _WORDS:
        return None
    return next(state for state in history if state.decision == decision)


def _stream(history: Sequence[StreamState], claim: float) -> Figure:
    figure = canvas(7.6, 3.6)
    axes = figure.subplots()
    games = np.array([max(state.games, 1) for state in history])
    epsilon = np.array([state.epsilon for state in history])
    finite = epsilon[np.isfinite(epsilon)]
    # Room for the decision's label above the claim and the bound.
    top = 1.2 * max(claim, float(finite.max(initial=0.0)))
    # Even a single state gets some width.
    low, high = float(games[0]), float(games[-1])
    axes.set(xscale="log", ylim=(0, top), xlim=(low / 1.1, max(high * 1.1, 2 * low)))
    axes.fill_between(axes.get_xlim(), claim, top, color=EXCLUDED, alpha=0.12, lw=0)
    axes.axhline(claim, color=INK, lw=1.3, ls=DASHES[1])
    # An infinite bound leaves at the top.
    shown = np.minimum(epsilon, top)
    axes.plot(games, shown, color=SERIES[0], lw=1.9, drawstyle="steps-post")
    axes.annotate(  # at the left, where the bound has not risen yet
        f"claimed: ε = {format_upper(claim)}",
        (0.0, claim),
        xycoords=axes.get_yaxis_transform(),
        xytext=(5, 4),
        textcoords="offset points",
    )
    decided = _decided(history)
    if decided is not None:
        _mark(axes, decided, top)
    axes.set(xlabel="games (log axis)", ylabel="ε, lower bound")
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.grid(True)
    return figure


def _mark(axes: Axes, decided: StreamState, top: float) -> None:
    """Marks where the decision was reached; its label stands above all that is drawn."""
    games = max(decided.games, 1)
    low, high = np.log(axes.get_xlim())
    left = math.log(games) > (low + high) / 2
    colour = EXCLUDED if decided.decision == "violation" else SERIES[2]
    axes.plot([games, games], [0, top], color=colour, lw=1.0, ls=DASHES[2])
    axes.plot(games, min(decided.epsilon, top), "o", color=colour, mec=INK, mew=0.8, ms=8, zorder=5)
    axes.annotate(
        f"{_WORDS[decided.decision]}, {decided.games:,} games",
        (games, 0.94),
        xycoords=axes.get_xaxis_transform(),
        xytext=(-6 if left else 6, 0),
        textcoords="offset points",
        ha="right" if left else "left",
    )

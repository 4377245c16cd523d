"""One picture of what scores show: the ROC of every attack, and the lower bounds beside the claim.

Data apart from drawing: `estimate_plot` picks what is shown, `estimate_figure` draws it. A picture
has room for so much: the loudest attacks and positions are drawn, and it says how many are not.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch as Swatch

from cropaudit.audit.estimate_result import AttackEstimate, Estimate
from cropaudit.reports.bound_plots import save_figure
from cropaudit.reports.drawing import bar_on, roc_on
from cropaudit.reports.numbers import (
    format_confidence,
    format_lower,
    format_upper,
    format_value,
    superscript,
)
from cropaudit.reports.palette import GREY, SERIES, place_axes
from cropaudit.reports.plot_data import FLOOR, Bar, Reference, Roc, RocLine
from cropaudit.reports.svg import INK

__all__ = ["BarGroup", "EstimatePlot", "draw_estimate", "estimate_figure", "estimate_plot"]

COLOURS = {
    "exact": SERIES[0],
    "model-based": SERIES[1],
    "credible": SERIES[3],
    "asymptotic": SERIES[4],
}
_LINES = len(SERIES)  # more curves could not be told apart
_FULL = 3  # attacks of which every estimator is drawn
_MOST = 12  # bars in a group
# Layout in inches.
_ROW, _SIDE, _LEFT, _TOP, _UNDER = 0.3, 4.1, 0.75, 0.75, 0.6
_BARS_LEFT, _BARS_WIDTH, _WIDTH, _LEGEND_ROW = 7.15, 3.3, 11.3, 0.21


@dataclass(frozen=True)
class BarGroup:
    """Bars under one heading; an empty one takes no row."""

    title: str
    bars: tuple[Bar, ...]

    @property
    def rows(self) -> int:
        """Rows that it takes."""
        return len(self.bars) + bool(self.title)


@dataclass(frozen=True)
class EstimatePlot:
    """What is shown.

    Attributes:
        title: The result in one line.
        roc: Curves of the loudest attacks; its limit is empty if nothing is claimed.
        groups: Lower bounds, top to bottom.
        claim: Claimed epsilon; none if nothing is claimed.
        left_out: What there is no room for, in words; empty if there is room for all.
    """

    title: str
    roc: Roc
    groups: tuple[BarGroup, ...]
    claim: Reference | None
    left_out: str


def draw_estimate(found: Estimate, path: Path) -> None:
    """Draws what scores show.

    Args:
        found: What they show.
        path: The file, replaced if there is one; ``.svg``, ``.png`` or ``.pdf``.

    Raises:
        InputError: If the path has another ending or cannot be written.
    """
    data = estimate_plot(found)
    title = "ROC and lower bounds on epsilon"
    save_figure(lambda: estimate_figure(data), path, "estimate", title, estimate_words(data))


def estimate_plot(found: Estimate) -> EstimatePlot:
    """Returns what is shown of an estimate."""
    loud = sorted(found.attacks, key=lambda attack: -attack.bounds[0].epsilon)
    unseen = len(loud) - _LINES
    return EstimatePlot(
        title=_title(found),
        roc=_roc(found, loud[:_LINES]),
        groups=_groups(found, loud),
        claim=None if found.claim is None else Reference("claimed", found.claim),
        left_out=f"{unseen} quieter attacks have no curve here" if unseen > 0 else "",
    )


def _title(found: Estimate) -> str:
    summit = found.summit
    shown = (
        f"ε ≥ {format_lower(summit.epsilon)} at δ = {superscript(format_value(found.delta))}, "
        f"{format_confidence(found.confidence)} confidence"
    )
    if found.claim is None:
        return f"{shown}; nothing was claimed"
    contradicted = "contradicted" if found.contradicted else "not contradicted"
    return f"{shown}; the claim of ε ≤ {format_upper(found.claim)} is {contradicted}"


def _roc(found: Estimate, attacks: Sequence[AttackEstimate]) -> Roc:
    lines = tuple(
        RocLine(
            title=f"{attack.attack or 'scores'}, AUC {attack.auc:.3f}",
            fpr=np.maximum(np.asarray(attack.roc.fpr), FLOOR),
            tpr=np.maximum(np.asarray(attack.roc.tpr), FLOOR),
            point=None,
        )
        for attack in attacks
    )
    if found.claimed_roc is None:
        return Roc(lines, np.empty(0), np.empty(0), "")
    grid = np.geomspace(FLOOR, 1.0, 257)
    limit = np.interp(grid, found.claimed_roc.fpr, found.claimed_roc.tpr)
    return Roc(lines, grid, np.maximum(limit, FLOOR), "limit of the claim")


def _groups(found: Estimate, loud: Sequence[AttackEstimate]) -> tuple[BarGroup, ...]:
    summit = found.summit
    headline = Bar(f"headline, {summit.validity}", summit.epsilon, summit.validity, None, True)
    groups = [BarGroup("", (headline,))]
    if len(loud) > _FULL:
        bars = tuple(
            Bar(attack.attack, bound.epsilon, bound.validity, bound.cap, False)
            for attack in loud
            for bound in attack.bounds[:1]
        )
        return (*groups, _shortened(f"{summit.estimator} by attack", bars))
    for attack in found.attacks:
        groups.append(BarGroup(attack.attack if len(loud) > 1 else "", _bars(attack)))
        if attack.positions:
            name = f"{attack.attack}, " if len(loud) > 1 else ""
            groups.append(_shortened(f"{name}positions, jointly", _places(attack)))
    return tuple(groups)


def _bars(attack: AttackEstimate) -> tuple[Bar, ...]:
    """Returns one bar for each estimator; the first one decides."""
    return tuple(
        Bar(
            f"{bound.estimator}, {bound.validity}",
            bound.epsilon,
            bound.validity,
            bound.cap,
            bound is attack.bounds[0],
        )
        for bound in attack.bounds
    )


def _places(attack: AttackEstimate) -> tuple[Bar, ...]:
    loud = sorted(attack.positions, key=lambda place: -place.simultaneous)
    validity = attack.bounds[0].validity
    return tuple(Bar(item.position, item.simultaneous, validity, None, False) for item in loud)


def _shortened(title: str, bars: tuple[Bar, ...]) -> BarGroup:
    if len(bars) <= _MOST:
        return BarGroup(title, bars)
    return BarGroup(f"{title} ({_MOST} of {len(bars)})", bars[:_MOST])


def estimate_words(data: EstimatePlot) -> str:
    """Returns what the picture shows, in words."""
    curves = "; ".join(line.title for line in data.roc.lines)
    excluded = "The shaded region above the limit is excluded by the claim. "
    bars = ". ".join(
        (f"{group.title}: " if group.title else "")
        + "; ".join(f"{bar.title} {format_lower(bar.epsilon)}" for bar in group.bars)
        for group in data.groups
    )
    line = ""
    if data.claim is not None:
        line = f" A vertical line stands at the claimed epsilon of {_upper(data.claim)}."
    return (
        f"{data.title}. Left: ROC on logarithmic axes, true positive rate by false positive rate, "
        f"of {curves}. {excluded if len(data.roc.limit_fpr) else ''}"
        f"Right: bars of lower bounds on epsilon. {bars}.{line}"
        + (f" {data.left_out.capitalize()}." if data.left_out else "")
    )


def _upper(claim: Reference) -> str:
    return format_upper(claim.epsilon)


def estimate_figure(data: EstimatePlot) -> Figure:
    """Draws the ROC on the left and the bars on the right; to be called inside ``style``."""
    bars = _ROW * sum(group.rows for group in data.groups)
    classes = len({bar.validity for group in data.groups for bar in group.bars}) + 2
    # Curves, the limit, what it excludes, chance; long names take two lines.
    names = sum(1 + len(line.title) // 56 for line in data.roc.lines) + 3
    under = [_UNDER + _LEGEND_ROW * count + 0.25 for count in (names, classes)]
    height = _TOP + max(_SIDE + under[0], bars + under[1])
    figure = Figure(figsize=(_WIDTH, height))
    figure.text(_LEFT / _WIDTH, 1 - 0.28 / height, data.title, fontsize=11, va="center")
    roc = place_axes(figure, _LEFT, height - _TOP - _SIDE, _SIDE, _SIDE)
    handles, labels = roc_on(roc, data.roc)
    if data.left_out:
        handles, labels = [*handles, Line2D([], [], ls="")], [*labels, data.left_out]
    _legend(figure, handles, labels, _LEFT, height - _TOP - _SIDE - _UNDER)
    axes = place_axes(figure, _BARS_LEFT, height - _TOP - bars, _BARS_WIDTH, bars)
    caps = _draw_bars(axes, data)
    handles, labels = _classes(data, caps)
    _legend(figure, handles, labels, _BARS_LEFT - 1.0, height - _TOP - bars - _UNDER)
    return figure


def _legend(
    figure: Figure, handles: Sequence[Artist], labels: Sequence[str], left: float, top: float
) -> None:
    """Names what is drawn, below the axes; the corner is given in inches."""
    wide, high = figure.get_size_inches()
    figure.legend(
        handles,
        # A name that begins with an underscore would be left out.
        [textwrap.fill(label.lstrip("_"), 56) for label in labels],
        loc="upper left",
        bbox_to_anchor=(left / wide, top / high),
        borderaxespad=0.0,
        handlelength=2.2,
    )


def _draw_bars(axes: Axes, data: EstimatePlot) -> bool:
    """Draws all bars and the claim; returns whether a cap is within the axis."""
    rows = sum(group.rows for group in data.groups)
    high, caps = _span(data), False
    axes.set(xlim=(0.0, high), ylim=(rows - 0.5, -0.5))
    names: list[str] = []
    headings = []
    for group in data.groups:
        if group.title:
            headings.append(len(names))
            names.append(group.title)
        for bar in group.bars:
            row = len(names)
            names.append(bar.title)
            bar_on(axes, row, bar.epsilon, COLOURS[bar.validity], bar.headline, False)
            if bar.cap is not None and bar.cap < high:
                axes.plot(bar.cap, row, "|", color=GREY, ms=13, mew=1.6)
                caps = True
    if data.claim is not None:
        _draw_claim(axes, data.claim)
    _label_rows(axes, names, headings)
    return caps


def _span(data: EstimatePlot) -> float:
    """Returns the end of the axis: room for all bars, the claim, and caps that are near."""
    bars = [bar for group in data.groups for bar in group.bars]
    values = [bar.epsilon for bar in bars] + ([data.claim.epsilon] if data.claim else [])
    largest = max([*values, 0.1])
    near = [bar.cap for bar in bars if bar.cap is not None and bar.cap <= 2 * largest]
    return 1.06 * max([largest, *near])


def _draw_claim(axes: Axes, claim: Reference) -> None:
    axes.axvline(claim.epsilon, color=INK, lw=1.3)
    right = claim.epsilon > 0.5 * axes.get_xlim()[1]
    axes.annotate(
        f"{claim.title}: {_upper(claim)}",
        (claim.epsilon, 1.0),
        xycoords=axes.get_xaxis_transform(),
        xytext=(3 if right else -3, 4),
        textcoords="offset points",
        ha="right" if right else "left",
    )


def _label_rows(axes: Axes, names: Sequence[str], headings: Sequence[int]) -> None:
    short = [textwrap.shorten(name, 56, placeholder="…") or name[:56] for name in names]
    axes.set_yticks(range(len(names)), [textwrap.fill(name, 30) for name in short])
    axes.tick_params(axis="y", length=0, labelsize=8)
    for row in headings:
        axes.get_yticklabels()[row].set_fontweight("bold")
    axes.set_xlabel("ε, lower bounds")
    axes.grid(True, axis="x")
    axes.set_axisbelow(True)


def _classes(data: EstimatePlot, caps: bool) -> tuple[list[Artist], list[str]]:
    """Returns what the colours and marks of the bars mean."""
    seen = {bar.validity for group in data.groups for bar in group.bars}
    names = [name for name in COLOURS if name in seen]
    handles: list[Artist] = [Swatch(facecolor=COLOURS[name], lw=0) for name in names]
    labels = [_MEANINGS[name] for name in names]
    if caps:
        handles.append(Line2D([], [], color=GREY, marker="|", ls="", ms=11, mew=1.6))
        labels.append("largest bound that so many trials can give")
    handles.append(Line2D([], [], ls=""))
    labels.append("thick bar, bold number: decides")
    return handles, labels


_MEANINGS = {
    "exact": "exact",
    "model-based": "model-based: holds if the model does",
    "credible": "credible: a posterior probability",
    "asymptotic": "asymptotic: for large counts",
}

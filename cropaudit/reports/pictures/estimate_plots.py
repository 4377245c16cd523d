"""One picture of what scores show: the ROC of every attack, and the lower bounds beside the claim.

A picture has room for so much: the loudest attacks and positions are drawn, and it says how many
are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch as Swatch

from cropaudit.audit.results.estimate_result import AttackEstimate, Estimate
from cropaudit.reports.pictures.canvas import GREY, SERIES, Drawing, blank, canvas, legend
from cropaudit.reports.pictures.charts import (
    FLOOR,
    Bar,
    BarGroup,
    Bars,
    Reference,
    Roc,
    RocLine,
    bars_on,
    bars_words,
    roc_on,
)
from cropaudit.reports.text.numbers import (
    format_confidence,
    format_lower,
    format_upper,
    format_value,
    superscript,
)

__all__ = ["EstimatePlot", "estimate_drawing", "estimate_plot"]

_LINES = len(SERIES)  # more curves could not be told apart
_FULL = 3  # attacks of which every estimator is drawn
_MOST = 12  # bars in a group
_FEWEST = 14  # rows, below which bars would be thick


@dataclass(frozen=True)
class EstimatePlot:
    """What is shown.

    Attributes:
        title: The result in one line.
        roc: Curves of the loudest attacks; its limit is empty if nothing is claimed.
        bars: Lower bounds, top to bottom, and the claimed epsilon.
        left_out: What there is no room for, in words; empty if there is room for all.
    """

    title: str
    roc: Roc
    bars: Bars
    left_out: str


def estimate_drawing(found: Estimate) -> Drawing:
    """Returns the picture of an estimate."""
    data = estimate_plot(found)
    curves = "; ".join(line.title for line in data.roc.lines)
    excluded = " The shaded region above the limit is excluded by the claim."
    alt = (
        f"{data.title}. Left: ROC on logarithmic axes, true positive rate by false positive rate, "
        f"of {curves}.{excluded if len(data.roc.limit_fpr) else ''} Right: {bars_words(data.bars)}"
        + (f" {data.left_out.capitalize()}." if data.left_out else "")
    )
    title = "ROC and lower bounds on epsilon"
    return Drawing("estimate", title, alt, lambda: _figure(data))


def estimate_plot(found: Estimate) -> EstimatePlot:
    """Returns what is shown of an estimate."""
    loud = sorted(found.attacks, key=lambda attack: -attack.bounds[0].epsilon)
    unseen = len(loud) - _LINES
    claim = () if found.claim is None else (Reference("claimed", found.claim),)
    return EstimatePlot(
        title=_title(found),
        roc=_roc(found, loud[:_LINES]),
        bars=Bars(_groups(found, loud), claim),
        left_out=f"{unseen} quieter attacks have no curve here" if unseen > 0 else "",
    )


def _title(found: Estimate) -> str:
    least, delta = format_lower(found.headline.epsilon_lower), format_value(found.delta)
    confidence = format_confidence(found.confidence)
    shown = f"ε ≥ {least} at δ = {superscript(delta)}, {confidence} confidence"
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
        )
        for attack in attacks
    )
    if found.claimed_roc is None:
        return Roc(lines, np.empty(0), np.empty(0), "")
    grid = np.geomspace(FLOOR, 1.0, 257)
    limit = np.interp(grid, found.claimed_roc.fpr, found.claimed_roc.tpr)
    return Roc(lines, grid, np.maximum(limit, FLOOR), "limit of the claim")


def _groups(found: Estimate, loud: Sequence[AttackEstimate]) -> tuple[BarGroup, ...]:
    best, several = found.headline, len(loud) > 1
    headline = Bar(f"headline, {best.validity}", best.epsilon_lower, best.validity, None, True)
    groups = [BarGroup("", (headline,))]
    if len(loud) > _FULL:
        bars = [
            Bar(attack.attack, bound.epsilon, bound.validity, bound.cap, False)
            for attack in loud
            for bound in attack.bounds[:1]
        ]
        return (*groups, _shortened(f"{best.estimator} by attack", bars))
    for attack in found.attacks:
        bars = [
            Bar(f"{b.estimator}, {b.validity}", b.epsilon, b.validity, b.cap, at == 0)
            for at, b in enumerate(attack.bounds)
        ]
        groups.append(BarGroup(attack.attack if several else "", tuple(bars)))
        if attack.positions:
            places = sorted(attack.positions, key=lambda place: -place.simultaneous)
            validity = attack.bounds[0].validity
            bars = [Bar(at.position, at.simultaneous, validity, None, False) for at in places]
            name = f"{attack.attack}, " if several else ""
            groups.append(_shortened(f"{name}positions, jointly", bars))
    return tuple(groups)


def _shortened(title: str, bars: Sequence[Bar]) -> BarGroup:
    shown = tuple(bars[:_MOST])
    return BarGroup(f"{title} ({_MOST} of {len(bars)})" if len(bars) > _MOST else title, shown)


def _figure(data: EstimatePlot) -> Figure:
    """Draws the ROC on the left and the bars on the right."""
    rows = max(data.bars.rows, _FEWEST)
    figure = canvas(11.6, max(6.0, 0.3 * rows + 1.9))
    figure.suptitle(data.title, x=0.01, ha="left", fontsize=11)
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(5.2, 6.4))[0]
    entries = roc_on(left.subplots(), data.roc)
    entries += [(blank(), data.left_out)] if data.left_out else []
    legend(left, entries, "lower left", width=56)
    axes = right.subplots()
    entries = bars_on(axes, data.bars, letters=30)
    axes.set_ylim(rows - 0.5, -0.5)
    thick = Swatch(facecolor=GREY, lw=0)
    legend(right, [*entries, (thick, "thick bar, bold number: decides")], "lower left", width=56)
    return figure

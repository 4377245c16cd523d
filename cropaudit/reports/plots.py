"""The report's pictures: each drawn from the data, with a title and an alternative text."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropaudit.audit.result import AuditReport
from cropaudit.reports.drawing import draw_bars, draw_inclusion, draw_profile, draw_roc
from cropaudit.reports.numbers import format_lower, format_percent, format_upper, format_value
from cropaudit.reports.plot_data import (
    BarChart,
    InclusionMap,
    Profile,
    Roc,
    RocLine,
    bar_chart,
    inclusion_map,
    profile,
    roc,
)
from cropaudit.reports.svg import Picture, style, to_picture

__all__ = ["Plots", "plot_bars", "plot_inclusion", "plot_profile", "plot_report", "plot_roc"]


@dataclass(frozen=True)
class Plots:
    """All pictures of one report; the profile is absent where the claim gives none."""

    inclusion: Picture
    roc: Picture
    bars: Picture
    profile: Picture | None


def plot_report(report: AuditReport, inclusion: NDArray[np.floating]) -> Plots:
    """Draws all pictures of a report.

    Args:
        report: The audit's result.
        inclusion: Inclusion probability by the patch's top-left row and column.

    Raises:
        InputError: If ``inclusion`` is not a matrix of probabilities.
    """
    points = profile(report.claim)
    return Plots(
        inclusion=plot_inclusion(inclusion_map(inclusion, report.claim.worst_position)),
        roc=plot_roc(roc(report)),
        bars=plot_bars(bar_chart(report)),
        profile=None if points is None else plot_profile(points),
    )


def plot_inclusion(data: InclusionMap) -> Picture:
    """Returns the inclusion map."""
    row, column = data.worst
    alt = (
        f"Heat map of the probability that a crop meets the patch, over {data.shape[0]} by "
        f"{data.shape[1]} positions: from {format_percent(data.smallest)} where it is least to "
        f"{format_percent(data.largest)} where it is largest. The worst position, row {row}, "
        f"column {column}, is ringed; {format_percent(data.share_at_largest)} of all positions "
        "are as bad."
    )
    with style("inclusion"):
        figure = draw_inclusion(data)
        return to_picture(figure, name="inclusion", title="Inclusion map", alt=alt)


def plot_roc(data: Roc) -> Picture:
    """Returns the ROC with the region that the claim excludes."""
    points = [_point_in_words(line) for line in data.lines if line.point]
    alt = (
        "ROC curves on logarithmic axes, true positive rate by false positive rate, of "
        + (", ".join(line.title for line in data.lines) or "no attack")
        + f". The shaded region above the {data.limit_title} is excluded by the claim. "
        + " ".join(points)
    )
    with style("roc"):
        return to_picture(draw_roc(data), name="roc", title="ROC", alt=alt.strip())


def _point_in_words(line: RocLine) -> str:
    """Returns where a line's measured point lies."""
    if line.point is None:
        return ""
    rates = f"{format_percent(line.point.tpr)} true and {format_percent(line.point.fpr)} false"
    return f"{line.title}, at its threshold: {rates} positives."


def plot_bars(data: BarChart) -> Picture:
    """Returns the lower bounds against the reference epsilons."""
    bars = "; ".join(f"{bar.title} {format_lower(max(bar.epsilon, 0.0))}" for bar in data.bars)
    lines = "; ".join(f"{line.title} {format_upper(line.epsilon)}" for line in data.references)
    alt = f"Bars of lower bounds on epsilon. {bars}. Vertical lines: {lines}."
    with style("bars"):
        return to_picture(draw_bars(data), name="bars", title="Lower bounds", alt=alt)


def plot_profile(data: Profile) -> Picture:
    """Returns the claim's privacy profile."""
    epsilon, delta = data.claimed
    alt = (
        f"Delta by epsilon on a logarithmic axis, falling from {format_value(data.delta[0], 2)} at "
        f"epsilon {format_value(data.epsilon[0], 2)} to {format_value(data.delta[-1], 2)} at "
        f"epsilon {format_value(data.epsilon[-1], 3)}. The claimed point is epsilon "
        f"{format_upper(epsilon)} at delta {format_value(delta)}."
    )
    with style("profile"):
        return to_picture(draw_profile(data), name="profile", title="Privacy profile", alt=alt)

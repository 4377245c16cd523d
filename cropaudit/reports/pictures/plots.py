"""An audit's pictures: inclusion map, ROC, lower bounds and privacy profile."""

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cropaudit.audit.results.result import Attack, AuditReport, Claim
from cropaudit.errors import require
from cropaudit.reports.pictures.canvas import (
    DARK,
    INK,
    LIGHT,
    SERIES,
    Drawing,
    Picture,
    canvas,
    colour_bar,
    largest_blocks,
    legend,
    power_ticks,
    whole_ticks,
)
from cropaudit.reports.pictures.charts import (
    FLOOR,
    Bar,
    BarGroup,
    Bars,
    OperatingPoint,
    Reference,
    Roc,
    RocLine,
    bars_on,
    bars_words,
    roc_on,
)
from cropaudit.reports.text.intervals import clopper_pearson
from cropaudit.reports.text.numbers import format_percent, format_upper, format_value

__all__ = [
    "Plots",
    "audit_bars",
    "audit_roc",
    "bars_drawing",
    "inclusion_drawing",
    "plot_report",
    "profile_drawing",
    "roc_drawing",
]

_CELLS = 256  # on a side of the drawn map; more would only make the file heavy
_FEW = 1000  # trials of a world below which a curve is drawn with its band


@dataclass(frozen=True)
class Plots:
    """All pictures of one report; none where the run or the claim gives nothing to draw."""

    inclusion: Picture | None
    roc: Picture
    bars: Picture
    profile: Picture | None


def plot_report(report: AuditReport, inclusion: NDArray[np.floating] | None) -> Plots:
    """Draws all pictures of a report.

    Args:
        report: The audit's result.
        inclusion: Inclusion probability by the patch's top-left row and column, if known.

    Raises:
        InputError: If ``inclusion`` is not a matrix of probabilities.
    """
    place, profile = report.claim.worst_position, profile_drawing(report.claim)
    return Plots(
        inclusion=None if inclusion is None else inclusion_drawing(inclusion, place).picture(),
        roc=roc_drawing(audit_roc(report)).picture(),
        bars=bars_drawing(audit_bars(report)).picture(),
        profile=None if profile is None else profile.picture(),
    )


def inclusion_drawing(rho: NDArray[np.floating], worst: tuple[int, int]) -> Drawing:
    """Returns the map of ``rho``, shape (rows, columns) of top-left positions.

    Raises:
        InputError: If ``rho`` is no non-empty matrix of probabilities or ``worst`` is off it.
    """
    require(rho.ndim == 2 and rho.size > 0, "inclusion", "a non-empty matrix", rho.shape)
    values = np.asarray(rho, dtype=np.float64)
    legal = bool(np.all((values >= 0) & (values <= 1 + 1e-9)))
    require(legal, "inclusion", "between 0 and 1", f"{values.min()} to {values.max()}")
    inside = all(0 <= place < side for place, side in zip(worst, values.shape, strict=True))
    require(inside, "worst position", f"on the map of {values.shape} positions", worst)
    largest = float(values.max())
    share = float(np.mean(values >= largest - 1e-12))
    alt = (
        f"Heat map of the probability that a crop meets the patch, over {values.shape[0]} by "
        f"{values.shape[1]} positions: from {format_percent(float(values.min()))} where it is "
        f"least to {format_percent(largest)} where it is largest. The worst position, row "
        f"{worst[0]}, column {worst[1]}, is ringed; {format_percent(share)} of all positions are "
        "as bad."
    )
    return Drawing("inclusion", "Inclusion map", alt, lambda: _inclusion(values, worst, largest))


def _inclusion(values: NDArray[np.float64], worst: tuple[int, int], largest: float) -> Figure:
    blocks, step = largest_blocks(values, _CELLS)
    rows, columns = values.shape
    # A strip is widened, to stay visible and to hold its labels; the axes tell its true size.
    shape = min(max(rows / columns, 0.3), 2.2)
    width = min(5.4, 3.8 / shape)
    figure = canvas(width + 1.8, width * shape + 0.8)
    axes = figure.subplots()
    edge_rows, edge_columns = (side * step - 0.5 for side in blocks.shape)
    image = axes.imshow(
        blocks,
        cmap="cividis",
        vmin=0.0,
        vmax=max(largest, 1e-9),
        interpolation="none",
        extent=(-0.5, edge_columns, edge_rows, -0.5),
        aspect="auto",
    )
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    axes.set(xlabel="column of the patch's top left", ylabel="row")
    axes.set_box_aspect(shape)
    whole_ticks(axes)
    row, column = worst
    for colour, thickness in ((DARK, 3.4), (LIGHT, 1.6)):
        axes.plot(
            column, row, "o", ms=11, mfc="none", mec=colour, mew=thickness, clip_on=False, zorder=5
        )
    colour_bar(axes, image, "inclusion probability ρ")
    return figure


def roc_drawing(data: Roc) -> Drawing:
    """Returns the ROC with the region that the claim excludes."""
    points = "".join(f" {_point_in_words(line)}" for line in data.lines if line.point)
    alt = (
        "ROC curves on logarithmic axes, true positive rate by false positive rate, of "
        + (", ".join(line.title for line in data.lines) or "no attack")
        + f". The shaded region above the {data.limit_title} is excluded by the claim.{points}"
    )

    def build() -> Figure:
        figure = canvas(7.6, 4.8)
        legend(figure, roc_on(figure.subplots(), data), "right upper")
        return figure

    return Drawing("roc", "ROC", alt, build)


def _point_in_words(line: RocLine) -> str:
    assert line.point is not None  # only those that have one are told
    rates = f"{format_percent(line.point.tpr)} true and {format_percent(line.point.fpr)} false"
    return f"{line.title}, at its threshold: {rates} positives."


def audit_roc(report: AuditReport) -> Roc:
    """Returns the curves of all attacks and the claim's limit."""
    claim = report.claim
    grid = np.geomspace(FLOOR, 1.0, 257)
    if claim.tradeoff is not None:
        title = "limit of the claimed mechanism"
        limit = np.interp(grid, claim.tradeoff.fpr, claim.tradeoff.tpr)
    else:
        title = "limit of the claimed (ε, δ)"
        limit = _bare_limit(grid, claim)
    return Roc(tuple(_roc_line(attack) for attack in report.attacks), grid, limit, title)


def _bare_limit(fpr: NDArray[np.float64], claim: Claim) -> NDArray[np.float64]:
    """Returns the largest true positive rate under (epsilon, delta) (Kairouz et al. 2015)."""
    low = claim.delta + np.exp(claim.epsilon) * fpr
    high = 1 - np.exp(-claim.epsilon) * (1 - claim.delta - fpr)
    limit: NDArray[np.float64] = np.clip(np.minimum(low, high), 0.0, 1.0)
    return limit


def _roc_line(attack: Attack) -> RocLine:
    """Returns one attack's curve from one false positive on: its games resolve no lower rate."""
    fpr, tpr = np.asarray(attack.roc.fpr), np.asarray(attack.roc.tpr)
    seen = fpr >= (1 - 1e-9) / max(attack.nonmembers, 1)
    fpr, tpr = fpr[seen], tpr[seen]
    band = None
    if 0 < min(attack.members, attack.nonmembers) < _FEW:
        hits = np.rint(tpr * attack.members).astype(int)
        limits = np.array([clopper_pearson(int(count), attack.members) for count in hits])
        low, high = np.maximum(limits.reshape(-1, 2), FLOOR).T
        band = low, high
    point = _operating_point(attack)
    return RocLine(attack.title, np.maximum(fpr, FLOOR), np.maximum(tpr, FLOOR), point, band)


def _operating_point(attack: Attack) -> OperatingPoint | None:
    """Returns the pre-registered point, or none where an attack has no threshold."""
    false, true = attack.false_positives, attack.true_positives
    if attack.threshold is None or false is None or true is None:
        return None
    if attack.members == 0 or attack.nonmembers == 0:
        return None
    return OperatingPoint(
        fpr=false / attack.nonmembers,
        tpr=true / attack.members,
        fpr_interval=clopper_pearson(false, attack.nonmembers),
        tpr_interval=clopper_pearson(true, attack.members),
    )


def bars_drawing(data: Bars) -> Drawing:
    """Returns the lower bounds against the reference epsilons."""

    def build() -> Figure:
        figure = canvas(7.6, 0.36 * data.rows + 1.9)
        legend(figure, bars_on(figure.subplots(), data), "lower center", width=60, columns=2)
        return figure

    return Drawing("bars", "Lower bounds", bars_words(data), build)


def audit_bars(report: AuditReport) -> Bars:
    """Returns the headline's bar, every single bound's bar, and the reference epsilons."""
    headline = report.headline
    bars = [Bar("Headline, corrected", headline.epsilon_lower, headline.validity, None, True)]
    bars += [
        Bar(f"{attack.title}: {bound.estimator}", bound.epsilon, bound.validity, bound.cap, False)
        for attack in report.attacks
        for bound in attack.bounds
    ]
    return Bars((BarGroup("", tuple(bars)),), _references(report.claim))


def _references(claim: Claim) -> tuple[Reference, ...]:
    """Returns the epsilons in rising order, those that coincide joined into one."""
    named = (
        ("claimed", claim.epsilon),
        ("accounted with crops", claim.epsilon_amplified),
        ("accounted without crops", claim.epsilon_without_crop),
    )
    known = sorted(((title, x) for title, x in named if x is not None), key=lambda item: item[1])
    joined: list[Reference] = []
    for title, epsilon in known:
        if joined and math.isclose(epsilon, joined[-1].epsilon, rel_tol=1e-3):
            joined[-1] = Reference(f"{joined[-1].title} = {title}", joined[-1].epsilon)
        else:
            joined.append(Reference(title, epsilon))
    return tuple(joined)


def profile_drawing(claim: Claim) -> Drawing | None:
    """Returns the claim's privacy profile, or none where it gives fewer than two points."""
    points = sorted((epsilon, delta) for epsilon, delta in claim.profile if delta > 0)
    if len(points) < 2:
        return None
    (first, above), (last, below) = points[0], points[-1]
    alt = (
        f"Delta by epsilon on a logarithmic axis, falling from {format_value(above, 2)} at "
        f"epsilon {format_value(first, 2)} to {format_value(below, 2)} at epsilon "
        f"{format_value(last, 3)}. The claimed point is epsilon {format_upper(claim.epsilon)} at "
        f"delta {format_value(claim.delta)}."
    )
    return Drawing("profile", "Privacy profile", alt, lambda: _profile(np.array(points), claim))


def _profile(points: NDArray[np.float64], claim: Claim) -> Figure:
    figure = canvas(7.6, 3.6)
    axes = figure.subplots()
    axes.plot(points[:, 0], points[:, 1], color=SERIES[0], lw=1.9)
    epsilon, delta = claim.epsilon, claim.delta
    # A falling curve leaves the space right of a point free: the label stands there.
    right = max(float(points[-1, 0]), 1.4 * epsilon)
    low = min(max(float(points[:, 1].min()), 1e-4 * delta, 1e-16), delta) / 2
    axes.set(yscale="log", xlim=(min(0.0, float(points[0, 0])), right))
    axes.set_ylim(low, min(2.0, 2 * max(float(points[:, 1].max()), delta)))
    axes.plot([axes.get_xlim()[0], epsilon, epsilon], [delta, delta, low], color=INK, lw=1.0)
    axes.plot(epsilon, delta, "o", color=SERIES[1], mec=INK, mew=0.8, ms=8, zorder=5)
    axes.annotate(
        f"claimed: ε = {format_upper(epsilon)}",
        (epsilon, delta),
        xytext=(9, 7),
        textcoords="offset points",
    )
    axes.set(xlabel="ε", ylabel="δ(ε)")
    power_ticks(axes.yaxis)
    axes.grid(True)
    return figure

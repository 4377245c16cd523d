"""Draws the report's pictures from their descriptions, with matplotlib's object interface.

The colours read in light and in dark mode; line styles tell the series apart without colour. All
layout is in inches: nothing depends on the reader's fonts, which are narrower than the face that
the layout is measured in.
"""

import textwrap

import matplotlib.ticker as ticker
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch as Swatch

from cropaudit.reports.numbers import format_lower, format_percent, format_upper, superscript
from cropaudit.reports.palette import DASHES, EXCLUDED, GREY, SERIES, place_axes
from cropaudit.reports.plot_data import FLOOR, BarChart, InclusionMap, Profile, Roc, RocLine
from cropaudit.reports.svg import INK

__all__ = ["bar_on", "draw_bars", "draw_inclusion", "draw_profile", "draw_roc", "roc_on"]


def draw_inclusion(data: InclusionMap) -> Figure:
    """Draws the map of the inclusion probability with a colour bar and the worst position."""
    rows, columns = data.shape
    scale = min(5.4 / columns, 3.6 / rows)
    # A strip of a map is widened, to stay visible and to hold the colour bar's label; the axes
    # tell its true size.
    width, height = max(columns * scale, 0.6), max(rows * scale, 1.8)
    figure = Figure(figsize=(width + 2.0, height + 0.85))
    axes = place_axes(figure, 0.75, 0.6, width, height)
    edge_rows, edge_columns = (side * data.step - 0.5 for side in data.blocks.shape)
    image = axes.imshow(
        data.blocks,
        cmap="cividis",
        vmin=0.0,
        vmax=max(data.largest, 1e-9),
        interpolation="none",
        extent=(-0.5, edge_columns, edge_rows, -0.5),
        aspect="auto",
    )
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    axes.set(xlabel="column of the patch's top left", ylabel="row")
    _whole_ticks(axes)
    row, column = data.worst
    for colour, thickness in (("#101418", 3.4), ("#ffffff", 1.6)):
        axes.plot(
            column, row, "o", ms=11, mfc="none", mec=colour, mew=thickness, clip_on=False, zorder=5
        )
    for spine in axes.spines.values():
        spine.set_visible(True)
    bar = figure.colorbar(image, cax=place_axes(figure, 0.75 + width + 0.2, 0.6, 0.16, height))
    bar.set_label("inclusion probability ρ")
    return figure


def _whole_ticks(axes: Axes) -> None:
    """Puts ticks on whole pixels only."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(ticker.MaxNLocator(nbins=6, integer=True))


def draw_roc(data: Roc) -> Figure:
    """Draws every attack's ROC on log axes with the region that the claim excludes."""
    figure = Figure(figsize=(7.6, 4.9))
    axes = place_axes(figure, 0.75, 0.6, 4.1, 4.1)
    handles, labels = roc_on(axes, data)
    figure.legend(
        handles,
        [textwrap.fill(label.lstrip("_"), 27) for label in labels],
        loc="upper left",
        bbox_to_anchor=(5.0 / 7.6, 4.78 / 4.9),
        labelspacing=0.9,
        handlelength=2.2,
    )
    return figure


def roc_on(axes: Axes, data: Roc) -> tuple[list[Artist], list[str]]:
    """Draws the same on given axes; without a limit (an empty one) no region is excluded.

    Returns:
        What a legend names, and the names.
    """
    handles: list[Artist] = []
    limit: list[Artist] = []
    if len(data.limit_fpr):
        axes.fill_between(data.limit_fpr, data.limit_tpr, 1.0, color=EXCLUDED, alpha=0.22, lw=0)
        limit += axes.plot(data.limit_fpr, data.limit_tpr, color=INK, lw=2.0)
        limit.append(Swatch(facecolor=EXCLUDED, alpha=0.22, lw=0))
    (chance,) = axes.plot([FLOOR, 1], [FLOOR, 1], color=GREY, lw=1.0, ls=(0, (1, 3)))
    for index, line in enumerate(data.lines):
        handles.append(_roc_line(axes, line, index))
    _rate_axis(axes)
    labels = [line.title for line in data.lines]
    handles += [*limit, chance]
    labels += [*([data.limit_title, "excluded by the claim"] if limit else []), "chance"]
    if any(line.point for line in data.lines):
        handles.append(Line2D([], [], color=GREY, marker="o", ls="-", lw=1.2, ms=6))
        labels.append("at the pre-registered threshold, 95% intervals")
    return handles, labels


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
    for (low, high), across in ((point.fpr_interval, True), (point.tpr_interval, False)):
        ends = [max(low, FLOOR), max(high, FLOOR)]
        xs, ys = (ends, [tpr, tpr]) if across else ([fpr, fpr], ends)
        axes.plot(xs, ys, color=colour, lw=1.3, zorder=6)
    # An arrow to the left says that no false positive was seen: zero has no place on a log axis.
    marker = "<" if point.fpr < FLOOR else "o"
    axes.plot(fpr, tpr, marker, color=colour, ms=8, mec=INK, mew=0.8, clip_on=False, zorder=7)
    return handle


def _rate_axis(axes: Axes) -> None:
    """Sets both axes to rates from the floor to one, in percent."""
    axes.set(xscale="log", yscale="log", xlim=(FLOOR, 1), ylim=(FLOOR, 1))
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(ticker.FuncFormatter(lambda x, _: format_percent(x)))
        axis.set_minor_formatter(ticker.NullFormatter())
    axes.grid(True)


def draw_bars(data: BarChart) -> Figure:
    """Draws lower bounds as bars against the reference epsilons.

    Every reference has a row of its own for its label, to the left of its line; the largest has
    the highest row, and a line ends at its own row, so that no label meets a label or a line.
    """
    count, band = len(data.bars), 0.24 * len(data.references)
    height = 0.36 * count
    figure = Figure(figsize=(7.6, height + band + 0.85))
    axes = place_axes(figure, 2.75, 0.6, 4.1, height)
    low, high = _span(data)
    axes.set(xlim=(low, high), ylim=(count - 0.5, -0.5), xscale="log" if data.log else "linear")
    for row, bar in enumerate(data.bars):
        colour = SERIES[0] if bar.validity == "exact" else SERIES[1]
        bar_on(axes, row, max(bar.epsilon, 0.0), colour, bar.headline, data.log)
        if bar.cap is not None and low < bar.cap < high:
            axes.plot(bar.cap, row, "|", color=GREY, ms=13, mew=1.6)
    for index, line in enumerate(data.references):
        top = 1 + 0.24 * (index + 0.65) / height
        axes.plot(
            [line.epsilon] * 2,
            [0, top],
            transform=axes.get_xaxis_transform(),
            color=INK,
            lw=1.3,
            ls=DASHES[index % 3],
            clip_on=False,
        )
        axes.annotate(
            f"{line.title}: {format_upper(line.epsilon)}",
            (line.epsilon, top),
            xycoords=axes.get_xaxis_transform(),
            xytext=(-4, 0),
            textcoords="offset points",
            ha="right",
            va="center",
        )
    _bar_axis(axes, data)
    return figure


def _span(data: BarChart) -> tuple[float, float]:
    """Returns the limits of the epsilon axis, with a little room at the ends."""
    values = [bar.epsilon for bar in data.bars] + [line.epsilon for line in data.references]
    largest = max([*values, 1e-6])
    if not data.log:
        return 0.0, 1.05 * largest
    smallest = min(value for value in values if value > 0)
    return smallest / 1.6, largest * (largest / smallest) ** 0.05


def bar_on(axes: Axes, row: int, epsilon: float, colour: str, headline: bool, log: bool) -> None:
    """Draws one bar and its number; on a log axis, where length means nothing, a dot on a rule."""
    start = axes.get_xlim()[0]
    if epsilon > 0 and log:
        axes.plot([start, epsilon], [row, row], color=colour, lw=1.4)
        axes.plot(epsilon, row, "o", color=colour, ms=8 if headline else 6)
    elif epsilon > 0:
        axes.barh(row, epsilon, height=0.62 if headline else 0.46, color=colour, lw=0)
    axes.annotate(
        "≥ " + superscript(format_lower(epsilon)),
        # In a column of their own beside the axes, where no line crosses the numbers.
        (1.02, row),
        xycoords=axes.get_yaxis_transform(),
        va="center",
        fontweight="bold" if headline else "normal",
    )


def _bar_axis(axes: Axes, data: BarChart) -> None:
    """Labels the rows and the epsilon axis."""
    titles = [textwrap.shorten(bar.title, 80, placeholder="…") for bar in data.bars]
    axes.set_yticks(range(len(titles)), [textwrap.fill(title, 36) for title in titles])
    axes.tick_params(axis="y", length=0, labelsize=8.5)
    axes.set_xlabel("ε, lower bounds" + (" (log axis)" if data.log else ""))
    axes.grid(True, axis="x")
    axes.set_axisbelow(True)
    if data.log:
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_formatter(ticker.NullFormatter())


def draw_profile(data: Profile) -> Figure:
    """Draws delta by epsilon on a log axis, with the claimed point."""
    figure = Figure(figsize=(7.6, 3.6))
    axes = place_axes(figure, 0.85, 0.6, 6.3, 2.8)
    axes.plot(data.epsilon, data.delta, color=SERIES[0], lw=1.9)
    epsilon, delta = data.claimed
    # A falling curve leaves the space right of a point free: the label stands there.
    right = max(float(data.epsilon.max()), 1.4 * epsilon)
    low = min(max(float(data.delta.min()), 1e-4 * delta, 1e-16), delta)
    axes.set(yscale="log", xlim=(min(0.0, float(data.epsilon.min())), right))
    axes.set_ylim(low / 2, min(2.0, 2 * max(float(data.delta.max()), delta)))
    axes.plot([axes.get_xlim()[0], epsilon, epsilon], [delta, delta, low / 2], color=INK, lw=1.0)
    axes.plot(epsilon, delta, "o", color=SERIES[1], mec=INK, mew=0.8, ms=8, zorder=5)
    axes.annotate(
        f"claimed: ε = {format_upper(epsilon)}",
        (epsilon, delta),
        xytext=(9, 7),
        textcoords="offset points",
    )
    axes.set(xlabel="ε", ylabel="δ(ε)")
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: superscript(f"{y:.0e}")))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    axes.grid(True)
    return figure

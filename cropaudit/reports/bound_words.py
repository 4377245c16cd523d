"""The pictures of ``cropaudit bound`` in words, for those who cannot see them."""

import math
from collections.abc import Sequence

import numpy as np

from cropaudit.reports.bound_data import (
    BoundMap,
    MapPanel,
    ProfileCurve,
    StepsPlot,
    SweepPlot,
    map_panels,
)
from cropaudit.reports.numbers import format_percent, format_upper, format_value, superscript

__all__ = [
    "bound_number",
    "delta_text",
    "map_words",
    "profile_name",
    "profile_words",
    "steps_words",
    "sweep_words",
]


def bound_number(value: float) -> str:
    """Returns an upper bound as printed.

    >>> bound_number(7.4501), bound_number(math.inf)
    ('7.46', '∞')
    """
    return "∞" if math.isinf(value) else superscript(format_upper(value))


def delta_text(delta: float) -> str:
    """Returns a delta as printed.

    >>> delta_text(1e-5), delta_text(0.25)
    ('10⁻⁵', '0.25')
    """
    return superscript(format_value(delta))


def sweep_words(sweeps: Sequence[SweepPlot]) -> str:
    """Returns every line's ends."""
    return " ".join(_sweep(sweep) for sweep in sweeps)


def _sweep(sweep: SweepPlot) -> str:
    first, last = int(np.argmin(sweep.values)), int(np.argmax(sweep.values))
    ends = f"from {format_value(sweep.values[first])} to {format_value(sweep.values[last])}"
    lines = []
    for line in sweep.series:
        text = f"{line.name}: epsilon {_ends(line.epsilon, first, last)}"
        if line.epsilon_without_crop is not None:
            text += f", without crop {_ends(line.epsilon_without_crop, first, last)}"
        lines.append(text)
    return (
        f"{sweep.title}: epsilon at delta {delta_text(sweep.delta)} over {sweep.parameter}, "
        + f"{ends}. "
        + "; ".join(lines)
        + "."
    )


def _ends(values: Sequence[float], first: int, last: int) -> str:
    return f"{bound_number(values[first])} to {bound_number(values[last])}"


def map_words(data: BoundMap) -> str:
    """Returns both panels' extremes."""
    height, width = data.image
    shared = (
        f"Two heat maps over an image of {height} by {width} pixels, by the place of the centre of "
        f"a patch of {data.patch[0]} by {data.patch[1]}."
    )
    crop = f" A crop of {data.crop[0]} by {data.crop[1]} is outlined." if data.crop else ""
    panels = map_panels(data, delta_text(data.delta))
    return shared + crop + "".join(f" {_panel(data, panel)}" for panel in panels)


def _panel(data: BoundMap, panel: MapPanel) -> str:
    at_worst = float(np.mean(panel.values >= panel.worst))
    return (
        f"{panel.title}: {bound_number(panel.best)} at the best place, {bound_number(panel.worst)} "
        f"at the worst, row {data.worst[0]}, column {data.worst[1]}; {format_percent(at_worst)} of "
        "all places are as bad."
    )


def profile_words(curves: Sequence[ProfileCurve]) -> str:
    """Returns what is drawn, and which curves are no bounds."""
    names = ", ".join(profile_name(curve) for curve in curves)
    return f"Delta by epsilon, with a logarithmic axis of delta, for {names}."


def profile_name(curve: ProfileCurve) -> str:
    """Returns a curve's name in the legend.

    >>> profile_name(ProfileCurve("add-remove", np.ones(1), np.ones(1), valid=False))
    'add-remove (not a bound)'
    """
    known = curve.valid or "not a bound" in curve.name
    return curve.name if known else f"{curve.name} (not a bound)"


def steps_words(data: StepsPlot) -> str:
    """Returns the line's ends."""
    first, last = int(np.argmin(data.steps)), int(np.argmax(data.steps))
    return (
        f"Epsilon at delta {delta_text(data.delta)} over training steps: "
        f"{bound_number(float(data.epsilon[first]))} after {data.steps[first]:g}, "
        f"{bound_number(float(data.epsilon[last]))} after {data.steps[last]:g} steps."
    )

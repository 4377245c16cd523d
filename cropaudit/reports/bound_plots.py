"""The pictures of ``cropaudit bound``, each drawn into a file whose ending says its format.

The same data gives the same bytes: no date is written, and ids are salted with the picture's name.
Every file carries a title and a description: elements of an SVG, text chunks of a PNG, document
information of a PDF.
"""

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from cropaudit.errors import require
from cropaudit.reports.bound_curves import profile_figure, steps_figure
from cropaudit.reports.bound_data import BoundMap, ProfileCurve, StepsPlot, SweepPlot
from cropaudit.reports.bound_map import map_figure
from cropaudit.reports.bound_sweeps import sweep_figure
from cropaudit.reports.bound_words import map_words, profile_words, steps_words, sweep_words
from cropaudit.reports.outputs import PICTURE_SUFFIXES, check_output, write_output
from cropaudit.reports.svg import style, to_picture

__all__ = [
    "draw_map",
    "draw_profile",
    "draw_steps",
    "draw_sweep",
    "draw_sweeps",
    "save_figure",
]


def draw_sweep(sweep: SweepPlot, path: Path) -> None:
    """Draws epsilon over one parameter.

    Args:
        sweep: What to draw.
        path: The file, replaced if there is one; ``.svg``, ``.png`` or ``.pdf``.

    Raises:
        InputError: If the path has another ending or cannot be written.
    """
    draw_sweeps((sweep,), path)


def draw_sweeps(sweeps: Sequence[SweepPlot], path: Path) -> None:
    """Draws several sweeps side by side, with one scale and one legend; else as `draw_sweep`."""
    require(len(sweeps) >= 1, "sweeps", "at least one", len(sweeps))
    title = "; ".join(sweep.title for sweep in sweeps)
    _save(lambda: sweep_figure(sweeps), path, "sweep", title, sweep_words(sweeps))


def draw_map(data: BoundMap, path: Path) -> None:
    """Draws rho and epsilon by the place of the patch; else as `draw_sweep`."""
    title = "Inclusion probability and epsilon by the place of the patch"
    _save(lambda: map_figure(data), path, "map", title, map_words(data))


def draw_profile(curves: Sequence[ProfileCurve], path: Path) -> None:
    """Draws delta by epsilon of several accountings; else as `draw_sweep`."""
    require(len(curves) >= 1, "curves", "at least one", len(curves))
    _save(lambda: profile_figure(curves), path, "profile", "Privacy profile", profile_words(curves))


def draw_steps(steps: ArrayLike, epsilon: ArrayLike, delta: float, path: Path) -> None:
    """Draws epsilon over training steps.

    Args:
        steps: Shape (n,).
        epsilon: Shape (n,), epsilon after that many steps.
        delta: The delta of every epsilon.
        path: The file, as in `draw_sweep`.

    Raises:
        InputError: If the shapes differ, or the path cannot be written.
    """
    data = StepsPlot(np.asarray(steps, np.float64), np.asarray(epsilon, np.float64), delta)
    title = "Epsilon over training steps"
    _save(lambda: steps_figure(data), path, "steps", title, steps_words(data))


def _save(build: Callable[[], Figure], path: Path, name: str, title: str, alt: str) -> None:
    """Draws a figure in the report's style and writes it whole or not at all."""
    check_output(path, PICTURE_SUFFIXES, True, name="picture")
    with style(name):
        write_output(path, _render(build(), path.suffix.lower(), name, title, alt))


def save_figure(build: Callable[[], Figure], path: Path, name: str, title: str, alt: str) -> None:
    """Draws any figure into a file, as the pictures above.

    Args:
        build: Draws it; called inside the report's style.
        path: The file, as in `draw_sweep`.
        name: Salts the ids.
        title: Short name of the picture.
        alt: What it shows, for those who cannot see it.
    """
    _save(build, path, name, title, alt)


def _render(figure: Figure, suffix: str, name: str, title: str, alt: str) -> bytes:
    """Returns a figure as a file's bytes; to be called inside ``style``."""
    if suffix == ".svg":
        return _on_white(to_picture(figure, name=name, title=title, alt=alt).svg).encode()
    buffer = io.BytesIO()
    if suffix == ".png":
        figure.savefig(buffer, format="png", metadata={"Title": title, "Description": alt})
        return buffer.getvalue()
    # Type 42 keeps the letters of a PDF as text, which can be searched and edited.
    with rc_context({"pdf.fonttype": 42}):
        facts = {"Title": title, "Subject": alt, "CreationDate": None}
        figure.savefig(buffer, format="pdf", metadata=facts)
    return buffer.getvalue()


def _on_white(svg: str) -> str:
    """Returns a picture that stands alone: dark ink on white, whatever is around it."""
    head, end, rest = svg.partition("</desc>")
    # matplotlib makes an image's id from its pixels, so equal images would share one; none is used.
    rest = re.sub(r' id="[\w-]*image[0-9a-f]{10}"', "", rest)
    head = head.replace('style="', 'style="color: #101418; ', 1)
    return f'{head}{end}<rect width="100%" height="100%" fill="#ffffff" />{rest}\n'

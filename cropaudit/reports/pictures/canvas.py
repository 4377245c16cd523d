"""What every picture shares: colours, style, layout, ticks, words for those who cannot see, files.

A `Drawing` is built by matplotlib in one style, laid out by its constrained layout, and saved as an
SVG element of a page or as a file. The same drawing gives the same bytes: no date is written, ids
are salted with the picture's name, and the layout is measured in matplotlib's own type face. Inks
are named by a marker colour: in a page text and axes follow ``currentColor``, so that one picture
reads in light and in dark mode.
"""

import io
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import matplotlib.ticker as ticker
import numpy as np
from matplotlib import rc_context, rcParams, rcParamsDefault
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from cropaudit.reports.outputs import PICTURE_SUFFIXES, check_output, write_output
from cropaudit.reports.text.numbers import format_percent, superscript

__all__ = [
    "BOX",
    "DARK",
    "DASHES",
    "EXCLUDED",
    "GREY",
    "INK",
    "LIGHT",
    "MARKERS",
    "SERIES",
    "Drawing",
    "Picture",
    "blank",
    "canvas",
    "colour_bar",
    "largest_blocks",
    "legend",
    "percent_ticks",
    "plain_ticks",
    "power_ticks",
    "style",
    "whole_ticks",
]

# Mid-tone colours (from Okabe and Ito's colour-blind safe set, darkened or lightened to at least
# 3:1 against white and against near-black); dashes or markers tell series apart without colour.
SERIES = ("#3b7dd8", "#d5661a", "#0f9d78", "#b45fb0", "#a8892a", "#6f7f8f")
DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = (
    "-",
    (0, (6, 2)),
    (0, (2, 1)),
    (0, (6, 2, 1, 2)),
    (0, (1, 1)),
    (0, (8, 3)),
)
# Seven markers beside six colours: the pairs repeat only after 42 series.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
EXCLUDED, GREY = "#d0524a", "#808890"
DARK, LIGHT = "#101418", "#ffffff"
BOX = {"boxstyle": "round,pad=0.2", "facecolor": LIGHT, "alpha": 0.85, "linewidth": 0}
INK = "#010203"
"""Marker for the colour of text and axes; becomes ``currentColor`` in a page."""

_DPI = 180  # of a PNG, and of pixels inside an SVG
_SVG = "http://www.w3.org/2000/svg"
_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
# Any: matplotlib types the keys as literals that differ from release to release.
_SETTINGS: Mapping[Any, Any] = {
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # keeps the letters of a PDF as text, which can be searched
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in an attack's title is a dollar sign
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "grid.color": GREY,
    "grid.alpha": 0.28,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.06,
    "figure.dpi": _DPI,
}


@dataclass(frozen=True)
class Picture:
    """An SVG element, its title and what it shows in words."""

    svg: str
    title: str
    alt: str


@dataclass(frozen=True)
class Drawing:
    """One picture, not yet drawn.

    Attributes:
        name: Prefix of every id, unique within a page.
        title: What it is called.
        alt: What it shows, for those who cannot see it.
        build: Draws it; called inside the style.
    """

    name: str
    title: str
    alt: str
    build: Callable[[], Figure]

    def picture(self) -> Picture:
        """Returns it as an element of a page."""
        with style(self.name):
            root = ElementTree.fromstring(_saved(self.build(), "svg", transparent=True))
        _drop_metadata(root)
        for element in root.iter():
            _clean(element, self.name)
        self._describe(root)
        return Picture(ElementTree.tostring(root, encoding="unicode"), self.title, self.alt)

    def save(self, path: Path) -> None:
        """Writes it, replacing a file that is there.

        Raises:
            InputError: If the path does not end in ``.svg``, ``.png`` or ``.pdf``, or cannot be
                written.
        """
        check_output(path, PICTURE_SUFFIXES, True, name="picture")
        write_output(path, self.data(path.suffix.lower()))

    def data(self, suffix: str) -> bytes:
        """Returns the bytes of a file with this ending; its title and words are in it."""
        if suffix == ".svg":
            return _on_white(self.picture().svg).encode()
        facts = {
            ".png": {"Title": self.title, "Description": self.alt},
            ".pdf": {"Title": self.title, "Subject": self.alt, "CreationDate": None},
        }[suffix]
        with style(self.name):
            return _saved(self.build(), suffix[1:], metadata=facts)

    def _describe(self, root: ElementTree.Element) -> None:
        """Gives the root its namespace, size, type face, title and description."""
        for key in ("width", "height"):
            # Points to pixels: a page lays out in CSS pixels, 96 to the inch.
            root.set(key, f"{float(root.attrib[key].removesuffix('pt')) * 4 / 3:.0f}")
        root.attrib.pop("version", None)
        root.set("xmlns", _SVG)
        root.set("role", "img")
        root.set("aria-labelledby", f"{self.name}-title {self.name}-desc")
        root.set("style", f"font-family: {_FONTS}; stroke-linejoin: round; stroke-linecap: butt")
        for tag, text in (("desc", self.alt), ("title", self.title)):
            element = ElementTree.Element(tag, {"id": f"{self.name}-{tag}"})
            element.text = text
            root.insert(0, element)


@contextmanager
def style(name: str) -> Iterator[None]:
    """Draws what is inside in the report's style, with ids salted by ``name``."""
    # Starting from the defaults keeps a user's matplotlibrc out of the report.
    with rc_context():
        keep = {"backend", "backend_fallback", "interactive", "toolbar"}
        rcParams.update({k: v for k, v in rcParamsDefault.items() if k not in keep})
        rcParams.update({**_SETTINGS, "svg.hashsalt": name})
        yield


def canvas(width: float, height: float) -> Figure:
    """Returns an empty figure of about this size in inches, laid out by matplotlib."""
    return Figure(figsize=(width, height), layout="constrained")


def _saved(figure: Figure, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    if form == "svg":
        options["metadata"] = {"Date": None}
    figure.savefig(buffer, format=form, **options)
    return buffer.getvalue()


def _drop_metadata(root: ElementTree.Element) -> None:
    """Removes the metadata, and the style sheet that would reach into the whole page."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in {f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"}:
                parent.remove(child)


def _clean(element: ElementTree.Element, name: str) -> None:
    """Takes namespaces off, prefixes ids and references, and puts the inks in."""
    element.tag = element.tag.rpartition("}")[2]
    for key, value in list(element.attrib.items()):
        del element.attrib[key]
        plain = key.rpartition("}")[2]
        if plain == "id":
            # matplotlib makes an image's id from its pixels: equal ones share it, and none is used.
            if element.tag == "image":
                continue
            value = f"{name}-{value}"
        elif plain == "href" and value.startswith("#"):
            value = f"#{name}-{value[1:]}"
        elif plain == "href":
            value = re.sub(r"\s+", "", value)
        value = value.replace("url(#", f"url(#{name}-").replace(INK, "currentColor")
        element.set(plain, re.sub(r"font-family: [^;]*;?\s*", "", value))


def _on_white(svg: str) -> str:
    """Returns a picture that stands alone: dark ink on white, whatever is around it."""
    head, end, rest = svg.partition("</desc>")
    head = head.replace('style="', f'style="color: {DARK}; ', 1)
    return f'{head}{end}<rect width="100%" height="100%" fill="{LIGHT}" />{rest}\n'


def legend(
    figure: Figure | SubFigure,
    entries: Iterable[tuple[Artist, str]],
    where: Literal["right upper", "lower left", "lower center"],
    *,
    width: int = 28,
    columns: int = 1,
) -> None:
    """Names what is drawn, outside of the axes; names are wrapped at ``width`` letters."""
    handles, labels = zip(*entries, strict=True)
    figure.legend(  # type: ignore[call-overload]
        handles,
        # A name that begins with an underscore would be left out.
        [textwrap.fill(label.lstrip("_"), width).replace("\u00a0", " ") for label in labels],
        loc=f"outside {where}",
        ncols=columns,
        handlelength=2.6,
    )


def blank() -> Artist:
    """Returns a legend's handle that shows nothing, for a line of words alone."""
    return Line2D([], [], ls="")


def plain_ticks(axis: Axis, *, log: bool) -> None:
    """Labels an axis with plain numbers, on a log axis at 1, 2 and 5 where there is room."""
    if log:
        low, high = axis.get_view_interval()
        steps = (1.0, 2.0, 5.0) if math.log10(high / low) < 3 else (1.0,)
        axis.set_major_locator(ticker.LogLocator(subs=steps))
        axis.set_minor_formatter(ticker.NullFormatter())
    else:
        axis.set_major_locator(ticker.MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:,g}"))


def power_ticks(axis: Axis) -> None:
    """Labels a log axis with powers of ten."""
    axis.set_major_locator(ticker.LogLocator(numticks=8))
    axis.set_major_formatter(ticker.FuncFormatter(lambda y, _: superscript(f"{y:.0e}")))
    axis.set_minor_formatter(ticker.NullFormatter())


def percent_ticks(axis: Axis) -> None:
    """Labels a log axis of rates in percent."""
    axis.set_major_formatter(ticker.FuncFormatter(lambda x, _: format_percent(x)))
    axis.set_minor_formatter(ticker.NullFormatter())


def colour_bar(axes: Axes, shown: AxesImage, label: str = "") -> Colorbar:
    """Adds a colour bar as high as the axes."""
    figure = axes.get_figure()
    assert figure is not None
    return figure.colorbar(shown, cax=axes.inset_axes((1.03, 0.0, 0.04, 1.0)), label=label)


def whole_ticks(axes: Axes) -> None:
    """Frames a map, with ticks on whole pixels only."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(ticker.MaxNLocator(nbins=6, integer=True))
    for spine in axes.spines.values():
        spine.set_visible(True)


def largest_blocks(values: NDArray[np.float64], cells: int) -> tuple[NDArray[np.float64], int]:
    """Returns the largest value of every block of a map, so that no peak is ever hidden.

    Args:
        values: A non-empty matrix.
        cells: Most cells on a side of the result.

    Returns:
        The blocks and their side in entries; the last row and column may cover fewer.

    >>> largest_blocks(np.arange(12.0).reshape(3, 4), 2)
    (array([[ 5.,  7.],
           [ 9., 11.]]), 2)
    """
    step = math.ceil(max(values.shape) / cells)
    rows, columns = (np.arange(0, side, step) for side in values.shape)
    return np.maximum.reduceat(np.maximum.reduceat(values, rows, axis=0), columns, axis=1), step

"""A matplotlib figure as an SVG element that can stand inside an HTML page.

The same figure gives the same bytes: ids are salted with the picture's name, no date is written.
Inks are named by marker colours that are replaced here: text and axes follow ``currentColor``, so
that one picture reads in light and in dark mode. Text stays text, in the page's own type face.
"""

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from matplotlib import rc_context, rcParams, rcParamsDefault
from matplotlib.figure import Figure

__all__ = ["INK", "Picture", "style", "to_picture"]

INK = "#010203"
"""Marker for the colour of text and axes; becomes ``currentColor``."""

_SVG = "http://www.w3.org/2000/svg"
_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
# Any: matplotlib types the keys as literals that differ from release to release.
_SETTINGS: Mapping[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.color": INK,
    # A dollar sign in an attack's title is a dollar sign.
    "text.parse_math": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "grid.color": "#808890",
    "grid.alpha": 0.28,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
}


@dataclass(frozen=True)
class Picture:
    """An SVG element, its title and what it shows in words."""

    svg: str
    title: str
    alt: str


@contextmanager
def style(name: str) -> Iterator[None]:
    """Draws what is inside in the report's style, with ids salted by ``name``."""
    # Starting from the defaults keeps a user's matplotlibrc out of the report.
    with rc_context():
        keep = {"backend", "backend_fallback", "interactive", "toolbar"}
        rcParams.update({k: v for k, v in rcParamsDefault.items() if k not in keep})
        rcParams.update({**_SETTINGS, "svg.hashsalt": name})
        yield


def to_picture(figure: Figure, *, name: str, title: str, alt: str) -> Picture:
    """Returns the figure as an SVG element; to be called inside ``style(name)``.

    Args:
        figure: What was drawn.
        name: Prefix of every id, unique within the page.
        title: Short name of the picture.
        alt: What it shows, for those who cannot see it.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())
    _drop_metadata(root)
    for element in root.iter():
        _clean(element, name)
    _describe(root, name, title, alt)
    return Picture(ElementTree.tostring(root, encoding="unicode"), title, alt)


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
            value = f"{name}-{value}"
        elif plain == "href" and value.startswith("#"):
            value = f"#{name}-{value[1:]}"
        elif plain == "href":
            value = re.sub(r"\s+", "", value)
        value = value.replace("url(#", f"url(#{name}-").replace(INK, "currentColor")
        element.set(plain, re.sub(r"font-family: [^;]*;?\s*", "", value))


def _describe(root: ElementTree.Element, name: str, title: str, alt: str) -> None:
    """Gives the root its namespace, type face, title and description."""
    for key in ("width", "height"):
        # Points to pixels: a page lays out in CSS pixels, 96 to the inch.
        root.set(key, f"{float(root.attrib[key].removesuffix('pt')) * 4 / 3:.0f}")
    root.attrib.pop("version", None)
    root.set("xmlns", _SVG)
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-desc")
    root.set("style", f"font-family: {_FONTS}; stroke-linejoin: round; stroke-linecap: butt")
    for tag, text in (("desc", alt), ("title", title)):
        element = ElementTree.Element(tag, {"id": f"{name}-{tag}"})
        element.text = text
        root.insert(0, element)

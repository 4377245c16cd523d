"""The tools that paint a street: chance, a pinhole camera, the light, a picture and its mask.

The world is in metres: x to the right of the road's middle, y up from the ground, z ahead of the
camera. A pinhole camera of focal length f at height h projects (x, y, z) to column c + f x / z and
row r + f (h - y) / z, where (r, c) is the vanishing point. Every stroke goes to the picture and,
with a label, to the mask too, `SUPERSAMPLING` times finer than the image, so that edges are smooth.

Assumes integers wherever a pixel is decided: chance is drawn as integers, arithmetic on floats is
limited to what IEEE 754 rounds correctly (+ - * / and the root), and shapes are rounded to whole
pixels before they are drawn. The same seed so gives the same picture on every processor.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageDraw

from cropaudit.accounting.geometry.shapes import Size

__all__ = ["CLASSES", "SUPERSAMPLING", "Colour", "Light", "Place", "Stage", "mix"]

CLASSES = (
    *("sky", "building", "vegetation", "road", "pavement", "pole", "car", "person"),
    *("face", "plate"),
)
SUPERSAMPLING = 2
_NEAREST = 1.5  # metres; what is nearer is drawn as if it were there
_GRAIN = 1 << 20  # steps of a random fraction

Colour = tuple[int, int, int]
Tint = tuple[int, ...]  # a colour, or one with its opacity of 255
Pair = tuple[float, float]
Place = tuple[float, float, float]
T = TypeVar("T")


class Light(NamedTuple):
    """Daylight and weather; lamps are on where more than a quarter of the windows are lit."""

    top: Colour  # of the sky
    low: Colour  # at the horizon
    cloud: Colour
    cover: float  # of the sky by clouds
    haze: Colour  # that distance fades to
    visibility: float  # metres after which half of a surface's own colour is left
    tint: tuple[float, float, float]  # of daylight, by channel
    lit: float  # share of windows
    grain: int  # deviation of the sensor's noise in grey levels

    @property
    def lamps(self) -> bool:
        """Whether street lamps and headlights are on."""
        return self.lit > 0.25


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Returns the colour that holds ``share`` of ``second`` and the rest of ``first``.

    >>> mix((0, 0, 0), (100, 200, 40), 0.5)
    (50, 100, 20)
    """
    (red, green, blue), (red2, green2, blue2) = first, second
    return (
        int(red + (red2 - red) * share + 0.5),
        int(green + (green2 - green) * share + 0.5),
        int(blue + (blue2 - blue) * share + 0.5),
    )


class Stage:
    """A camera over a picture and its mask, painted together."""

    def __init__(self, size: Size, lights: Sequence[Light], rng: np.random.Generator) -> None:
        self.width, self.height = size.width * SUPERSAMPLING, size.height * SUPERSAMPLING
        self.rng = rng
        self.light = self.pick(lights)
        self.focal = self.between(0.78, 1.0) * math.sqrt(self.height * self.width)
        self.row = round(self.between(0.4, 0.5) * self.height)
        self.column = self.between(0.38, 0.62) * self.width
        self.eye, self.x = self.between(1.45, 2.1), self.between(-2.0, 2.4)
        self.bend = self.between(-0.002, 0.002)  # metres sideways per squared metre of depth
        self.picture = Image.new("RGB", (self.width, self.height))
        self.marks = Image.new("L", (self.width, self.height))
        self._mark = ImageDraw.Draw(self.marks)
        # By the length of a colour: what has an opacity tints.
        self._pens = {3: ImageDraw.Draw(self.picture), 4: ImageDraw.Draw(self.picture, "RGBA")}

    def between(self, low: float, high: float) -> float:
        """Draws a number from an interval."""
        return low + (high - low) * int(self.rng.integers(_GRAIN)) / _GRAIN

    def happens(self, share: float) -> bool:
        """Returns whether an event of this probability happens."""
        return self.between(0, 1) < share

    def pick(self, items: Sequence[T]) -> T:
        """Draws one of several things."""
        return items[int(self.rng.integers(len(items)))]

    def near(self, colour: Colour, spread: int = 14) -> Colour:
        """Draws a colour at most ``spread`` levels away in each channel."""
        moved = np.add(colour, self.rng.integers(-spread, spread + 1, 3)).clip(0, 255)
        red, green, blue = moved.tolist()
        return red, green, blue

    def shade(self, colour: Colour, z: float, factor: float = 1.0) -> Colour:
        """Returns a lit surface's colour as seen through ``z`` metres of air."""
        pairs = zip(colour, self.light.tint, strict=True)
        red, green, blue = (min(255, int(part * tint * factor)) for part, tint in pairs)
        return self.glow((red, green, blue), z)

    def glow(self, colour: Colour, z: float) -> Colour:
        """Returns a lamp's colour through ``z`` metres of air: no daylight tints it."""
        return mix(colour, self.light.haze, z / (z + self.light.visibility))

    def point(self, place: Place) -> tuple[int, int]:
        """Returns the column and the row of a place."""
        x, y, z = place[0], place[1], max(place[2], _NEAREST)
        scale = self.focal / z
        column = self.column + scale * (x - self.x + self.bend * z * z)
        return round(column), round(self.row + scale * (self.eye - y))

    def fill(self, places: Sequence[Place], colour: Tint, label: str = "") -> None:
        """Fills a polygon; without a label the mask stays."""
        points = [self.point(place) for place in places]
        self._pens[len(colour)].polygon(points, colour)
        if label:
            self._mark.polygon(points, CLASSES.index(label))

    def upright(self, across: Pair, up: Pair, z: float, colour: Colour, label: str) -> None:
        """Fills a rectangle that faces the camera."""
        (left, right), (low, high) = across, up
        corners = [(left, low, z), (left, high, z), (right, high, z), (right, low, z)]
        self.fill(corners, colour, label)

    def disc(self, centre: Place, radii: Pair, colour: Tint, label: str = "") -> None:
        """Fills an ellipse that faces the camera, of these radii in metres."""
        (column, row), scale = self.point(centre), self.focal / max(centre[2], _NEAREST)
        across, down = round(radii[0] * scale), round(radii[1] * scale)
        box = (column - across, row - down, column + across, row + down)
        self._pens[len(colour)].ellipse(box, colour)
        if label:
            self._mark.ellipse(box, CLASSES.index(label))

    def limb(self, places: Sequence[Place], width: float, colour: Colour, label: str = "") -> None:
        """Draws a bent line, ``width`` metres wide at its first place and at least a pixel."""
        points = [self.point(place) for place in places]
        pixels = max(1, round(width * self.focal / max(places[0][2], _NEAREST)))
        self._pens[3].line(points, fill=colour, width=pixels, joint="curve")
        if label:
            self._mark.line(points, fill=CLASSES.index(label), width=pixels, joint="curve")

"""The tools that paint a street: a pinhole camera, the light, and a canvas that keeps the mask.

The world is in metres: x to the right of the road's middle, y up from the ground, z ahead of the
camera. A pinhole camera of focal length f at height h projects (x, y, z) to column c + f x / z and
row r + f (h - y) / z, where (r, c) is the vanishing point. Distance fades colours towards the haze
as 1 - exp(-z / visibility). Every stroke goes to the picture and, with a label, to the mask too,
on a canvas `SUPERSAMPLING` times finer than the image, so that edges come out smooth.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cropaudit.accounting.geometry import Size
from cropaudit.training.scene_layout import CLASSES, Colour, Lens, Light

__all__ = ["SUPERSAMPLING", "Camera", "Canvas", "Point", "Stage", "mix"]

SUPERSAMPLING = 2
NEAREST_DEPTH = 1.5

Point = tuple[float, float]


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Returns the colour that holds ``share`` of ``second`` and the rest of ``first``.

    >>> mix((0, 0, 0), (100, 200, 40), 0.5)
    (50, 100, 20)
    """
    # Written out: a scene mixes some thousand colours, and loops over three cost most of its time.
    (red, green, blue), (red2, green2, blue2) = first, second
    return (
        int(red + (red2 - red) * share + 0.5),
        int(green + (green2 - green) * share + 0.5),
        int(blue + (blue2 - blue) * share + 0.5),
    )


@dataclass(frozen=True)
class Camera:
    """Where the world's points fall on the canvas.

    Attributes:
        focal: Focal length in canvas pixels.
        column: Column of the vanishing point.
        row: Row of the horizon.
        height: Height above the ground in metres.
        x: Distance from the road's middle in metres.
        bend: Sideways shift of the street in metres per squared metre of depth.
    """

    focal: float
    column: float
    row: float
    height: float
    x: float
    bend: float

    @classmethod
    def of(cls, lens: Lens, canvas: Size) -> "Camera":
        """Returns the camera of a lens over a canvas, whatever its proportions."""
        return cls(
            focal=lens.focal * math.sqrt(canvas.height * canvas.width),
            column=lens.column * canvas.width,
            row=lens.horizon * canvas.height,
            height=lens.height,
            x=lens.x,
            bend=lens.bend,
        )

    def point(self, x: float, y: float, z: float) -> Point:
        """Returns the (column, row) of a point; what is nearer than the lens is drawn at it."""
        z = max(z, NEAREST_DEPTH)
        scale = self.focal / z
        across = x - self.x + self.bend * z * z
        return self.column + scale * across, self.row + scale * (self.height - y)

    def scale(self, z: float) -> float:
        """Returns canvas pixels per metre at depth ``z``."""
        return self.focal / max(z, NEAREST_DEPTH)


class Canvas:
    """A picture and its mask, painted together."""

    def __init__(self, size: Size) -> None:
        self.size = Size(size.height * SUPERSAMPLING, size.width * SUPERSAMPLING)
        shape = (self.size.width, self.size.height)
        self.picture = Image.new("RGB", shape)
        self._marks = Image.new("L", shape, CLASSES.index("sky"))
        self._opaque = ImageDraw.Draw(self.picture)
        self._glaze = ImageDraw.Draw(self.picture, "RGBA")
        self._mark = ImageDraw.Draw(self._marks)

    def polygon(self, points: Sequence[Point], colour: Colour, label: str | None = None) -> None:
        """Fills a polygon; without a label the mask stays as it is."""
        self._opaque.polygon(points, fill=colour)
        if label is not None:
            self._mark.polygon(points, fill=CLASSES.index(label))

    def ellipse(
        self, centre: Point, radii: Point, colour: Colour, label: str | None = None
    ) -> None:
        """Fills an ellipse with horizontal and vertical ``radii``."""
        box = _box(centre, radii)
        self._opaque.ellipse(box, fill=colour)
        if label is not None:
            self._mark.ellipse(box, fill=CLASSES.index(label))

    def line(
        self, points: Sequence[Point], colour: Colour, width: float, label: str | None = None
    ) -> None:
        """Draws a line of at least one canvas pixel."""
        pixels = max(1, round(width))
        self._opaque.line(points, fill=colour, width=pixels, joint="curve")
        if label is not None:
            self._mark.line(points, fill=CLASSES.index(label), width=pixels, joint="curve")

    def glaze_polygon(self, points: Sequence[Point], colour: Colour, opacity: float) -> None:
        """Tints a polygon without touching the mask: shadows, reflections, stains."""
        self._glaze.polygon(points, fill=(*colour, round(255 * opacity)))

    def glaze_ellipse(self, centre: Point, radii: Point, colour: Colour, opacity: float) -> None:
        """Tints an ellipse without touching the mask."""
        self._glaze.ellipse(_box(centre, radii), fill=(*colour, round(255 * opacity)))

    def pixels(self) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Returns the picture (H, W, 3) in [0, 255] and the mask (H, W), at the image's size."""
        picture = np.asarray(self.picture.reduce(SUPERSAMPLING), dtype=np.float32)
        mask = np.array(self._marks, dtype=np.uint8)[1::SUPERSAMPLING, 1::SUPERSAMPLING]
        return picture, np.ascontiguousarray(mask)


@dataclass(frozen=True)
class Stage:
    """What every painter needs: where to paint, from where, in which light, with which chance."""

    canvas: Canvas
    camera: Camera
    light: Light
    rng: np.random.Generator

    def shade(self, colour: Colour, z: float, factor: float = 1.0) -> Colour:
        """Returns a lit surface's colour as seen through ``z`` metres of air."""
        (red, green, blue), (warm, mild, cold) = colour, self.light.tint
        lit = (
            min(255, int(red * warm * factor)),
            min(255, int(green * mild * factor)),
            min(255, int(blue * cold * factor)),
        )
        return self.glow(lit, z)

    def glow(self, colour: Colour, z: float) -> Colour:
        """Returns a lamp's colour through ``z`` metres of air: no daylight tints it."""
        return mix(colour, self.light.haze, 1 - math.exp(-z / self.light.visibility))

    def sees(self, x: float, z: float, reach: float) -> bool:
        """Returns whether what reaches ``reach`` metres about (x, z) can touch the canvas."""
        column, _ = self.camera.point(x, 0, z)
        margin = reach * self.camera.scale(z)
        return -margin < column < self.canvas.size.width + margin

    def quad(self, corners: Sequence[tuple[float, float, float]]) -> list[Point]:
        """Projects the corners of a flat shape given in metres."""
        return [self.camera.point(*corner) for corner in corners]


def _box(centre: Point, radii: Point) -> tuple[float, float, float, float]:
    (x, y), (across, down) = centre, radii
    return x - across, y - down, x + across, y + down

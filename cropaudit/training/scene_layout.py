"""The description of a street scene; nothing is drawn from chance or painted here.

Lengths are in metres. A layout does not know the image's size: one seed shows the same street at
every resolution. Buildings stand along both sides, cars park at the kerbs and drive in the lanes,
people walk on the pavements and cross the road.
"""

from dataclasses import dataclass

__all__ = [
    "CLASSES",
    "Building",
    "Car",
    "Colour",
    "Lens",
    "Light",
    "Person",
    "Pole",
    "Street",
    "Tree",
]

CLASSES = (
    "sky",
    "building",
    "vegetation",
    "road",
    "pavement",
    "pole",
    "car",
    "person",
    "face",
    "plate",
)

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Light:
    """Daylight and weather.

    Attributes:
        sky: Colours of the sky at the top and at the horizon.
        cloud: Colour of the clouds.
        cover: Share of the sky under cloud, 0 to 1.
        haze: Colour that distance fades to.
        visibility: Metres after which 1/e of a surface's own colour is left.
        tint: Factor of daylight on each colour channel.
        lit: Share of windows with a lamp on; above 0.3, street lamps and headlights are on.
        wet: Whether the road mirrors the sky.
        grain: Standard deviation of the sensor's noise in grey levels.
    """

    sky: tuple[Colour, Colour]
    cloud: Colour
    cover: float
    haze: Colour
    visibility: float
    tint: tuple[float, float, float]
    lit: float
    wet: bool
    grain: float


@dataclass(frozen=True)
class Lens:
    """The camera, in shares of the image where it looks and in metres where it stands."""

    focal: float
    horizon: float
    column: float
    height: float
    x: float
    bend: float


@dataclass(frozen=True)
class Building:
    """A house from ``near`` to ``far``, whose front stands ``front`` metres from the middle."""

    side: int
    near: float
    far: float
    front: float
    floors: int
    wall: Colour
    roof: Colour
    pitched: bool
    shop: bool


@dataclass(frozen=True)
class Tree:
    """A tree or, with a low ``height``, a bush."""

    x: float
    z: float
    height: float
    leaf: Colour


@dataclass(frozen=True)
class Pole:
    """A street lamp, a road sign or a traffic light."""

    x: float
    z: float
    height: float
    kind: int


@dataclass(frozen=True)
class Car:
    """A car or a van whose near end is at ``z``; ``rear`` when we see it from behind."""

    x: float
    z: float
    width: float
    height: float
    length: float
    paint: Colour
    rear: bool


@dataclass(frozen=True)
class Person:
    """A pedestrian; ``facing`` turns the face from -1 (left) over 0 (to us) to 1 (right)."""

    x: float
    z: float
    height: float
    skin: Colour
    hair: Colour
    top: Colour
    bottom: Colour
    facing: float
    back: bool
    stride: float
    style: int


@dataclass(frozen=True)
class Street:
    """Everything that stands in one scene, with the road's half width and the pavement's width."""

    light: Light
    lens: Lens
    half_road: float
    pavement: float
    asphalt: Colour
    paving: Colour
    grass: Colour
    crossing: float | None
    buildings: tuple[Building, ...]
    trees: tuple[Tree, ...]
    poles: tuple[Pole, ...]
    cars: tuple[Car, ...]
    people: tuple[Person, ...]

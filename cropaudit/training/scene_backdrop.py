"""Paints what frames a street: sky, ground, road markings and houses.

Everything flat on the ground is cut into strips along the road, short near the camera and long far
away, so that bends and the haze show.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cropaudit.training.scene_layout import Building, Colour, Street
from cropaudit.training.scene_painter import SUPERSAMPLING, Point, Stage, mix

__all__ = ["paint_building", "paint_ground", "paint_sky"]

_FAR = 130.0
_DEPTHS = tuple(float(z) for z in np.geomspace(1.6, _FAR, 24))
_FLOOR = 3.1
_DETAIL = 45.0


def paint_sky(stage: Stage, street: Street) -> None:
    """Paints the sky's gradient, its clouds and the dim skyline at the street's end."""
    canvas, light = stage.canvas, stage.light
    # Painted at the image's own resolution: a smooth sky gains nothing from finer pixels.
    rows = max(1, round(stage.camera.row / SUPERSAMPLING))
    columns = canvas.size.width // SUPERSAMPLING
    fall = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None] ** 0.8
    top, low = (np.array(colour, dtype=np.float32) for colour in light.sky)
    gradient = top + (low - top) * fall
    clouds = _clouds(stage.rng, rows, columns, light.cover)[..., None]
    # Clouds thin out towards the horizon, where the air between is thick.
    clouds *= 0.9 * (1 - 0.6 * fall)
    sky = gradient + (np.array(light.cloud, dtype=np.float32) - gradient) * clouds
    air = Image.fromarray(sky.astype(np.uint8))
    finer = (columns * SUPERSAMPLING, rows * SUPERSAMPLING)
    canvas.picture.paste(air.resize(finer, Image.Resampling.NEAREST), (0, 0))
    _paint_skyline(stage)


def _clouds(rng: np.random.Generator, rows: int, columns: int, cover: float) -> NDArray[np.float32]:
    """Returns the clouds' opacity: smooth noise in three octaves above a threshold."""
    # Clouds are soft: a quarter of the resolution holds all of them.
    shape = (max(2, columns // 4), max(2, rows // 4))
    total = np.zeros(shape[::-1], dtype=np.float32)
    for octave, weight in ((3, 0.55), (7, 0.3), (15, 0.15)):
        grid = Image.fromarray(rng.random((octave, 2 * octave), dtype=np.float32))
        total += weight * np.asarray(grid.resize(shape, Image.Resampling.BICUBIC))
    opacity = Image.fromarray(np.clip((total - 0.72 + 0.5 * cover) * 4.5, 0, 1))
    return np.array(opacity.resize((columns, rows), Image.Resampling.BILINEAR))


def _paint_skyline(stage: Stage) -> None:
    """Closes the view with distant blocks, wide enough for any bend."""
    rng, x = stage.rng, -160.0
    while x < 160:
        width, height = rng.uniform(8, 26), rng.uniform(4, 22)
        colour = mix(stage.shade((128, 124, 126), _FAR), stage.light.haze, rng.uniform(0.1, 0.5))
        corners = ((x, 0, _FAR), (x, height, _FAR), (x + width, height, _FAR), (x + width, 0, _FAR))
        # The skyline stays put where the street bends away from it.
        shift = stage.camera.bend * _FAR * _FAR
        stage.canvas.polygon(
            stage.quad([(a - shift, b, c) for a, b, c in corners]), colour, "building"
        )
        x += width


def paint_ground(stage: Stage, street: Street) -> None:
    """Paints grass, pavements with kerbs, the road and its markings."""
    half, edge = street.half_road, street.half_road + street.pavement
    canvas, row = stage.canvas, stage.camera.row
    width, height = canvas.size.width, canvas.size.height
    ground = [(0.0, row), (float(width), row), (float(width), height + 1.0), (0.0, height + 1.0)]
    canvas.polygon(ground, stage.shade(street.grass, 60), "vegetation")
    for far, near in pairwise(reversed(_DEPTHS)):
        _strip(stage, (-80, 80), (near, far), street.grass, "vegetation")
        _strip(stage, (-edge - 1.2, edge + 1.2), (near, far), street.paving, "pavement")
        _strip(stage, (-half - 0.15, half + 0.15), (near, far), (196, 192, 184), "pavement")
        _strip(stage, (-half, half), (near, far), street.asphalt, "road")
    _paint_slabs(stage, street)
    _paint_stains(stage, street)
    _paint_markings(stage, street)


def _strip(
    stage: Stage,
    across: tuple[float, float],
    along: tuple[float, float],
    colour: Colour,
    label: str | None,
) -> None:
    stage.canvas.polygon(_flat(stage, across, along), stage.shade(colour, along[0]), label)


def _flat(stage: Stage, across: tuple[float, float], along: tuple[float, float]) -> list[Point]:
    (left, right), (near, far) = across, along
    return stage.quad([(left, 0, near), (right, 0, near), (right, 0, far), (left, 0, far)])


def _paint_slabs(stage: Stage, street: Street) -> None:
    """Joints between the paving slabs, near the camera where they can be seen."""
    half, edge = street.half_road, street.half_road + street.pavement
    for side in (-1, 1):
        for z in np.arange(2.0, 22.0, 1.2):
            ends = stage.quad([(side * (half + 0.2), 0, z), (side * edge, 0, z)])
            joint = stage.shade(mix(street.paving, (60, 58, 54), 0.35), float(z))
            stage.canvas.line(ends, joint, 0.03 * stage.camera.scale(float(z)))


def _paint_stains(stage: Stage, street: Street) -> None:
    """Patches and tracks on the asphalt; on a wet road the sky's light lies on it."""
    rng, half = stage.rng, street.half_road
    for _ in range(7):
        z, x = rng.uniform(4, 26), rng.uniform(-half + 0.6, half - 1.6)
        patch = _flat(stage, (x, x + rng.uniform(0.4, 1.4)), (z, z + rng.uniform(0.6, 4)))
        stage.canvas.glaze_polygon(patch, (20, 20, 22), rng.uniform(0.06, 0.22))
    for x in (-0.62 * half, -0.3 * half, 0.3 * half, 0.62 * half):
        for far, near in pairwise(reversed(_DEPTHS[:18])):
            track = _flat(stage, (x - 0.25, x + 0.25), (near, far))
            if stage.light.wet:
                stage.canvas.glaze_polygon(track, stage.light.sky[1], 0.16)
            else:
                stage.canvas.glaze_polygon(track, (24, 24, 26), 0.07)


def _paint_markings(stage: Stage, street: Street) -> None:
    half, white = street.half_road, (222, 222, 214)
    start = stage.rng.uniform(1.0, 5.0)
    for z in np.arange(start, 90, 6.0):
        _strip(stage, (-0.09, 0.09), (float(z), float(z) + 3), white, None)
    for side in (-1, 1):
        for far, near in pairwise(reversed(_DEPTHS[:20])):
            line = (side * (half - 0.35) - 0.06, side * (half - 0.35) + 0.06)
            _strip(stage, line, (near, far), mix(white, street.asphalt, 0.25), None)
    if street.crossing is not None:
        for x in np.arange(-half + 0.4, half - 0.5, 1.0):
            bar = (float(x), float(x) + 0.5)
            _strip(stage, bar, (street.crossing, street.crossing + 3.0), white, None)


def paint_building(stage: Stage, house: Building) -> None:
    """Paints one house: roof, gable towards us, front, and what is on the front."""
    height = house.floors * _FLOOR + 0.7
    x, deep = house.side * house.front, house.side * (house.front + 9)
    near, far = house.near, house.far
    sunny = 1.04 if house.side > 0 else 0.86
    wall = stage.shade(house.wall, (near + far) / 2, sunny)
    _paint_roof(stage, house, height)
    gable = stage.quad([(x, 0, near), (x, height, near), (deep, height, near), (deep, 0, near)])
    stage.canvas.polygon(gable, stage.shade(house.wall, near, 0.74), "building")
    _paint_gable_windows(stage, house)
    front = stage.quad([(x, 0, near), (x, height, near), (x, height, far), (x, 0, far)])
    stage.canvas.polygon(front, wall, "building")
    _band(stage, house, height - 0.35, height, mix(wall, stage.light.haze, 0.28))
    _band(stage, house, 0, 0.5, mix(wall, (30, 30, 32), 0.35))
    if near < _DETAIL:
        _paint_openings(stage, house)
    else:
        for floor in range(house.floors):
            low = floor * _FLOOR + 1.1
            _band(stage, house, low, low + 1.2, mix(wall, (40, 46, 58), 0.3))


def _paint_roof(stage: Stage, house: Building, height: float) -> None:
    if not house.pitched:
        return
    x, ridge, top = house.side * house.front, house.side * (house.front + 4.5), height + 3.2
    back = house.side * (house.front + 9)
    colour = stage.shade(house.roof, house.near)
    slope = [(x, height, house.near), (ridge, top, house.near)]
    slope += [(ridge, top, house.far), (x, height, house.far)]
    stage.canvas.polygon(stage.quad(slope), colour, "building")
    tip = [(x, height, house.near), (ridge, top, house.near), (back, height, house.near)]
    stage.canvas.polygon(stage.quad(tip), stage.shade(house.wall, house.near, 0.7), "building")


def _paint_gable_windows(stage: Stage, house: Building) -> None:
    """Two small windows a floor on the wall that faces us, unless it is close or far."""
    if not 4 < house.near < _DETAIL:
        return
    z = house.near
    glass = stage.shade(mix((38, 46, 58), stage.light.sky[0], 0.25), z, 0.9)
    for floor in range(house.floors):
        low = floor * _FLOOR + 1.1
        for away in (1.6, 5.2):
            start = house.side * (house.front + away)
            stop = start + house.side * 1.1
            corners = ((start, low, z), (stop, low, z), (stop, low + 1.4, z), (start, low + 1.4, z))
            stage.canvas.polygon(stage.quad(corners), glass)


def _band(stage: Stage, house: Building, low: float, high: float, colour: Colour) -> None:
    x = house.side * house.front
    corners = [(x, low, house.near), (x, high, house.near)]
    corners += [(x, high, house.far), (x, low, house.far)]
    stage.canvas.polygon(stage.quad(corners), colour)


def _paint_openings(stage: Stage, house: Building) -> None:
    """Windows in every bay, with a door or a shop front on the ground floor."""
    bays = max(2, round((house.far - house.near) / 2.9))
    edges = np.linspace(house.near, house.far, bays + 1)
    door = int(stage.rng.integers(bays))
    lit = stage.rng.random((house.floors, bays)) < stage.light.lit
    for bay, (start, stop) in enumerate(pairwise(edges)):
        span, z = float(stop - start), float(start)
        if stop < 2.5:
            continue
        for floor in range(house.floors):
            low, lamp = floor * _FLOOR, bool(lit[floor, bay])
            if floor == 0 and house.shop:
                _pane(stage, house, (z + 0.08 * span, z + 0.92 * span), (0.5, 2.5), lamp)
            elif floor == 0 and bay == door:
                _door(stage, house, (z + 0.3 * span, z + 0.68 * span))
            else:
                _window(stage, house, (z + 0.26 * span, z + 0.74 * span), low + 1.0, lamp)
    if house.shop:
        sign = mix(house.roof, house.wall[::-1], 0.4)
        _band(stage, house, 2.55, 3.1, stage.shade(sign, house.near))


def _window(
    stage: Stage, house: Building, along: tuple[float, float], low: float, lamp: bool
) -> None:
    frame = stage.shade(mix(house.wall, (250, 248, 240), 0.65), along[0])
    if along[0] < 30:
        outer = (along[0] - 0.1, along[1] + 0.1)
        stage.canvas.polygon(_front(stage, house, outer, (low - 0.12, low + 1.72)), frame)
    _pane(stage, house, along, (low, low + 1.6), lamp)
    if along[0] < 22:
        middle = (along[0] + along[1]) / 2
        bar = (middle - 0.04, middle + 0.04)
        stage.canvas.polygon(_front(stage, house, bar, (low, low + 1.6)), frame)


def _pane(
    stage: Stage,
    house: Building,
    along: tuple[float, float],
    up: tuple[float, float],
    lamp: bool,
) -> None:
    mirrored = mix((38, 46, 58), stage.light.sky[0], stage.rng.uniform(0.1, 0.5))
    glass = stage.glow((255, 214, 140), along[0]) if lamp else stage.shade(mirrored, along[0])
    stage.canvas.polygon(_front(stage, house, along, up), glass)


def _door(stage: Stage, house: Building, along: tuple[float, float]) -> None:
    colour = stage.shade(mix(house.roof, (120, 40, 30), 0.4), along[0], 0.8)
    stage.canvas.polygon(_front(stage, house, along, (0.0, 2.2)), colour)


def _front(
    stage: Stage, house: Building, along: tuple[float, float], up: tuple[float, float]
) -> list[Point]:
    x, (near, far), (low, high) = house.side * house.front, along, up
    return stage.quad([(x, low, near), (x, high, near), (x, high, far), (x, low, far)])

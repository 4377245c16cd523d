"""Paints cars and vans as boxes in perspective: the near end, one flank and the roof.

A car's outline is given once, as (length from the near end, height) in shares of its size, and
drawn on the flank that the camera sees; the near end bears lights, a window and a licence plate.
"""

from cropaudit.training.scene_layout import Car, Colour
from cropaudit.training.scene_painter import Point, Stage, mix

__all__ = ["paint_car"]

_SHOULDER = 0.56
_SILL = 0.17
# Half the roof's width in shares of half the car's: cabins narrow upwards.
_ROOF = 0.84
# Where the cabin begins and ends at the shoulder and at the roof, in shares of the length, from
# the rear end on: a hatchback's window is steep behind and slanted in front.
_CABIN = (0.03, 0.14, 0.56, 0.74)


class _Body:
    """Points on one car: across in [-1, 1], up and along in shares of its height and length."""

    def __init__(self, stage: Stage, car: Car) -> None:
        self.stage, self.car = stage, car

    def at(self, across: float, up: float, along: float) -> Point:
        car = self.car
        x = car.x + across * car.width / 2
        return self.stage.camera.point(x, up * car.height, car.z + along * car.length)

    def shade(self, colour: Colour, factor: float = 1.0) -> Colour:
        return self.stage.shade(colour, self.car.z, factor)

    def face(self, corners: list[tuple[float, float]], colour: Colour, along: float = 0.0) -> None:
        """Fills a shape on the near end, from (across, up) pairs; it is car."""
        points = [self.at(across, up, along) for across, up in corners]
        self.stage.canvas.polygon(points, colour, "car")


def paint_car(stage: Stage, car: Car) -> None:
    """Paints one car: shadow, flank with wheels, roof, near end with lights and plate."""
    body = _Body(stage, car)
    _paint_shadow(body)
    below, above, top, bonnet = _cabin(car)
    flank = -1.0 if car.x + stage.camera.bend * car.z**2 > stage.camera.x else 1.0
    _paint_flank(body, flank, (below, above, top, bonnet))
    _paint_top(body, (below, above, top))
    _paint_end(body, (below, above))


def _cabin(car: Car) -> tuple[float, float, float, float]:
    """Returns where the cabin starts below and above, and where it ends above and below."""
    rear, roof_start, roof_end, bonnet = _CABIN
    if car.height > 1.8:
        rear, roof_start, roof_end, bonnet = 0.01, 0.03, 0.78, 0.9
    if car.rear:
        return rear, roof_start, roof_end, bonnet
    return 1 - bonnet, 1 - roof_end, 1 - roof_start, 1 - rear


def _paint_shadow(body: _Body) -> None:
    ground = [(-1.1, -0.04), (1.1, -0.04), (1.1, 1.04), (-1.1, 1.04)]
    points = [body.at(across, 0.0, along) for across, along in ground]
    body.stage.canvas.glaze_polygon(points, (8, 8, 12), 0.55)


def _paint_flank(body: _Body, side: float, cabin: tuple[float, float, float, float]) -> None:
    """The side of the car that the camera sees."""
    below, above, top, bonnet = cabin
    stage, paint = body.stage, body.shade(body.car.paint, 0.8)
    inset = _ROOF * side
    hull = [(0.0, _SILL), (0.0, _SHOULDER), (1.0, _SHOULDER), (1.0, _SILL)]
    stage.canvas.polygon([body.at(side, up, along) for along, up in hull], paint, "car")
    glass = [(below, _SHOULDER, side), (above, 1.0, inset), (top, 1.0, inset)]
    glass += [(bonnet, _SHOULDER, side)]
    points = [body.at(across, up, along) for along, up, across in glass]
    stage.canvas.polygon(points, paint, "car")
    _paint_side_windows(body, side, cabin)
    for along in (0.2, 0.8):
        _paint_wheel(body, side, along)


def _paint_side_windows(body: _Body, side: float, cabin: tuple[float, float, float, float]) -> None:
    below, above, top, bonnet = cabin
    middle = (above + top) / 2
    glass = body.shade(mix((34, 40, 48), body.stage.light.sky[1], 0.22))
    low, high = _SHOULDER + 0.03, 0.93
    inset = (_ROOF + 0.01) * side
    halves = (
        (below + 0.05, above + 0.03, middle - 0.02, middle - 0.02),
        (middle + 0.02, middle + 0.02, top - 0.03, bonnet - 0.05),
    )
    for start_low, start_high, end_high, end_low in halves:
        corners = [body.at(side, low, start_low), body.at(inset, high, start_high)]
        corners += [body.at(inset, high, end_high), body.at(side, low, end_low)]
        body.stage.canvas.polygon(corners, glass, "car")


def _paint_wheel(body: _Body, side: float, along: float) -> None:
    car, stage = body.car, body.stage
    radius = 0.33
    up = radius / car.height
    centre = body.at(side, up, along)
    before = body.at(side, up, along - radius / car.length)
    after = body.at(side, up, along + radius / car.length)
    down = radius * stage.camera.scale(car.z + along * car.length)
    across = max(1.0, abs(after[0] - before[0]) / 2)
    stage.canvas.ellipse(centre, (across, down), body.shade((24, 24, 26)), "car")
    rim = body.shade((150, 152, 156))
    stage.canvas.ellipse(centre, (0.55 * across, 0.55 * down), rim, "car")


def _paint_top(body: _Body, cabin: tuple[float, float, float]) -> None:
    """Boot or bonnet, and the roof: seen only from above them."""
    below, above, top = cabin
    paint = body.shade(body.car.paint, 1.08)
    deck = [(-1.0, 0.0), (1.0, 0.0), (1.0, below), (-1.0, below)]
    points = [body.at(across, _SHOULDER, along) for across, along in deck]
    body.stage.canvas.polygon(points, paint, "car")
    roof = [(-_ROOF, above), (_ROOF, above), (_ROOF, top), (-_ROOF, top)]
    points = [body.at(across, 1.0, along) for across, along in roof]
    body.stage.canvas.polygon(points, paint, "car")


def _paint_end(body: _Body, cabin: tuple[float, float]) -> None:
    """The near end: tyres, bumper, window, lights and plate."""
    below, above = cabin
    paint = body.shade(body.car.paint)
    for across in (-0.82, 0.82):
        tyre = [(across - 0.13, 0.0), (across + 0.13, 0.0), (across + 0.13, 0.25)]
        tyre += [(across - 0.13, 0.25)]
        body.face(tyre, body.shade((22, 22, 24)), 0.05)
    _paint_screen(body, below, above, paint)
    hull = [(-0.96, _SILL), (-1.0, 0.3), (-1.0, 0.5), (-0.97, _SHOULDER + 0.01)]
    body.face(hull + [(-x, y) for x, y in reversed(hull)], paint)
    bumper = [(-0.98, _SILL), (0.98, _SILL), (1.0, 0.27), (-1.0, 0.27)]
    body.face(bumper, mix(paint, body.shade((30, 30, 32)), 0.6))
    if not body.car.rear:
        grille = [(-0.4, 0.36), (0.4, 0.36), (0.46, 0.47), (-0.46, 0.47)]
        body.face(grille, body.shade((28, 28, 30)))
    _paint_lights(body)
    _paint_plate(body)


def _paint_screen(body: _Body, below: float, above: float, paint: Colour) -> None:
    outer = [body.at(-1.0, _SHOULDER, below), body.at(-_ROOF, 1.0, above)]
    outer += [body.at(_ROOF, 1.0, above), body.at(1.0, _SHOULDER, below)]
    body.stage.canvas.polygon(outer, paint, "car")
    middle = (below + above) / 2
    inner = [body.at(-0.82, 0.6, below), body.at(-0.7, 0.94, middle)]
    inner += [body.at(0.7, 0.94, middle), body.at(0.82, 0.6, below)]
    glass = body.shade(mix((38, 44, 54), body.stage.light.sky[1], 0.3))
    body.stage.canvas.polygon(inner, glass, "car")


def _paint_lights(body: _Body) -> None:
    car, stage = body.car, body.stage
    on = stage.light.lit > 0.25
    colour: Colour = (214, 30, 30) if car.rear else (250, 246, 224)
    glass = stage.glow(colour, car.z) if on else body.shade(mix(colour, (110, 110, 116), 0.25))
    for side in (-1, 1):
        lamp = [(side * 0.97, 0.37), (side * 0.66, 0.39), (side * 0.68, 0.5), (side * 0.95, 0.52)]
        body.face(lamp, glass)
        if on:
            where, reach = body.at(side * 0.82, 0.44, 0.0), stage.camera.scale(car.z)
            for spread in (0.5, 0.36, 0.24):
                stage.canvas.glaze_ellipse(where, (spread * reach, spread * reach), colour, 0.12)


def _paint_plate(body: _Body) -> None:
    """A plate of 0.52 by 0.13 m with seven dark characters, every car its own."""
    stage, rng = body.stage, body.stage.rng
    half, low = 0.26 / (body.car.width / 2), 0.285
    high = low + 0.13 / body.car.height
    yellow = body.car.rear and rng.random() < 0.4
    ground = body.shade((242, 206, 60) if yellow else (240, 240, 236), 1.05)
    corners = ((-half, low), (half, low), (half, high), (-half, high))
    stage.canvas.polygon([body.at(a, b, 0.0) for a, b in corners], ground, "plate")
    ink, step = body.shade((24, 24, 34)), 2 * half / 7.6
    for index in range(7):
        left = -half + (0.35 + index) * step
        # Characters differ in width and height, so no two plates need look alike.
        right = left + step * rng.uniform(0.3, 0.75)
        tall = low + (high - low) * rng.uniform(0.7, 0.84)
        foot = low + (high - low) * rng.uniform(0.16, 0.3)
        glyph = ((left, foot), (right, foot), (right, tall), (left, tall))
        stage.canvas.polygon([body.at(a, b, 0.0) for a, b in glyph], ink, "plate")

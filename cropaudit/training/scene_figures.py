"""Paints what stands in a street: people with faces, trees and poles.

People, trees and poles are billboards: flat shapes that face the camera, in metres about their
foot, scaled by their depth.
"""

import math

from cropaudit.training.scene_layout import Colour, Person, Pole, Tree
from cropaudit.training.scene_painter import Point, Stage, mix

__all__ = ["paint_person", "paint_pole", "paint_tree"]


class _Billboard:
    """A flat figure at one depth, drawn in metres from its foot and labelled as one class."""

    def __init__(self, stage: Stage, x: float, z: float, label: str) -> None:
        self.stage, self.z, self.label = stage, z, label
        self.foot = stage.camera.point(x, 0, z)
        self.scale = stage.camera.scale(z)

    def at(self, across: float, up: float) -> Point:
        return self.foot[0] + across * self.scale, self.foot[1] - up * self.scale

    def shade(self, colour: Colour, factor: float = 1.0) -> Colour:
        return self.stage.shade(colour, self.z, factor)

    def limb(self, points: list[Point], colour: Colour, width: float) -> None:
        ends = [self.at(*point) for point in points]
        self.stage.canvas.line(ends, colour, width * self.scale, self.label)

    def shape(self, points: list[Point], colour: Colour) -> None:
        self.stage.canvas.polygon([self.at(*point) for point in points], colour, self.label)

    def disc(self, centre: Point, radii: Point, colour: Colour, label: str | None = None) -> None:
        across, down = radii[0] * self.scale, radii[1] * self.scale
        self.stage.canvas.ellipse(self.at(*centre), (across, down), colour, label or self.label)

    def shadow(self, across: float, deep: float) -> None:
        radii = (across * self.scale, deep * self.scale)
        self.stage.canvas.glaze_ellipse(self.foot, radii, (12, 12, 18), 0.38)


def paint_person(stage: Stage, person: Person) -> None:
    """Paints a pedestrian from the shoes to the hair."""
    figure = _Billboard(stage, person.x, person.z, "person")
    figure.shadow(0.34, 0.07)
    _paint_legs(figure, person)
    _paint_torso(figure, person)
    _paint_head(figure, person)


def _paint_legs(figure: _Billboard, person: Person) -> None:
    tall, stride = person.height, person.stride
    cloth, shoe = figure.shade(person.bottom), figure.shade((34, 30, 30))
    bare = person.style == 1
    for side in (-1, 1):
        foot, hip = side * (0.07 + stride), side * 0.08
        knee = (side * (0.09 + 0.55 * stride) + 0.04 * person.facing, 0.27 * tall)
        leg = figure.shade(person.skin) if bare else mix(cloth, (0, 0, 0), 0.12 * (side < 0))
        figure.limb([(hip, 0.5 * tall), knee, (foot, 0.03 * tall)], leg, 0.1 if bare else 0.15)
        figure.disc((foot + 0.05 * (person.facing or side), 0.03), (0.1, 0.05), shoe)
    if bare:
        hem = 0.27 * tall
        skirt = [(-0.13, 0.56 * tall), (0.13, 0.56 * tall), (0.26, hem), (-0.26, hem)]
        figure.shape(skirt, cloth)


def _paint_torso(figure: _Billboard, person: Person) -> None:
    tall = person.height
    cloth, skin = figure.shade(person.top), figure.shade(person.skin)
    long = 0.36 if person.style == 2 else 0.47
    shoulder, hip = 0.122 * tall, 0.094 * tall
    if person.style == 3:
        figure.shape(
            [(-0.3, 0.8 * tall), (-0.12, 0.82 * tall), (-0.12, 0.52 * tall), (-0.3, 0.55 * tall)],
            figure.shade(mix(person.bottom, (160, 60, 40), 0.5)),
        )
    swing = 0.5 * person.stride
    for side in (-1, 1):
        hand = (side * (shoulder + 0.05 + swing), 0.47 * tall)
        elbow = (side * (shoulder + 0.07), 0.63 * tall)
        sleeve = mix(cloth, (0, 0, 0), 0.18)
        figure.limb([(side * shoulder * 0.92, 0.79 * tall), elbow, hand], sleeve, 0.105)
        figure.disc(hand, (0.05, 0.06), skin)
    body = [(-shoulder, 0.79 * tall), (-0.55 * shoulder, 0.825 * tall)]
    body += [(0.55 * shoulder, 0.825 * tall), (shoulder, 0.79 * tall)]
    body += [(hip, 0.6 * tall), (hip * 1.12, long * tall), (-hip * 1.12, long * tall)]
    body += [(-hip, 0.6 * tall)]
    figure.shape(body, cloth)
    if person.style in (2, 4) and not person.back:
        line = mix(cloth, (250, 250, 245), 0.5)
        figure.limb([(0, 0.82 * tall), (0, long * tall)], line, 0.035)


def _paint_head(figure: _Billboard, person: Person) -> None:
    """A head slightly larger than life, as children draw it, so that its face can be seen."""
    tall = person.height
    size = 0.125 + 0.006 * tall
    centre, shift = 0.915 * tall, 0.28 * size * person.facing
    skin, hair = figure.shade(person.skin), figure.shade(person.hair)
    figure.limb([(0, 0.81 * tall), (0, 0.88 * tall)], mix(skin, (0, 0, 0), 0.15), 0.11)
    if person.style in (1, 2):
        long_hair = [(-0.8 * size, centre), (0.8 * size, centre)]
        long_hair += [(0.85 * size, 0.81 * tall), (-0.85 * size, 0.81 * tall)]
        figure.shape(long_hair, hair)
    figure.disc((0, centre + 0.26 * size), (0.8 * size, 0.9 * size), hair)
    if not person.back:
        figure.disc((shift, centre - 0.08 * size), (0.68 * size, 0.9 * size), skin, "face")
        _paint_features(figure, person, (shift, centre - 0.08 * size), size)
    if person.style == 5:
        cap = figure.shade(mix(person.top, person.bottom, 0.6))
        low, high = centre + 0.5 * size, centre + 1.2 * size
        brim, crown = 0.95 * size, 0.72 * size
        figure.shape([(-brim, low), (brim, low), (crown, high), (-crown, high)], cap)


def _paint_features(figure: _Billboard, person: Person, middle: Point, size: float) -> None:
    """Eyes, brows, nose and mouth, which turn with the head; all of it is face."""
    x, y = middle[0] + 0.2 * size * person.facing, middle[1]
    skin = figure.shade(person.skin)
    dark, lips = figure.shade((36, 28, 28)), figure.shade(mix(person.skin, (170, 40, 50), 0.6))
    for side in (-1, 1):
        eye = (x + side * 0.29 * size, y + 0.16 * size)
        figure.disc(eye, (0.13 * size, 0.1 * size), figure.shade((240, 238, 234)), "face")
        figure.disc(eye, (0.075 * size, 0.09 * size), dark, "face")
        brow = (eye[0], eye[1] + 0.22 * size)
        figure.disc(brow, (0.17 * size, 0.045 * size), figure.shade(person.hair), "face")
    figure.disc((x, y - 0.12 * size), (0.08 * size, 0.16 * size), mix(skin, dark, 0.2), "face")
    figure.disc((x, y - 0.5 * size), (0.24 * size, 0.08 * size), lips, "face")


def paint_tree(stage: Stage, tree: Tree) -> None:
    """Paints a trunk and a crown of leaf clusters, lit from above."""
    figure = _Billboard(stage, tree.x, tree.z, "vegetation")
    tall, bush = tree.height, tree.height < 3.2
    crown = 0.5 * tall if bush else 0.3 * tall
    centre = 0.45 * tall if bush else 0.68 * tall
    figure.shadow(crown, 0.18 * crown)
    if not bush:
        bark = figure.shade((84, 66, 52))
        figure.limb([(0, 0), (0.05, 0.3 * tall), (0, centre)], bark, 0.045 * tall)
    clusters = 26 if tree.z < 20 else 12 if tree.z < 35 else 6
    for step in range(clusters):
        # A sunflower's spiral fills the crown evenly; chance only ruffles it.
        angle, reach = 2.4 * step, crown * math.sqrt((step + 0.5) / clusters)
        across = reach * math.cos(angle) + stage.rng.normal(0, 0.08) * crown
        up = reach * math.sin(angle) * 0.95 + stage.rng.normal(0, 0.08) * crown
        leaf = figure.shade(tree.leaf, 0.92 + 0.34 * up / crown + stage.rng.normal(0, 0.07))
        radius = crown * (0.34 if step < clusters // 2 else 0.26) * (26 / clusters) ** 0.3
        figure.disc((across, max(0.1 * tall, centre + up)), (radius, 0.85 * radius), leaf)


def paint_pole(stage: Stage, pole: Pole) -> None:
    """Paints a street lamp (kind 0), a road sign (1) or a traffic light (2)."""
    figure = _Billboard(stage, pole.x, pole.z, "pole")
    steel, tall = figure.shade((92, 96, 100)), pole.height
    figure.limb([(0, 0), (0, tall)], steel, 0.13 if pole.kind else 0.16)
    match pole.kind:
        case 0:
            inward = -math.copysign(1.5, pole.x)
            figure.limb([(0, tall), (0.6 * inward, tall + 0.25), (inward, tall + 0.2)], steel, 0.1)
            _paint_lamp(stage, figure, (inward, tall + 0.12))
        case 1:
            figure.disc((0, tall), (0.36, 0.36), figure.shade((200, 32, 36)))
            figure.disc((0, tall), (0.25, 0.25), figure.shade((240, 240, 236)))
        case _:
            box = [(-0.2, tall), (0.2, tall), (0.2, tall - 0.95), (-0.2, tall - 0.95)]
            figure.shape(box, figure.shade((28, 30, 30)))
            on = int(stage.rng.integers(3))
            for lamp, colour in enumerate(((250, 50, 40), (250, 180, 40), (60, 220, 110))):
                glass = stage.glow(colour, pole.z) if lamp == on else mix(colour, (0, 0, 0), 0.75)
                figure.disc((0, tall - 0.17 - 0.3 * lamp), (0.12, 0.12), glass)


def _paint_lamp(stage: Stage, figure: _Billboard, where: Point) -> None:
    if stage.light.lit > 0.3:
        at, reach = figure.at(*where), figure.scale
        for spread in (1.1, 0.85, 0.65, 0.45):
            halo = (spread * reach, 0.8 * spread * reach)
            stage.canvas.glaze_ellipse(at, halo, (255, 214, 140), 0.09)
    lamp = (255, 240, 200) if stage.light.lit > 0.3 else (208, 208, 200)
    figure.disc(where, (0.34, 0.11), stage.glow(lamp, figure.z))

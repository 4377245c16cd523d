"""Paints what stands in a street: houses, trees, poles, cars with plates, people with faces.

Each painter draws by chance what it paints, from its place on. What stands upright is flat and
faces the camera, except houses and cars, which show an end and a flank.
"""

from itertools import pairwise

from cropaudit.training.scenes.painter import Colour, Place, Stage, mix

__all__ = ["paint_car", "paint_house", "paint_person", "paint_pole", "paint_tree"]

_FLOOR = 3.1
_DETAIL = 45.0  # metres up to which windows are drawn one by one
_DARK: Colour = (38, 44, 56)
_WALLS = (
    (158, 84, 66), (178, 110, 84), (214, 196, 164), (190, 182, 170), (226, 216, 196),
    (200, 164, 112), (148, 152, 156), (176, 190, 196), (196, 148, 132), (118, 98, 86),
)  # fmt: skip
_ROOFS = (92, 70, 66), (72, 76, 84), (130, 74, 56), (98, 92, 86)
_LEAVES = (66, 108, 48), (84, 124, 56), (52, 92, 50), (104, 128, 52), (176, 122, 46), (150, 86, 44)
_PAINTS = ((206, 208, 212), (236, 236, 236), (40, 42, 48), (104, 108, 116), (168, 30, 34),
           (34, 66, 128), (28, 92, 84), (212, 172, 46), (124, 88, 60), (70, 110, 160))  # fmt: skip
_CLOTHES = (
    (188, 44, 48), (36, 60, 120), (232, 228, 220), (44, 44, 50), (60, 124, 84),
    (222, 170, 52), (130, 70, 130), (220, 120, 150), (92, 150, 190), (236, 118, 48),
)  # fmt: skip
_SKINS = ((248, 214, 188), (232, 188, 152), (206, 158, 120), (168, 118, 84), (126, 84, 58),
          (92, 60, 44))  # fmt: skip
_HAIRS = (32, 26, 24), (70, 46, 32), (122, 82, 48), (198, 160, 96), (150, 148, 146), (138, 62, 34)


def paint_house(stage: Stage, x: float, near: float, far: float, floors: int) -> None:
    """Paints a house whose front runs along the street at ``x``: roof, gable, front, openings."""
    side, top = 1 if x > 0 else -1, floors * _FLOOR + 0.7
    stone, tiles = stage.near(stage.pick(_WALLS)), stage.near(stage.pick(_ROOFS))
    deep, wall = x + 9.0 * side, stage.shade(stone, (near + far) / 2, 1.04 if side > 0 else 0.86)
    if stage.happens(0.55):
        ridge = (x + 4.5 * side, top + 3.2)
        slope = [(x, top, near), (*ridge, near), (*ridge, far), (x, top, far)]
        stage.fill(slope, stage.shade(tiles, near), "building")
        tip = [(x, top, near), (*ridge, near), (deep, top, near)]
        stage.fill(tip, stage.shade(stone, near, 0.7), "building")
    stage.upright((x, deep), (0, top), near, stage.shade(stone, near, 0.74), "building")

    def front(low: float, high: float, start: float, stop: float, colour: Colour) -> None:
        corners = [(x, low, start), (x, high, start), (x, high, stop), (x, low, stop)]
        stage.fill(corners, colour, "building")

    front(0, top, near, far, wall)
    front(top - 0.35, top, near, far, mix(wall, stage.light.haze, 0.28))
    front(0, 0.5, near, far, mix(wall, (30, 30, 32), 0.35))
    bays, shop = max(2, round((far - near) / 2.9)), stage.happens(0.35)
    door, frame = int(stage.rng.integers(bays)), mix(stone, (250, 248, 240), 0.65)
    edges = [near + (far - near) * bay / bays for bay in range(bays + 1)]
    for floor in range(floors):
        low = floor * _FLOOR + 1.0
        if near >= _DETAIL:
            front(low, low + 1.2, near, far, mix(wall, _DARK, 0.3))
            continue
        for bay, (start, stop) in enumerate(pairwise(edges)):
            shown = mix(_DARK, stage.light.top, stage.between(0.1, 0.5))
            lit, span = stage.happens(stage.light.lit), stop - start
            glass = stage.glow((255, 214, 140), start) if lit else stage.shade(shown, start)
            inner = start + 0.26 * span, start + 0.74 * span
            if floor == 0 and shop:
                front(0.5, 2.5, start + 0.08 * span, start + 0.92 * span, glass)
            elif floor == 0 and bay == door:
                front(0, 2.2, *inner, stage.shade(mix(tiles, (120, 40, 30), 0.4), start, 0.8))
            else:
                wide, middle = (inner[0] - 0.1, inner[1] + 0.1), (inner[0] + inner[1]) / 2
                front(low - 0.12, low + 1.72, *wide, stage.shade(frame, start))
                front(low, low + 1.6, inner[0], middle - 0.04, glass)
                front(low, low + 1.6, middle + 0.04, inner[1], glass)


def paint_tree(stage: Stage, x: float, z: float, tall: float) -> None:
    """Paints a trunk and a crown of leaf clusters, lit from above; below 3.2 m a bush."""
    bush = tall < 3.2
    crown, centre = (0.5 * tall, 0.45 * tall) if bush else (0.3 * tall, 0.68 * tall)
    stage.disc((x, 0, z), (crown, 0.18 * crown), (12, 12, 18, 97))
    if not bush:
        stage.limb([(x, 0, z), (x, centre, z)], 0.3, stage.shade((84, 66, 52), z), "vegetation")
    leaf = stage.near(stage.pick(_LEAVES))
    for _ in range(26 if z < 20 else 14):
        up, radius = stage.between(-0.9, 0.9), crown * stage.between(0.26, 0.4)
        across = stage.between(-1, 1) * (1 - up * up) ** 0.5
        colour = stage.shade(leaf, z, 0.92 + 0.34 * up + stage.between(-0.1, 0.1))
        place = (x + crown * across, max(0.1 * tall, centre + crown * up), z)
        stage.disc(place, (radius, 0.85 * radius), colour, "vegetation")


def paint_pole(stage: Stage, x: float, z: float, kind: int) -> None:
    """Paints a street lamp (kind 0), a road sign (1) or a traffic light (2)."""
    tall = stage.between(2.6, 3.3) if kind else stage.between(5.5, 7.5)
    steel, on = stage.shade((92, 96, 100), z), stage.light.lamps
    stage.limb([(x, 0, z), (x, tall, z)], 0.14, steel, "pole")
    if kind == 0:
        end = x - (1.5 if x > 0 else -1.5)
        stage.limb([(x, tall, z), (end, tall + 0.2, z)], 0.1, steel, "pole")
        for spread in (1.1, 0.8, 0.5) if on else ():
            stage.disc((end, tall + 0.12, z), (spread, 0.8 * spread), (255, 214, 140, 26))
        lamp = stage.glow((255, 240, 200) if on else (208, 208, 200), z)
        stage.disc((end, tall + 0.12, z), (0.34, 0.11), lamp, "pole")
    elif kind == 1:
        for radius, colour in ((0.36, (200, 32, 36)), (0.25, (240, 240, 236))):
            stage.disc((x, tall, z), (radius, radius), stage.shade(colour, z), "pole")
    else:
        box = (x - 0.2, x + 0.2), (tall - 1, tall)
        stage.upright(*box, z, stage.shade((28, 30, 30), z), "pole")
        lit = int(stage.rng.integers(3))
        for place, light in enumerate(((250, 50, 40), (250, 180, 40), (60, 220, 110))):
            glass = stage.glow(light, z) if place == lit else mix(light, (0, 0, 0), 0.75)
            stage.disc((x, tall - 0.18 - 0.3 * place, z), (0.12, 0.12), glass, "pole")


def paint_car(stage: Stage, x: float, z: float, rear: bool) -> None:
    """Paints a car or a van: shadow, flank, roof, and the near end with lights and plate."""
    van = stage.happens(0.14)
    high, long = (2.1, 4.9) if van else (stage.between(1.4, 1.62), stage.between(3.7, 4.6))
    # Where the cabin begins and ends at the shoulder and at the roof, in shares of the length.
    cabin = (0.01, 0.03, 0.78, 0.9) if van else (0.03, 0.14, 0.56, 0.74)
    below, above, top, front = cabin if rear else [1 - share for share in reversed(cabin)]
    paint, black = stage.near(stage.pick(_PAINTS)), stage.shade((24, 24, 26), z)
    body, side, lid = (stage.shade(paint, z, factor) for factor in (1.0, 0.8, 1.08))
    glass = stage.shade(mix(_DARK, stage.light.low, 0.25), z)
    flank = -1 if x + stage.bend * z * z > stage.x else 1

    def part(corners: list[Place], colour: tuple[int, ...], label: str = "car") -> None:
        """Fills a shape in shares of the car: across in [-1, 1], up and along in [0, 1]."""
        places = [(x + 0.9 * across, up * high, z + along * long) for across, up, along in corners]
        stage.fill(places, colour, label)

    def end(corners: list[tuple[float, float]], colour: Colour) -> None:
        right = [(across, up, 0.0) for across, up in corners]
        part([*right, *((-across, up, 0.0) for across, up, _ in reversed(right))], colour)

    part([(-1.1, 0, 0), (1.1, 0, 0), (1.1, 0, 1), (-1.1, 0, 1)], (8, 8, 12, 140), "")
    part([(flank, 0.17, 0), (flank, 0.56, 0), (flank, 0.56, 1), (flank, 0.17, 1)], side)
    inset, middle = 0.84 * flank, (above + top) / 2
    part([(flank, 0.56, below), (inset, 1, above), (inset, 1, top), (flank, 0.56, front)], side)
    for low, start, stop, last in (
        (below + 0.04, above + 0.04, middle - 0.02, middle - 0.02),
        (middle + 0.02, middle + 0.02, top - 0.04, front - 0.04),
    ):
        pane = [(flank, 0.59, low), (inset, 0.93, start), (inset, 0.93, stop), (flank, 0.59, last)]
        part(pane, glass)
    for along in (0.2, 0.8):
        for radius, colour in ((0.33, black), (0.18, stage.shade((150, 152, 156), z))):
            hub = (x + 0.9 * flank, 0.33, z + along * long)
            stage.disc(hub, (0.5 * radius, radius), colour, "car")
    part([(-1, 0.56, 0), (1, 0.56, 0), (1, 0.56, below), (-1, 0.56, below)], lid)
    part([(-0.84, 1, above), (0.84, 1, above), (0.84, 1, top), (-0.84, 1, top)], lid)
    end([(0.69, 0.25), (0.69, 0), (0.95, 0), (0.95, 0.25)], black)
    part([(-1, 0.56, below), (-0.84, 1, above), (0.84, 1, above), (1, 0.56, below)], body)
    middle = (below + above) / 2
    part(
        [(-0.82, 0.6, below), (-0.7, 0.94, middle), (0.7, 0.94, middle), (0.82, 0.6, below)], glass
    )
    end([(0.96, 0.17), (1, 0.3), (0.97, 0.57)], body)
    end([(0.98, 0.17), (1, 0.27)], mix(body, black, 0.6))
    if not rear:
        end([(0.4, 0.42), (0.46, 0.52)], mix(body, black, 0.75))
    _paint_lights(stage, (x, 0.44 * high, z), rear)
    _paint_plate(stage, (x, 0.285 * high, z), rear and stage.happens(0.4))


def _paint_lights(stage: Stage, middle: Place, rear: bool) -> None:
    x, y, z = middle
    colour, on = (214, 30, 30) if rear else (250, 246, 224), stage.light.lamps
    glass = stage.glow(colour, z) if on else stage.shade(mix(colour, (110, 110, 116), 0.25), z)
    for side in (-1, 1):
        lamp = [(0.87, -0.1), (0.6, -0.08), (0.61, 0.09), (0.85, 0.12)]
        stage.fill([(x + side * a, y + b, z) for a, b in lamp], glass, "car")
        for spread in (0.5, 0.3) if on else ():
            stage.disc((x + side * 0.74, y, z), (spread, spread), (*colour, 41))


def _paint_plate(stage: Stage, foot: Place, yellow: bool) -> None:
    """A plate of 0.52 by 0.13 m with seven dark characters that differ, so that plates do."""
    (x, y, z), between = foot, stage.between
    ground = stage.shade((242, 206, 60) if yellow else (240, 240, 236), z, 1.05)
    ink = stage.shade((24, 24, 34), z)
    stage.upright((x - 0.26, x + 0.26), (y, y + 0.13), z, ground, "plate")
    for left in (x - 0.235 + 0.068 * index for index in range(7)):
        up = y + between(0.02, 0.04), y + between(0.09, 0.11)
        stage.upright((left, left + between(0.02, 0.052)), up, z, ink, "plate")


def paint_person(stage: Stage, x: float, z: float) -> None:
    """Paints a pedestrian from the shoes to the hair; three in four show their face."""
    tall = stage.between(1.05, 1.4) if stage.happens(0.12) else stage.between(1.58, 1.9)
    skin, cloth, trousers = (
        stage.shade(stage.near(stage.pick(tones)), z) for tones in (_SKINS, _CLOTHES, _CLOTHES)
    )
    skirt, coat, stride = stage.happens(0.3), stage.happens(0.3), stage.between(0.02, 0.17)
    wide = tall / 1.75

    def limb(shape: list[tuple[float, float]], width: float, colour: Colour) -> None:
        stage.limb([(x + a * wide, b * tall, z) for a, b in shape], width, colour, "person")

    def cloak(right: list[tuple[float, float]], colour: Colour) -> None:
        shape = right + [(-across, up) for across, up in reversed(right)]
        stage.fill([(x + a * wide, b * tall, z) for a, b in shape], colour, "person")

    stage.disc((x, 0, z), (0.34, 0.07), (12, 12, 18, 97))
    for side in (-1, 1):
        foot = side * (0.07 + stride)
        leg = skin if skirt else mix(trousers, (0, 0, 0), 0.12 if side < 0 else 0)
        limb([(side * 0.08, 0.5), (0.8 * foot, 0.27), (foot, 0.03)], 0.1 if skirt else 0.15, leg)
        stage.disc((x + 1.2 * foot, 0.03, z), (0.1, 0.05), stage.shade((34, 30, 30), z), "person")
    if skirt:
        cloak([(0.13, 0.56), (0.26, 0.27)], trousers)
    for side in (-1, 1):
        hand = side * (0.272 + 0.5 * stride)
        limb([(side * 0.2, 0.79), (side * 0.28, 0.63), (hand, 0.47)], 0.105, mix(cloth, _DARK, 0.2))
        stage.disc((x + hand * wide, 0.46 * tall, z), (0.05, 0.06), skin, "person")
    cloak([(0.12, 0.825), (0.21, 0.79), (0.165, 0.6), (0.18, 0.36 if coat else 0.47)], cloth)
    _paint_head(stage, (x, 0.915 * tall, z), skin)


def _paint_head(stage: Stage, centre: Place, skin: Colour) -> None:
    """A head slightly larger than life, as children draw it, so that its face can be seen."""
    (x, y, z), size = centre, 0.135
    hair = stage.shade(stage.near(stage.pick(_HAIRS)), z)
    stage.limb([(x, y - 0.16, z), (x, y, z)], 0.11, mix(skin, (0, 0, 0), 0.15), "person")
    stage.disc((x, y + 0.26 * size, z), (0.85 * size, 0.9 * size), hair, "person")
    if stage.happens(0.22):
        return
    turn, dark = stage.between(-0.7, 0.7), stage.shade((36, 28, 28), z)
    features = [(0.28 * turn, -0.08, 0.68, 0.9, skin)]
    for eye in (0.48 * turn - 0.29, 0.48 * turn + 0.29):
        features += [(eye, 0.08, 0.13, 0.1, stage.shade((240, 238, 234), z))]
        features += [(eye, 0.08, 0.075, 0.09, dark), (eye, 0.3, 0.17, 0.045, hair)]
    features += [(0.48 * turn, -0.2, 0.08, 0.16, mix(skin, dark, 0.2))]
    features += [(0.48 * turn, -0.58, 0.24, 0.08, mix(skin, (170, 40, 50), 0.5))]
    for across, up, width, height, colour in features:
        place = (x + across * size, y + up * size, z)
        stage.disc(place, (width * size, height * size), colour, "face")

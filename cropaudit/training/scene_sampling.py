"""The random draw of a street: what stands where, in which light and in which colours.

Buildings line both sides, cars park at the kerbs and drive on the right, people walk on the
pavements and now and then cross the road. All lengths are in metres.
"""

import numpy as np

from cropaudit.training.scene_layout import (
    Building,
    Car,
    Colour,
    Lens,
    Light,
    Person,
    Pole,
    Street,
    Tree,
)

__all__ = ["draw_street"]

_LIGHTS = (
    Light(((66, 126, 204), (186, 216, 240)), (250, 250, 252), 0.35, (196, 214, 232), 260.0,
          (1.08, 1.05, 1.0), 0.0, False, 2.5),
    Light(((96, 150, 214), (214, 228, 238)), (255, 255, 255), 0.55, (208, 218, 228), 180.0,
          (1.0, 1.0, 1.0), 0.0, False, 3.0),
    Light(((92, 104, 160), (250, 184, 112)), (238, 150, 120), 0.45, (238, 188, 140), 140.0,
          (1.08, 0.86, 0.68), 0.12, False, 3.5),
    Light(((150, 158, 168), (206, 210, 214)), (182, 186, 192), 0.8, (198, 203, 208), 130.0,
          (0.82, 0.84, 0.87), 0.05, False, 3.5),
    Light(((190, 196, 200), (216, 219, 221)), (206, 210, 213), 0.5, (212, 216, 218), 42.0,
          (0.85, 0.86, 0.88), 0.1, False, 4.0),
    Light(((98, 108, 122), (164, 170, 178)), (120, 126, 136), 0.85, (150, 157, 165), 85.0,
          (0.66, 0.69, 0.74), 0.3, True, 5.0),
    Light(((20, 26, 54), (96, 84, 112)), (56, 54, 82), 0.4, (74, 70, 98), 120.0,
          (0.40, 0.41, 0.54), 0.55, False, 7.0),
)  # fmt: skip
_LIGHT_ODDS = (0.22, 0.2, 0.14, 0.15, 0.08, 0.11, 0.1)

_WALLS: tuple[Colour, ...] = (
    (158, 84, 66), (178, 110, 84), (214, 196, 164), (190, 182, 170), (226, 216, 196),
    (200, 164, 112), (148, 152, 156), (176, 190, 196), (196, 148, 132), (118, 98, 86),
)  # fmt: skip
_ROOFS: tuple[Colour, ...] = ((92, 70, 66), (72, 76, 84), (130, 74, 56), (98, 92, 86))
_LEAVES: tuple[Colour, ...] = (
    (66, 108, 48), (84, 124, 56), (52, 92, 50), (104, 128, 52), (176, 122, 46), (150, 86, 44),
)  # fmt: skip
_PAINTS: tuple[Colour, ...] = (
    (206, 208, 212), (236, 236, 236), (40, 42, 48), (104, 108, 116), (168, 30, 34), (34, 66, 128),
    (28, 92, 84), (212, 172, 46), (124, 88, 60), (70, 110, 160), (20, 22, 26), (150, 154, 150),
)  # fmt: skip
_CLOTHES: tuple[Colour, ...] = (
    (188, 44, 48), (36, 60, 120), (232, 228, 220), (44, 44, 50), (60, 124, 84), (222, 170, 52),
    (130, 70, 130), (220, 120, 150), (92, 150, 190), (122, 92, 66), (236, 118, 48), (150, 156, 160),
)  # fmt: skip
_TROUSERS: tuple[Colour, ...] = (
    (40, 50, 82), (32, 34, 40), (94, 86, 74), (70, 80, 104), (150, 136, 110), (84, 40, 48),
)  # fmt: skip
_SKINS: tuple[Colour, ...] = (
    (248, 214, 188), (232, 188, 152), (206, 158, 120), (168, 118, 84), (126, 84, 58), (92, 60, 44),
)  # fmt: skip
_HAIRS: tuple[Colour, ...] = (
    (32, 26, 24), (70, 46, 32), (122, 82, 48), (198, 160, 96), (150, 148, 146), (138, 62, 34),
)  # fmt: skip


def draw_street(rng: np.random.Generator) -> Street:
    """Returns one random street."""
    half_road = rng.uniform(3.2, 5.2)
    pavement = rng.uniform(2.2, 4.2)
    lens = Lens(
        focal=rng.uniform(0.78, 1.0),
        horizon=rng.uniform(0.4, 0.5),
        column=rng.uniform(0.38, 0.62),
        height=rng.uniform(1.45, 2.1),
        x=rng.uniform(-0.5, 0.6) * half_road,
        bend=rng.normal(0.0, 0.0012),
    )
    light = _LIGHTS[int(rng.choice(len(_LIGHTS), p=_LIGHT_ODDS))]
    grey = int(rng.integers(74, 112))
    stone = int(rng.integers(136, 186))
    buildings, gaps = _draw_sides(rng, half_road + pavement)
    return Street(
        light=light,
        lens=lens,
        half_road=half_road,
        pavement=pavement,
        asphalt=(grey, grey + 1, grey + 4),
        paving=(stone, stone - 4, stone - 12),
        grass=_vary(rng, (96, 122, 62), 14),
        crossing=rng.uniform(9, 22) if rng.random() < 0.35 else None,
        buildings=buildings,
        trees=_draw_trees(rng, half_road, gaps),
        poles=_draw_poles(rng, half_road),
        cars=_draw_cars(rng, half_road, lens.x),
        people=_draw_people(rng, half_road, pavement),
    )


def _pick(rng: np.random.Generator, colours: tuple[Colour, ...], spread: float = 8) -> Colour:
    return _vary(rng, colours[int(rng.integers(len(colours)))], spread)


def _vary(rng: np.random.Generator, colour: Colour, spread: float) -> Colour:
    red, green, blue = np.clip(np.add(colour, rng.normal(0, spread, 3)), 0, 255).astype(int)
    return int(red), int(green), int(blue)


def _draw_sides(rng: np.random.Generator, front: float) -> tuple[tuple[Building, ...], list[Tree]]:
    """Lines both sides with houses; a gap holds greenery instead."""
    houses: list[Building] = []
    greens: list[Tree] = []
    for side in (-1, 1):
        z = rng.uniform(1.0, 4.0)
        tall = int(rng.integers(2, 6))
        while z < 100:
            length = rng.uniform(7, 17)
            if rng.random() < 0.2:
                greens += _draw_gap(rng, side * (front + 2), z, length)
            else:
                houses.append(_draw_house(rng, side, z, z + length, front, tall))
            z += length
    return tuple(houses), greens


def _draw_house(
    rng: np.random.Generator, side: int, near: float, far: float, front: float, tall: int
) -> Building:
    return Building(
        side=side,
        near=near,
        far=far,
        front=front + max(0.0, rng.normal(0, 0.7)),
        floors=max(1, tall + int(rng.integers(-2, 3))),
        wall=_pick(rng, _WALLS),
        roof=_pick(rng, _ROOFS),
        pitched=bool(rng.random() < 0.55),
        shop=bool(rng.random() < 0.35),
    )


def _draw_gap(rng: np.random.Generator, x: float, z: float, length: float) -> list[Tree]:
    depths = np.arange(z + 1, z + length, 2.6)
    heights = rng.uniform(2.0, 8.5, len(depths))
    shifts = np.sign(x) * rng.uniform(0, 5, len(depths))
    return [
        Tree(x + float(shift), float(depth), float(height), _pick(rng, _LEAVES))
        for depth, height, shift in zip(depths, heights, shifts, strict=True)
    ]


def _draw_trees(rng: np.random.Generator, half_road: float, gaps: list[Tree]) -> tuple[Tree, ...]:
    trees = list(gaps)
    for side in (-1, 1):
        if rng.random() < 0.55:
            leaf = _pick(rng, _LEAVES)
            for z in np.arange(rng.uniform(9, 18), 80, rng.uniform(9, 15)):
                x = side * (half_road + 0.8)
                trees.append(Tree(x, float(z), rng.uniform(4.2, 7.5), _vary(rng, leaf, 8)))
    return tuple(trees)


def _draw_poles(rng: np.random.Generator, half_road: float) -> tuple[Pole, ...]:
    poles = []
    for side in (-1, 1):
        kind = 0
        for z in np.arange(rng.uniform(7, 14), 75, rng.uniform(14, 22)):
            poles.append(Pole(side * (half_road + 0.4), float(z), rng.uniform(5.5, 7.5), kind))
            if rng.random() < 0.5:
                where = float(z) + rng.uniform(3, 9)
                kind_here = int(rng.integers(1, 3))
                poles.append(
                    Pole(side * (half_road + 0.5), where, rng.uniform(2.6, 3.3), kind_here)
                )
    return tuple(poles)


def _draw_cars(rng: np.random.Generator, half_road: float, eye: float) -> tuple[Car, ...]:
    cars = []
    for side in (-1, 1):
        if rng.random() < 0.75:
            z = rng.uniform(7, 13)
            while z < 60:
                if rng.random() < 0.65:
                    cars.append(_draw_car(rng, side * (half_road - 1.05), z, side > 0))
                z += rng.uniform(5.6, 8.5)
    lane = 0.42 * half_road
    for side in (-1, 1):
        if rng.random() < 0.7:
            # A car in the camera's own lane keeps its distance, so that it does not fill the view.
            nearest = 7.5 if (eye > 0) == (side > 0) else 8.5
            x = side * lane * rng.uniform(0.75, 1.0)
            cars.append(_draw_car(rng, x, rng.uniform(nearest, 30), side > 0))
    return tuple(cars)


def _draw_car(rng: np.random.Generator, x: float, z: float, rear: bool) -> Car:
    van = rng.random() < 0.14
    return Car(
        x=x + rng.normal(0, 0.1),
        z=z,
        width=rng.uniform(1.7, 1.9),
        height=rng.uniform(1.9, 2.3) if van else rng.uniform(1.4, 1.62),
        length=rng.uniform(4.6, 5.2) if van else rng.uniform(3.7, 4.6),
        paint=_pick(rng, _PAINTS),
        rear=rear,
    )


def _draw_people(rng: np.random.Generator, half_road: float, pavement: float) -> tuple[Person, ...]:
    people = []
    for _ in range(int(rng.integers(4, 11))):
        z = 5.0 + 30 * rng.random() ** 1.6
        if rng.random() < 0.22:
            x = rng.uniform(-0.9, 0.9) * half_road
        else:
            side = 1 if rng.random() < 0.5 else -1
            x = side * (half_road + rng.uniform(0.3, 0.95) * pavement)
        people.append(_draw_person(rng, x, z))
    return tuple(people)


def _draw_person(rng: np.random.Generator, x: float, z: float) -> Person:
    child = rng.random() < 0.12
    return Person(
        x=x,
        z=z,
        height=rng.uniform(1.05, 1.4) if child else rng.uniform(1.58, 1.9),
        skin=_pick(rng, _SKINS, 4),
        hair=_pick(rng, _HAIRS, 5),
        top=_pick(rng, _CLOTHES),
        bottom=_pick(rng, _TROUSERS),
        facing=float(np.clip(rng.normal(0, 0.5), -1, 1)),
        back=bool(rng.random() < 0.22),
        stride=rng.uniform(0.02, 0.17),
        style=int(rng.integers(0, 6)),
    )

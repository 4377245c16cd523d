"""Procedural street scenes with dense masks: data for audits that need no photographs.

Each image is one random street seen from a car or by a passer-by, in perspective and in one of
several lights and weathers: houses along both sides, cars at the kerbs and in the lanes, people on
the pavements and on the road. Faces and licence plates are classes of their own, because they are
what a patch-level privacy claim is most often meant to protect. Nothing here is real: every face
and every plate is drawn from chance, so that the data may be shared and planted into freely.
"""

from collections.abc import Callable, Iterator
from itertools import accumulate, pairwise, repeat
from operator import mul

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from cropaudit.accounting.geometry.shapes import Size
from cropaudit.errors import require
from cropaudit.training.data.images import SegmentationData
from cropaudit.training.scenes.painter import (
    CLASSES,
    SUPERSAMPLING,
    Colour,
    Light,
    Stage,
    mix,
)
from cropaudit.training.scenes.things import (
    paint_car,
    paint_house,
    paint_person,
    paint_pole,
    paint_tree,
)

__all__ = ["CLASSES", "street_scenes"]

_SMALLEST = 8
_FAR = 130.0
_DEPTHS = tuple(accumulate(repeat(1.21, 23), mul, initial=1.6))  # of the ground's strips
_LIGHTS = (
    Light((66, 126, 204), (186, 216, 240), (250, 250, 252), 0.35, (196, 214, 232), 230.0,
          (1.08, 1.05, 1.0), 0.0, 3),
    Light((96, 150, 214), (214, 228, 238), (255, 255, 255), 0.55, (208, 218, 228), 160.0,
          (1.0, 1.0, 1.0), 0.0, 3),
    Light((92, 104, 160), (250, 184, 112), (238, 150, 120), 0.45, (238, 188, 140), 120.0,
          (1.08, 0.86, 0.68), 0.12, 4),
    Light((150, 158, 168), (206, 210, 214), (182, 186, 192), 0.8, (198, 203, 208), 110.0,
          (0.82, 0.84, 0.87), 0.05, 4),
    Light((190, 196, 200), (216, 219, 221), (206, 210, 213), 0.5, (212, 216, 218), 34.0,
          (0.85, 0.86, 0.88), 0.1, 4),
    Light((98, 108, 122), (164, 170, 178), (120, 126, 136), 0.85, (150, 157, 165), 70.0,
          (0.66, 0.69, 0.74), 0.3, 5),
    Light((20, 26, 54), (96, 84, 112), (56, 54, 82), 0.4, (74, 70, 98), 110.0,
          (0.40, 0.41, 0.54), 0.55, 7),
)  # fmt: skip
_ODDS = (0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 5, 5, 6)  # of the lights
# How rough each class looks, in half grey levels: leaves and asphalt more than sky and skin.
_ROUGHNESS = np.array([2, 7, 18, 9, 8, 4, 3, 6, 2, 1], dtype=np.int32)

_Thing = tuple[float, Callable[..., None], tuple[float, ...]]  # depth, painter, its arguments


def street_scenes(count: int, size: Size, seed: int) -> SegmentationData:
    """Returns ``count`` street scenes with dense masks.

    Image i depends on ``seed``, i and ``size`` alone, not on ``count``; the street it shows does
    not depend on ``size`` either.

    Args:
        count: Number of images, at least 1.
        size: Size of every image, at least 8x8; faces and plates need about 96 rows to be seen.
        seed: Any number from 0.

    Raises:
        InputError: If an argument is out of its range.

    >>> data = street_scenes(2, Size(48, 96), seed=7)
    >>> len(data), tuple(data.images[0].shape), data.classes[-2:], data.source
    (2, (3, 48, 96), ('face', 'plate'), 'procedural street scenes, seed 7')
    """
    require(count >= 1, "count", "at least 1", count)
    require(seed >= 0, "seed", "at least 0", seed)
    legal = f"at least {_SMALLEST}x{_SMALLEST}"
    require(min(size.height, size.width) >= _SMALLEST, "size", legal, size)
    pairs = [_scene(size, np.random.default_rng([seed, index])) for index in range(count)]
    return SegmentationData(
        images=tuple(torch.from_numpy(image) for image, _ in pairs),
        masks=tuple(torch.from_numpy(mask) for _, mask in pairs),
        classes=CLASSES,
        names=tuple(f"street-{seed}-{index}" for index in range(count)),
        source=f"procedural street scenes, seed {seed}",
    )


def _scene(size: Size, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Returns one image (3, H, W) and its mask (H, W)."""
    stage = Stage(size, [_LIGHTS[number] for number in _ODDS], rng)
    half = stage.between(3.2, 5.2)
    edge = half + stage.between(2.2, 4.2)
    _paint_sky(stage)
    _paint_ground(stage, half, edge)
    for _, paint, arguments in sorted(_things(stage, half, edge), key=lambda thing: -thing[0]):
        paint(stage, *arguments)
    return _exposed(stage)


def _paint_sky(stage: Stage) -> None:
    """Paints the sky's gradient, its clouds and the dim skyline at the street's end."""
    light, size = stage.light, (stage.width, max(1, stage.row))
    fall = Image.linear_gradient("L").resize(size)
    sky = Image.composite(
        Image.new("RGB", size, light.low), Image.new("RGB", size, light.top), fall
    )
    octaves = [
        Image.fromarray(stage.rng.integers(0, 256, (rows, 2 * rows), dtype=np.uint8))
        for rows in (3, 8)
    ]
    soft, finer = (np.asarray(one.resize((128, 64), Image.Resampling.BICUBIC)) for one in octaves)
    height = (3 * soft.astype(np.int32) + finer) // 4 - 185 + int(128 * light.cover)
    clouds = Image.fromarray((4 * height).clip(0, 255).astype(np.uint8)).resize(size)
    # Clouds thin out towards the horizon, where the air between is thick.
    thin = Image.composite(
        Image.new("L", size, 0), clouds, fall.point([v // 2 for v in range(256)])
    )
    sky.paste(light.cloud, (0, 0), thin)
    stage.picture.paste(sky, (0, 0))
    x, shift = -160.0, stage.bend * _FAR * _FAR  # the skyline stays where the street bends away
    while x < 160:
        right, top = x + stage.between(8, 26), stage.between(4, 22)
        colour = stage.shade(mix((128, 124, 126), light.haze, stage.between(0, 0.3)), _FAR)
        stage.upright((x - shift, right - shift), (0, top), _FAR, colour, "building")
        x = right


def _paint_ground(stage: Stage, half: float, edge: float) -> None:
    """Paints grass, pavements with kerbs, the road and its markings, in strips along the road."""
    grey, stone = 74, 136
    grey, stone = grey + int(stage.rng.integers(38)), stone + int(stage.rng.integers(50))
    grass, asphalt = stage.near((96, 122, 62)), (grey, grey + 1, grey + 4)
    paving, white = (stone, stone - 4, stone - 12), (222, 222, 214)

    def strip(
        left: float, right: float, near: float, far: float, colour: Colour, label: str = ""
    ) -> None:
        corners = [(left, 0, near), (right, 0, near), (right, 0, far), (left, 0, far)]
        stage.fill(corners, stage.shade(colour, near), label)

    field = (0, stage.row, stage.width, stage.height)
    stage.picture.paste(stage.shade(grass, 60), field)
    stage.marks.paste(CLASSES.index("vegetation"), field)
    for far, near in pairwise(reversed(_DEPTHS)):
        strip(-80, 80, near, far, grass, "vegetation")
        strip(-edge - 1.2, edge + 1.2, near, far, paving, "pavement")
        strip(-half - 0.15, half + 0.15, near, far, (196, 192, 184), "pavement")
        strip(-half, half, near, far, asphalt, "road")
        for x in (0.35 - half, half - 0.35):
            strip(x - 0.06, x + 0.06, near, far, mix(white, asphalt, 0.25))
    for slab in range(2, 22):
        joint = stage.shade(mix(paving, (60, 58, 54), 0.35), slab)
        for side in (-1, 1):
            stage.limb([(side * (half + 0.2), 0, slab), (side * edge, 0, slab)], 0.03, joint)
    start = stage.between(1, 5)
    for dash in range(15):
        strip(-0.09, 0.09, start + 6 * dash, start + 6 * dash + 3, white)
    if stage.happens(0.35):
        z = stage.between(9, 22)
        for bar in range(int(2 * half) - 1):
            strip(0.4 - half + bar, 0.9 - half + bar, z, z + 3, white)


def _things(stage: Stage, half: float, edge: float) -> Iterator[_Thing]:
    """Says what stands on either side: houses and greenery, trees in rows, poles, cars, people."""
    for side in (-1, 1):
        z, tall = stage.between(1, 4), int(stage.rng.integers(2, 6))
        while z < 100:
            far, green = z + stage.between(7, 17), stage.happens(0.2)
            if not green:
                x, floors = side * (edge + stage.between(0, 1)), tall + stage.pick((-1, 0, 1))
                yield far, paint_house, (x, z, far, floors)
            while green and (z := z + 2.6) < far:
                x = side * (edge + stage.between(2, 7))
                yield z, paint_tree, (x, z, stage.between(2, 8.5))
            z = far
        trees, z, step = stage.happens(0.55), stage.between(0, 9), stage.between(9, 15)
        while trees and (z := z + step) < 80:
            yield z, paint_tree, (side * (half + 0.8), z, stage.between(4.2, 7.5))
        z, step = stage.between(-8, -1), stage.between(14, 22)
        while (z := z + step) < 75:
            yield z, paint_pole, (side * (half + 0.4), z, 0)
            if kind := stage.pick((0, 1, 2)):
                beside = z + stage.between(3, 9)
                yield beside, paint_pole, (side * (half + 0.5), beside, kind)
        z = stage.between(7, 13) if stage.happens(0.75) else 60
        while z < 60:
            if stage.happens(0.65):
                yield z, paint_car, (side * (half - 1.05), z, side > 0)
            z += stage.between(5.6, 8.5)
        if stage.happens(0.7):
            z, x = stage.between(8, 30), side * half * stage.between(0.32, 0.42)
            yield z, paint_car, (x, z, side > 0)
    for _ in range(int(stage.rng.integers(4, 11))):
        share, road = stage.between(0, 1), stage.happens(0.22)
        x = stage.between(0, 0.9) * half if road else stage.between(half + 0.5, edge)
        z = 5 + 30 * share * share
        yield z, paint_person, (x * stage.pick((-1, 1)), z)


def _exposed(stage: Stage) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Reduces picture and mask to the image's size and adds surface texture and sensor noise."""
    rng = stage.rng
    picture = np.asarray(stage.picture.reduce(SUPERSAMPLING), dtype=np.int32)
    mask = np.ascontiguousarray(np.asarray(stage.marks)[1::SUPERSAMPLING, 1::SUPERSAMPLING])
    height, width = mask.shape
    fine = rng.integers(0, 256, (height, width), dtype=np.uint8).astype(np.int32) - 128
    coarse = rng.integers(0, 256, (-(-height // 4), -(-width // 4)), dtype=np.uint8)
    blotches = Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR)
    rough = _ROUGHNESS[mask] * (2 * fine + 3 * (np.asarray(blotches, dtype=np.int32) - 128)) >> 9
    noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8).astype(np.int32) - 128
    image = picture + rough[..., None] + (noise * stage.light.grain >> 6)
    return np.ascontiguousarray(image.clip(0, 255).astype(np.uint8).transpose(2, 0, 1)), mask

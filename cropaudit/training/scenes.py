"""Procedural street scenes with dense masks: data for audits that need no photographs.

Each image is one random street seen from a car or by a passer-by, in perspective and in one of
several lights and weathers. Faces and licence plates are classes of their own, because they are
what a patch-level privacy claim is most often meant to protect. Nothing here is real: every face
and every plate is drawn from chance, so that the data may be shared and planted into freely.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from cropaudit.accounting.geometry import Size
from cropaudit.errors import require
from cropaudit.training.data import SegmentationData
from cropaudit.training.scene_backdrop import paint_building, paint_ground, paint_sky
from cropaudit.training.scene_cars import paint_car
from cropaudit.training.scene_figures import paint_person, paint_pole, paint_tree
from cropaudit.training.scene_layout import CLASSES, Building, Car, Person, Pole, Street, Tree
from cropaudit.training.scene_painter import Camera, Canvas, Stage
from cropaudit.training.scene_sampling import draw_street

__all__ = ["CLASSES", "street_scenes"]

_SMALLEST = 8
# No tree, car or lamp reaches further to the side than this, in metres.
_WIDEST = 5.0
# How rough each class looks, in grey levels: leaves and asphalt more than sky, skin and plates.
_ROUGHNESS = {
    "sky": 0.8, "building": 3.5, "vegetation": 9.0, "road": 4.5, "pavement": 4.0,
    "pole": 2.0, "car": 1.5, "person": 3.0, "face": 1.0, "plate": 0.5,
}  # fmt: skip

_Thing = Building | Tree | Pole | Car | Person


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
    street = draw_street(rng)
    canvas = Canvas(size)
    stage = Stage(canvas, Camera.of(street.lens, canvas.size), street.light, rng)
    paint_sky(stage, street)
    paint_ground(stage, street)
    for thing in _far_to_near(street):
        if isinstance(thing, Building) or stage.sees(thing.x, thing.z, _WIDEST):
            _paint(stage, thing)
    picture, mask = canvas.pixels()
    image = _expose(picture, mask, street.light.grain, rng)
    return np.ascontiguousarray(image.transpose(2, 0, 1)), mask


def _far_to_near(street: Street) -> list[_Thing]:
    """Orders what stands in the street for painting; a house counts from its far end."""
    things: list[_Thing] = [*street.buildings, *street.trees, *street.poles]
    things += [*street.cars, *street.people]
    return sorted(things, key=lambda thing: -_depth(thing))


def _depth(thing: _Thing) -> float:
    return thing.far if isinstance(thing, Building) else thing.z


def _paint(stage: Stage, thing: _Thing) -> None:
    match thing:
        case Building():
            paint_building(stage, thing)
        case Tree():
            paint_tree(stage, thing)
        case Pole():
            paint_pole(stage, thing)
        case Car():
            paint_car(stage, thing)
        case Person():
            paint_person(stage, thing)


def _expose(
    picture: NDArray[np.float32],
    mask: NDArray[np.uint8],
    grain: float,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Adds surface texture and sensor noise and rounds to uint8, shape (H, W, 3)."""
    height, width = mask.shape
    rough = np.take(np.array([_ROUGHNESS[name] for name in CLASSES], dtype=np.float32), mask)
    fine = rng.standard_normal((height, width), dtype=np.float32)
    coarse = rng.standard_normal((-(-height // 4), -(-width // 4)), dtype=np.float32)
    blotches = Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR)
    fine *= np.float32(0.6)
    fine += np.float32(0.9) * np.asarray(blotches)
    fine *= rough
    # Uniform noise of the same deviation looks like a sensor's and costs a quarter of a normal's.
    # From here on in place: a megapixel scene would else spend its time on copies.
    noise: NDArray[np.float32] = rng.random((height, width, 3), dtype=np.float32)
    noise -= np.float32(0.5)
    noise *= np.float32(grain * math.sqrt(12))
    noise += picture
    noise += fine[..., None]
    noise += np.float32(0.5)
    np.clip(noise, 0, 255, out=noise)
    return noise.astype(np.uint8)

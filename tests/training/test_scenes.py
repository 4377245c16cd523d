"""Street scenes: seeded, legal at any size, and built like a street."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from cropaudit.accounting.geometry import Size
from cropaudit.errors import InputError
from cropaudit.training.data import SegmentationData
from cropaudit.training.scenes import CLASSES, street_scenes

_SIZE = Size(96, 192)
_COUNT = 40


@pytest.fixture(scope="module")
def scenes() -> SegmentationData:
    return street_scenes(_COUNT, _SIZE, seed=3)


def _where(mask: torch.Tensor, name: str) -> np.ndarray:
    found: np.ndarray = mask.numpy() == CLASSES.index(name)
    return found


def test_classes_are_the_documented_ones_in_order(scenes: SegmentationData) -> None:
    expected = "sky building vegetation road pavement pole car person face plate"
    assert scenes.classes == tuple(expected.split())
    assert scenes.source == "procedural street scenes, seed 3"
    assert len(set(scenes.names)) == len(scenes) == _COUNT


def test_a_seed_gives_the_same_pictures_whatever_the_count(scenes: SegmentationData) -> None:
    few = street_scenes(3, _SIZE, seed=3)
    assert len(few) == 3
    for index in range(3):
        assert torch.equal(few.images[index], scenes.images[index])
        assert torch.equal(few.masks[index], scenes.masks[index])


def test_seeds_and_indices_give_different_pictures(scenes: SegmentationData) -> None:
    other = street_scenes(1, _SIZE, seed=4)
    assert not torch.equal(other.masks[0], scenes.masks[0])
    assert len({mask.numpy().tobytes() for mask in scenes.masks}) == _COUNT


def test_pictures_do_not_touch_the_global_generators() -> None:
    state, torch_state = repr(np.random.get_state()), torch.get_rng_state()  # noqa: NPY002
    street_scenes(1, Size(32, 32), seed=0)
    assert state == repr(np.random.get_state())  # noqa: NPY002
    assert torch.equal(torch_state, torch.get_rng_state())


@pytest.mark.parametrize(
    "size", [Size(8, 8), Size(32, 32), Size(33, 47), Size(101, 64), Size(31, 257), Size(256, 512)]
)
def test_any_size_has_legal_shapes_types_and_labels(size: Size) -> None:
    data = street_scenes(2, size, seed=5)
    for image, mask in zip(data.images, data.masks, strict=True):
        assert image.dtype == mask.dtype == torch.uint8
        assert image.shape == (3, size.height, size.width)
        assert mask.shape == (size.height, size.width)
        assert int(mask.max()) < len(CLASSES)
        assert image.is_contiguous()
        assert mask.is_contiguous()
    assert data.sizes() == (size,)


def test_one_seed_shows_one_street_at_every_resolution() -> None:
    small, large = street_scenes(1, Size(80, 160), 6), street_scenes(1, Size(160, 320), 6)
    reduced = large.masks[0][1::2, 1::2]
    agreement = (reduced == small.masks[0]).float().mean()
    assert agreement > 0.93


def test_every_class_occurs_and_most_scenes_have_faces_and_plates(
    scenes: SegmentationData,
) -> None:
    seen = np.array([np.isin(range(len(CLASSES)), mask.numpy()) for mask in scenes.masks])
    share = dict(zip(CLASSES, seen.mean(axis=0), strict=True))
    assert min(share.values()) > 0.75, share
    assert share["sky"] == share["road"] == share["building"] == 1.0


def test_sky_lies_above_the_road(scenes: SegmentationData) -> None:
    for mask in scenes.masks:
        lowest_sky = np.nonzero(_where(mask, "sky"))[0].max()
        highest_road = np.nonzero(_where(mask, "road"))[0].min()
        assert lowest_sky < highest_road


@pytest.mark.parametrize(("part", "whole"), [("face", "person"), ("plate", "car")])
def test_faces_touch_people_and_plates_touch_cars(
    scenes: SegmentationData, part: str, whole: str
) -> None:
    pixels, apart = 0, 0
    for mask in scenes.masks:
        regions, count = ndimage.label(_where(mask, part))
        near = ndimage.binary_dilation(_where(mask, whole))
        pixels += int((regions > 0).sum())
        for region in (regions == number for number in range(1, count + 1)):
            apart += 0 if near[region].any() else int(region.sum())
    assert pixels > 200
    # A car or a pole in front may hide all but the part, so a few pixels may stand alone.
    assert apart / pixels < 0.05


def test_a_face_is_smaller_than_its_people_and_a_plate_than_its_cars(
    scenes: SegmentationData,
) -> None:
    total = {name: sum(int(_where(m, name).sum()) for m in scenes.masks) for name in CLASSES}
    assert 0.02 < total["face"] / total["person"] < 0.25
    assert 0.005 < total["plate"] / total["car"] < 0.1


def test_pictures_are_neither_flat_nor_clipped(scenes: SegmentationData) -> None:
    for image, mask in zip(scenes.images, scenes.masks, strict=True):
        pixels = image.float()
        assert float(pixels[:, mask == CLASSES.index("road")].std()) > 3
        assert float(((pixels == 0) | (pixels == 255)).float().mean()) < 0.2
    brightness = np.array([float(image.float().mean()) for image in scenes.images])
    assert brightness.std() > 12, "light and weather vary between scenes"


@pytest.mark.parametrize(
    ("count", "size", "seed", "name"),
    [(0, _SIZE, 1, "count"), (1, Size(7, 64), 1, "size"), (1, _SIZE, -1, "seed")],
)
def test_illegal_arguments_are_named(count: int, size: Size, seed: int, name: str) -> None:
    with pytest.raises(InputError, match=f"^{name} must be at least"):
        street_scenes(count, size, seed)

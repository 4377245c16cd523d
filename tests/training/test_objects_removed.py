"""Pictures without an object, or with another one: what changes, what may not, and how it looks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cropaudit.accounting.geometry import Size
from cropaudit.errors import InputError
from cropaudit.training.data import IGNORE
from cropaudit.training.objects.cloning import best_shift
from cropaudit.training.objects.finding import find_objects
from cropaudit.training.objects.membrane import harmonic
from cropaudit.training.objects.patches import ObjectPatch
from cropaudit.training.objects.removal import exchanged, without
from cropaudit.training.objects.views import neighbourhood
from cropaudit.training.scenes import street_scenes

FEW = settings(max_examples=60, deadline=None)


def patch_at(box: tuple[int, int, int, int], pixels: torch.Tensor | None = None) -> ObjectPatch:
    if pixels is None:
        pixels = torch.ones(box[2:], dtype=torch.bool)
    return ObjectPatch(0, "car", box, pixels, int(pixels.sum()), "component")


@st.composite
def cases(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, ObjectPatch]:
    """Draws an image, its mask, and an object of any shape in it."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    image = torch.from_numpy(rng.integers(0, 256, (3, height, width), dtype=np.uint8))
    mask = torch.from_numpy(rng.choice([0, 1, 2, IGNORE], (height, width)).astype(np.uint8))
    h, w = draw(st.integers(1, height)), draw(st.integers(1, width))
    row, column = draw(st.integers(0, height - h)), draw(st.integers(0, width - w))
    pixels = torch.from_numpy(rng.random((h, w)) < draw(st.sampled_from([0.3, 0.9, 1.0])))
    pixels[0, 0] = True
    return image, mask, patch_at((row, column, h, w), pixels)


def changed(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    return (before != after).reshape(-1, *before.shape[-2:]).any(dim=0)


def allowed(mask: torch.Tensor, patch: ObjectPatch, *, whole_box: bool) -> torch.Tensor:
    found = torch.zeros(mask.shape, dtype=torch.bool)
    found[patch.slices] = True if whole_box else patch.pixels
    return found


# What may change.


@FEW
@given(cases())
def test_only_the_objects_pixels_change(case) -> None:
    image, mask, patch = case
    kept = image.clone(), mask.clone()
    new_image, new_mask = without(image, mask, patch)
    beyond = ~allowed(mask, patch, whole_box=False)
    assert not (changed(image, new_image) & beyond).any()
    assert not (changed(mask, new_mask) & beyond).any()
    assert (new_image.dtype, new_mask.dtype) == (torch.uint8, torch.uint8)
    assert torch.equal(image, kept[0])
    assert torch.equal(mask, kept[1])
    again = without(image, mask, patch)
    assert torch.equal(new_image, again[0])
    assert torch.equal(new_mask, again[1])


@FEW
@given(cases(), cases())
def test_another_object_changes_its_box_alone(case, other_case) -> None:
    (image, mask, patch), (other_image, other_mask, other) = case, other_case
    new_image, new_mask = exchanged(image, mask, patch, other_image, other_mask, other)
    beyond = ~allowed(mask, patch, whole_box=True)
    assert not (changed(image, new_image) & beyond).any()
    assert not (changed(mask, new_mask) & beyond).any()
    assert set(new_mask.unique().tolist()) <= {*mask.tolist()[0], 0, 1, 2, IGNORE}


@FEW
@given(cases())
def test_an_object_in_its_own_place_changes_nothing(case) -> None:
    image, mask, patch = case
    new_image, new_mask = exchanged(image, mask, patch, image, mask, patch)
    assert torch.equal(new_image, image)
    assert torch.equal(new_mask, mask)


def test_the_scenes_lose_their_faces_and_plates() -> None:
    data = street_scenes(4, Size(160, 320), 5)
    patches = find_objects(data, classes=["face", "plate"], least=12)
    assert len(patches) >= 6
    for patch in patches:
        _, mask = without(data.images[patch.record], data.masks[patch.record], patch)
        index = data.classes.index(patch.name)
        assert not (mask[patch.slices][patch.pixels] == index).any()


# How it looks.


def textured(rows: int, columns: int, period: int) -> torch.Tensor:
    rng = np.random.default_rng(3)
    tile = rng.integers(0, 256, (3, rows, period), dtype=np.uint8)
    return torch.from_numpy(np.tile(tile, (1, 1, columns // period)))


def test_a_periodic_background_is_restored_with_its_labels() -> None:
    image = textured(32, 96, 12)
    mask = (torch.arange(96) % 12 < 6).to(torch.uint8).expand(32, 96).clone()
    disc = torch.from_numpy(np.hypot(*np.mgrid[-6:7, -6:7]) <= 6)
    patch = patch_at((9, 40, 13, 13), disc)
    hidden_image, hidden_mask = image.clone(), mask.clone()
    hidden_image[:, *patch.slices] = torch.where(disc, 255, image[:, *patch.slices])
    hidden_mask[patch.slices] = torch.where(disc, 7, mask[patch.slices])
    found_image, found_mask = without(hidden_image, hidden_mask, patch)
    assert torch.equal(found_image, image)
    assert torch.equal(found_mask, mask)


def test_no_place_of_the_objects_class_is_copied() -> None:
    """Of two equal cars one is taken away: the other, whose surroundings fit best, is no street."""
    rng = np.random.default_rng(4)
    image = torch.from_numpy(rng.integers(0, 200, (3, 40, 120), dtype=np.uint8))
    mask = torch.zeros(40, 120, dtype=torch.uint8)
    oval = torch.from_numpy(np.hypot(*np.mgrid[-7:8, -9:10]) <= 8)
    for column in (20, 62):
        image[:, 5:30, column - 5 : column + 24] = 90
        box = slice(10, 25), slice(column, column + 19)
        image[:, *box] = torch.where(oval, 250, image[:, *box])
        mask[box] = torch.where(oval, 1, mask[box])
    found_image, found_mask = without(image, mask, patch_at((10, 20, 15, 19), oval))
    assert (found_mask[:, :60] == 0).all()
    assert not (found_image[:, 10:25, 20:39] == 250).all(dim=0).any()


def test_small_and_whole_boxes_are_filled_smoothly() -> None:
    """A linear ramp is harmonic, so that a box in it comes back."""
    rows, columns = np.mgrid[:30, :40]
    ramp = torch.from_numpy(np.stack([3 * rows, 4 * columns, 2 * rows + columns]).astype(np.uint8))
    mask = torch.zeros(30, 40, dtype=torch.uint8)
    for box in ((5, 6, 4, 9), (8, 8, 14, 15)):
        patch = patch_at(box)
        hidden, labelled = ramp.clone(), mask.clone()
        hidden[:, *patch.slices], labelled[patch.slices] = 255, 1
        # The pixel beside the hole is left alone, but does not bind the surface.
        found, labels = without(hidden, labelled, patch)
        assert int((found.int() - ramp.int()).abs().max()) <= 1
        assert torch.equal(labels, mask)


def test_an_outline_without_labels_does_not_spread() -> None:
    """As Pascal VOC draws it around every object."""
    image, mask = torch.zeros(3, 20, 20, dtype=torch.uint8), torch.zeros(20, 20, dtype=torch.uint8)
    mask[6:14, 6:14] = IGNORE
    mask[7:13, 7:13] = 1
    _, labels = without(image, mask, patch_at((7, 7, 6, 6)))
    assert (labels[7:13, 7:13] == 0).all()


def test_an_object_that_is_all_there_is_becomes_grey() -> None:
    image, mask = torch.full((3, 9, 9), 7, dtype=torch.uint8), torch.ones(9, 9, dtype=torch.uint8)
    found, labels = without(image, mask, patch_at((0, 0, 9, 9)))
    assert (found == 128).all()
    assert (labels == IGNORE).all()


# Surfaces and places.


def slow_harmonic(values: np.ndarray, hole: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Solves the same equations as one dense system."""
    places = [tuple(place) for place in np.argwhere(hole)]
    matrix, right = np.zeros((len(places),) * 2), np.zeros(len(places))
    for number, (row, column) in enumerate(places):
        matrix[number, number] = 1e-9
        for step in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            at = row + step[0], column + step[1]
            if not (0 <= at[0] < hole.shape[0] and 0 <= at[1] < hole.shape[1]):
                continue
            if hole[at]:
                matrix[number, number] += 1
                matrix[number, places.index(at)] -= 1
            elif usable[at]:
                matrix[number, number] += 1
                right[number] += values[0][at]
    return np.linalg.solve(matrix, right)


@FEW
@given(st.integers(2, 7), st.integers(2, 7), st.integers(0, 2**32))
def test_surfaces_solve_their_equations(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(1, height, width))
    hole, usable = rng.random((height, width)) < 0.5, rng.random((height, width)) < 0.7
    hole[0, 0] = True
    found = harmonic(values, hole, usable)
    assert np.allclose(found[0][hole], slow_harmonic(values, hole, usable), atol=1e-6)
    assert np.array_equal(found[:, ~hole], values[:, ~hole])
    bound = values[0][usable & ~hole]
    if bound.size:  # the principle of the maximum, and 0 where nothing binds
        assert found[0][hole].max() <= max(0.0, bound.max()) + 1e-6


def test_the_best_place_is_the_equal_one() -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (3, 40, 60)).astype(float)
    pixels[:, 3:23, 34:54] = pixels[:, 12:32, 5:25]
    hole = np.zeros((40, 60), dtype=bool)
    hole[17:27, 10:20] = True
    shift = best_shift(pixels, hole, ~hole)
    assert shift == (12 - 3, 5 - 34)
    assert best_shift(pixels, hole, np.zeros_like(hole)) is None


# Wrong use, and pictures for reports.


@pytest.mark.parametrize("box", [(0, 0, 9, 3), (-1, 0, 3, 3), (6, 6, 3, 3), (0, 8, 1, 1)])
def test_boxes_that_reach_out_are_refused(box: tuple[int, int, int, int]) -> None:
    image, mask = torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(8, 8, dtype=torch.uint8)
    with pytest.raises(InputError, match="box of car must be within its image of 8x8"):
        without(image, mask, patch_at(box))
    with pytest.raises(InputError, match="box of car must be within its image of 8x8"):
        exchanged(image, mask, patch_at((0, 0, 2, 2)), image, mask, patch_at(box))


def test_only_objects_of_one_name_are_exchanged() -> None:
    image, mask = torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(8, 8, dtype=torch.uint8)
    pixels = torch.ones(2, 2, dtype=torch.bool)
    face = ObjectPatch(0, "face", (0, 0, 2, 2), pixels, 4, "component")
    with pytest.raises(InputError, match="other object must be a car too, got face"):
        exchanged(image, mask, patch_at((0, 0, 2, 2)), image, mask, face)


@FEW
@given(cases(), st.floats(0, 3), st.integers(1, 200))
def test_a_neighbourhood_shows_the_object_where_it_says(case, context: float, side: int) -> None:
    image, _, patch = case
    view = neighbourhood(image, patch, context=context, side=side)
    row, column, height, width = view.box
    part = view.picture[:, row : row + height, column : column + width]
    assert torch.equal(part[:, :: view.scale, :: view.scale], image[:, *patch.slices])
    assert part.shape[1:] == (patch.box[2] * view.scale, patch.box[3] * view.scale)
    if context == 0:
        assert view.picture.shape == part.shape


@pytest.mark.parametrize("option", [{"context": -1.0}, {"side": 0}])
def test_neighbourhoods_out_of_range(option: dict) -> None:
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    with pytest.raises(InputError, match="must be at least"):
        neighbourhood(image, patch_at((0, 0, 2, 2)), **option)

"""Canaries: what patch substitution allows, and nothing else."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cropaudit.accounting.geometry import Crop, Patch, PixelMask, Rectangle, Size
from cropaudit.accounting.inclusion import inclusion, inclusion_map
from cropaudit.errors import InputError
from cropaudit.training.canaries import add_slots, fill_slots, filled, trimmed
from cropaudit.training.data import IGNORE, SegmentationData

CROP = Crop(Size(14, 16))
ROUND = PixelMask(np.hypot(*np.mgrid[-4:5, -3:4]) <= 3.5)
LOOSE = PixelMask(np.pad(np.array([[True, False], [True, True]]), ((11, 7), (5, 13))))
PATCHES = [Rectangle(Size(8, 6)), Rectangle(Size(1, 1)), ROUND, LOOSE]
GOLDEN = "2e5a47709220d29bac20ba9ed5e1d70b36419f9a80bb0e841cb549c9da575c91"


def scenes(classes: int = 6) -> SegmentationData:
    stream = torch.Generator().manual_seed(3)
    sizes = [(30, 40), (24, 26), (33, 21)]
    return SegmentationData(
        tuple(torch.randint(256, (3, *s), generator=stream, dtype=torch.uint8) for s in sizes),
        tuple(torch.randint(classes, s, generator=stream, dtype=torch.uint8) for s in sizes),
        tuple(f"class {i}" for i in range(classes)),
        ("one", "two", "three"),
        "test",
    )


def footprint(slot, shape: tuple[int, int]) -> torch.Tensor:
    inside = torch.zeros(shape, dtype=torch.bool)
    row, column = slot.position
    height, width = slot.pixels.shape
    inside[row : row + height, column : column + width] = slot.pixels
    return inside


@pytest.mark.parametrize("patch", PATCHES, ids=str)
def test_worlds_differ_inside_the_patch_only(patch: Patch) -> None:
    data = scenes()
    empty, slots = add_slots(data, 7, CROP, patch, seed=1)
    world_a = fill_slots(empty, slots, np.ones(7, dtype=bool))
    world_b = fill_slots(empty, slots, np.zeros(7, dtype=bool))
    for slot in slots:
        inside = footprint(slot, empty.masks[slot.record].shape)
        assert int(inside.sum()) == int(patch.mask().sum())
        for world in (world_a, world_b):
            image, mask = world.images[slot.record], world.masks[slot.record]
            assert torch.equal(image[:, ~inside], empty.images[slot.record][:, ~inside])
            assert bool((mask[~inside] == IGNORE).all())
            assert bool((mask[inside] < len(data.classes)).all())
            assert bool(((image[:, inside] == 0) | (image[:, inside] == 255)).all())
        labels = [world.masks[slot.record][inside] for world in (world_a, world_b)]
        assert not set(labels[0].tolist()) & set(labels[1].tolist())


def test_one_filled_record_is_that_of_the_data_set() -> None:
    empty, slots = add_slots(scenes(), 4, CROP, ROUND, seed=1)
    members = np.array([True, False, False, True])
    data = fill_slots(empty, slots, members)
    for slot, member in zip(slots, members, strict=True):
        image, mask = filled(empty, slot, world_a=bool(member))
        assert torch.equal(image, data.images[slot.record])
        assert torch.equal(mask, data.masks[slot.record])
    assert bool((empty.masks[slots[0].record] == IGNORE).all())


def test_records_are_copies_and_the_originals_stay() -> None:
    data = scenes()
    before = [t.clone() for t in (*data.images, *data.masks)]
    empty, slots = add_slots(data, 5, CROP, PATCHES[0], seed=1)
    full = fill_slots(empty, slots, np.array([True, False, True, False, True]))
    assert len(empty) == len(full) == 8
    assert [slot.record for slot in slots] == [3, 4, 5, 6, 7]
    for number, slot in enumerate(slots):
        assert torch.equal(empty.images[slot.record], data.images[number % 3])
        assert bool((empty.masks[slot.record] == IGNORE).all()), "filling must not write here"
        assert data.names[number % 3] in empty.names[slot.record]
    for index in range(3):
        assert torch.equal(full.images[index], data.images[index])
        assert torch.equal(full.masks[index], data.masks[index])
    assert len(set(empty.names)) == 8
    for old, now in zip(before, (*data.images, *data.masks), strict=True):
        assert torch.equal(old, now)


def test_each_slot_follows_its_own_coin() -> None:
    empty, slots = add_slots(scenes(), 4, CROP, PATCHES[0], seed=1)
    mixed = fill_slots(empty, slots, np.array([True, False, False, True]))
    for slot, member in zip(slots, (True, False, False, True), strict=True):
        row, column = slot.position
        height, width = slot.pixels.shape
        shown = mixed.masks[slot.record][row : row + height, column : column + width]
        assert torch.equal(shown, slot.labels_a if member else slot.labels_b)


@pytest.mark.parametrize("patch", PATCHES, ids=str)
@pytest.mark.parametrize("crop", [CROP, Crop(Size(14, 16), padding=3), Crop(Size(21, 21))], ids=str)
def test_slots_sit_near_the_worst_place(patch: Patch, crop: Crop) -> None:
    """The inclusion stated is that of the place, counted over all windows."""
    empty, slots = add_slots(scenes(), 6, crop, patch, seed=2)
    for slot in slots:
        size = empty.size(slot.record)
        worst = inclusion(size, crop, patch).probability
        assert 0.98 * worst <= slot.inclusion <= worst
        assert slot.inclusion == inclusion_map(size, crop, patch)[slot.position]
        inside = footprint(slot, (size.height, size.width)).numpy()
        padded = np.pad(inside, crop.padding)
        origins = crop.origins(size)
        met = [
            padded[i : i + crop.size.height, j : j + crop.size.width].any()
            for i in range(origins.height)
            for j in range(origins.width)
        ]
        assert slot.inclusion == pytest.approx(np.mean(met), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 19), st.integers(0, 1000), st.integers(1, 20), st.integers(1, 20))
def test_worlds_share_no_class(classes: int, seed: int, height: int, width: int) -> None:
    patch = Rectangle(Size(height, width))
    _, slots = add_slots(scenes(classes), 2, CROP, patch, seed)
    for slot in slots:
        a, b = set(slot.labels_a.flatten().tolist()), set(slot.labels_b.flatten().tolist())
        assert not a & b
        assert max(len(a), len(b)) <= classes // 2
        assert max(a | b) < classes
        for texture in (slot.texture_a, slot.texture_b):
            assert texture.shape == (3, height, width)
            assert texture.dtype == torch.uint8
        assert slot.labels_a.shape == slot.labels_b.shape == (height, width)
        assert slot.labels_a.dtype == slot.labels_b.dtype == torch.uint8


def test_halves_are_drawn_anew_for_each_slot() -> None:
    _, slots = add_slots(scenes(), 40, CROP, Rectangle(Size(12, 12)), seed=5)
    sides = {frozenset(slot.labels_a.flatten().tolist()) for slot in slots}
    assert len(sides) > 5
    assert len({slot.position for slot in slots}) > 5


def test_same_seed_same_canaries() -> None:
    runs = [add_slots(scenes(), 5, CROP, ROUND, seed)[1] for seed in (9, 9, 10)]
    for one, other in zip(runs[0], runs[1], strict=True):
        assert (one.record, one.position, one.inclusion) == (
            other.record,
            other.position,
            other.inclusion,
        )
        for name in ("pixels", "texture_a", "texture_b", "labels_a", "labels_b"):
            assert torch.equal(getattr(one, name), getattr(other, name))
    assert not all(
        torch.equal(one.texture_a, other.texture_a)
        for one, other in zip(runs[0], runs[2], strict=True)
    )


def test_the_same_canaries_as_ever() -> None:
    """Runs are played again from their seeds: what a seed gives may not change unseen."""
    digest = hashlib.sha256()
    for patch in PATCHES:
        empty, slots = add_slots(scenes(), 7, CROP, patch, seed=1)
        for slot in slots:
            digest.update(repr((slot.record, slot.position, slot.inclusion)).encode())
            for name in ("pixels", "texture_a", "texture_b", "labels_a", "labels_b"):
                digest.update(getattr(slot, name).numpy().tobytes())
        for tensor in (*empty.images, *empty.masks):
            digest.update(tensor.numpy().tobytes())
        digest.update(repr(empty.names).encode())
    assert digest.hexdigest() == GOLDEN


def test_trimming_cuts_to_the_bounding_box() -> None:
    assert trimmed(LOOSE).tolist() == [[True, False], [True, True]]
    assert trimmed(ROUND).shape == (7, 7)
    assert trimmed(Rectangle(Size(3, 5))).shape == (3, 5)


def test_no_slots_is_no_change() -> None:
    data = scenes()
    empty, slots = add_slots(data, 0, CROP, PATCHES[0], seed=1)
    assert (len(empty), slots) == (3, ())
    assert len(fill_slots(empty, slots, np.zeros(0, dtype=bool))) == 3


@pytest.mark.parametrize(
    ("count", "classes", "crop", "patch", "message"),
    [
        (-1, 6, CROP, PATCHES[0], "canary slots must be at least 0, got -1"),
        (1, 1, CROP, PATCHES[0], "classes must be at least 2, got 1"),
        (1, 6, CROP, Rectangle(Size(31, 5)), "patch must be at most the image"),
        (1, 6, Crop(Size(31, 16)), PATCHES[0], "crop must be at most the padded image"),
    ],
)
def test_what_cannot_be_is_refused(count, classes, crop, patch, message) -> None:
    with pytest.raises(InputError, match=message):
        add_slots(scenes(classes), count, crop, patch, seed=1)


def test_slots_need_an_image_to_copy() -> None:
    with pytest.raises(InputError, match="images must be at least one"):
        add_slots(scenes().take([]), 1, CROP, PATCHES[0], seed=1)


def test_as_many_coins_as_slots() -> None:
    empty, slots = add_slots(scenes(), 2, CROP, PATCHES[0], seed=1)
    with pytest.raises(ValueError, match="shorter"):
        fill_slots(empty, slots, np.array([True]))

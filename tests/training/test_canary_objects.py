"""Real objects as canaries: there in world A, taken away in world B, nothing else touched."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cropaudit.accounting.geometry import Crop, PixelMask, Rectangle, Size
from cropaudit.accounting.inclusion import inclusion_map
from cropaudit.audit.pictures import draw_canaries
from cropaudit.errors import InputError
from cropaudit.training.canaries import fill_slots, filled, plant
from cropaudit.training.canaries.designs import RealObject
from cropaudit.training.canaries.real import covered
from cropaudit.training.canaries.slots import footprint
from cropaudit.training.data import IGNORE, SegmentationData

CROP = Crop(Size(12, 12))


@dataclass(frozen=True, eq=False)
class Thing:
    record: int
    name: str
    box: tuple[int, int, int, int]
    pixels: Tensor


def thing(record: int, row: int, column: int, rows: list[str]) -> Thing:
    """Returns a thing drawn in text: # is a pixel of it."""
    pixels = torch.tensor([[mark == "#" for mark in line] for line in rows])
    return Thing(record, "car", (row, column, len(rows), len(rows[0])), pixels)


THINGS = [
    thing(0, 3, 4, [".##.", "####"]),
    thing(0, 4, 5, ["##", "##"]),  # overlaps the first
    thing(0, 20, 1, ["#", "#", "#"]),
    thing(1, 30, 17, ["####", "#..#"]),
    thing(1, 2, 2, ["#" * 9]),  # wider than the patch
    thing(1, 0, 0, ["##"]),
]


def scenes() -> SegmentationData:
    stream = torch.Generator().manual_seed(4)
    sizes = [(24, 26), (33, 21)]
    return SegmentationData(
        tuple(torch.randint(1, 256, (3, *s), generator=stream, dtype=torch.uint8) for s in sizes),
        tuple(torch.randint(1, 4, s, generator=stream, dtype=torch.uint8) for s in sizes),
        ("road", "car", "person", "sky"),
        ("one", "two"),
        "test",
    )


def black(image: Tensor, mask: Tensor, found: Thing) -> tuple[Tensor, Tensor]:
    """Takes an object away: black pixels, class 0."""
    row, column, height, width = found.box
    box = slice(row, row + height), slice(column, column + width)
    image, mask = image.clone(), mask.clone()
    image[:, *box] = torch.where(found.pixels, 0, image[:, *box])
    mask[box] = torch.where(found.pixels, 0, mask[box])
    return image, mask


DESIGN = RealObject(THINGS, black)
PATCH = Rectangle(Size(4, 5))


def test_world_a_is_the_photograph_and_world_b_lacks_the_objects() -> None:
    data = scenes()
    empty, slots = plant(data, DESIGN, 10, CROP, PATCH, 1, per_image=3)
    assert [slot.name for slot in slots] == ["car in one"] * 2 + ["car in two"] * 2
    assert [slot.position for slot in slots] == [(3, 4), (20, 1), (30, 17), (0, 0)]
    assert len(empty) == 2, "no copies: the photograph itself bears the slot"
    world_a = fill_slots(empty, slots, np.ones(4, dtype=bool))
    world_b = fill_slots(empty, slots, np.zeros(4, dtype=bool))
    for record in range(2):
        assert torch.equal(world_a.images[record], data.images[record])
        assert torch.equal(world_a.masks[record], data.masks[record])
        inside = torch.stack(
            [footprint(slot, data.masks[record]) for slot in slots if slot.record == record]
        ).any(dim=0)
        assert torch.equal((world_b.images[record] == 0).all(dim=0), inside)
        assert torch.equal(world_b.images[record][:, ~inside], data.images[record][:, ~inside])
        assert torch.equal(world_b.masks[record] == 0, inside)
        assert torch.equal(empty.images[record], world_b.images[record])
        assert torch.equal(empty.masks[record] == IGNORE, inside)
    for slot in slots:
        rho = inclusion_map(data.size(slot.record), CROP, PixelMask(slot.pixels.numpy()))
        assert slot.inclusion == rho[slot.position]
        assert slot.miss_gradient is None


def test_at_most_so_many_and_so_many_an_image() -> None:
    for count, per_image, expected in ((1, 1, 1), (3, 1, 2), (3, 2, 3), (0, 1, 0)):
        _, slots = plant(scenes(), DESIGN, count, CROP, PATCH, 1, per_image=per_image)
        assert len(slots) == expected


def test_an_object_must_fit_into_the_patch_at_some_place_within_the_image() -> None:
    data, hook = scenes(), PixelMask(np.array([[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]], bool))
    first, _, tall, bridge, _, corner = THINGS
    assert covered(bridge, hook, data.masks[1])
    assert not covered(first, hook, data.masks[0]), "its second row lacks the middle"
    assert covered(tall, hook, data.masks[0])
    assert not covered(tall, Rectangle(Size(2, 9)), data.masks[0])
    assert covered(corner, hook, data.masks[1])
    assert not covered(corner, PixelMask(np.array([[0, 0, 1], [1, 1, 0]], bool)), data.masks[1]), (
        "the patch would have to reach above the image"
    )


def test_a_removal_that_reaches_further_is_refused() -> None:
    def smeared(image: Tensor, mask: Tensor, found: Thing) -> tuple[Tensor, Tensor]:
        image, mask = black(image, mask, found)
        mask[23, 25] = 0
        return image, mask

    with pytest.raises(InputError, match="image without car in one must be the same outside its"):
        plant(scenes(), RealObject(THINGS, smeared), 1, CROP, PATCH, 1)


def test_without_an_object_that_fits_there_is_no_slot() -> None:
    with pytest.raises(
        InputError, match="objects must be at least one that fits into 1x1, got non"
    ):
        plant(scenes(), DESIGN, 1, CROP, Rectangle(Size(1, 1)), 1)


@pytest.mark.data
def test_real_cars_beside_their_neighbours(camvid_root: Path) -> None:
    """Cars of street frames are taken away, and pictures show both worlds."""
    from cropaudit.training.folders import load_folder
    from cropaudit.training.objects.finding import find_objects
    from cropaudit.training.objects.removal import without

    data = load_folder(camvid_root, short_side=180, limit=20).train
    patch = Rectangle(Size(32, 40))
    objects = find_objects(data, classes=["car"], least=60, most=patch.size)
    empty, slots = plant(data, RealObject(objects, without), 3, Crop(Size(96, 96)), patch, 1)
    assert len(slots) >= 2
    for slot in slots:
        (image, mask), (other, labels) = (filled(empty, slot, world_a=w) for w in (True, False))
        inside = footprint(slot, mask)
        assert torch.equal(image, data.images[slot.record])
        assert not torch.equal(image, other)
        assert not bool(((image != other).any(dim=0) & ~inside).any())
        assert not bool(((mask != labels) & ~inside).any())
    member = np.ones(len(slots), dtype=bool)
    pictures, files = draw_canaries(empty, slots, member, Crop(Size(96, 96)))
    assert all(picture.beside in files for picture in pictures)
    assert all("Car" in picture.name or "car" in picture.name for picture in pictures)

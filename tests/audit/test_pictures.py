"""Pictures of canaries: the two worlds, the crops that meet and miss, the labels."""

import io

import numpy as np
import pytest
from PIL import Image

from cropaudit.accounting.geometry import Crop, Patch, PixelMask, Rectangle, Size
from cropaudit.audit.pictures import draw_canaries, neighbourhood
from cropaudit.audit.result import CanaryPicture
from cropaudit.training.canaries import CanarySlot, add_slots, fill_slots, filled, plant
from cropaudit.training.canaries.backgrounds import Sparse
from cropaudit.training.canaries.designs import BrightTexture, LabelOnly, ObjectPaste, Opposed
from cropaudit.training.canaries.textures import Flat
from cropaudit.training.data import IGNORE, SegmentationData
from cropaudit.training.scenes import street_scenes

SCENES = street_scenes(3, Size(40, 56), 1)
RECTANGLE = Rectangle(Size(8, 10))
ROUND = PixelMask(np.hypot(*np.mgrid[-4:5, -4:5]) <= 4.2)
CROP = Crop(Size(20, 20))
CASES = [
    pytest.param(RECTANGLE, CROP, id="rectangle"),
    pytest.param(ROUND, CROP, id="round"),
    pytest.param(RECTANGLE, Crop(Size(20, 24), padding=7), id="padding"),
    pytest.param(RECTANGLE, Crop(Size(6, 6)), id="crop smaller than patch"),
]


pytestmark = pytest.mark.usefixtures("one_thread")


Drawn = tuple[tuple[CanaryPicture, ...], dict[str, bytes]]


def drawn(
    patch: Patch, crop: Crop, slots: int = 5, count: int = 3
) -> tuple[SegmentationData, tuple[CanarySlot, ...], Drawn]:
    data, places = add_slots(SCENES, slots, crop, patch, 2)
    member = np.arange(slots) % 2 == 0
    return data, places, draw_canaries(data, places, member, crop, count)


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image)


def inside(slot: CanarySlot) -> np.ndarray:
    """Returns where the patch is in the image."""
    where = np.zeros((40, 56), dtype=bool)
    row, column = slot.position
    height, width = slot.pixels.shape
    where[row : row + height, column : column + width] = slot.pixels.numpy()
    return where


@pytest.mark.parametrize(("patch", "crop"), CASES)
def test_worlds_differ_inside_the_patch_only(patch: Patch, crop: Crop) -> None:
    data, slots, (pictures, files) = drawn(patch, crop)
    for picture in pictures:
        slot = slots[picture.slot]
        a, b = pixels(files[picture.world_a]), pixels(files[picture.world_b])
        differ = (a != b).any(axis=2)
        assert differ.any()
        assert not (differ & ~inside(slot)).any()
        source = data.images[slot.record].permute(1, 2, 0).numpy()
        assert np.array_equal(a[~inside(slot)], source[~inside(slot)]), "the photograph around it"
        for world, shown in ((True, a), (False, b)):
            truth = fill_slots(data, slots, np.full(len(slots), world)).images[slot.record]
            assert np.array_equal(shown, truth.permute(1, 2, 0).numpy())


@pytest.mark.parametrize(("patch", "crop"), CASES)
def test_labels_are_grey_where_there_are_none(patch: Patch, crop: Crop) -> None:
    data, slots, (pictures, files) = drawn(patch, crop)
    for picture in pictures:
        slot = slots[picture.slot]
        for name, labels in ((picture.labels_a, slot.labels_a), (picture.labels_b, slot.labels_b)):
            shown = pixels(files[name])
            grey = (shown == 225).all(axis=2)
            assert np.array_equal(grey, ~inside(slot))
            assert (data.masks[slot.record] == IGNORE).all()
            colours = np.unique(shown[inside(slot)], axis=0)
            assert len(colours) == len(np.unique(labels.numpy()[slot.pixels.numpy()]))


@pytest.mark.parametrize(("patch", "crop"), CASES)
def test_one_crop_meets_the_patch_and_one_misses_it(patch: Patch, crop: Crop) -> None:
    _, slots, (pictures, files) = drawn(patch, crop)
    for picture in pictures:
        slot = slots[picture.slot]
        padded = np.pad(
            pixels(files[picture.world_a]),
            [(crop.padding, crop.padding), (crop.padding, crop.padding), (0, 0)],
        )
        where = np.pad(inside(slot), crop.padding)
        assert picture.crop_hit is not None
        assert picture.crop_miss is not None
        size = (crop.size.height, crop.size.width)
        most = min(size[0], slot.pixels.shape[0]) * min(size[1], slot.pixels.shape[1])
        for name, meets in ((picture.crop_hit, True), (picture.crop_miss, False)):
            shown = pixels(files[name])
            assert shown.shape[:2] == size
            windows = np.lib.stride_tricks.sliding_window_view(padded, size, (0, 1))
            found = np.argwhere((windows == shown.transpose(2, 0, 1)).all(axis=(2, 3, 4)))
            assert len(found), "a window of the padded image"
            shares = [where[r : r + size[0], c : c + size[1]].sum() for r, c in found]
            if meets:
                whole = where.sum() if most == slot.pixels.numel() else most
                assert whole in shares, "all of the patch, as far as the window holds it"
            else:
                assert 0 in shares


def test_without_a_window_that_misses_there_is_no_such_picture() -> None:
    _, _, (pictures, files) = drawn(RECTANGLE, Crop(Size(40, 56)))
    assert {picture.crop_miss for picture in pictures} == {None}
    assert not any("miss" in name for name in files)
    assert all(picture.crop_hit in files for picture in pictures)


def test_what_is_listed_is_what_is_drawn() -> None:
    data, slots, (pictures, files) = drawn(RECTANGLE, CROP, slots=7)
    assert [picture.slot for picture in pictures] == [0, 3, 6]
    assert [picture.world for picture in pictures] == ["A", "B", "A"]
    listed = set()
    for picture in pictures:
        slot = slots[picture.slot]
        assert picture.position == slot.position
        assert picture.name == slot.name == data.names[slot.record]
        names = ("world_a", "world_b", "crop_hit", "crop_miss", "labels_a", "labels_b", "beside")
        listed |= {getattr(picture, name) for name in names}
    assert listed == set(files)
    assert all(name.startswith("pictures/") and name.endswith(".png") for name in files)


@pytest.mark.parametrize(
    ("slots", "count", "numbers"), [(2, 3, [0, 1]), (1, 3, [0]), (5, 1, [0]), (0, 3, [])]
)
def test_few_slots(slots: int, count: int, numbers: list[int]) -> None:
    _, _, (pictures, files) = drawn(RECTANGLE, CROP, slots, count)
    assert [picture.slot for picture in pictures] == numbers
    assert len(files) == 7 * len(numbers)


def test_pictures_are_the_same_each_time() -> None:
    assert drawn(ROUND, CROP)[2] == drawn(ROUND, CROP)[2]


@pytest.mark.parametrize(
    "design",
    [BrightTexture(), LabelOnly(), ObjectPaste("face"), Opposed(Sparse(), Flat())],
    ids=str,
)
def test_every_design_is_drawn_and_others_of_the_record_follow_their_coins(design) -> None:
    data, slots = plant(SCENES, design, 4, CROP, RECTANGLE, 2, per_image=2, margin=3)
    member = np.array([True, False, False, True])
    pictures, files = draw_canaries(data, slots, member, CROP, 4)
    for picture, slot in zip(pictures, slots, strict=True):
        assert picture.name == slot.name
        for name, world in ((picture.world_a, True), (picture.world_b, False)):
            coins = member.copy()
            coins[picture.slot] = world
            image = fill_slots(data, slots, coins).images[slot.record]
            assert np.array_equal(pixels(files[name]), image.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("patch", [RECTANGLE, ROUND], ids=["rectangle", "round"])
def test_the_neighbourhood_shows_both_worlds_enlarged(patch: Patch) -> None:
    data, slots, (pictures, files) = drawn(patch, CROP)
    for picture in pictures:
        slot = slots[picture.slot]
        shown = pixels(files[picture.beside])
        plain = fill_slots(data, slots, np.arange(len(slots)) % 2 == 0)
        assert np.array_equal(shown, neighbourhood(plain, slot).permute(1, 2, 0).numpy())
        assert max(shown.shape[:2]) >= 192
        (row, column), (height, width) = slot.position, slot.pixels.shape
        rows = slice(max(0, row - height), row + 2 * height)
        columns = slice(max(0, column - width), column + 2 * width)
        views = [filled(plain, slot, world_a=world)[0][:, rows, columns] for world in (True, False)]
        scale = shown.shape[0] // views[0].shape[1]
        side = scale * views[0].shape[2]
        halves = shown[:, :side], shown[:, -side:]
        for view, half in zip(views, halves, strict=True):
            assert np.array_equal(half[::scale, ::scale], view.permute(1, 2, 0).numpy())
        differ = (halves[0] != halves[1]).any(axis=2)
        inner = inside(slot)[rows, columns].repeat(scale, axis=0).repeat(scale, axis=1)
        assert differ.any()
        assert not (differ & ~inner).any()

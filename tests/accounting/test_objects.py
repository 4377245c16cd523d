"""Objects of real and of made-up pictures: their boxes, what covers them, how exposed they are."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cropaudit.accounting.crop_laws import ResizedCrop, WholeImage
from cropaudit.accounting.geometry import Crop, PixelMask, Rectangle, Several, Size
from cropaudit.accounting.inclusion import inclusion, inclusion_map
from cropaudit.accounting.objects import ObjectBox, coverage, object_inclusions, read_objects
from cropaudit.accounting.patches import disc
from cropaudit.errors import InputError


def written(folder: Path, values: Any) -> Path:
    path = folder / "objects.json"
    path.write_text(json.dumps(values))
    return path


def test_boxes_are_rounded_outwards_and_cut(tmp_path: Path) -> None:
    items = [
        {"name": "car", "xywh": [1.2, 2.9, 3.1, 4]},
        {"category": "dog", "xyxy": [-3, 5, 4, 99.5], "area": 7},
        {"name": "person", "xywh": [0, 0, 20, 10], "face_xyxy": [3, 1, 5.5, 4]},
        {"category": 7, "xyxy": [19, 9, 20, 10], "face_xyxy": None},
    ]
    found = read_objects(written(tmp_path, {"a.png": items}), {"a.png": Size(10, 20)})
    image = Size(10, 20)
    assert found == (
        ObjectBox("a.png", "car", Size(5, 4), (2, 1), image),
        ObjectBox("a.png", "dog", Size(5, 4), (5, 0), image),
        ObjectBox("a.png", "person", Size(10, 20), (0, 0), image),
        ObjectBox("a.png", "face", Size(3, 3), (1, 3), image),
        ObjectBox("a.png", "7", Size(1, 1), (9, 19), image),
    )


@pytest.mark.parametrize("place", ["train/a.png", "images/train/a.png", "train/images/a.png"])
def test_pictures_are_found_beside_the_file(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True)
    Image.new("L", (20, 10)).save(tmp_path / place)
    path = written(tmp_path, {"train/a.png": [{"name": "x", "xyxy": [0, 0, 1, 1]}]})
    assert read_objects(path)[0].image_size == Size(10, 20)


def test_pictures_that_are_absent_have_no_size(tmp_path: Path) -> None:
    path = written(tmp_path, {"a.png": [{"name": "x", "xyxy": [0, 0, 1000, 1]}], "b.png": []})
    (only,) = read_objects(path)
    assert (only.size, only.image_size) == (Size(1, 1000), None)
    with pytest.raises(InputError, match=r"image size of a\.png must be known"):
        object_inclusions([only], Crop(Size(2, 2)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "a mapping of image paths to lists of objects, got list"),
        ({"a": {}}, "a mapping of image paths to lists of objects, got dict"),
        ({"a": [3]}, "object 0 of a in .* must be a mapping, got int"),
        ({"a": [{"xyxy": [0, 0, 1, 1]}]}, "must be named by name or category, got None"),
        ({"a": [{"name": "x"}]}, "must be given one box, as xywh or xyxy, got none"),
        (
            {"a": [{"name": "x", "xywh": [0, 0, 1, 1], "xyxy": [0, 0, 1, 1]}]},
            "one box, as xywh or xyxy, got xywh and xyxy",
        ),
        ({"a": [{"name": "x", "xyxy": [0, 0, 1]}]}, "must be given four numbers as xyxy"),
        ({"a": [{"name": "x", "xyxy": [0, 0, 0, 1]}]}, "right and bottom beyond left and top"),
        ({"a": [{"name": "x", "xywh": [0, 0, 1, float("nan")]}]}, "must be given four numbers"),
        ({"a": [{"name": "x", "xywh": [0, 0, 1, "2"]}]}, "must be given four numbers as xywh"),
        ({"a": [{"name": "x", "xywh": [9, 0, 1, 1]}]}, "must be within the image 4x4"),
        (
            {"a": [{"name": "x", "xywh": [0, 0, 1, 1], "face_xyxy": [9, 9, 10, 10]}]},
            "face_xyxy of object 0 of a in .* must be within the image 4x4",
        ),
        ({"a": [{"name": "x", "xywh": [0, 0, 1, 10**400]}]}, "must be given four numbers as xywh"),
        ({"a": [{"name": "x", "xyxy": [0, 0, 1, 1e300]}]}, "must be given four numbers as xyxy"),
        ({"a": [{"name": 10**400, "xyxy": [0, 0, 1, 1]}]}, "must be named by name or category"),
        ({"a": [{"name": "\ud800", "xyxy": [0, 0, 1, 1]}]}, "must be text of at most 1000 letters"),
        ({"a": [{"name": "x" * 5000, "xyxy": [0, 0, 1, 1]}]}, "must be text of at most 1000"),
        ({"b" * 5000: []}, "image path in .* must be text of at most 1000 letters"),
        ({"\udfff": []}, "image path in .* must be text of at most 1000 letters"),
        ({"../a": []}, r"image path must be relative and within its folder, got \.\./a"),
        ({"/a": []}, "image path must be relative and within its folder, got /a"),
    ],
)
def test_bad_objects(tmp_path: Path, values: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_objects(written(tmp_path, values), {"a": Size(4, 4)})
    assert len(str(caught.value).splitlines()) == 1


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.json must be a JSON file"):
        read_objects(tmp_path / "absent.json")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(InputError, match=r"x\.json must be a JSON file"):
        read_objects(tmp_path / "x.json")
    (tmp_path / "x.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"x\.json must be a JSON file"):
        read_objects(tmp_path / "x.json")
    longest = written(tmp_path, {"c" * 900: [{"name": "x", "xyxy": [0, 0, 1, 1]}]})
    assert read_objects(longest)[0].image_size is None  # longer than any file's name
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(InputError, match=r"a\.png must be a whole"):
        read_objects(written(tmp_path, {"a.png": []}))


def box(name: str, height: int, width: int) -> ObjectBox:
    return ObjectBox("a", name, Size(height, width), (0, 0), Size(100, 100))


def test_coverage() -> None:
    objects = [box("car", 4, 9), box("car", 5, 5), box("dog", 10, 2), box("dog", 3, 3)]
    objects.append(box("car", 30, 4))
    found = coverage(objects, Rectangle(Size(5, 9)))
    assert (found.objects, found.share) == (5, 0.6)
    assert [(n.name, n.objects, n.share) for n in found.names] == [
        ("car", 3, pytest.approx(2 / 3)),
        ("dog", 2, 0.5),
    ]
    assert found.squares == ((0.5, 9), (0.9, 30), (1.0, 30))
    assert found.rectangle == Size(30, 9)
    for share, side in found.squares:
        square = coverage(objects, Rectangle(Size(side, side)))
        assert square.share >= share
        smaller = coverage(objects, Rectangle(Size(side - 1, side - 1)))
        assert smaller.share < share
    assert coverage(objects, Several(Rectangle(Size(5, 9)), 3)).share == 0.6
    with pytest.raises(InputError, match="objects must be at least one, got 0"):
        coverage([], Rectangle(Size(1, 1)))


def test_a_mask_covers_the_boxes_that_fit_its_pixels() -> None:
    """In a disc of radius 5 a 7x7 square fits, an 8x8 one does not: by looking at every place."""
    circle = disc(5)
    for height in range(1, 13):
        for width in range(1, 13):
            views = np.lib.stride_tricks.sliding_window_view(
                circle.pixels, (min(height, 11), min(width, 11))
            )
            fits = max(height, width) <= 11 and bool(views.all(axis=(2, 3)).any())
            assert coverage([box("x", height, width)], circle).share == fits
    hole = PixelMask(np.array([[1, 1, 0], [1, 1, 1]], dtype=bool))
    assert coverage([box("x", 2, 2)], hole).share == 1
    assert coverage([box("x", 2, 3)], hole).share == 0


@pytest.mark.parametrize(
    "crop", [Crop(Size(6, 6), 2, "reflect"), ResizedCrop(Size(4, 4)), WholeImage()]
)
def test_inclusion_of_objects(crop: Any) -> None:
    sizes, rng, objects = [Size(20, 30), Size(25, 18)], np.random.default_rng(0), []
    for _ in range(12):
        image = sizes[rng.integers(2)]
        size = Size(int(rng.integers(1, 9)), int(rng.integers(1, 9)))
        place = (
            int(rng.integers(image.height - size.height + 1)),
            int(rng.integers(image.width - size.width + 1)),
        )
        objects.append(ObjectBox("a", "x", size, place, image))
    found = object_inclusions(objects, crop)
    assert found.shape == (12, 2)
    for item, (own, worst) in zip(objects, found, strict=True):
        assert item.image_size is not None
        rho = inclusion_map(item.image_size, crop, Rectangle(item.size))
        assert own == rho[item.position]
        assert worst == inclusion(item.image_size, crop, Rectangle(item.size)).probability
    assert object_inclusions([], crop).shape == (0, 2)


def test_camvid(camvid_root: Path) -> None:
    objects = read_objects(camvid_root / "objects.json")
    assert len(objects) == 661
    assert {item.image_size for item in objects} == {Size(360, 480)}
    assert {item.name for item in objects} == {"Car", "Pedestrian", "Bicyclist"}
    whole = coverage(objects, Rectangle(Size(360, 480)))
    assert whole.share == 1.0
    assert sum(name.objects for name in whole.names) == 661
    found = object_inclusions(objects, Crop(Size(128, 128)))
    assert np.all((found[:, 0] > 0) & (found[:, 0] <= found[:, 1]) & (found[:, 1] <= 1))


def test_coco(coco_root: Path) -> None:
    objects = read_objects(coco_root / "objects.json")
    faces = [item for item in objects if item.name == "face"]
    assert (len(objects), len(faces)) == (417, 16)
    assert all(item.image_size is not None for item in objects)
    for item in objects:
        assert item.image_size is not None
        assert item.position[0] + item.size.height <= item.image_size.height
        assert item.position[1] + item.size.width <= item.image_size.width
    found = coverage(faces, Rectangle(Size(300, 300)))
    assert (found.objects, found.share) == (16, 1.0)
    rates = object_inclusions(faces, Crop(Size(128, 128), 16, "reflect", pad_if_needed=True))
    assert np.all((rates[:, 0] > 0) & (rates[:, 0] <= rates[:, 1]))

"""Objects in masks and in files: all of them, in the right pixels, and none dropped in silence."""

import json
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cropaudit.accounting.geometry import Size
from cropaudit.errors import InputError
from cropaudit.training.data import IGNORE, Origin, SegmentationData
from cropaudit.training.datasets.registry import load_dataset
from cropaudit.training.objects.annotated import _span
from cropaudit.training.objects.finding import find_objects, survey_objects
from cropaudit.training.objects.patches import ObjectCount
from cropaudit.training.scenes import street_scenes

MASKS = arrays.arrays(
    np.uint8,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    elements=st.sampled_from([0, 1, 2, IGNORE]),
)


def dataset(*masks: np.ndarray, classes: tuple[str, ...] = ("sky", "Car", "person")):
    count = len(masks)
    return SegmentationData(
        images=tuple(torch.zeros(3, *mask.shape, dtype=torch.uint8) for mask in masks),
        masks=tuple(torch.from_numpy(mask.astype(np.uint8)) for mask in masks),
        classes=classes,
        names=tuple(f"p{index}" for index in range(count)),
        source="test",
    )


def flooded(mask: np.ndarray, index: int) -> list[set[tuple[int, int]]]:
    """Returns the 8-connected components of a class, by walking from pixel to pixel."""
    left = {(int(r), int(c)) for r, c in np.argwhere(mask == index)}
    found = []
    while left:
        todo, part = [left.pop()], set()
        while todo:
            row, column = todo.pop()
            part.add((row, column))
            beside = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= beside
            todo += beside
        found.append(part)
    return found


# Components.


@given(MASKS)
@settings(max_examples=150, deadline=None)
def test_components_are_those_of_a_walk(mask: np.ndarray) -> None:
    patches = find_objects(dataset(mask), classes=["car", "person"], rim=0)
    found = []
    for patch in patches:
        row, column, height, width = patch.box
        assert (height, width) == tuple(patch.pixels.shape)
        assert all(patch.pixels.any(dim=axis).all() for axis in (0, 1)), "the box is tight"
        at = {(row + int(r), column + int(c)) for r, c in torch.nonzero(patch.pixels)}
        assert patch.area == len(at)
        assert patch.origin == "component"
        found.append((patch.name, frozenset(at)))
    wanted = [("Car", frozenset(part)) for part in flooded(mask, 1)]
    wanted += [("person", frozenset(part)) for part in flooded(mask, 2)]
    assert Counter(found) == Counter(wanted)


@given(MASKS, st.integers(1, 3))
@settings(max_examples=80, deadline=None)
def test_a_rim_is_what_is_near_and_within_the_image(mask: np.ndarray, rim: int) -> None:
    data = dataset(mask)
    thin = find_objects(data, classes=["Car"], rim=0)
    thick = find_objects(data, classes=["Car"], rim=rim)
    assert sum(patch.area for patch in thin) == sum(patch.area for patch in thick)
    near = {frozenset(_near(_places(patch), rim, mask.shape)) for patch in thin}
    assert {frozenset(_places(patch)) for patch in thick} == near


def _places(patch) -> list[tuple[int, int]]:
    row, column = patch.box[:2]
    return [(row + int(r), column + int(c)) for r, c in torch.nonzero(patch.pixels)]


def _near(places: list[tuple[int, int]], rim: int, shape: tuple[int, ...]) -> set[tuple[int, int]]:
    steps = range(-rim, rim + 1)
    return {
        (r + i, c + j)
        for r, c in places
        for i in steps
        for j in steps
        if 0 <= r + i < shape[0] and 0 <= c + j < shape[1]
    }


@given(MASKS, st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=80, deadline=None)
def test_none_is_dropped_in_silence(mask: np.ndarray, least: int, height: int, width: int) -> None:
    most = Size(height, width)
    found = survey_objects(dataset(mask), classes=["person", "CAR"], least=least, most=most, rim=0)
    assert [count.name for count in found.counts] == ["person", "Car"]
    everything = find_objects(dataset(mask), classes=["Car", "person"], rim=0)
    for count in found.counts:
        assert count.found == sum(patch.name == count.name for patch in everything)
        assert count.found == count.covered + count.too_large + count.too_small
        assert count.covered == sum(patch.name == count.name for patch in found.patches)
    for patch in found.patches:
        assert patch.area >= least
        assert patch.size.height <= height
        assert patch.size.width <= width


def test_counts_by_hand() -> None:
    mask = np.zeros((8, 12))
    mask[0:2, 0:2] = 1  # covered
    mask[4:8, 0:3] = 1  # too large
    mask[0, 6] = 1  # too small
    found = survey_objects(dataset(mask), classes=["car"], least=2, most=Size(3, 3), rim=0)
    assert found.counts == (ObjectCount("Car", found=3, covered=1, too_large=1, too_small=1),)
    assert [patch.box for patch in found.patches] == [(0, 0, 2, 2)]
    (grown,) = find_objects(dataset(mask), classes=["car"], least=4, most=Size(3, 3))
    assert grown.box == (0, 0, 3, 3), "with its rim"
    assert survey_objects(dataset(mask), classes=["person"]).counts == (
        ObjectCount("person", 0, 0, 0, 0),
    )


def test_objects_are_in_the_order_of_images_and_places() -> None:
    mask = np.zeros((9, 9))
    mask[6, 1], mask[0, 7], mask[3, 3] = 1, 2, 2
    patches = find_objects(dataset(mask, mask), classes=["person", "car"], rim=0)
    assert [(patch.record, patch.box[:2]) for patch in patches] == [
        (record, place) for record in (0, 1) for place in ((0, 7), (3, 3), (6, 1))
    ]


def test_faces_and_plates_of_scenes_and_the_whole_they_are_part_of() -> None:
    data = street_scenes(6, Size(160, 320), 5)
    found = survey_objects(data, classes=["Face", "Plate", "person", "car"], least=9, rim=0)
    assert all(count.covered >= 3 for count in found.counts)
    face, person = data.classes.index("face"), data.classes.index("person")
    whole = [patch for patch in found.patches if patch.name == "person"]
    inside = torch.cat([data.masks[p.record][p.slices][p.pixels] for p in whole])
    assert set(inside.tolist()) == {face, person}


@pytest.mark.parametrize("classes", [["lorry"], ["Car", "lorry"]])
def test_unknown_names_list_those_there_are(classes: list[str]) -> None:
    with pytest.raises(InputError, match="must be one of Car, person, sky, got 'lorry'") as caught:
        find_objects(dataset(np.zeros((2, 2))), classes=classes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": []}, "object classes must be at least one"),
        ({"classes": ["Car"], "least": 0}, "least area must be at least 1 pixel, got 0"),
        ({"classes": ["Car"], "rim": -1}, "rim must be at least 0 pixels, got -1"),
    ],
)
def test_options_out_of_range(options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        find_objects(dataset(np.zeros((2, 2))), **options)


# Objects files.


def with_origins(data: SegmentationData, *origins: Origin) -> SegmentationData:
    return SegmentationData(data.images, data.masks, data.classes, data.names, "test", origins)


def written(tmp_path: Path, values: object) -> Path:
    path = tmp_path / "objects.json"
    path.write_text(json.dumps(values))
    return path


def test_both_formats_and_faces(tmp_path: Path) -> None:
    mask = np.zeros((20, 30))
    mask[4:10, 6:12] = 1
    mask[5:9, 20:24] = 2
    data = with_origins(dataset(mask), Origin("set/images/train/a.jpg", Size(40, 60)))
    path = written(
        tmp_path,
        {
            "train/a.jpg": [
                {"name": "Car", "xyxy": [12, 8, 24, 20], "area": 99},
                {"category": "Person", "xywh": [40, 10, 8, 8], "face_xyxy": [41, 11, 44, 15]},
                {"category": "dog", "xywh": [0, 0, 3, 3], "face_xyxy": None},
            ],
            "train/b.jpg": [{"name": "Car", "xyxy": [0, 0, 9, 9]}],
        },
    )
    found = survey_objects(data, classes=["car", "PERSON", "face", "dog"], objects_file=path, rim=0)
    boxes = {patch.name: (patch.box, patch.area) for patch in found.patches}
    assert boxes == {
        "Car": ((4, 6, 6, 6), 36),
        "Person": ((5, 20, 4, 4), 16),
        "face": ((5, 20, 3, 2), 6),
        "dog": ((0, 0, 2, 2), 4),
    }
    assert {patch.origin for patch in found.patches} == {"objects file"}
    assert [count.found for count in found.counts] == [1, 1, 1, 1], "b.jpg is not loaded"


@given(
    *(st.integers(1, 60), st.integers(1, 60)),
    st.integers(0, 59),
    st.integers(1, 60),
)
def test_spans_are_the_pixels_that_an_interval_touches(
    stored: int, loaded: int, first: int, length: int
) -> None:
    first = min(first, stored - 1)
    length = min(length, stored - first)
    scale = Fraction(loaded, stored)
    low, high = first * scale, (first + length) * scale
    touched = [at for at in range(loaded) if at < high and at + 1 > low]
    assert list(range(*_span(first, length, stored, loaded))) == touched


def test_a_box_that_reaches_out_is_cut_and_one_outside_is_refused(tmp_path: Path) -> None:
    data = with_origins(dataset(np.zeros((20, 30))), Origin("set/a.png", Size(20, 30)))
    reaching = {"a.png": [{"name": "face", "xywh": [-3, 15, 8, 20]}]}
    (patch,) = find_objects(data, classes=["face"], objects_file=written(tmp_path, reaching))
    assert patch.box == (15, 0, 5, 5)
    outside = {"a.png": [{"name": "face", "xywh": [30, 5, 8, 8]}]}
    with pytest.raises(InputError, match=r"box of face in a\.png must lie within its image"):
        find_objects(data, classes=["face"], objects_file=written(tmp_path, outside))


def test_pixels_are_the_class_within_the_box_and_grow_no_further(tmp_path: Path) -> None:
    mask = np.zeros((12, 12))
    mask[3:9, 3:9] = 1
    mask[0, 0] = 1
    data = with_origins(dataset(mask), Origin("set/a.png", Size(12, 12)))
    path = written(tmp_path, {"a.png": [{"name": "car", "xyxy": [2, 2, 7, 12]}]})
    (thin,) = find_objects(data, classes=["Car"], objects_file=path, rim=0)
    assert torch.equal(thin.pixels, data.masks[0][2:12, 2:7] == 1)
    (thick,) = find_objects(data, classes=["Car"], objects_file=path, rim=1)
    assert (thick.box, thick.area) == (thin.box, thin.area)
    assert int(thick.pixels.sum()) == 8 * 5


def test_images_are_matched_by_all_that_is_known_of_their_paths(tmp_path: Path) -> None:
    names = ("coco/scenes/images/train/7.jpg", "coco/people/images/train/7.jpg")
    data = dataset(np.zeros((9, 9)), np.zeros((9, 9)))
    both = with_origins(data, *(Origin(name, Size(9, 9)) for name in names))
    box = {"name": "dog", "xyxy": [1, 1, 3, 3]}
    path = written(tmp_path, {"people/train/7.jpg": [box], "other/train/7.jpg": [box]})
    assert [p.record for p in find_objects(both, classes=["dog"], objects_file=path)] == [1]
    taken = both.take([1, 0])
    assert [p.record for p in find_objects(taken, classes=["dog"], objects_file=path)] == [0]
    path = written(tmp_path, {"train/7.jpg": [box]})
    with pytest.raises(InputError, match=r"image train/7.jpg in .* must be one image, got 2"):
        find_objects(both, classes=["dog"], objects_file=path)


def test_files_about_other_images_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, {"b.png": [{"name": "dog", "xyxy": [1, 1, 3, 3]}]})
    data = dataset(np.zeros((9, 9)))
    with pytest.raises(InputError, match=r"images of no file, got b\.png"):
        find_objects(data, classes=["dog"], objects_file=path)
    data = with_origins(data, Origin("set/a.png", Size(9, 9)))
    with pytest.raises(InputError, match=r"such as set/a\.png, got b\.png"):
        find_objects(data, classes=["dog"], objects_file=path)
    with pytest.raises(InputError, match="must be one of dog, got 'cat'"):
        find_objects(data, classes=["cat"], objects_file=path)


# Real photographs.


@pytest.mark.data
def test_camvid_file_and_components_tell_the_same(camvid_root: Path) -> None:
    """Its file was made from components of at least 60 pixels."""
    data = load_dataset("folder", camvid_root, limit=12).train
    asked = {"classes": ["Car", "Pedestrian", "Bicyclist"], "least": 60, "rim": 0}
    from_masks = find_objects(data, **asked)
    from_file = find_objects(data, **asked, objects_file=camvid_root / "objects.json")
    assert len(from_masks) > 50

    def keys(patches) -> list[tuple]:
        return sorted((patch.record, patch.name, patch.box) for patch in patches)

    assert keys(from_masks) == keys(from_file)


@pytest.mark.data
def test_coco_faces_lie_on_people_at_any_size(coco_root: Path) -> None:
    for side in (None, 150):
        data = load_dataset("folder", coco_root / "people", short_side=side).validation
        file = coco_root / "objects.json"
        faces = find_objects(data, classes=["face"], objects_file=file)
        assert len(faces) == 4
        person = data.classes.index("person")
        for face in faces:
            share = (data.masks[face.record][face.slices] == person).float().mean()
            assert share > 0.3

"""Maps from ids and colours to classes, against slow loops."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from cropaudit.errors import InputError
from cropaudit.training.data import IGNORE
from cropaudit.training.datasets.cityscapes import CITYSCAPES
from cropaudit.training.datasets.coco_panoptic import _read_ids
from cropaudit.training.datasets.colours import pack, parse, read_known
from cropaudit.training.folder_classes import ClassMap
from cropaudit.training.folder_pictures import read_colours
from tests.training.dataset_folders import cityscapes

NAMES = st.text("abc", min_size=1, max_size=2)
COLOURS = st.integers(0, 2**24 - 1)
SMALL = settings(max_examples=60, deadline=None)


@given(
    st.dictionaries(st.integers(-5, 2**24), NAMES, min_size=1, max_size=12),
    st.lists(st.integers(-5, 2**24), max_size=12),
)
def test_a_class_map_is_its_table(table: dict[int, str], others: list[int]) -> None:
    ids = [*table, *others]
    found = ClassMap.of(table)
    indices = found.apply(np.array([ids], dtype=np.int32))[0]
    assert len(set(found.names)) == len(found.names)
    for id_, index in zip(ids, indices, strict=True):
        if id_ in table:
            assert found.names[index] == table[id_]
        else:
            assert index == IGNORE


@given(st.lists(NAMES, min_size=1, max_size=8))
def test_classes_are_in_the_order_of_the_table(names: list[str]) -> None:
    assert ClassMap.of(dict(enumerate(names))).names == tuple(dict.fromkeys(names))


def test_the_most_classes_keep_clear_of_ignore() -> None:
    ids = np.arange(255, dtype=np.int32)
    found = ClassMap.of({id_: f"c{id_}" for id_ in range(255)})
    assert found.apply(ids[None]).tolist() == [ids.tolist()]


def test_cityscapes_ids_are_the_benchmarks(tmp_path: Path) -> None:
    """Every one of the 34 ids, the license plate (-1) and 255."""
    cityscapes(tmp_path)
    classes = CITYSCAPES.open(tmp_path).classes(frozenset())
    ids = np.array([[*range(-1, 34), 255]], dtype=np.int32)
    void = IGNORE
    wanted = [*[void] * 8, 0, 1, void, void, 2, 3, 4, void, void, void, 5, void, *range(6, 16)]
    wanted += [void, void, 16, 17, 18, void]
    assert classes.apply(ids)[0].tolist() == wanted
    assert (classes.names[0], classes.names[11], classes.names[18]) == ("road", "person", "bicycle")


@SMALL
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3))))
def test_colours_are_exact(pixels: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mask.png"
        Image.fromarray(pixels).save(path)
        found = read_colours(path)
    for row, column in np.ndindex(*found.shape):
        red, green, blue = (int(channel) for channel in pixels[row, column])
        assert found[row, column] == pack(red, green, blue)
        assert found[row, column] == parse(f"#{red:02x}{green:02X}{blue:02x}", path)


@SMALL
@given(st.lists(COLOURS, min_size=1, max_size=6, unique=True), st.data())
def test_known_colours_are_read_as_they_are(known: list[int], data: st.DataObject) -> None:
    drawn = data.draw(st.lists(st.sampled_from(known), min_size=4, max_size=4))
    packed = np.array(drawn).reshape(2, 2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mask.png"
        _save(path, packed, red_first=True)
        assert np.array_equal(read_known(path, frozenset(known)), packed)
        stray = next(colour for colour in range(2**24) if colour not in known)
        packed[0, 0] = stray
        _save(path, packed, red_first=True)
        with pytest.raises(InputError, match=f"#{stray:06x}"):
            read_known(path, frozenset(known))


@SMALL
@given(
    st.dictionaries(st.integers(1, 2**24 - 1), st.integers(1, 300), min_size=1, max_size=6),
    st.data(),
)
def test_segments_become_categories(segments: dict[int, int], data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.sampled_from([0, *segments]), min_size=6, max_size=6))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mask.png"
        _save(path, np.array(ids).reshape(2, 3), red_first=False)
        found = _read_ids(path, {path: segments})
    assert found.ravel().tolist() == [segments.get(id_, -1) for id_ in ids]


def _save(path: Path, packed: np.ndarray, *, red_first: bool) -> None:
    channels = [packed >> 16, packed >> 8 & 255, packed & 255]
    stacked = np.stack(channels if red_first else channels[::-1], axis=-1)
    Image.fromarray(stacked.astype(np.uint8)).save(path)

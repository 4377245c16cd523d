"""Images that say who they are: windows read back after flips, padding and changes of colour."""

from pathlib import Path

import numpy as np
import pytest

from cropaudit.accounting.geometry import Size
from cropaudit.audit.conformance.observe.draws import PADDING_MODES
from cropaudit.audit.conformance.probes.textures import Textures
from cropaudit.audit.conformance.probes.worlds import TexturedImages, World, pieces_of

SIZE, RECORDS, CROP, PATCH = Size(48, 64), 40, 32, Size(8, 8)
DATA = TexturedImages(SIZE, RECORDS, PATCH, World())


def pixels(record: int) -> np.ndarray:
    return DATA[record][0].numpy().transpose(1, 2, 0).astype(float)


@pytest.mark.parametrize("seed", range(3))
def test_windows_are_read_back_whatever_is_done_to_colours(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for record in range(RECORDS):
        top, left = int(rng.integers(17)), int(rng.integers(33))
        window = pixels(record)[top : top + CROP, left : left + CROP]
        window = window / 255 * rng.uniform(0.2, 5, 3) + rng.normal(size=3)
        window = window ** rng.choice([1, 3]) if seed else window
        flips = rng.integers(2, size=2).astype(bool)
        window = window[:: -1 if flips[0] else 1, :: -1 if flips[1] else 1]
        place = DATA.textures.locate(window)
        assert place is not None
        rows, columns = place.window.rows, place.window.columns
        assert (place.record, rows.start, columns.start) == (record, top, left)
        assert (rows.length, columns.length) == (CROP, CROP)
        assert (rows.flipped, columns.flipped) == tuple(flips)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
def test_padding_is_told_and_what_it_copies_is_shown(mode: str) -> None:
    padded = np.pad(pixels(3), ((10, 10), (10, 10), (0, 0)), mode=mode)  # patch: bottom right
    place = DATA.textures.locate(padded[:CROP, :CROP])
    assert place is not None
    assert (place.window.rows.start, place.window.columns.start) == (-10, -10)
    assert PADDING_MODES[place.window.padding] == mode
    assert place.shows(0, 0, 8, 8)
    assert not place.shows(40, 56, 8, 8)


def test_what_is_blank_blurred_or_foreign_is_not_read() -> None:
    rng = np.random.default_rng(0)
    assert DATA.textures.locate(np.zeros((CROP, CROP, 3))) is None
    assert DATA.textures.locate(rng.random((CROP, CROP, 3))) is None
    image = pixels(3)
    halved = (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]) / 4
    assert DATA.textures.locate(halved[:20, :20]) is None
    turned = np.rot90(image[:CROP, :CROP])
    found = Textures(SIZE, RECORDS).locate(turned)
    assert found is None


def test_worlds_differ_in_the_patch_alone_and_labels_are_those_of_the_window() -> None:
    other = TexturedImages(SIZE, RECORDS, PATCH, World(other=True))
    for record in range(RECORDS):
        (top, left), patch = DATA.place(record), np.zeros((SIZE.height, SIZE.width), dtype=bool)
        patch[top : top + 8, left : left + 8] = True
        (image, mask), (image_too, mask_too) = DATA[record], other[record]
        assert ((image != image_too).any(dim=0).numpy() == patch).all()
        assert ((mask != mask_too).numpy() == patch).all()
        place = DATA.textures.locate(pixels(record)[5:37, 20:52])
        assert place is not None
        assert (DATA.labels(place) == mask[5:37, 20:52].numpy()).all()


@pytest.mark.parametrize(("classes", "ignored"), [(1, False), (2, False), (11, True), (11, False)])
def test_labels_are_legal(classes: int, ignored: bool) -> None:
    data = TexturedImages(SIZE, 12, PATCH, World(classes=classes, ignored=ignored))
    seen = np.unique(np.concatenate([data[i][1].numpy().ravel() for i in range(12)]))
    assert set(seen.tolist()) == {*range(classes), *([255] if ignored else [])}


def test_pieces_of_photographs_stand_in_every_second_patch(camvid_root: Path) -> None:
    pieces = pieces_of(camvid_root, PATCH, RECORDS + 1)
    data = TexturedImages(SIZE, RECORDS, PATCH, World(), pieces)
    image, mask = (part.numpy() for part in data[4])
    top, left = data.place(4)
    assert (image[:, top : top + 8, left : left + 8] == pieces[4][0]).all()
    assert mask.max() == 255
    assert ((mask < 11) | (mask == 255)).all()
    assert (data[5][0] == DATA[5][0]).all()

"""Outputs that are easily read wrongly: solarised, interpolated, and resized by next to nothing."""

import numpy as np
import pytest
from numpy.typing import NDArray

from cropaudit.accounting.geometry import Size
from cropaudit.audit.conformance.observe.draws import PADDING_MODES
from cropaudit.audit.conformance.probes.codes import image_code, mask_code, read_image, read_mask
from cropaudit.audit.conformance.probes.reading import Reader, credible, read_window

SIZE = Size(360, 480)
SIDE = 100
IMAGE, MASK = image_code(SIZE), mask_code(SIZE)


def cut(top: int, left: int) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    window = np.s_[top : top + SIDE, left : left + SIDE]
    return IMAGE[window].copy(), MASK[window].copy()


def solarised(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.where(image >= 128, 255 - image, image).astype(np.uint8)


def test_colours_that_change_now_and_then_spoil_all_images_and_no_mask() -> None:
    """Bytes of 128 and more are inverted: of some windows another one is read, of most none."""
    reader = Reader(SIZE)
    for top, left in ((5, 7), (140, 0), (60, 90)):
        image, mask = cut(top, left)
        reader.add(solarised(image) if top else image, mask)
    draws = reader.draws("")
    assert list(draws.top) == [5, 140, 60]
    assert not draws.from_image
    assert not draws.label_shift.any()
    assert draws.decoded.all()


def test_without_a_mask_nothing_is_read_then() -> None:
    reader = Reader(SIZE)
    for image in (cut(5, 7)[0], solarised(cut(60, 90)[0])):
        reader.add(image, None)
    draws = reader.draws("")
    assert not draws.decoded.any()
    assert not draws.blank.any()


def test_windows_in_padding_spoil_nothing() -> None:
    reader = Reader(SIZE)
    reader.add(*cut(5, 7))
    reader.add(np.zeros((SIDE, SIDE, 3), np.uint8), np.zeros((SIDE, SIDE), np.int32))
    draws = reader.draws("")
    assert draws.from_image
    assert list(draws.blank) == [False, True]


def test_a_flip_is_read_as_a_flip_and_not_as_a_mirrored_border() -> None:
    image, mask = cut(0, 0)
    reader = Reader(SIZE)
    reader.add(*cut(5, 7))
    reader.add(image[:, ::-1], mask[:, ::-1])
    draws = reader.draws("")
    assert list(draws.left) == [7, 0]
    assert list(draws.flipped_columns) == [False, True]


def test_a_row_that_is_doubled_by_resizing_is_no_padding() -> None:
    """99 rows become 100 by nearest neighbours: rows 0, 0, 1, 2 and on."""
    rows = np.floor(np.arange(SIDE) * 0.99).astype(int)
    wide = np.floor(np.arange(SIDE) * 1.3).astype(int) + 7
    window = read_window(read_mask(MASK[np.ix_(rows, wide)], SIZE), SIZE)
    assert window is not None
    assert (window.rows.start, window.rows.length) == (0, 99)
    alone = read_window(read_mask(MASK[np.ix_(rows, np.arange(SIDE))], SIZE), SIZE)
    assert alone is not None
    assert PADDING_MODES[alone.rows.padding] == "edge"


@pytest.mark.parametrize("factor", [1, 101])
def test_scrambled_codes_are_read_as_plain_ones_are(factor: int) -> None:
    image = (cut(5, 7)[0].astype(int) * factor % 256).astype(np.uint8)
    window = credible(read_image(image, SIZE, factor=factor), SIZE)
    assert window is not None
    assert (window.rows.start, window.columns.start) == (5, 7)


def test_interpolation_is_read_in_plain_codes_and_not_in_scrambled_ones() -> None:
    """Between two rows there is a row, so that halving goes unseen; their scrambles share none."""
    found = []
    for factor in (1, 101):
        code = (cut(5, 7)[0].astype(int) * factor % 256).astype(float)
        halved = code.reshape(50, 2, 50, 2, 3)[:, :, :, :, :].mean(axis=(1, 3)).round()
        found.append(credible(read_image(halved.astype(np.uint8), SIZE, factor=factor), SIZE))
    assert found[0] is not None
    assert found[1] != found[0]

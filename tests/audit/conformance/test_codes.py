"""Codes of pixels: every pixel says where it is, and what was filled in says nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cropaudit.accounting.geometry import Size
from cropaudit.audit.conformance.probes.codes import (
    OFFSET,
    Sources,
    image_code,
    mask_code,
    read_image,
    read_mask,
    record_of,
)
from cropaudit.errors import InputError

SIDES = st.integers(1, 90)
SIZES = st.builds(Size, SIDES, SIDES)
QUIET = settings(max_examples=60, deadline=None)


@st.composite
def selections(draw: st.DrawFn) -> tuple[Size, np.ndarray, np.ndarray]:
    """Any rows and any columns of an image, repeated and in any order."""
    size = draw(SIZES)
    rows = draw(st.lists(st.integers(0, size.height - 1), min_size=1, max_size=12))
    columns = draw(st.lists(st.integers(0, size.width - 1), min_size=1, max_size=12))
    return size, np.array(rows), np.array(columns)


def both(size: Size, cut: object) -> tuple[Sources, Sources]:
    """Reads one part of the coded image and of the coded mask."""
    return read_image(image_code(size)[cut], size), read_mask(mask_code(size)[cut], size)


@QUIET
@given(selections())
def test_rows_and_columns_are_read_from_images_and_masks_alike(chosen) -> None:
    size, rows, columns = chosen
    for found in both(size, np.ix_(rows, columns)):
        assert (found.rows.tolist(), found.columns.tolist()) == (rows.tolist(), columns.tolist())
        assert (found.skewed, found.shown, found.blank) == (False, 1.0, False)
        assert found.box == (rows.min(), rows.max(), columns.min(), columns.max())


@QUIET
@given(selections(), st.sampled_from([np.float32, np.float64]), st.booleans(), st.booleans())
def test_floats_in_the_unit_interval_and_negatives_are_read(
    chosen, kind, negative: bool, scaled: bool
) -> None:
    size, rows, columns = chosen
    code = image_code(size)[np.ix_(rows, columns)]
    shown = (255 - code if negative else code).astype(kind)
    if scaled:
        shown = shown / kind(255)
    elif shown.max() <= 1:
        return  # bytes of 0 and 1 alone, as floats, could be either
    found = read_image(shown, size, negative=negative)
    assert (found.rows.tolist(), found.columns.tolist()) == (rows.tolist(), columns.tolist())


@pytest.mark.parametrize("size", [Size(1, 1), Size(300, 260), Size(1024, 2048), Size(2, 4094)])
@pytest.mark.parametrize("fill", [0, 255, 128, -1])
def test_what_is_filled_in_is_no_code(size: Size, fill: int) -> None:
    wide = np.full((5, 7, 3), fill, dtype=np.int64)
    if fill == 128 and size.height > 127 and size.width > 2175:
        pytest.skip("grey is a code in images of 2176 columns and more")
    assert read_image(wide, size).blank
    assert read_image(wide / 255, size).blank
    assert read_mask(wide[..., 0], size).blank


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 999, 0.5 + OFFSET])
def test_odd_labels_are_no_codes(bad: float) -> None:
    assert read_mask(np.full((3, 3), bad), Size(10, 10)).blank


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -300.0, 1e300, 0.3])
def test_odd_pixels_are_no_codes(bad: float) -> None:
    assert read_image(np.full((3, 3, 3), bad), Size(10, 10)).blank


@QUIET
@given(SIZES, st.integers(0, 3), st.integers(0, 9999))
def test_pixels_in_any_other_order_are_skewed(size: Size, where: int, seed: int) -> None:
    """One pixel that shows another place is enough; a mask that is turned by 90 degrees as well."""
    if size.height < 2 or size.width < 2:
        return
    rng = np.random.default_rng(seed)
    labels, image = mask_code(size), image_code(size)
    row, column = rng.integers(size.height), rng.integers(size.width)
    other = (row + 1) % size.height, (column + 1) % size.width
    labels[row, column], image[row, column] = mask_code(size)[other], image_code(size)[other]
    assert read_mask(labels, size).skewed
    assert read_image(image, size).skewed
    assert read_mask(np.rot90(mask_code(size)), size).skewed
    assert read_mask(mask_code(size).T, size).skewed


def test_the_box_of_a_skewed_output_holds_all_that_it_shows() -> None:
    size = Size(20, 30)
    labels = np.zeros((6, 6), dtype=np.int32)
    code = mask_code(size)
    for i in range(6):
        labels[i, i] = code[5 + i, 12 - i]
    found = read_mask(labels, size)
    assert (found.skewed, found.box) == (True, (5, 10, 7, 12))
    assert found.shown == pytest.approx(1 / 6)


@QUIET
@given(SIZES, st.integers(0, 5000), st.integers(0, 5000))
def test_records_are_told_and_mixtures_are_not(size: Size, record: int, other: int) -> None:
    mask = mask_code(size, record)
    assert record_of(mask, size) == record
    assert not read_mask(mask, size).skewed
    padded = np.pad(mask, 2, constant_values=255)
    assert record_of(padded, size) == record
    mixed = np.concatenate([mask, mask_code(size, other)])
    assert record_of(mixed, size) == (record if record == other else None)
    assert record_of(np.zeros_like(mask), size) is None


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 1), (4, 4, 4), (0, 4, 3), (4, 0, 3), (3,), ()])
def test_odd_shapes_show_nothing(shape: tuple[int, ...]) -> None:
    assert read_image(np.ones(shape, dtype=np.uint8), Size(10, 10)).blank
    if len(shape) != 2:
        assert read_mask(np.full(shape, OFFSET), Size(10, 10)).blank


def test_sizes_and_records_that_no_code_can_hold_are_refused() -> None:
    with pytest.raises(InputError, match="at most 4095 pixels a side"):
        image_code(Size(4095, 10))
    with pytest.raises(InputError, match="record must be such that"):
        mask_code(Size(4000, 4000), 200)
    last = mask_code(Size(4000, 4000), 133)
    assert record_of(last[-1:], Size(4000, 4000)) == 133

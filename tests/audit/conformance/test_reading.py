"""Windows are read off as they were cut: against `numpy.pad`, slicing, resizing and turning."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn.functional import interpolate
from torchvision import tv_tensors
from torchvision.transforms import v2

from cropaudit.accounting.geometry import Size
from cropaudit.audit.conformance.observe.draws import PADDING_MODES
from cropaudit.audit.conformance.probes.codes import (
    image_code,
    mask_code,
    read_image,
    read_mask,
)
from cropaudit.audit.conformance.probes.reading import (
    Axis,
    Reader,
    Window,
    credible,
    read_window,
)

QUIET = settings(max_examples=150, deadline=None)
MODES = ("constant", "edge", "reflect", "symmetric")


def window_of(labels: np.ndarray, size: Size) -> Window | None:
    return read_window(read_mask(labels, size), size)


@st.composite
def cuts(draw: st.DrawFn, border: int = 0) -> tuple[Size, tuple[int, int, int, int]]:
    """An image and a window in it, of which at least two rows and columns are of the image."""
    size = Size(draw(st.integers(3, 60)), draw(st.integers(3, 60)))
    sides = []
    for side in (size.height, size.width):
        start = draw(st.integers(-border, side - 2))
        end = draw(st.integers(max(start, 0) + 2, side + border))
        sides.append((start, end - start))
    return size, (sides[0][0], sides[1][0], sides[0][1], sides[1][1])


def place(window: Window) -> tuple[int, int, int, int]:
    rows, columns = window.rows, window.columns
    return rows.start, columns.start, rows.length, columns.length


@QUIET
@given(cuts(), st.booleans(), st.booleans(), st.booleans())
def test_crops_and_flips_are_read_back(cut, upside: bool, mirrored: bool, pixels: bool) -> None:
    size, (top, left, height, width) = cut
    code = image_code(size) if pixels else mask_code(size)
    shown = code[top : top + height, left : left + width]
    shown = shown[:: -1 if upside else 1, :: -1 if mirrored else 1]
    sources = read_image(shown, size) if pixels else read_mask(shown, size)
    found = read_window(sources, size)
    assert found is not None
    assert place(found) == (top, left, height, width)
    assert (found.rows.flipped, found.columns.flipped) == (upside, mirrored)
    assert (found.exact, found.slack, found.padding) == (True, 0, 0)


@QUIET
@given(cuts(border=50), st.sampled_from(MODES), st.booleans())
def test_windows_that_leave_the_image_are_read_back(cut, mode: str, mirrored: bool) -> None:
    """The oracle is `numpy.pad`, of the coded mask, by more than the image itself."""
    size, (top, left, height, width) = cut
    options: dict[str, Any] = {"constant_values": 255} if mode == "constant" else {}
    padded = np.pad(mask_code(size), 50, mode=mode, **options)  # type: ignore[call-overload]
    shown = padded[50 + top : 50 + top + height, 50 + left : 50 + left + width]
    found = window_of(shown[:, ::-1] if mirrored else shown, size)
    assert found is not None
    rows, columns = found.rows, found.columns
    for axis, start, length, side in (
        (rows, top, height, size.height),
        (columns, left, width, size.width),
    ):
        leaves = start < 0 or start + length > side
        if not leaves:
            assert (axis.start, axis.length, axis.padding) == (start, length, 0)
        elif mode in ("constant", "edge"):
            assert (axis.start, axis.length) == (start, length)
            # One pixel beyond the image is the same by "edge" and by "symmetric".
            assert PADDING_MODES[axis.padding] == mode
        elif inside_of(start, length, side) > length // 2 + 1 and not mirrored:
            # More than half of the window is of the image, so that it reads one way alone.
            assert (axis.start, axis.length) == (start, length)
            assert PADDING_MODES[axis.padding] in (mode, "edge")


def inside_of(start: int, length: int, side: int) -> int:
    return min(start + length, side) - max(start, 0)


@pytest.mark.parametrize("mode", ["reflect", "symmetric"])
@pytest.mark.parametrize("flips", [True, False])
def test_flips_and_mirrored_borders_are_told_apart(mode: str, flips: bool) -> None:
    """A picture of both reads either way; all windows together settle which way it was."""
    size, rng, reader = Size(40, 60), np.random.default_rng(0), Reader(Size(40, 60))
    border = 5 if flips else 12
    images = [
        np.pad(code, [(border, border)] * 2 + [(0, 0)] * (code.ndim - 2), mode=mode)  # type: ignore[call-overload]
        for code in (image_code(size), mask_code(size))
    ]
    cut = rng.integers((40 - 16 + 2 * border + 1, 60 - 16 + 2 * border + 1), size=(600, 2))
    turned = rng.random((600, 2)) < (0.5 if flips else 0)
    for (top, left), (upside, mirrored) in zip(cut, turned, strict=True):
        shown = [item[top : top + 16, left : left + 16] for item in images]
        steps = np.s_[:: -1 if upside else 1, :: -1 if mirrored else 1]
        reader.add(*(item[steps] for item in shown))
    seen = reader.draws("")
    assert (seen.top == cut[:, 0] - border).all()
    assert (seen.left == cut[:, 1] - border).all()
    assert (seen.flipped_rows == turned[:, 0]).all()
    assert not seen.label_shift.any()


@QUIET
@given(
    st.integers(0, 300), st.integers(2, 400), st.integers(8, 120), st.sampled_from(["floor", "mid"])
)
def test_windows_that_were_resized_are_known_within_their_slack(
    start: int, length: int, output: int, how: str
) -> None:
    """Nearest neighbours from the corner (torch, OpenCV) or the centre of each pixel (PIL)."""
    size = Size(800, 800)
    shift = 0.5 if how == "mid" else 0.0
    index = ((np.arange(output) + shift) * length / output).astype(int)
    columns = np.arange(40)
    found = window_of(mask_code(size)[np.ix_(start + index, columns)], size)
    if found is None:  # a single row, magnified: no scale can be read off it
        assert len(np.unique(index)) < 3 or length < output / 20
        return
    rows, slack = found.rows, found.rows.slack
    assert rows.start - slack <= start
    assert start + length <= rows.start + rows.length + slack or not rows.scaled
    assert rows.start >= start
    assert rows.start + rows.length <= start + length
    if rows.scaled:
        assert slack <= max(-(-length // output), 1), "no wider than one step of the samples"
        assert found.slack >= 1, "the other axis may have been shrunk by less than shows"
    else:
        assert rows.length == output


@pytest.mark.parametrize("length", [100, 101, 201, 202, 301, 350])
def test_a_row_that_nearest_neighbours_skip_at_the_end_is_within_the_slack(length: int) -> None:
    """Of 201 rows shrunk to 100 every second is shown, and the last two are not."""
    size = Size(400, 400)
    code = torch.from_numpy(mask_code(size).astype(np.float64))[None, None]
    shrunk = interpolate(code[..., 20 : 20 + length, 20:220], size=(100, 100), mode="nearest")
    found = window_of(shrunk[0, 0].numpy(), size)
    assert found is not None
    assert found.rows.start == 20
    assert 20 + length <= 20 + found.rows.length + found.slack


def test_pil_and_torchvision_resize_as_is_assumed() -> None:
    size = Size(300, 400)
    pixels = Image.fromarray(mask_code(size)).crop((50, 30, 250, 230))
    small = np.asarray(pixels.resize((77, 77), Image.Resampling.NEAREST))
    found = window_of(small, size)
    assert found is not None
    for axis, start in ((found.rows, 30), (found.columns, 50)):
        assert axis.start - axis.slack <= start <= axis.start
        assert start + 200 <= axis.start + axis.length + axis.slack


# What is turned, blank, or read by chance.


def test_turned_outputs_show_a_box_and_the_slack_of_interpolation() -> None:
    size = Size(200, 200)
    mask = tv_tensors.Mask(torch.from_numpy(mask_code(size)).long())
    turned = v2.functional.rotate(v2.functional.crop(mask, 40, 60, 80, 80), 20)
    found = window_of(turned.numpy(), size)
    assert found is not None
    assert (found.skewed, found.exact) == (True, False)
    assert place(found) == (40, 60, 80, 80)
    assert found.slack == 4


def test_a_warp_reads_no_pixel_beyond_the_slack_around_its_box() -> None:
    """A crop that is magnified and turned shows a part of itself; blending reads over its edge."""
    size, rng = Size(160, 160), np.random.default_rng(0)
    warp = v2.RandomAffine(10, scale=(1.2, 1.6), interpolation=v2.InterpolationMode.BILINEAR)
    crop = v2.Compose([v2.RandomCrop(64), warp])
    image = tv_tensors.Image(torch.from_numpy(rng.integers(0, 256, (3, 160, 160))).float())
    beyond = []
    for seed in range(30):
        torch.manual_seed(seed)
        mask = tv_tensors.Mask(torch.from_numpy(mask_code(size)).long())
        before, labels = crop(image, mask)
        found = window_of(labels.numpy(), size)
        assert found is not None
        for gap in range(6):  # what stands so many rows below the box
            other = image.clone()
            other[:, found.rows.start + found.rows.length + gap :] += 50
            torch.manual_seed(seed)
            after, _ = crop(tv_tensors.Image(other), mask)
            if not torch.equal(before, after):
                beyond.append(gap)
                assert gap < found.slack
    assert beyond, "otherwise the slack would be idle"


def test_padding_alone_is_blank_and_noise_is_no_window() -> None:
    size = Size(50, 50)
    assert window_of(np.zeros((9, 9), dtype=np.int64), size) is None
    rng = np.random.default_rng(0)
    for _ in range(50):
        noise = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        assert credible(read_image(noise, size), size) is None


@given(st.integers(-20, 60), st.integers(-20, 60), st.integers(1, 30), st.integers(1, 30))
def test_distance_and_meeting_are_those_of_pixels(
    top: int, left: int, height: int, width: int
) -> None:
    window = Window(Axis(10, 20, 0, False, 0), Axis(15, 12, 0, False, 0))
    rows = {(r, c) for r in range(10, 30) for c in range(15, 27)}
    patch = {(r, c) for r in range(top, top + height) for c in range(left, left + width)}
    assert window.meets(top, left, height, width) == bool(rows & patch)
    gaps = [max(abs(range_gap(10, 20, top, height)), abs(range_gap(15, 12, left, width)))]
    assert window.distance(top, left, height, width) == gaps[0]


def range_gap(start: int, length: int, other: int, size: int) -> int:
    """Pixels that lie strictly between two ranges."""
    between = set(range(min(start, other), max(start + length, other + size)))
    return len(between - set(range(start, start + length)) - set(range(other, other + size)))


# The reader of many outputs.


def test_draws_gather_what_was_added() -> None:
    size = Size(40, 50)
    reader = Reader(size)
    image, mask = image_code(size), mask_code(size)
    reader.add(image[5:15, 6:26], mask[5:15, 6:26], record=3, epoch=1, step=2, slot=4, worker=0)
    reader.add(image[5:15, 6:26], mask[6:16, 6:26])
    reader.add(image[5:15, 6:26][:, ::-1], mask[5:15, 6:26])
    reader.add(np.zeros((4, 4, 3), dtype=np.uint8), np.zeros((4, 4), dtype=np.int64))
    reader.add(np.full((9, 9, 3), 77.7), mask[1:10, 2:11])
    reader.add(image[5:15, 6:26], None)
    seen = reader.draws("file.py:3")
    assert len(seen) == len(reader) == 6
    assert seen.decoded.tolist() == [True, True, True, False, True, True]
    assert seen.blank.tolist() == [False, False, False, True, False, False]
    assert seen.label_shift.tolist() == [0, 1, 1, 0, 0, 0]
    assert seen.label_decoded.tolist() == [True, True, True, False, True, False]
    assert (seen.top[4], seen.left[4], seen.height[4]) == (1, 2, 9)
    origin = (seen.record, seen.epoch, seen.step, seen.slot, seen.worker)
    assert [int(array[0]) for array in origin] == [3, 1, 2, 4, 0]
    assert (seen.from_image, seen.where) == (True, "file.py:3")


def test_an_image_that_is_not_trusted_is_not_read() -> None:
    size = Size(40, 50)
    reader = Reader(size, trust_image=False)
    reader.add(image_code(size)[5:15, 6:26], mask_code(size)[6:16, 6:26])
    seen = reader.draws("")
    assert (seen.from_image, int(seen.top[0])) == (False, 6)
    assert len(Reader(size).draws("")) == 0

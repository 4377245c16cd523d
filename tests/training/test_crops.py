import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cropaudit.accounting.geometry import Crop, Size
from cropaudit.errors import InputError
from cropaudit.training.crops import JointRandomCrop, Window, cut
from cropaudit.training.data import IGNORE


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slow_cut(image, mask, window, crop):
    pad = crop.padding
    image = np.pad(image.numpy(), [(0, 0), (pad, pad), (pad, pad)])
    mask = np.pad(mask.numpy(), pad, constant_values=IGNORE)
    rows = slice(window.top, window.top + crop.size.height)
    columns = slice(window.left, window.left + crop.size.width)
    return image[:, rows, columns], mask[rows, columns]


@settings(deadline=None, max_examples=150)
@given(data=st.data(), dtype=st.sampled_from([torch.uint8, torch.float32, torch.int64]))
def test_a_cut_is_the_window_of_the_padded_pair(data, dtype):
    height, width = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    padding = data.draw(st.integers(0, 12))
    size = Size(
        data.draw(st.integers(1, height + 2 * padding)),
        data.draw(st.integers(1, width + 2 * padding)),
    )
    crop = Crop(size, padding)
    origins = crop.origins(Size(height, width))
    window = Window(
        data.draw(st.integers(0, origins.height - 1)), data.draw(st.integers(0, origins.width - 1))
    )
    image = torch.arange(1, 3 * height * width + 1).reshape(3, height, width).to(dtype)
    mask = torch.arange(height * width).reshape(height, width).to(torch.uint8)
    pixels, labels = cut(image, mask, window, crop)
    expected_pixels, expected_labels = slow_cut(image, mask, window, crop)
    assert pixels.dtype == dtype
    assert labels.dtype == mask.dtype
    np.testing.assert_array_equal(pixels.numpy(), expected_pixels)
    np.testing.assert_array_equal(labels.numpy(), expected_labels)


def test_without_padding_a_cut_is_a_view():
    image, mask = torch.zeros(3, 20, 20, dtype=torch.uint8), torch.zeros(20, 20, dtype=torch.uint8)
    pixels, labels = cut(image, mask, Window(3, 4), Crop(Size(5, 6)))
    assert pixels.untyped_storage().data_ptr() == image.untyped_storage().data_ptr()
    assert labels.untyped_storage().data_ptr() == mask.untyped_storage().data_ptr()


def test_a_call_cuts_at_the_window_it_returns():
    image = torch.arange(3 * 12 * 15).reshape(3, 12, 15)
    mask = torch.arange(12 * 15).reshape(12, 15)
    crop = Crop(Size(7, 9), padding=4)
    stream = generator(1)
    for _ in range(50):
        pixels, labels, window = JointRandomCrop(crop)(image, mask, stream)
        expected_pixels, expected_labels = cut(image, mask, window, crop)
        assert torch.equal(pixels, expected_pixels)
        assert torch.equal(labels, expected_labels)


def test_a_call_and_a_bare_window_draw_alike():
    image, mask, crop = (
        torch.zeros(3, 30, 40),
        torch.zeros(30, 40),
        JointRandomCrop(Crop(Size(8, 8))),
    )
    drawn = [crop(image, mask, stream)[2] for stream in [generator(2)] for _ in range(20)]
    stream = generator(2)
    assert drawn == [crop.window(Size(30, 40), stream) for _ in range(20)]


def test_windows_are_uniform_over_all_origins():
    # Null: 5 x 7 equally likely origins. False-failure rate 1e-6; the seed is fixed besides. A
    # law that misses one origin has p below 1e-100 here.
    crop, stream, counts = (
        JointRandomCrop(Crop(Size(4, 4), padding=1)),
        generator(3),
        np.zeros((5, 7)),
    )
    for _ in range(35_000):
        window = crop.window(Size(6, 8), stream)
        counts[window.top, window.left] += 1
    assert stats.chisquare(counts.ravel()).pvalue > 1e-6


def test_successive_windows_are_independent():
    # Null: top and left of one window, and of the next, are independent (1e-6 each).
    crop, stream = JointRandomCrop(Crop(Size(4, 4))), generator(4)
    windows = np.array(
        [[w.top, w.left] for w in (crop.window(Size(7, 7), stream) for _ in range(20_000))]
    )
    for first, second in [(windows[:, 0], windows[:, 1]), (windows[:-1, 0], windows[1:, 0])]:
        table = np.zeros((4, 4))
        np.add.at(table, (first, second), 1)
        assert stats.chi2_contingency(table).pvalue > 1e-6


def test_a_window_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match="crop must be at most the padded image 12x12, got 13x8"):
        JointRandomCrop(Crop(Size(13, 8), padding=2)).window(Size(8, 8), generator())

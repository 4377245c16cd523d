from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cropaudit.accounting.geometry import Borders, Crop, Rectangle, Size
from cropaudit.accounting.inclusion import inclusion_map
from cropaudit.accounting.pairs import StepPair
from cropaudit.attacks.probe import Probe, run_probe
from cropaudit.errors import InputError
from cropaudit.training.crops import JointRandomCrop, Window, cut
from cropaudit.training.data import IGNORE
from cropaudit.training.samplers import Poisson


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slow_cut(image, mask, window, crop):
    """Flips, then pads, then cuts, all of it in numpy and for the whole image."""
    down, across = (-1 if flip else 1 for flip in (window.flipped_rows, window.flipped_columns))
    image, mask = image.numpy()[:, ::down, ::across], mask.numpy()[::down, ::across]
    pad = crop.padding
    border = Borders(pad, pad, pad, pad) if isinstance(pad, int) else pad
    rows = [border.top, border.bottom]
    columns = [border.left, border.right]
    if crop.pad_if_needed:
        rows = [x + max(0, crop.size.height - mask.shape[0] - sum(rows)) for x in rows]
        columns = [x + max(0, crop.size.width - mask.shape[1] - sum(columns)) for x in columns]
    ignore = {"constant_values": IGNORE} if crop.mode == "constant" else {}
    image = np.pad(image, [(0, 0), rows, columns], mode=crop.mode)
    mask = np.pad(mask, [rows, columns], mode=crop.mode, **ignore)
    rows = slice(window.top, window.top + crop.size.height)
    columns = slice(window.left, window.left + crop.size.width)
    return image[:, rows, columns], mask[rows, columns]


def check_cut(image, mask, window, crop):
    pixels, labels = cut(image, mask, window, crop)
    expected_pixels, expected_labels = slow_cut(image, mask, window, crop)
    assert pixels.dtype == image.dtype
    assert labels.dtype == mask.dtype
    np.testing.assert_array_equal(pixels.numpy(), expected_pixels)
    np.testing.assert_array_equal(labels.numpy(), expected_labels)


def pair(height, width, dtype=torch.uint8):
    image = torch.arange(1, 3 * height * width + 1).reshape(3, height, width).to(dtype)
    return image, torch.arange(height * width).reshape(height, width).to(torch.uint8)


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
    check_cut(*pair(height, width, dtype), window, crop)


@settings(deadline=None, max_examples=300)
@given(data=st.data(), mode=st.sampled_from(["constant", "reflect", "symmetric", "edge"]))
def test_every_mode_border_and_flip_cuts_alike(data, mode):
    height, width = data.draw(st.integers(2, 8)), data.draw(st.integers(2, 8))
    most = [side - (mode == "reflect") for side in (height, height, width, width)]
    borders = Borders(*(data.draw(st.integers(0, min(x, 5))) for x in most))
    needed = data.draw(st.booleans())
    extra = 0
    if needed:
        used = max(borders.top, borders.bottom, borders.left, borders.right)
        extra = max(0, min(most) - used)
    size = Size(
        data.draw(st.integers(1, height + borders.top + borders.bottom + extra)),
        data.draw(st.integers(1, width + borders.left + borders.right + extra)),
    )
    crop = Crop(size, borders, mode, pad_if_needed=needed)
    origins = crop.origins(Size(height, width))
    window = Window(
        data.draw(st.integers(0, origins.height - 1)),
        data.draw(st.integers(0, origins.width - 1)),
        data.draw(st.booleans()),
        data.draw(st.booleans()),
    )
    check_cut(*pair(height, width), window, crop)


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


def test_plain_streams_are_those_of_old():
    """Windows of a seed are pinned: published figures rest on them. Flips are drawn after them."""
    crop, size = Crop(Size(8, 8)), Size(100, 200)
    plain = JointRandomCrop(crop)
    stream = generator(7)
    drawn = [plain.window(size, stream) for _ in range(4)]
    raw = torch.randint(2**62, (8,), generator=generator(7)).tolist()
    assert drawn == [Window(raw[i] % 93, raw[i + 1] % 193) for i in (0, 2, 4, 6)]
    flipping = JointRandomCrop(Crop(Size(8, 8), horizontal_flip=0.5))
    first = flipping.window(size, generator(7))
    assert (first.top, first.left) == (drawn[0].top, drawn[0].left)


def test_flips_are_as_frequent_as_they_should_be():
    """8000 windows; each count is binomial, the two independent. False-failure rate 5e-6."""
    crop, stream = Crop(Size(3, 3), horizontal_flip=0.25, vertical_flip=0.6), generator(8)
    drawn = [JointRandomCrop(crop).window(Size(5, 5), stream) for _ in range(8000)]
    table = np.zeros((2, 2))
    for window in drawn:
        table[int(window.flipped_rows), int(window.flipped_columns)] += 1
    for hits, chance in ((table[:, 1].sum(), 0.25), (table[1].sum(), 0.6)):
        law = stats.binom(8000, chance)
        assert law.ppf(1e-6) <= hits <= law.isf(1e-6)
    assert stats.chi2_contingency(table).pvalue > 1e-6
    always = JointRandomCrop(Crop(Size(3, 3), vertical_flip=1.0)).window(Size(5, 5), stream)
    assert (always.flipped_rows, always.flipped_columns) == (True, False)


@pytest.mark.parametrize(
    ("crop", "position"),
    [
        (Crop(Size(6, 6), 14, "reflect"), (5, 6)),
        (Crop(Size(5, 7), 12, "symmetric"), (4, 25)),
        (Crop(Size(4, 4), Borders(12, 0, 12, 2), "edge"), (0, 0)),
        (Crop(Size(6, 7), Borders(0, 15, 14, 0), "reflect", horizontal_flip=0.5), (18, 5)),
        (Crop(Size(4, 40), Borders(15, 15, 1, 1), "reflect", pad_if_needed=True), (6, 2)),
    ],
    ids=str,
)
def test_a_probe_measures_what_is_counted(crop, position):
    """The pipeline's own windows meet the patch as often as rho says: 100 slots of 40 steps each.

    False-failure rate 2e-6 a case (binomial). The rate of constant padding, without the copies, is
    beyond these limits.
    """
    image, patch, steps, slots = Size(30, 36), Rectangle(Size(5, 4)), 40, 100
    spec = Probe(
        image=image,
        position=position,
        patch=patch,
        crop=crop,
        sampling=Poisson(1.0),
        records=20,
        steps=steps,
        noise_multiplier=1.0,
        max_grad_norm=1.0,
        pairs=(StepPair((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), 1.0),),
        slots=slots,
        seed=3,
    )
    hits = run_probe(spec).hits.sum()
    law = stats.binom(slots * steps, inclusion_map(image, crop, patch)[position])
    assert law.ppf(1e-6) <= hits <= law.isf(1e-6)
    without = inclusion_map(image, replace(crop, mode="constant"), patch)[position]
    assert slots * steps * without < law.ppf(1e-6)


def test_padding_that_cannot_be_made_is_refused():
    crop = JointRandomCrop(Crop(Size(4, 4), padding=8, mode="reflect"))
    with pytest.raises(InputError, match="padding must be below the sides of the image 8x9 in"):
        crop.window(Size(8, 9), generator())

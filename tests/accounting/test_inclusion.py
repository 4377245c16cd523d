"""The inclusion map against a loop over all placements and all windows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cropaudit.accounting.geometry import Crop, PixelMask, Rectangle, Size
from cropaudit.accounting.inclusion import inclusion, inclusion_map, worst_inclusion
from cropaudit.errors import InputError


def brute_force(image: Size, crop: Crop, pixels: np.ndarray) -> np.ndarray:
    """Counts windows that meet the patch by looking at every pixel of every window."""
    h, w = pixels.shape
    out = np.zeros((image.height - h + 1, image.width - w + 1))
    pad = crop.padding
    padded = Size(image.height + 2 * pad, image.width + 2 * pad)
    rows = padded.height - crop.size.height + 1
    columns = padded.width - crop.size.width + 1
    for i, j in np.ndindex(out.shape):
        canvas = np.zeros((padded.height, padded.width), dtype=bool)
        canvas[i + pad : i + pad + h, j + pad : j + pad + w] = pixels
        hits = sum(
            canvas[r : r + crop.size.height, c : c + crop.size.width].any()
            for r in range(rows)
            for c in range(columns)
        )
        out[i, j] = hits / (rows * columns)
    return out


@st.composite
def cases(draw: st.DrawFn) -> tuple[Size, Crop, np.ndarray]:
    image = Size(draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    padding = draw(st.integers(0, 3))
    crop = Size(
        draw(st.integers(1, image.height + 2 * padding)),
        draw(st.integers(1, image.width + 2 * padding)),
    )
    h, w = draw(st.integers(1, image.height)), draw(st.integers(1, image.width))
    bits = draw(st.lists(st.booleans(), min_size=h * w, max_size=h * w))
    return image, Crop(crop, padding), np.array(bits, dtype=bool).reshape(h, w)


@settings(max_examples=300, deadline=None)
@given(cases())
def test_rectangle_map_equals_brute_force(case: tuple[Size, Crop, np.ndarray]) -> None:
    image, crop, pixels = case
    got = inclusion_map(image, crop, Rectangle(Size(*pixels.shape)))
    np.testing.assert_allclose(got, brute_force(image, crop, np.ones_like(pixels)), atol=1e-12)


@settings(max_examples=300, deadline=None)
@given(cases())
def test_mask_map_equals_brute_force(case: tuple[Size, Crop, np.ndarray]) -> None:
    image, crop, pixels = case
    if not pixels.any():
        with pytest.raises(InputError, match="patch mask must be true"):
            PixelMask(pixels)
        return
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    trimmed = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    got = inclusion_map(image, crop, PixelMask(pixels))
    np.testing.assert_allclose(got, brute_force(image, crop, trimmed), atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(cases())
def test_full_mask_equals_rectangle(case: tuple[Size, Crop, np.ndarray]) -> None:
    image, crop, pixels = case
    rectangle = Rectangle(Size(*pixels.shape))
    by_mask = inclusion_map(image, crop, PixelMask(np.ones_like(pixels)))
    np.testing.assert_array_equal(inclusion_map(image, crop, rectangle), by_mask)


@pytest.mark.parametrize(
    ("image", "crop", "patch", "padding", "expected"),
    [
        (Size(1024, 2048), 505, 10, 0, 0.329060),
        (Size(1000, 1000), 100, 10, 0, 0.0146354),
        (Size(1000, 1000), 400, 40, 0, 0.533556),
        (Size(1000, 1000), 500, 20, 50, 0.745737),
        (Size(12, 12), 10, 12, 8, 1.0),
    ],
)
def test_reference_values(
    image: Size, crop: int, patch: int, padding: int, expected: float
) -> None:
    found = inclusion(image, Crop(Size(crop, crop), padding), Rectangle(Size(patch, patch)))
    assert found.probability == pytest.approx(expected, rel=3e-6)
    row, column = found.position
    rho = inclusion_map(image, Crop(Size(crop, crop), padding), Rectangle(Size(patch, patch)))
    assert rho[row, column] == rho.max() == found.probability


def test_filled_circle() -> None:
    row, column = np.mgrid[-3:4, -3:4]
    circle = PixelMask(row**2 + column**2 <= 9)
    found = inclusion(Size(40, 40), Crop(Size(10, 10)), circle)
    assert found.probability == pytest.approx(0.245578, abs=1e-6)


def test_worst_image_is_named() -> None:
    sizes = [Size(100, 100), Size(50, 60), Size(80, 80)]
    found = worst_inclusion(sizes, Crop(Size(20, 20)), Rectangle(Size(5, 5)))
    assert found.image == Size(50, 60)
    assert found.probability == max(
        inclusion(s, Crop(Size(20, 20)), Rectangle(Size(5, 5))).probability for s in sizes
    )


def test_no_image_is_refused() -> None:
    with pytest.raises(InputError, match="images must be at least one, got 0"):
        worst_inclusion([], Crop(Size(2, 2)), Rectangle(Size(1, 1)))


def test_whole_image_window_always_hits() -> None:
    rho = inclusion_map(Size(9, 5), Crop(Size(9, 5)), Rectangle(Size(2, 2)))
    assert np.all(rho == 1.0)


@pytest.mark.parametrize(
    ("image", "crop", "patch", "message"),
    [
        (Size(4, 4), Crop(Size(5, 4)), Size(1, 1), "crop must be at most the padded image 4x4"),
        (Size(4, 4), Crop(Size(9, 4), 2), Size(1, 1), "crop must be at most the padded image 8x8"),
        (Size(4, 4), Crop(Size(2, 2)), Size(5, 1), "patch must be at most the image 4x4, got 5x1"),
    ],
)
def test_misfits_are_named(image: Size, crop: Crop, patch: Size, message: str) -> None:
    with pytest.raises(InputError, match=message):
        inclusion_map(image, crop, Rectangle(patch))
    with pytest.raises(InputError, match=message):
        inclusion_map(image, crop, PixelMask(np.ones((patch.height, patch.width), dtype=bool)))


@pytest.mark.parametrize("text", ["", "0x4", "4x", "axb", "4x4x4", "-3", "4.5"])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(InputError, match="crop must be HxW or one number"):
        Size.parse(text, "crop")

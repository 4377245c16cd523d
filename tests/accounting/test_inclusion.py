"""The inclusion map against a look at every pixel of every window."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cropaudit.accounting.crop_laws import ResizedCrop, WholeImage
from cropaudit.accounting.footprints import axis_footprints, source_indices
from cropaudit.accounting.geometry import Borders, Crop, PixelMask, Rectangle, Several, Size
from cropaudit.accounting.inclusion import averaged, inclusion, inclusion_map, worst_inclusion
from cropaudit.errors import InputError

MODES = ("constant", "reflect", "symmetric", "edge")


def padded(ids: np.ndarray, crop: Crop) -> np.ndarray:
    """Pads an image of pixel ids as torchvision does, -1 where there is no pixel."""
    how = {"constant_values": -1} if crop.mode == "constant" else {}
    pad = crop.padding
    given = pad if isinstance(pad, Borders) else Borders(pad, pad, pad, pad)
    border = np.array([[given.top, given.bottom], [given.left, given.right]])
    if crop.pad_if_needed:
        short = np.array([crop.size.height, crop.size.width]) - ids.shape - border.sum(axis=1)
        border = border + np.maximum(short, 0)[:, None]
    return np.pad(ids, border, mode=crop.mode, **how)


def read_pixels(image: Size, crop: Crop) -> tuple[np.ndarray, np.ndarray]:
    """Returns which pixels each window reads, bool (windows, pixels), and its probability."""
    count = image.height * image.width
    ids = np.arange(count).reshape(image.height, image.width)
    seen, weights = [], []
    for down, across in itertools.product((False, True), repeat=2):
        weight = crop.vertical_flip if down else 1 - crop.vertical_flip
        weight *= crop.horizontal_flip if across else 1 - crop.horizontal_flip
        turned = padded(ids[:: -1 if down else 1, :: -1 if across else 1], crop)
        h, w = crop.size.height, crop.size.width
        origins = list(np.ndindex(turned.shape[0] - h + 1, turned.shape[1] - w + 1))
        for row, column in origins:
            window = turned[row : row + h, column : column + w]
            seen.append(np.isin(np.arange(count), window))
            weights.append(weight / len(origins))
    return np.array(seen), np.array(weights)


def brute_force(image: Size, crop: Crop, pixels: np.ndarray) -> np.ndarray:
    """Looks at every pixel of every window for every place of the patch."""
    seen, weights = read_pixels(image, crop)
    h, w = pixels.shape
    out = np.zeros((image.height - h + 1, image.width - w + 1))
    for i, j in np.ndindex(out.shape):
        canvas = np.zeros((image.height, image.width), dtype=bool)
        canvas[i : i + h, j : j + w] = pixels
        out[i, j] = weights[(seen & canvas.ravel()).any(axis=1)].sum()
    return out


def trimmed(pixels: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


@st.composite
def crops(draw: st.DrawFn, image: Size) -> Crop:
    """Draws any legal crop of an image: modes, borders, padding if needed, flips."""
    mode = draw(st.sampled_from(MODES))
    spare = {"reflect": 1, "symmetric": 0}.get(mode, -4)
    tall, wide = image.height - spare, image.width - spare
    if draw(st.booleans()):
        padding: int | Borders = draw(st.integers(0, min(tall, wide, 4)))
        borders = [padding] * 4
    else:
        borders = [draw(st.integers(0, min(side, 4))) for side in (tall, tall, wide, wide)]
        padding = Borders(*borders)
    if_needed = draw(st.booleans())
    sides = []
    for length, pads in ((image.height, borders[:2]), (image.width, borders[2:])):
        extra = 0
        if if_needed:
            extra = max(0, min(length - spare - max(pads), 3))
        sides.append(draw(st.integers(1, length + sum(pads) + extra)))
    chance = st.sampled_from([0.0, 0.25, 0.5, 1.0])
    flips = (draw(chance), draw(chance))
    return Crop(Size(*sides), padding, mode, if_needed, *flips)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Size, Crop, np.ndarray]:
    image = Size(draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    crop = draw(crops(image))
    h, w = draw(st.integers(1, image.height)), draw(st.integers(1, image.width))
    bits = draw(st.lists(st.booleans(), min_size=h * w, max_size=h * w))
    return image, crop, np.array(bits, dtype=bool).reshape(h, w)


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
    got = inclusion_map(image, crop, PixelMask(pixels))
    np.testing.assert_allclose(got, brute_force(image, crop, trimmed(pixels)), atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_thousands_of_seeded_cases(mode: str) -> None:
    """The same in one dimension, where cases are many: 600 a mode, borders up to the limit."""
    rng = np.random.default_rng(MODES.index(mode))
    for _ in range(600):
        length = int(rng.integers(2, 9))
        most = {"reflect": length - 1, "symmetric": length}.get(mode, 9)
        borders = Borders(0, 0, int(rng.integers(most + 1)), int(rng.integers(most + 1)))
        size = Size(1, int(rng.integers(1, length + borders.left + borders.right + 1)))
        image = Size(1, length)
        if mode in ("reflect", "symmetric"):
            crop = Crop(size, borders, mode)
        else:
            crop = Crop(size, borders, mode, horizontal_flip=float(rng.integers(3)) / 2)
        pixels = rng.random((1, int(rng.integers(1, length + 1)))) < 0.6
        pixels[0, 0] = pixels[0, -1] = True
        expected = brute_force(image, crop, pixels)
        got = inclusion_map(image, crop, PixelMask(pixels))
        np.testing.assert_allclose(got, expected, atol=1e-12)
        whole = inclusion_map(image, crop, Rectangle(Size(*pixels.shape)))
        assert np.all(whole >= got - 1e-12)


@settings(max_examples=100, deadline=None)
@given(cases())
def test_full_mask_equals_rectangle(case: tuple[Size, Crop, np.ndarray]) -> None:
    """To the last digit, unless flips mix laws: both are counts."""
    image, crop, pixels = case
    rectangle = Rectangle(Size(*pixels.shape))
    by_mask = inclusion_map(image, crop, PixelMask(np.ones_like(pixels)))
    by_axes = inclusion_map(image, crop, rectangle)
    if crop.horizontal_flip == crop.vertical_flip == 0:
        np.testing.assert_array_equal(by_axes, by_mask)
    np.testing.assert_allclose(by_axes, by_mask, atol=1e-14)


@settings(max_examples=150, deadline=None)
@given(cases())
def test_probabilities_grow_with_the_patch(case: tuple[Size, Crop, np.ndarray]) -> None:
    image, crop, pixels = case
    pixels[0, 0] = pixels[-1, -1] = True
    small = inclusion_map(image, crop, PixelMask(pixels))
    large = inclusion_map(image, crop, Rectangle(Size(*pixels.shape)))
    assert np.all((small >= 0) & (small <= large) & (large <= 1 + 1e-15))


@settings(max_examples=100, deadline=None)
@given(cases(), st.integers(1, 6), st.integers(1, 6))
def test_probabilities_grow_with_the_window(
    case: tuple[Size, Crop, np.ndarray], height: int, width: int
) -> None:
    image, _, pixels = case
    pixels[0, 0] = pixels[-1, -1] = True
    size = Size(min(height, image.height), min(width, image.width))
    larger = Size(min(height + 1, image.height), min(width + 1, image.width))
    low = inclusion_map(image, Crop(size), PixelMask(pixels))
    assert np.all(inclusion_map(image, Crop(larger), PixelMask(pixels)) >= low - 1e-15)


def test_equal_borders_make_flips_void() -> None:
    """And unequal ones do not, nor do they where the flip is certain: then the map is mirrored."""
    image, patch = Size(9, 11), PixelMask(np.array([[1, 0, 1], [0, 0, 1]], dtype=bool))
    plain, flipped = (
        Crop(Size(4, 5), 3, "reflect", horizontal_flip=p, vertical_flip=p) for p in (0.0, 0.5)
    )
    np.testing.assert_array_equal(
        inclusion_map(image, plain, patch), inclusion_map(image, flipped, patch)
    )
    uneven, turned = (
        Crop(Size(4, 5), Borders(0, 0, 4, 0), "reflect", horizontal_flip=p) for p in (0.0, 1.0)
    )
    box = Rectangle(Size(2, 3))
    np.testing.assert_array_equal(
        inclusion_map(image, uneven, box), inclusion_map(image, turned, box)[:, ::-1]
    )
    assert not np.allclose(inclusion_map(image, uneven, box), inclusion_map(image, turned, box))


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
    assert (found.exact, found.how, found.patch) == (True, "exact count", f"{patch}x{patch}")
    row, column = found.position
    rho = inclusion_map(image, Crop(Size(crop, crop), padding), Rectangle(Size(patch, patch)))
    assert rho[row, column] == rho.max() == found.probability


def test_filled_circle() -> None:
    row, column = np.mgrid[-3:4, -3:4]
    circle = PixelMask(row**2 + column**2 <= 9)
    found = inclusion(Size(40, 40), Crop(Size(10, 10)), circle)
    assert found.probability == pytest.approx(0.245578, abs=1e-6)


def test_mirrored_copies_count() -> None:
    """Reflection shows the corner again; repeated edges show what lies on the edge."""
    image, patch = Size(20, 20), Rectangle(Size(3, 3))
    rho = {mode: inclusion_map(image, Crop(Size(4, 4), 6, mode), patch) for mode in MODES}
    for mode, place in (("reflect", (2, 2)), ("symmetric", (2, 2)), ("edge", (0, 0))):
        assert np.all(rho[mode] >= rho["constant"])
        assert rho[mode][place] > rho["constant"][place]


def test_worst_image_is_named() -> None:
    sizes = [Size(100, 100), Size(50, 60), Size(80, 80)]
    found = worst_inclusion(sizes, Crop(Size(20, 20)), Rectangle(Size(5, 5)))
    assert found.image == Size(50, 60)
    assert found.probability == max(
        inclusion(s, Crop(Size(20, 20)), Rectangle(Size(5, 5))).probability for s in sizes
    )


def test_worst_patch_is_named() -> None:
    patches = [Rectangle(Size(5, 5)), Rectangle(Size(2, 30)), Rectangle(Size(9, 9))]
    found = worst_inclusion([Size(50, 60), Size(90, 90)], Crop(Size(20, 20)), patches)
    assert (found.patch, found.image) == ("2x30", Size(50, 60))
    assert found == inclusion(Size(50, 60), Crop(Size(20, 20)), patches[1])


def test_no_image_and_no_patch_are_refused() -> None:
    with pytest.raises(InputError, match="images must be at least one, got 0"):
        worst_inclusion([], Crop(Size(2, 2)), Rectangle(Size(1, 1)))
    with pytest.raises(InputError, match="patches must be at least one, got 0"):
        worst_inclusion([Size(4, 4)], Crop(Size(2, 2)), [])


def test_whole_image_window_always_hits() -> None:
    rho = inclusion_map(Size(9, 5), Crop(Size(9, 5)), Rectangle(Size(2, 2)))
    assert np.all(rho == 1.0)
    np.testing.assert_array_equal(
        rho, inclusion_map(Size(9, 5), WholeImage(), Rectangle(Size(2, 2)))
    )
    assert inclusion(Size(9, 5), WholeImage(), Rectangle(Size(2, 2))).exact


@pytest.mark.parametrize(
    ("image", "crop", "patch", "message"),
    [
        (Size(4, 4), Crop(Size(5, 4)), Size(1, 1), "crop must be at most the padded image 4x4"),
        (Size(4, 4), Crop(Size(9, 4), 2), Size(1, 1), "crop must be at most the padded image 8x8"),
        (Size(4, 4), Crop(Size(2, 2)), Size(5, 1), "patch must be at most the image 4x4, got 5x1"),
        (Size(4, 4), WholeImage(), Size(5, 1), "patch must be at most the image 4x4, got 5x1"),
        (Size(4, 4), ResizedCrop(Size(2, 2)), Size(1, 5), "patch must be at most the image 4x4"),
        (
            Size(4, 9),
            Crop(Size(2, 2), 4, "reflect"),
            Size(1, 1),
            "padding must be below the sides of the image 4x9 in mode reflect, got 4",
        ),
        (
            Size(9, 4),
            Crop(Size(2, 2), Borders(0, 0, 5, 0), "symmetric"),
            Size(1, 1),
            "at most the sides of the image 9x4 in mode symmetric, got top 0, bottom 0, left 5",
        ),
        (
            Size(4, 4),
            Crop(Size(9, 9), 0, "symmetric", pad_if_needed=True),
            Size(1, 1),
            "at most the sides of the image 4x4 in mode symmetric, got 5",
        ),
    ],
)
def test_misfits_are_named(image: Size, crop: Crop, patch: Size, message: str) -> None:
    with pytest.raises(InputError, match=message):
        inclusion_map(image, crop, Rectangle(patch))
    with pytest.raises(InputError, match=message):
        inclusion_map(image, crop, PixelMask(np.ones((patch.height, patch.width), dtype=bool)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"padding": -1}, "padding must be at least 0, got -1"),
        ({"mode": "wrap"}, "padding mode must be one of constant, reflect, symmetric, edge, got"),
        ({"horizontal_flip": 1.5}, r"horizontal flip must be in \[0, 1\], got 1.5"),
        ({"vertical_flip": -0.5}, r"vertical flip must be in \[0, 1\], got -0.5"),
    ],
)
def test_bad_crops(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Crop(Size(3, 3), **values)  # type: ignore[arg-type]


def test_borders_from_sequences() -> None:
    assert Borders.of_sequence([3]) == Borders(3, 3, 3, 3)
    assert Borders.of_sequence([1, 2]) == Borders(top=2, bottom=2, left=1, right=1)
    assert Borders.of_sequence([1, 2, 3, 4]) == Borders(top=2, bottom=4, left=1, right=3)
    with pytest.raises(InputError, match="padding must be 1, 2 or 4 numbers"):
        Borders.of_sequence([1, 2, 3])
    with pytest.raises(InputError, match="padding must be at least 0, got -2"):
        Borders(top=-2)


@pytest.mark.parametrize("text", ["", "0x4", "4x", "axb", "4x4x4", "-3", "4.5"])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(InputError, match="crop must be HxW or one number"):
        Size.parse(text, "crop")


# torchvision's random crop.


@pytest.mark.parametrize(
    ("size", "padding", "mode", "if_needed"),
    [
        ((4, 3), None, "constant", False),
        ((5, 6), 2, "constant", False),
        ((5, 7), (2, 1), "reflect", False),
        ((8, 8), (1, 2, 3, 2), "reflect", False),
        ((6, 9), (4, 1), "symmetric", False),
        ((14, 9), 3, "edge", True),
        ((8, 7), None, "reflect", True),
        ((7, 4), None, "symmetric", True),
        ((12, 12), (1, 0), "edge", True),
        ((8, 9), 1, "symmetric", True),
        ((9, 9), 1, "reflect", True),
    ],
)
@pytest.mark.parametrize("first", [False, True], ids=["v2", "v1"])
def test_windows_are_torchvision_s(size, padding, mode, if_needed, first) -> None:
    """The distinct outputs of the real transform are those of our windows, none more or less.

    At most 100 windows and 2500 draws: one is missed with probability below 100 (99/100)**2500, or
    1e-9 a case.
    """
    import torch
    from torchvision import transforms
    from torchvision.transforms import v2

    height, width = 5, 6
    borders = 0 if padding is None else padding
    ours = Crop(
        Size(*size),
        borders if isinstance(borders, int) else Borders.of_sequence(borders),
        mode,
        if_needed,
    )
    image, ids = Size(height, width), torch.arange(height * width).reshape(1, height, width)
    kind = transforms.RandomCrop if first else v2.RandomCrop
    theirs = kind(size, padding, pad_if_needed=if_needed, fill=-1, padding_mode=mode)
    origins = ours.origins(image)
    rows, columns = source_indices(image, ours)
    source = np.where(
        (rows[:, None] < 0) | (columns < 0), -1, rows[:, None] * width + columns[None]
    )
    expected = {
        source[r : r + size[0], c : c + size[1]].tobytes()
        for r in range(origins.height)
        for c in range(origins.width)
    }
    assert origins.height * origins.width <= 100
    torch.manual_seed(0)
    drawn = [theirs(ids.float()).long()[0] for _ in range(2500 if len(expected) > 1 else 1)]
    if first and padding and if_needed and mode in ("reflect", "symmetric"):
        # Both sides are short here: other copies, yet each window shows the whole image.
        assert all(len(window.unique()) == height * width for window in drawn)
        assert np.all(inclusion_map(image, ours, Rectangle(Size(1, 1))) == 1)
        return
    assert {window.numpy().tobytes() for window in drawn} == expected


def test_torchvision_refuses_what_we_refuse() -> None:
    import torch
    from torchvision.transforms.v2 import functional

    for mode, most in (("reflect", 3), ("symmetric", 4)):
        for border in range(1, 7):
            crop = Crop(Size(2, 2), border, mode)
            if border <= most:
                functional.pad(torch.zeros(1, 4, 5), [border] * 4, padding_mode=mode)
                crop.origins(Size(4, 5))
                continue
            with pytest.raises((RuntimeError, IndexError)):
                functional.pad(torch.zeros(1, 4, 5), [border] * 4, padding_mode=mode)
            with pytest.raises(InputError, match="padding must be"):
                crop.origins(Size(4, 5))


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(1, 7))
def test_padding_if_needed_shows_the_whole_side(data: st.DataObject, length: int) -> None:
    """Whatever the mode: so the two ways in which torchvision mirrors twice count alike."""
    image = Size(length, length)
    crop = data.draw(crops(image))
    short = crop.origins(image).height > 1 and crop.pad_if_needed
    border, given = crop.borders(image), crop.padding
    top = given.top if isinstance(given, Borders) else given
    if short and border.top > top:
        law = axis_footprints(image, crop)[0]
        assert (law.first.tolist(), law.last.tolist()) == ([0], [length - 1])
        assert law.weight[0] == law.origins


def test_every_footprint_is_an_interval() -> None:
    """What makes the law of a window a product of two laws over intervals."""
    rng = np.random.default_rng(3)
    for mode in MODES:
        for _ in range(50):
            length = int(rng.integers(2, 9))
            border = int(rng.integers(0, length))
            window = int(rng.integers(1, length + 2 * border + 1))
            crop = Crop(Size(1, window), Borders(0, 0, border, border), mode)
            source = source_indices(Size(1, length), crop)[1]
            for start in range(len(source) - window + 1):
                part = source[start : start + window]
                seen = np.unique(part[part >= 0])
                assert len(seen) == 0 or len(seen) == seen[-1] - seen[0] + 1
            law = axis_footprints(Size(1, length), crop)[1]
            assert law.weight.sum() <= law.origins


# Several patches, and several crops.


def union_brute_force(image: Size, crop: Crop, patch: Size, count: int) -> float:
    """Returns the largest probability over all tuples of places."""
    seen, weights = read_pixels(image, crop)
    places = []
    for i in range(image.height - patch.height + 1):
        for j in range(image.width - patch.width + 1):
            canvas = np.zeros((image.height, image.width), dtype=bool)
            canvas[i : i + patch.height, j : j + patch.width] = True
            places.append((seen & canvas.ravel()).any(axis=1))
    pairs = itertools.combinations_with_replacement(places, count)
    return max(float(weights[np.any(group, axis=0)].sum()) for group in pairs)


def test_two_rectangles_are_exact() -> None:
    """300 images with constant padding of any borders, against all pairs of places."""
    rng = np.random.default_rng(5)
    for _ in range(300):
        image = Size(*(int(rng.integers(1, 7)) for _ in range(2)))
        borders = Borders(*(int(rng.integers(0, 3)) for _ in range(4)))
        tall, wide = borders.top + borders.bottom, borders.left + borders.right
        crop = Crop(
            Size(
                int(rng.integers(1, image.height + tall + 1)),
                int(rng.integers(1, image.width + wide + 1)),
            ),
            borders,
        )
        patch = Size(int(rng.integers(1, image.height + 1)), int(rng.integers(1, image.width + 1)))
        found = inclusion(image, crop, Several(Rectangle(patch), 2))
        assert found.exact
        assert found.probability == pytest.approx(
            union_brute_force(image, crop, patch, 2), abs=1e-12
        )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("count", [2, 3])
def test_copies_are_bounded(mode: str, count: int) -> None:
    image, patch = Size(5, 4), Size(1, 2)
    crop = Crop(Size(2, 2), Borders(1, 0, 2, 1), mode, horizontal_flip=0.3)
    found = inclusion(image, crop, Several(Rectangle(patch), count))
    assert found.probability >= union_brute_force(image, crop, patch, count) - 1e-12
    assert (found.exact, found.how) == (False, "upper bound: the sum over the copies")
    assert found.patch == f"{count}*1x2"


def test_special_numbers_of_copies() -> None:
    image, crop, box = Size(9, 9), Crop(Size(4, 4)), Rectangle(Size(2, 2))
    one = inclusion(image, crop, Several(box, 1))
    assert (one.probability, one.exact) == (inclusion(image, crop, box).probability, True)
    sure = inclusion(image, Crop(image), Several(box, 5))
    assert (sure.probability, sure.exact) == (1.0, True)
    many = inclusion(image, crop, Several(box, 50))
    assert (many.probability, many.exact) == (1.0, False)
    dot = PixelMask(np.eye(2, dtype=bool))
    assert not inclusion(image, crop, Several(dot, 2)).exact
    with pytest.raises(InputError, match=r"inclusion map must be of one patch.*got 2\*2x2"):
        inclusion_map(image, crop, Several(box, 2))
    with pytest.raises(InputError, match="patch count must be at least 1, got 0"):
        Several(box, 0)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 1000), st.integers(0, 1000))
def test_averaging_is_monotone(first: float, second: float, crops: int, more: int) -> None:
    low, high = sorted((first, second))
    assert 0 <= averaged(low, crops) <= averaged(high, crops + more) <= 1
    assert averaged(low, 1) == low


def test_averaging_values() -> None:
    assert averaged(0.3, 4) == pytest.approx(1 - 0.7**4, rel=1e-14)
    assert averaged(1e-18, 5) == pytest.approx(5e-18, rel=1e-14)
    assert averaged(0.0, 9) == 0.0
    rho = np.array([[0.0, 0.5], [1.0, 1e-9]])
    np.testing.assert_allclose(averaged(rho, 2), 1 - (1 - rho) ** 2, rtol=1e-7)
    assert math.isclose(averaged(1.0, 2), 1.0)
    with pytest.raises(InputError, match="crops per image must be at least 1, got 0"):
        averaged(0.5, 0)
    with pytest.raises(InputError, match=r"inclusion probability must be in \[0, 1\], got 1.5"):
        averaged(1.5, 2)
    with pytest.raises(InputError, match="inclusion probability"):
        averaged(math.nan, 2)

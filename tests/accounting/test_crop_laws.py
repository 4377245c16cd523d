"""Resized crops: the law of the window size, the map, and what resampling really reads."""

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from cropaudit.accounting.crop_laws import ResizedCrop, WholeImage, refuse_content_dependent
from cropaudit.accounting.geometry import PixelMask, Rectangle, Several, Size
from cropaudit.accounting.inclusion import inclusion, inclusion_map
from cropaudit.accounting.window_sizes import size_law
from cropaudit.errors import InputError

TINY = Size(4, 4)
LAWS = [
    (Size(7, 9), ResizedCrop(TINY)),
    (Size(9, 5), ResizedCrop(TINY, scale=(0.2, 0.7), ratio=(0.5, 3.0))),
    (Size(6, 6), ResizedCrop(TINY, scale=(0.0, 1.0), ratio=(0.9, 1.1))),
    (Size(3, 20), ResizedCrop(TINY, scale=(0.5, 1.0))),
    (Size(12, 4), ResizedCrop(TINY, scale=(0.3, 1.4), ratio=(0.2, 0.6))),
    (Size(8, 8), ResizedCrop(TINY, scale=(0.3, 0.3))),
    (Size(8, 6), ResizedCrop(TINY, scale=(0.1, 0.9), ratio=(1.0, 1.0))),
    (Size(10, 10), ResizedCrop(TINY, scale=(0.3, 0.3), ratio=(1.2, 1.2))),
    (Size(3, 30), ResizedCrop(TINY, scale=(0.9, 1.0), ratio=(1.0, 1.0))),
]
IDS = [f"{image}-{crop.scale}-{crop.ratio}" for image, crop in LAWS]


def probabilities(image: Size, crop: ResizedCrop) -> dict[tuple[int, int], float]:
    """Returns the law of the size, the central window included."""
    law = size_law(image, crop)
    found = {
        (int(h), int(w)): float(law.probability[i, j])
        for i, h in enumerate(law.heights)
        for j, w in enumerate(law.widths)
        if law.probability[i, j] > 0
    }
    central = (law.fallback.height, law.fallback.width)
    found[central] = found.get(central, 0.0) + law.fallback_probability
    return found


def quadrature(
    image: Size, crop: ResizedCrop, points: int = 20_001
) -> dict[tuple[int, int], float]:
    """Integrates over the area by the midpoint rule, the ratio in closed form, for one try."""
    area = image.height * image.width
    share = np.linspace(*crop.scale, points + 1)
    areas = area * (share[1:] + share[:-1]) / 2
    low, high = np.log(crop.ratio)
    found = {}
    for h, w in np.ndindex(image.height, image.width):
        begin = np.maximum(np.log((w + 0.5) ** 2 / areas), np.log(areas / (h + 1.5) ** 2))
        end = np.minimum(np.log((w + 1.5) ** 2 / areas), np.log(areas / (h + 0.5) ** 2))
        overlap = np.minimum(end, high) - np.maximum(begin, low)
        found[h + 1, w + 1] = float(np.maximum(overlap, 0).mean() / (high - low))
    return found


@pytest.mark.parametrize(("image", "crop"), LAWS, ids=IDS)
def test_sizes_add_up_to_one(image: Size, crop: ResizedCrop) -> None:
    assert math.fsum(probabilities(image, crop).values()) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("image", "crop"), LAWS[:6], ids=IDS[:6])
def test_sizes_equal_an_integral(image: Size, crop: ResizedCrop) -> None:
    """The area of a cell in the region is the probability: constant density."""
    once = quadrature(image, crop)
    missed = 1 - sum(once.values())
    law = size_law(image, crop)
    assert law.fallback_probability == pytest.approx(missed**10, abs=1e-4)
    tries = sum(missed**k for k in range(10))
    for (h, w), value in once.items():
        inside = h in law.heights and w in law.widths
        at = (h - law.heights[0], w - law.widths[0]) if inside else None
        got = law.probability[at] if at is not None else 0.0
        assert got == pytest.approx(value * tries, abs=2e-5)


@pytest.mark.parametrize(("image", "crop"), LAWS, ids=IDS)
def test_sizes_are_torchvision_s(image: Size, crop: ResizedCrop) -> None:
    """Chi-square over sizes, 6000 draws of the real transform; false-failure rate 1e-6 a case."""
    import torch
    from torchvision.transforms import v2

    torch.manual_seed(11)
    theirs = v2.RandomResizedCrop((4, 4), crop.scale, crop.ratio)
    picture = torch.zeros(1, image.height, image.width)
    expected = probabilities(image, crop)
    seen = dict.fromkeys(expected, 0)
    for _ in range(6000):
        window = theirs.make_params([picture])
        seen[window["height"], window["width"]] += 1  # a size that cannot be is a KeyError
    common = [size for size, p in expected.items() if 6000 * p >= 5]
    rare = [size for size in expected if size not in common]
    counts = [seen[size] for size in common] + [sum(seen[size] for size in rare)] * bool(rare)
    wanted = [6000 * expected[size] for size in common]
    wanted += [6000 - sum(wanted)] * bool(rare)
    kept = np.array(wanted) > 1e-6
    assert np.array(counts)[~kept].sum() == 0
    if kept.sum() > 1:
        assert stats.chisquare(np.array(counts)[kept], np.array(wanted)[kept]).pvalue > 1e-6


def enumerated(image: Size, crop: ResizedCrop, pixels: np.ndarray) -> np.ndarray:
    """Looks at every window of every size, for every place."""
    law = size_law(image, crop)
    windows = []
    for i, j in np.ndindex(law.probability.shape):
        h, w = int(law.heights[i]), int(law.widths[j])
        rows, columns = image.height - h + 1, image.width - w + 1
        share = law.probability[i, j] / (rows * columns)
        windows += [(r, c, h, w, share) for r in range(rows) for c in range(columns)]
    h, w = law.fallback.height, law.fallback.width
    centre = (image.height - h) // 2, (image.width - w) // 2
    windows.append((*centre, h, w, law.fallback_probability))
    out = np.zeros((image.height - pixels.shape[0] + 1, image.width - pixels.shape[1] + 1))
    for i, j in np.ndindex(out.shape):
        canvas = np.zeros((image.height, image.width), dtype=bool)
        canvas[i : i + pixels.shape[0], j : j + pixels.shape[1]] = pixels
        hit = [share for r, c, h, w, share in windows if canvas[r : r + h, c : c + w].any()]
        out[i, j] = math.fsum(hit)
    return out


@pytest.mark.parametrize(("image", "crop"), LAWS, ids=IDS)
def test_rectangles_equal_every_window(image: Size, crop: ResizedCrop) -> None:
    for height, width in itertools.product((1, 2, image.height), (1, 3)):
        patch = Size(min(height, image.height), min(width, image.width))
        got = inclusion_map(image, crop, Rectangle(patch))
        every = np.ones((patch.height, patch.width), dtype=bool)
        np.testing.assert_allclose(got, enumerated(image, crop, every), atol=1e-12)
        by_mask = inclusion_map(image, crop, PixelMask(every))
        np.testing.assert_array_equal(got, by_mask)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(LAWS), st.integers(0, 2**15 - 1))
def test_masks_are_bounded(case: tuple[Size, ResizedCrop], bits: int) -> None:
    image, crop = case
    pixels = np.array([bits >> k & 1 for k in range(15)], dtype=bool).reshape(3, 5)
    pixels = pixels[:, : image.width]
    pixels[0, 0] = pixels[-1, -1] = True
    bound = inclusion_map(image, crop, PixelMask(pixels))
    assert np.all(bound >= enumerated(image, crop, pixels) - 1e-12)
    box = inclusion_map(image, crop, Rectangle(Size(*pixels.shape)))
    assert np.all(bound <= box + 1e-15)
    found = inclusion(image, crop, PixelMask(pixels))
    assert found.exact == pixels.all()
    assert found.exact or found.how == "upper bound: the mask is covered by rectangles"


def test_distant_parts_are_added() -> None:
    """Two dots far apart: their box would be met nearly always."""
    pixels = np.zeros((30, 30), dtype=bool)
    pixels[0, 0] = pixels[-1, -1] = True
    image, crop = Size(40, 40), ResizedCrop(TINY, scale=(0.01, 0.05))
    bound = inclusion(image, crop, PixelMask(pixels)).probability
    assert bound < 0.2 * inclusion(image, crop, Rectangle(Size(30, 30))).probability


def test_real_windows_meet_the_patch_as_often() -> None:
    """20 000 draws of torchvision's transform at the worst place and in the corner.

    False-failure rate 2e-6 a place (binomial).
    """
    import torch
    from torchvision.transforms import v2

    image, patch = Size(60, 90), Size(12, 7)
    crop = ResizedCrop(Size(32, 32))
    worst = inclusion(image, crop, Rectangle(patch))
    assert (worst.exact, worst.how) == (True, "exact sum over window sizes")
    rho = inclusion_map(image, crop, Rectangle(patch))
    torch.manual_seed(2)
    theirs, picture = v2.RandomResizedCrop((32, 32)), torch.zeros(1, 60, 90)
    drawn = [theirs.make_params([picture]) for _ in range(20_000)]
    for row, column in (worst.position, (0, 0)):
        hits = sum(
            w["top"] < row + patch.height
            and w["top"] + w["height"] > row
            and w["left"] < column + patch.width
            and w["left"] + w["width"] > column
            for w in drawn
        )
        law = stats.binom(len(drawn), rho[row, column])
        assert law.ppf(1e-6) <= hits <= law.isf(1e-6)


def test_a_fixed_scale_of_one_is_the_whole_image() -> None:
    """A square of full area fits just one way; torchvision rounds ties to even, as we do."""
    crop = ResizedCrop(TINY, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    assert np.all(inclusion_map(Size(5, 5), crop, Rectangle(Size(1, 1))) == 1)
    quarter = ResizedCrop(TINY, scale=(0.25, 0.25), ratio=(1.0, 1.0))
    assert probabilities(Size(5, 5), quarter) == {(2, 2): 1.0, (5, 5): 0.0}


def test_nearly_fixed_laws_tend_to_fixed_ones() -> None:
    image, patch = Size(50, 70), Rectangle(Size(5, 5))
    for scale, ratio in (((0.3, 0.3), (0.7, 1.4)), ((0.2, 0.6), (1.1, 1.1))):
        fixed = inclusion_map(image, ResizedCrop(TINY, scale=scale, ratio=ratio), patch)
        wide = ResizedCrop(
            TINY, scale=(scale[0], scale[1] + 1e-7), ratio=(ratio[0], ratio[1] + 1e-7)
        )
        np.testing.assert_allclose(inclusion_map(image, wide, patch), fixed, atol=1e-5)


def test_large_image_and_small_window() -> None:
    """A street at the default law: 400 000 simulated sizes, each with its own exact rate.

    The mean's standard error is below 5e-4; six of them is a false-failure rate of 2e-9.
    """
    image, patch = Size(1024, 2048), Rectangle(Size(10, 10))
    rho = inclusion_map(image, ResizedCrop(Size(512, 1024)), patch)
    assert rho.max() == pytest.approx(0.643218, abs=1e-6)
    assert np.all((rho > 0) & (rho <= 1))
    np.testing.assert_allclose(rho, rho[::-1], atol=1e-12)
    rng, count = np.random.default_rng(1), 400_000
    area = 1024 * 2048 * rng.uniform(0.08, 1, (count, 10))
    ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), (count, 10)))
    widths, heights = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
    fits = (widths <= 2048) & (heights <= 1024)
    at = np.arange(count), np.argmax(fits, axis=1)
    # The central window of the last resort holds this place, as the whole image would.
    height = np.where(fits.any(axis=1), heights[at], 1024)
    width = np.where(fits.any(axis=1), widths[at], 2048)
    row, column = 507, 600
    down = np.minimum(1024 - height, row + 9) - np.maximum(0, row - height + 1) + 1
    across = np.minimum(2048 - width, column + 9) - np.maximum(0, column - width + 1) + 1
    rate = down / (1025 - height) * across / (2049 - width)
    assert rho[row, column] == pytest.approx(rate.mean(), abs=6 * rate.std() / count**0.5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scale": (0.5, 0.2)}, r"scale must be two numbers, 0 <= low <= high, high above 0, got"),
        ({"scale": (0.0, 0.0)}, "scale must be"),
        ({"scale": (-0.1, 0.5)}, "scale must be"),
        ({"scale": (0.1, math.inf)}, "scale must be"),
        ({"ratio": (0.0, 1.0)}, "ratio must be two numbers, 0 < low <= high, got"),
        ({"ratio": (2.0, 1.0)}, "ratio must be"),
        ({"interpolation": "lanczos"}, "interpolation must be one of nearest, bilinear, bicubic"),
    ],
)
def test_bad_resized_crops(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ResizedCrop(TINY, **values)  # type: ignore[arg-type]


def test_an_empty_central_window_is_refused() -> None:
    crop = ResizedCrop(TINY, scale=(0.5, 1.0), ratio=(3.0, 4.0))
    with pytest.raises(InputError, match="central window of the image 1x1 is not empty"):
        inclusion_map(Size(1, 1), crop, Rectangle(Size(1, 1)))


def test_content_dependent_crops_are_refused() -> None:
    with pytest.raises(InputError, match=r"got NonEmptyCrop: changing the patch could move"):
        refuse_content_dependent("NonEmptyCrop")


def test_several_under_a_resized_crop() -> None:
    image, crop, dot = Size(40, 40), ResizedCrop(TINY, scale=(0.01, 0.1)), Rectangle(Size(2, 2))
    one = inclusion(image, crop, dot).probability
    found = inclusion(image, crop, Several(dot, 3))
    assert found.probability == pytest.approx(3 * one)
    assert (found.exact, found.how) == (False, "upper bound: the sum over the copies")
    grown = inclusion(image, ResizedCrop(TINY, cut_first=False), Several(dot, 2))
    assert "sum over the copies; each window is grown" in grown.how
    assert inclusion(image, WholeImage(), Several(dot, 3)).exact


# What resampling reads.


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("output", [3, 9, 30])
def test_nothing_beside_the_window_is_read(
    interpolation: str, antialias: bool, output: int
) -> None:
    """torchvision cuts first, for tensors and for Pillow's images; the window is what it reads."""
    import torch
    from torchvision.transforms.v2 import InterpolationMode, functional

    rng = np.random.default_rng(4)
    window = {"top": 7, "left": 5, "height": 9, "width": 9}
    inside = np.s_[7:16, 5:14]

    def resized(pixels: np.ndarray) -> list[np.ndarray]:
        how = {**window, "size": [output, output], "antialias": antialias}
        how["interpolation"] = InterpolationMode(interpolation)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow always widens its filter, and says so
            pictures = (torch.from_numpy(pixels)[None], Image.fromarray(pixels))
            return [np.asarray(functional.resized_crop(p, **how)) for p in pictures]

    one, other = (rng.integers(0, 256, (24, 26), dtype=np.uint8) for _ in range(2))
    other[inside] = one[inside]
    for first, second in zip(resized(one), resized(other), strict=True):
        np.testing.assert_array_equal(first, second)
    # The claim of exactness: each row of the window moves the output, or we say not.
    crop = ResizedCrop(
        Size(output, output),
        interpolation=interpolation,
        antialias=antialias,  # type: ignore[arg-type]
    )
    exact = inclusion(Size(9, 9), crop, Rectangle(Size(1, 1))).exact
    for pixel in range(9) if exact else []:
        moved = one.copy()
        moved[7 + pixel] = other[0]
        for first, second in zip(resized(one), resized(moved), strict=True):
            assert not np.array_equal(first, second)


def test_what_is_an_upper_bound_says_so() -> None:
    image, patch = Size(20, 20), Rectangle(Size(2, 2))
    skipping = "upper bound: resizing skips pixels, yet the whole window is counted"
    small, large = Size(5, 5), Size(20, 20)
    for crop, how in (
        (ResizedCrop(small, interpolation="nearest"), skipping),
        (ResizedCrop(small, antialias=False), skipping),
        (ResizedCrop(large, interpolation="nearest"), "exact sum over window sizes"),
        (ResizedCrop(large, antialias=False), "exact sum over window sizes"),
        (
            ResizedCrop(small, cut_first=False),
            "upper bound: each window is grown by the reach of the filter",
        ),
    ):
        found = inclusion(image, crop, patch)
        assert (found.how, found.exact) == (how, how.startswith("exact"))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("output", [3, 7, 14, 40])
def test_the_grown_window_holds_all_that_pillow_reads(interpolation: str, output: int) -> None:
    """Pillow's resize of a box reads beside it, but never beside the grown window."""
    rng = np.random.default_rng(6)
    length, start, stop = 60, 22, 36
    kind = Image.Resampling[interpolation.upper()]
    pixels = rng.integers(0, 256, (length, length), dtype=np.uint8)

    def resized(values: np.ndarray) -> np.ndarray:
        box = (start, start, stop, stop)
        return np.asarray(Image.fromarray(values).resize((output, output), kind, box=box))

    base, read = resized(pixels), []
    for row in range(length):
        moved = pixels.copy()
        moved[row] ^= 0xFF
        if not np.array_equal(resized(moved), base):
            read.append(row)
    support = {"nearest": 1, "bilinear": 1, "bicubic": 2}[interpolation]
    reach = math.ceil(support * max(1, (stop - start) / output)) + 1
    assert start - reach <= read[0]
    assert read[-1] < stop + reach
    if interpolation != "nearest" and output != stop - start:
        assert read[0] < start, "cut_first=False is not an idle setting"


def test_growing_windows_raises_every_place() -> None:
    image, patch = Size(30, 50), Rectangle(Size(3, 4))
    cut = inclusion_map(image, ResizedCrop(TINY), patch)
    for interpolation in ("nearest", "bilinear", "bicubic"):
        grown = ResizedCrop(TINY, interpolation=interpolation, cut_first=False)  # type: ignore[arg-type]
        rho = inclusion_map(image, grown, patch)
        assert np.all((rho >= cut) & (rho <= 1))


def test_grown_windows_equal_every_window() -> None:
    """Counted by hand at a fixed size: a 4x4 window grown by 2 + 1 on every side."""
    crop = ResizedCrop(
        TINY, scale=(16 / 300, 16 / 300), ratio=(1.0, 1.0), interpolation="bicubic", cut_first=False
    )
    rho = inclusion_map(Size(15, 20), crop, Rectangle(Size(2, 1)))
    for row, column in itertools.product(range(14), range(20)):
        down = sum(r - 3 < row + 2 and row < r + 7 for r in range(12))
        across = sum(c - 3 < column + 1 and column < c + 7 for c in range(17))
        assert rho[row, column] == pytest.approx(down * across / (12 * 17), abs=1e-12)

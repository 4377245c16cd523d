import numpy as np
import pytest
import torch
from scipy import stats

from cropaudit.accounting.crop_laws import ResizedCrop, WholeImage
from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.accounting.resized import resized_map
from cropaudit.accounting.window_sizes import size_law
from cropaudit.errors import InputError
from cropaudit.training.crops import Window
from cropaudit.training.cutting import cut_window, draw_window, output_size, shows
from cropaudit.training.data import SegmentationData

IMAGE = Size(11, 14)
CROP = ResizedCrop(Size(6, 8), scale=(0.2, 0.9))


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(size: Size, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    shape = size.height, size.width
    return (
        torch.randint(256, (3, *shape), generator=stream(seed), dtype=torch.uint8),
        torch.randint(5, shape, generator=stream(seed + 1), dtype=torch.uint8),
    )


def test_window_sizes_follow_the_accounted_law():
    # A chi-square test over the sizes expected five times or more: false-failure rate 1e-6.
    draws = 20_000
    drawn = stream()
    law = size_law(IMAGE, CROP)
    counts = np.zeros(law.probability.shape)
    for _ in range(draws):
        size = draw_window(IMAGE, CROP, drawn).size
        counts[size.height - law.heights[0], size.width - law.widths[0]] += 1
    expected = law.probability * draws
    assert counts[expected == 0].sum() == 0
    often = expected >= 5
    rest = expected[~often].sum() + law.fallback_probability * draws
    found = [*counts[often], counts[~often].sum()]
    assert stats.chisquare(found, [*expected[often], rest], sum_check=False).pvalue > 1e-6


def test_windows_meet_a_patch_as_often_as_accounted():
    # Exact binomial tests at six places: false-failure rate 1e-6 each.
    patch = Rectangle(Size(2, 3))
    rho = resized_map(IMAGE, CROP, patch.mask())
    drawn = stream(1)
    windows = [draw_window(IMAGE, CROP, drawn) for _ in range(6000)]
    for row, column in ((0, 0), (0, 11), (9, 0), (9, 11), (4, 5), (0, 5)):
        pixels = torch.zeros(IMAGE.height, IMAGE.width, dtype=torch.bool)
        pixels[row : row + 2, column : column + 3] = True
        met = sum(shows(window, CROP, pixels) for window in windows)
        assert stats.binomtest(met, 6000, rho[row, column]).pvalue > 1e-6


def test_origins_are_uniform_and_axes_independent():
    # One window size only; a chi-square test with false-failure rate 1e-6.
    crop = ResizedCrop(Size(4, 4), scale=(0.25, 0.25), ratio=(1.0, 1.0))
    image, drawn = Size(8, 8), stream(2)
    counts = np.zeros((5, 5))
    for _ in range(5000):
        window = draw_window(image, crop, drawn)
        assert window.size == Size(4, 4)
        counts[window.top, window.left] += 1
    assert stats.chisquare(counts.ravel()).pvalue > 1e-6


def test_where_no_try_fits_the_window_is_central():
    crop = ResizedCrop(Size(4, 4), scale=(1.0, 1.0), ratio=(1.0, 1.0))
    assert draw_window(Size(10, 20), crop, stream()) == Window(0, 5, size=Size(10, 10))
    assert draw_window(Size(20, 10), crop, stream()) == Window(5, 0, size=Size(10, 10))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [True, False])
def test_pixels_and_labels_are_those_of_torchvision(interpolation, antialias):
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional

    crop = ResizedCrop(Size(7, 9), interpolation=interpolation, antialias=antialias)
    image, mask = picture(Size(30, 40))
    drawn = stream(3)
    for _ in range(20):
        window = draw_window(Size(30, 40), crop, drawn)
        pixels, labels = cut_window(image, mask, window, crop)
        box = window.top, window.left, window.size.height, window.size.width
        mode = InterpolationMode(interpolation)
        # In whole numbers torchvision's filters are less exact; theirs are asked for real ones.
        theirs = functional.resized_crop(image.float(), *box, [7, 9], mode, antialias=antialias)
        assert torch.equal(pixels, theirs.round().clamp(0, 255).to(torch.uint8))
        nearest = functional.resized_crop(mask[None], *box, [7, 9], InterpolationMode.NEAREST)
        assert torch.equal(labels, nearest[0])
        assert (pixels.dtype, labels.dtype) == (torch.uint8, torch.uint8)


def test_sizes_follow_torchvisions_own_draws():
    # Two samples of window areas and shapes (Kolmogorov and Smirnov): false-failure rate 1e-6 each.
    from torchvision.transforms import RandomResizedCrop

    theirs = RandomResizedCrop((6, 8), scale=(0.2, 0.9))
    torch.manual_seed(0)
    blank = torch.zeros(3, 50, 70)
    other = [theirs.get_params(blank, list(theirs.scale), list(theirs.ratio)) for _ in range(2000)]
    drawn = stream(4)
    ours = [draw_window(Size(50, 70), CROP, drawn) for _ in range(2000)]
    boxes = [(w.top, w.left, w.size.height, w.size.width) for w in ours]
    for one, two in zip(np.array(boxes).T, np.array(other).T, strict=True):
        assert stats.ks_2samp(one, two).pvalue > 1e-6


def test_nothing_beside_the_window_is_read():
    image, mask = picture(Size(20, 20))
    window = Window(5, 6, size=Size(9, 7))
    outside = torch.ones(20, 20, dtype=torch.bool)
    outside[5:14, 6:13] = False
    shown = cut_window(image, mask, window, CROP)
    changed = cut_window(image.masked_fill(outside, 0), mask.masked_fill(outside, 9), window, CROP)
    assert all(torch.equal(one, other) for one, other in zip(shown, changed, strict=True))
    assert not shows(window, CROP, outside)
    assert shows(window, CROP, ~outside)


def test_a_crop_that_reads_beside_its_window_is_refused():
    with pytest.raises(InputError, match="cut_first must be true where a model is trained"):
        draw_window(IMAGE, ResizedCrop(Size(4, 4), cut_first=False), stream())


def test_uniform_windows_know_their_size_and_what_they_show():
    crop = Crop(Size(4, 5), padding=2, mode="reflect")
    window = draw_window(IMAGE, crop, stream())
    assert window.size == Size(4, 5)
    # Reflected copies count: of a pixel beside the corner the outermost window shows just a copy.
    pixels = torch.zeros(11, 14, dtype=torch.bool)
    pixels[2, 2] = True
    assert shows(Window(0, 0), Crop(Size(1, 1), padding=2, mode="reflect"), pixels)
    assert not shows(Window(0, 0), Crop(Size(1, 1), padding=2), pixels)


def test_whole_images_are_shown_as_they_are():
    image, mask = picture(IMAGE)
    window = draw_window(IMAGE, WholeImage(), stream())
    assert window == Window(0, 0, size=IMAGE)
    pixels, labels = cut_window(image, mask, window, WholeImage())
    assert torch.equal(pixels, image)
    assert torch.equal(labels, mask)
    assert shows(window, WholeImage(), mask == 1)


def test_what_a_model_is_shown_has_one_size():
    images = [picture(size) for size in (IMAGE, Size(20, 20))]
    parts = tuple(zip(*images, strict=True))
    data = SegmentationData(parts[0], parts[1], ("a",), ("1", "2"), "test")
    assert output_size(CROP, data) == Size(6, 8)
    assert output_size(Crop(Size(5, 6)), data) == Size(5, 6)
    assert output_size(WholeImage(), data.take([1])) == Size(20, 20)
    with pytest.raises(InputError, match="images must be of one size where they are not cropped"):
        output_size(WholeImage(), data)

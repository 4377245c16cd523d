"""Crops of random size on images of many shapes: the law of the accountant is that of every check.

torchvision's own draws stand for sound transforms; kornia's law, a last window that lies anywhere,
for one that is not accounted for. A test of false alarms allows as many of its runs to fail as a
binomial law of 5% does with a probability of 1e-4; seeds are fixed.
"""

import numpy as np
import pytest
import torch
from torchvision.transforms import RandomResizedCrop

from cropaudit.accounting.crop_laws import ResizedCrop
from cropaudit.accounting.geometry import Rectangle, Size
from cropaudit.accounting.inclusion import inclusion_map
from cropaudit.accounting.window_sizes import size_law
from cropaudit.audit.conformance.checks import inclusion_rate, independence, window_law
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.draws import Draws
from cropaudit.audit.conformance.outcome import Finding, decide
from cropaudit.audit.conformance.seen import Seen
from tests.conformance_draws import alarms_allowed, draws_of

SHAPES = [(100, 1200), (375, 1242), (1242, 375), (50, 2000), (90, 200), (360, 480), (64, 64)]
LONG = SHAPES[:4]
RATIO, N, RUNS = (3 / 4, 4 / 3), 300, 6


def boxes(image: Size, n: int, scale: tuple[float, float] = (0.08, 1.0)) -> np.ndarray:
    """Windows of torchvision's RandomResizedCrop: top, left, height and width, shape (4, n)."""
    flat = torch.zeros(1).expand(3, image.height, image.width)
    drawn = [RandomResizedCrop.get_params(flat, scale, RATIO) for _ in range(n)]
    return np.array(drawn).T


def shown(image: Size, windows: np.ndarray, exact: bool) -> Draws:
    """What is read of windows; as masks of 40x40 tell them, unless exactly."""
    top, left, height, width = windows
    if exact:
        return draws_of(image, top, left, height, width)
    read = [39 * side // 40 + 1 for side in (height, width)]
    slack = np.maximum(-(-read[0] // 39), -(-read[1] // 39)) - 1
    return draws_of(image, top, left, *read, slack=slack)


def anywhere(image: Size, windows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same windows, but the one that is taken where none fits lies anywhere."""
    last = size_law(image, ResizedCrop(Size(40, 40))).fallback
    moved, is_last = windows.copy(), (windows[2] == last.height) & (windows[3] == last.width)
    moved[0, is_last] = rng.integers(0, image.height - last.height + 1, is_last.sum())
    moved[1, is_last] = rng.integers(0, image.width - last.width + 1, is_last.sum())
    return moved


def found(draws: Draws, image: Size) -> tuple[Finding, ...]:
    said = Claimed(image=image, crop=ResizedCrop(Size(40, 40)))
    seen = Seen(draws=draws)
    return decide(
        [part.check(seen, said) for part in (window_law, inclusion_rate, independence)], 0.05
    )


@pytest.mark.parametrize("exact", [True, False])
def test_torchvisions_own_crop_passes_on_images_of_every_shape(exact: bool) -> None:
    alarms = 0
    for shape in SHAPES:
        image = Size(*shape)
        for seed in range(RUNS):
            torch.manual_seed(seed)
            findings = found(shown(image, boxes(image, N), exact), image)
            alarms += any(item.status == "fail" for item in findings)
    assert alarms <= alarms_allowed(RUNS * len(SHAPES))


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("shape", LONG)
def test_a_last_window_that_lies_anywhere_is_another_law_and_is_named(
    shape: tuple[int, int], exact: bool
) -> None:
    """A twentieth of the windows at least are last ones: all runs find it, by its cause."""
    image = Size(*shape)
    for seed in range(3):
        torch.manual_seed(seed)
        windows = anywhere(image, boxes(image, N), np.random.default_rng(seed))
        law = found(shown(image, windows, exact), image)[0]
        assert law.status == "fail"
        assert "lie anywhere, as kornia has it" in law.detail
        assert "narrow its scale and ratio" in law.detail
        assert "middle half" not in law.detail, "one cause is one failure"


def test_a_bias_of_the_other_windows_is_still_found_on_long_images() -> None:
    image = Size(375, 1242)
    torch.manual_seed(0)
    windows = boxes(image, 2000)
    windows[1] = np.minimum(windows[1], boxes(image, 2000)[1])
    windows[1] = np.minimum(windows[1], image.width - windows[3])
    assert found(shown(image, windows, True), image)[0].status == "fail"


@pytest.mark.parametrize("shape", LONG)
def test_the_accountants_last_window_is_torchvisions(shape: tuple[int, int]) -> None:
    image, crop = Size(*shape), ResizedCrop(Size(40, 40))
    law = size_law(image, crop)
    torch.manual_seed(0)
    # No window of more than twice the image fits, so that the last one is always taken.
    last = set(map(tuple, boxes(image, 20, (2.0, 2.0)).T))
    assert last == {(*law.fallback_origin, law.fallback.height, law.fallback.width)}
    rho = inclusion_map(image, ResizedCrop(Size(40, 40), scale=(2.0, 2.0)), Rectangle(Size(1, 1)))
    top, left = law.fallback_origin
    expected = np.zeros((image.height, image.width))
    expected[top : top + law.fallback.height, left : left + law.fallback.width] = 1
    assert np.array_equal(rho, expected)

"""The check of the window law: its level for sound crops of all kinds, and the faults it finds.

Windows are simulated as arrays, no user's code runs. Tests of false alarms allow as many of their
runs to fail as a binomial law of 5% does with a probability of 1e-4; seeds are fixed.
"""

import numpy as np
import pytest
import torch
from torchvision.transforms import RandomResizedCrop

from cropaudit.accounting.geometry.crop_laws import ResizedCrop, WholeImage
from cropaudit.accounting.geometry.shapes import Crop, Rectangle, Size
from cropaudit.accounting.inclusion.probability import inclusion_map
from cropaudit.accounting.inclusion.window_sizes import size_law
from cropaudit.conformance.checks.batches import inclusion_rate
from cropaudit.conformance.checks.windows import independence, window_law
from cropaudit.conformance.checks.windows.laws import law_of, mean_size
from cropaudit.conformance.checks.windows.window_law import check
from cropaudit.conformance.observations.draws import PADDING_MODES, Draws
from cropaudit.conformance.observed import Observations
from cropaudit.conformance.outcome import Finding, decide
from cropaudit.conformance.pipeline_claim import PipelineClaim
from tests.conformance_draws import (
    IMAGE,
    alarms_allowed,
    claim,
    crop_draws,
    draws_of,
    found,
    uniform_origins,
)

RUNS, N, NEAR = 60, 800, 300
SMALL = Size(55, 55)
SHAPES = [(100, 1200), (375, 1242), (1242, 375), (50, 2000), (90, 200), (360, 480), (64, 64)]
LONG, RATIO = SHAPES[:4], (3 / 4, 4 / 3)


def finding(
    draws: Draws, near: Draws | None = None, claimed: PipelineClaim | None = None
) -> Finding:
    return found(check(Observations(draws=draws, near_draws=near), claimed or claim()))


def boxes(image: Size, n: int, scale: tuple[float, float] = (0.08, 1.0)) -> np.ndarray:
    """Windows of torchvision's RandomResizedCrop: top, left, height and width, shape (4, n)."""
    flat = torch.zeros(1).expand(3, image.height, image.width)
    return np.array([RandomResizedCrop.get_params(flat, scale, RATIO) for _ in range(n)]).T


def shown(image: Size, windows: np.ndarray, exact: bool = False) -> Draws:
    """What is read of windows; as masks of 40x40 tell them, unless exactly."""
    top, left, height, width = windows
    if exact:
        return draws_of(image, top, left, height, width)
    # Nearest-neighbour sampling: the last row that is read is floor(39 h / 40).
    read = [39 * side // 40 + 1 for side in (height, width)]
    slack = np.maximum(-(-read[0] // 39), -(-read[1] // 39)) - 1
    return draws_of(image, top, left, *read, slack=slack)


def resized(n: int, seed: int, scale: tuple[float, float] = (0.08, 1.0)) -> Draws:
    torch.manual_seed(seed)
    return shown(IMAGE, boxes(IMAGE, n, scale))


# False alarms.


@pytest.mark.parametrize("border", [0, 12])
@pytest.mark.parametrize("claimed", [True, False])
def test_sound_crops_pass(border: int, claimed: bool) -> None:
    rng, said = np.random.default_rng(border), claim(crop=Crop(Size(40, 40), border))
    said = said if claimed else claim(crop=None)
    alarms = sum(
        finding(
            crop_draws(rng, N, border=border), crop_draws(rng, NEAR, SMALL, border), said
        ).status
        != "pass"
        for _ in range(RUNS)
    )
    assert alarms <= alarms_allowed(RUNS)


def test_every_single_test_keeps_its_level() -> None:
    """The p-values of the two tests that are not exact 0 or 1, each at 5%."""
    rng, runs = np.random.default_rng(2), 2 * RUNS
    p = np.array(
        [
            [
                test.p_value
                for test in check(Observations(draws=crop_draws(rng, 200)), claim()).tests
            ]
            for _ in range(runs)
        ]
    )
    assert p.shape == (runs, 3)
    assert (p <= 0.05).sum(axis=0).max() <= alarms_allowed(runs)


def test_sound_resized_crops_pass() -> None:
    """Hoeffding's test never comes near its level; uniformity is as exact as the slack allows."""
    said, runs = claim(crop=ResizedCrop(Size(40, 40))), 20
    outcomes = [check(Observations(draws=resized(200, seed)), said) for seed in range(runs)]
    alarms = sum(found(outcome).status != "pass" for outcome in outcomes)
    assert alarms <= alarms_allowed(runs)
    assert min(outcome.tests[0].p_value for outcome in outcomes) > 0.05


def test_mean_size_of_a_resized_crop_is_torchvisions() -> None:
    """Means of 4000 windows: fails falsely with a probability below 1e-4 (4 deviations, two sides).

    The seed is fixed.
    """
    torch.manual_seed(1)
    sides = boxes(IMAGE, 4000)[2:]
    error = sides.mean(axis=1) - mean_size(IMAGE, ResizedCrop(Size(40, 40)))
    assert (np.abs(error) < 4.1 * sides.std(axis=1) / np.sqrt(4000)).all()


def test_one_origin_alone_is_no_finding() -> None:
    whole = draws_of(IMAGE, np.zeros(N), np.zeros(N), IMAGE.height, IMAGE.width)
    seen = finding(whole, claimed=claim(crop=WholeImage()))
    assert seen.status == "pass"
    assert "nothing is amplified" in seen.detail
    assert finding(whole, claimed=claim(crop=None)).status == "pass"


# Faults.


def sides(rng: np.random.Generator, kind: str) -> Draws:
    top, left = uniform_origins(rng, N)
    again = uniform_origins(rng, N)
    match kind:
        case "centre bias":
            top, left = (top + again[0]) // 2, (left + again[1]) // 2
        case "edges":  # origins near either end: the first half holds 50% of them all the same
            top = np.where(rng.random(N) < 0.5, top // 3, 80 - top // 3)
        case "only rows":
            top = np.minimum(top, again[0])
        case "fixed":
            top, left = np.full(N, 40), np.full(N, 60)
        case "coarse":
            top = top // 16 * 16
        case "together":
            left = np.round(top * 1.5).astype(int)
    return draws_of(IMAGE, top, left, 40, 40)


@pytest.mark.parametrize("kind", ["centre bias", "edges", "only rows", "fixed", "together"])
def test_origins_that_are_not_uniform_are_found(kind: str) -> None:
    for seed in range(5):
        seen = finding(sides(np.random.default_rng(seed), kind))
        assert seen.status == "fail"
        assert seen.p_value is not None
        assert seen.p_value < (1e-3 if kind != "together" else 0.01)


def test_a_bias_is_told_in_shares() -> None:
    seen = finding(sides(np.random.default_rng(0), "centre bias"))
    assert "the middle half of the" in seen.detail
    assert "(50% expected of both)" in seen.detail


@pytest.mark.parametrize("short", [1, 3])
@pytest.mark.parametrize("end", ["first", "last"])
def test_a_range_short_by_a_pixel_is_found_on_small_images(short: int, end: str) -> None:
    rng = np.random.default_rng(short)
    top, left = rng.integers(16 - short, size=(2, 600)) + (short if end == "first" else 0)
    near = draws_of(SMALL, top, left, 40, 40)
    seen = finding(crop_draws(rng, N), near)
    assert seen.status == "fail"
    assert f"on small images, the {end} origin of" in seen.detail
    assert seen.p_value is not None
    assert seen.p_value < 1e-10


def test_the_stated_power_against_a_short_range_is_its_exact_probability() -> None:
    rng = np.random.default_rng(0)
    seen = check(
        Observations(draws=crop_draws(rng, N), near_draws=crop_draws(rng, 600, SMALL)), claim()
    )
    assert f"{(15 / 16) ** 600:.1e}" in seen.power


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"height": 41}, "another size is cropped"),
        ({"height": 41, "slack": 1}, "scaled before it is cropped"),
        ({"width": 50, "skewed": True}, "turned or warped before"),
        ({"width": 30}, "another size is cropped"),
    ],
)
def test_one_window_of_another_size_is_found(changes: dict, words: str) -> None:
    draws = crop_draws(np.random.default_rng(0), N)
    for name, value in changes.items():
        getattr(draws, name)[17] = value
    seen = finding(draws)
    assert (seen.status, seen.p_value) == ("fail", 0.0)
    assert "1 of 800 windows are not of 40x40" in seen.detail
    assert words in seen.detail


def test_shrunk_windows_may_be_larger_by_their_slack_on_both_sides() -> None:
    draws = crop_draws(np.random.default_rng(0), N)
    shrunk = draws_of(IMAGE, draws.top, draws.left, 38, 38, slack=np.full(N, 1))
    assert finding(shrunk).status == "pass"
    shrunk.height[3] = 37
    assert finding(shrunk).status == "fail"


@pytest.mark.parametrize("start", [-1, 81])
def test_one_window_outside_the_range_is_found(start: int) -> None:
    draws = crop_draws(np.random.default_rng(0), N)
    draws.top[5] = start
    seen = finding(draws)
    assert (seen.status, seen.p_value) == ("fail", 0.0)
    assert f"start outside the range of rows: at {start} of 0 to 80" in seen.detail


def test_a_resized_crop_of_another_scale_is_found() -> None:
    seen = finding(resized(N, 0, (0.4, 1.0)), claimed=claim(crop=ResizedCrop(Size(40, 40))))
    assert seen.status == "fail"
    assert seen.p_value is not None
    assert seen.p_value < 1e-3
    assert "rows on average" in seen.detail


# What cannot be told.


def test_nothing_given_too_few_and_turned_windows() -> None:
    rng = np.random.default_rng(0)
    assert found(check(Observations(), claim())).status == "skipped"
    few = finding(crop_draws(rng, 50))
    assert (few.status, few.detail) == ("inconclusive", "only 50 windows were seen")
    turned = crop_draws(rng, N, skewed=np.arange(N) % 4 > 0)
    assert finding(turned).status == "inconclusive"
    assert "600 of 800 outputs are turned" in finding(turned).detail
    unread = crop_draws(rng, N, decoded=np.zeros(N, dtype=bool))
    assert "no window could be read" in finding(unread).detail


def test_magnified_parts_of_crops_that_are_warped_afterwards_are_no_finding() -> None:
    """Some of them stand upright by chance: smaller windows, nearer to the centre of the crop."""
    rng = np.random.default_rng(0)
    top, left = uniform_origins(rng, N)
    kind = rng.random(N)  # three tenths are warped, a few of which stand upright
    upright, skewed = kind < 0.05, (kind >= 0.05) & (kind < 0.3)
    inner = np.where(upright | skewed, 8, 0)
    draws = draws_of(
        IMAGE, top + inner, left + inner, 40 - 2 * inner, 40 - 2 * inner, skewed=skewed
    )
    assert finding(draws).status == "pass"
    draws.height[skewed] = 41
    assert "turned or warped before" in finding(draws).detail
    few = draws_of(IMAGE, np.full(N, 9), np.full(N, 9), 24, 24, skewed=kind < 0.9)
    assert finding(few).status == "inconclusive"


def test_small_images_that_the_claimed_mirror_cannot_pad_are_left_out() -> None:
    rng = np.random.default_rng(0)
    said = claim(crop=Crop(Size(40, 40), 60, "reflect"))
    draws = crop_draws(rng, N, border=60)
    seen = check(Observations(draws=draws, near_draws=crop_draws(rng, NEAR, SMALL)), said)
    assert not any("small" in test.null for test in seen.tests)
    assert found(seen).status == "pass"


def test_a_law_is_read_off_with_its_padding() -> None:
    rng = np.random.default_rng(0)
    mode = PADDING_MODES.index("reflect")
    top, left = uniform_origins(rng, 5000, border=7)
    outside = (top < 0) | (left < 0) | (top > 80) | (left > 120)
    draws = draws_of(IMAGE, top, left, 40, 40, padding=np.where(outside, mode, 0))
    law = law_of(draws, None, claim(crop=None))
    assert isinstance(law.crop, Crop)
    assert (law.crop.mode, str(law.borders), law.claimed) == ("reflect", "7", False)
    assert law.words == "windows of 40x40, reflect padding 7 (read off, for no crop was claimed)"
    varied = draws_of(IMAGE, top.clip(0), left.clip(0), 30 + top % 5, 40)
    assert law_of(varied, None, claim(crop=None)).crop is None


# Images brought to one size before the crop: small ones are padded more than the claim says.

LARGE, TINY, SIDE = Size(360, 480), Size(115, 115), 100
PADDED = Size(440, 560)
SAID = PipelineClaim(image=LARGE, crop=Crop(Size(SIDE, SIDE), 40))


def brought_to_size(rng: np.random.Generator, image: Size, count: int) -> Draws:
    """Windows of an image that is padded alike on both sides, to `PADDED`, and then cropped."""
    above, before = (PADDED.height - image.height) // 2, (PADDED.width - image.width) // 2
    top = rng.integers(0, PADDED.height - SIDE + 1, count) - above
    left = rng.integers(0, PADDED.width - SIDE + 1, count) - before
    inside = (top > -SIDE) & (top < image.height) & (left > -SIDE) & (left < image.width)
    side = np.full(inside.sum(), SIDE)
    return draws_of(image, top[inside], left[inside], side, side)


def test_small_images_that_are_padded_more_are_left_out() -> None:
    """12 sound runs of 3 tests, all to stay above 1e-4: another seed would fail with 0.4%."""
    rng = np.random.default_rng(0)
    for claimed in (SAID, PipelineClaim(image=LARGE)):
        for _ in range(6):
            large, small = brought_to_size(rng, LARGE, 4000), brought_to_size(rng, TINY, 600)
            seen = check(Observations(draws=large, near_draws=small), claimed)
            assert min(test.p_value for test in seen.tests) > 1e-4
            assert "small images are padded otherwise" in seen.evidence


def test_padding_that_is_seen_comes_from_large_images_then() -> None:
    rng = np.random.default_rng(1)
    large, small = brought_to_size(rng, LARGE, 4000), brought_to_size(rng, TINY, 600)
    law = law_of(large, small, PipelineClaim(image=LARGE))
    assert str(law.borders) == "40"


def test_a_range_that_is_short_by_one_is_still_found_on_small_images() -> None:
    """Power: of 16 origins 15 occur in 600 windows; a sound crop misses one with 16 exp(-37)."""
    rng = np.random.default_rng(2)
    side = np.full(600, SIDE)
    small = draws_of(TINY, rng.integers(0, 15, 600), rng.integers(0, 15, 600), side, side)
    many = np.full(4000, SIDE)
    places = rng.integers(0, 261, 4000), rng.integers(0, 381, 4000)
    large = draws_of(LARGE, *places, many, many)
    claimed = PipelineClaim(image=LARGE, crop=Crop(Size(SIDE, SIDE)))
    seen = check(Observations(draws=large, near_draws=small), claimed)
    assert min(test.p_value for test in seen.tests) < 1e-6


# Crops of random size on images of many shapes: the law of the accountant is that of every check.


def anywhere(image: Size, windows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same windows, but the one that is taken where none fits lies anywhere."""
    last = size_law(image, ResizedCrop(Size(40, 40))).fallback
    moved, is_last = windows.copy(), (windows[2] == last.height) & (windows[3] == last.width)
    moved[0, is_last] = rng.integers(0, image.height - last.height + 1, is_last.sum())
    moved[1, is_last] = rng.integers(0, image.width - last.width + 1, is_last.sum())
    return moved


def findings(draws: Draws, image: Size) -> tuple[Finding, ...]:
    said = PipelineClaim(image=image, crop=ResizedCrop(Size(40, 40)))
    seen = Observations(draws=draws)
    return decide(
        [part.check(seen, said) for part in (window_law, inclusion_rate, independence)], 0.05
    )


@pytest.mark.parametrize("exact", [True, False])
def test_torchvisions_own_crop_passes_on_images_of_every_shape(exact: bool) -> None:
    alarms = 0
    for shape in SHAPES:
        image = Size(*shape)
        for seed in range(2):
            torch.manual_seed(seed)
            seen = findings(shown(image, boxes(image, 300), exact), image)
            alarms += any(item.status == "fail" for item in seen)
    assert alarms <= alarms_allowed(2 * len(SHAPES))


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("shape", LONG)
def test_a_last_window_that_lies_anywhere_is_another_law_and_is_named(
    shape: tuple[int, int], exact: bool
) -> None:
    """A twentieth of the windows at least are last ones: all runs find it, by its cause."""
    image = Size(*shape)
    for seed in range(2):
        torch.manual_seed(seed)
        windows = anywhere(image, boxes(image, 300), np.random.default_rng(seed))
        law = findings(shown(image, windows, exact), image)[0]
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
    assert findings(shown(image, windows, True), image)[0].status == "fail"


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

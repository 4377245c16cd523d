"""The check of the window law: its level for sound crops of all kinds, and the faults it finds.

Windows are simulated as arrays, no user's code runs. Tests of false alarms allow as many of their
runs to fail as a binomial law of 5% does with a probability of 1e-4; seeds are fixed.
"""

import numpy as np
import pytest
import torch
from torchvision.transforms import RandomResizedCrop

from cropaudit.accounting.crop_laws import ResizedCrop, WholeImage
from cropaudit.accounting.geometry import Crop, Size
from cropaudit.audit.conformance.checks.laws import law_of, mean_size
from cropaudit.audit.conformance.checks.window_law import check
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.draws import PADDING_MODES, Draws
from cropaudit.audit.conformance.outcome import Finding
from cropaudit.audit.conformance.seen import Seen
from tests.conformance_draws import (
    IMAGE,
    alarms_allowed,
    claim,
    crop_draws,
    draws_of,
    found,
    uniform_origins,
)

RUNS, N, NEAR = 300, 800, 300
SMALL = Size(55, 55)
FLAT = torch.zeros(3, IMAGE.height, IMAGE.width)


def finding(draws: Draws, near: Draws | None = None, claimed: Claimed | None = None) -> Finding:
    return found(check(Seen(draws=draws, near_draws=near), claimed or claim()))


def resized(n: int, seed: int, scale: tuple[float, float] = (0.08, 1.0)) -> Draws:
    """Windows of torchvision's RandomResizedCrop to 40x40, as its masks tell them."""
    torch.manual_seed(seed)
    boxes = [RandomResizedCrop.get_params(FLAT, scale, (3 / 4, 4 / 3)) for _ in range(n)]
    top, left, height, width = np.array(boxes).T
    # Nearest-neighbour sampling: the last row that is read is floor(39 h / 40).
    read = [39 * side // 40 + 1 for side in (height, width)]
    slack = np.maximum(-(-read[0] // 39), -(-read[1] // 39)) - 1
    return draws_of(IMAGE, top, left, *read, slack=slack)


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
    rng, runs = np.random.default_rng(2), RUNS
    p = np.array(
        [
            [test.p_value for test in check(Seen(draws=crop_draws(rng, 200)), claim()).tests]
            for _ in range(runs)
        ]
    )
    assert p.shape == (runs, 3)
    assert (p <= 0.05).sum(axis=0).max() <= alarms_allowed(runs)


def test_sound_resized_crops_pass() -> None:
    """Hoeffding's test never comes near its level; uniformity is as exact as the slack allows."""
    said, runs = claim(crop=ResizedCrop(Size(40, 40))), 60
    outcomes = [check(Seen(draws=resized(200, seed)), said) for seed in range(runs)]
    alarms = sum(found(outcome).status != "pass" for outcome in outcomes)
    assert alarms <= alarms_allowed(runs)
    assert min(outcome.tests[0].p_value for outcome in outcomes) > 0.05


def test_mean_size_of_a_resized_crop_is_torchvisions() -> None:
    """Means of 4000 windows: fails falsely with a probability below 1e-4 (4 deviations, two sides).

    The seed is fixed.
    """
    torch.manual_seed(1)
    boxes = np.array(
        [RandomResizedCrop.get_params(FLAT, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(4000)]
    )
    expected = mean_size(IMAGE, ResizedCrop(Size(40, 40)))
    error = boxes[:, 2:].mean(axis=0) - expected
    assert (np.abs(error) < 4.1 * boxes[:, 2:].std(axis=0) / np.sqrt(4000)).all()


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
    seen = check(Seen(draws=crop_draws(rng, N), near_draws=crop_draws(rng, 600, SMALL)), claim())
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
    assert found(check(Seen(), claim())).status == "skipped"
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
    seen = check(Seen(draws=draws, near_draws=crop_draws(rng, NEAR, SMALL)), said)
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

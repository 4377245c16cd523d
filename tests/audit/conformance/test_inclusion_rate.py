"""The check of the inclusion rate: its level with the true rho, and rates that exceed a claim.

Windows are simulated as arrays. Tests of false alarms allow as many of their runs to fail as a
binomial law of 5% does with a probability of 1e-4; seeds are fixed.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cropaudit.accounting.crop_laws import WholeImage
from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.accounting.inclusion import inclusion
from cropaudit.audit.conformance.checks.inclusion_rate import check, worst_place
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.draws import Draws
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

RUNS, N = 400, 1000
RHO = inclusion(IMAGE, Crop(Size(40, 40)), Rectangle(Size(10, 10))).probability


def finding(draws: Draws, claimed: Claimed | None = None) -> Finding:
    return found(check(Seen(draws=draws), claimed or claim()))


@pytest.mark.parametrize("border", [0, 12])
@pytest.mark.parametrize("told", ["crop", "rho", "nothing"])
def test_sound_crops_pass(border: int, told: str) -> None:
    crop = Crop(Size(40, 40), border)
    rho = inclusion(IMAGE, crop, Rectangle(Size(10, 10))).probability
    said = {
        "crop": claim(crop=crop),
        "rho": claim(crop=crop, inclusion=rho),
        "nothing": claim(crop=None),
    }[told]
    rng = np.random.default_rng(border)
    alarms = sum(
        finding(crop_draws(rng, N, border=border), said).status != "pass" for _ in range(RUNS)
    )
    assert alarms <= alarms_allowed(RUNS)


def test_the_patch_in_its_worst_place_is_met_with_rho() -> None:
    """40000 windows: fails falsely with a probability of 2e-4 (Clopper-Pearson); seed fixed."""
    draws = crop_draws(np.random.default_rng(0), 40_000)
    place = inclusion(IMAGE, Crop(Size(40, 40)), Rectangle(Size(10, 10))).position
    low, _, high = worst_place(draws, claim(), place).limits(1e-4)
    assert low < RHO < high
    assert high - low < 0.03


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-20, 110), st.integers(-20, 150), st.integers(1, 60)),
        min_size=1,
        max_size=8,
    ),
    st.tuples(st.integers(0, 110), st.integers(0, 150)),
    st.integers(0, 9999),
)
def test_windows_meet_the_patch_where_a_picture_says_so(windows, place, seed) -> None:
    """Against pixels: a window and a patch drawn into a picture with room around the image."""
    top, left, side = np.array(windows).T
    rng = np.random.default_rng(seed)
    blank = rng.random(len(top)) < 0.3
    draws = draws_of(IMAGE, top, left, side, side, decoded=~blank, blank=blank)
    met = 0
    for t, x, s, hidden in zip(top, left, side, blank, strict=True):
        picture = np.zeros((300, 300), dtype=int)
        picture[100 + place[0] : 110 + place[0], 100 + place[1] : 110 + place[1]] = 1
        met += bool(picture[100 + t : 100 + t + s, 100 + x : 100 + x + s].any()) and not hidden
    tally = worst_place(draws, claim(), place)
    assert (tally.count, tally.trials) == (met, len(top))


# Faults.


@pytest.mark.parametrize("share", [0.8, 0.5, 0.0])
def test_a_rho_that_is_too_small_is_found(share: float) -> None:
    """By 20%: 2000 windows have so much more than the critical count that no seed here misses."""
    for seed in range(5):
        draws = crop_draws(np.random.default_rng(seed), 2000)
        seen = finding(draws, claim(inclusion=share * RHO))
        assert seen.status == "fail"
        assert seen.p_value is not None
        assert seen.p_value < 1e-3
        assert "the accountant was told too little" in seen.detail


def test_a_patch_that_is_met_elsewhere_than_in_the_worst_place_is_found() -> None:
    rng = np.random.default_rng(0)
    top, left = uniform_origins(rng, 2000)
    corner = draws_of(IMAGE, top // 4, left // 4, 40, 40)
    seen = finding(corner)
    assert seen.status == "fail"
    assert seen.p_value is not None
    assert seen.p_value < 1e-10


def test_what_is_stated_to_be_found_with_95_percent_is() -> None:
    """200 runs at the stated rate: fewer than 180 are found with a probability of 2e-3."""
    rng = np.random.default_rng(1)
    power = check(Seen(draws=crop_draws(rng, N)), claim()).power
    rate = float(power.split()[3])
    assert RHO < rate < RHO + 0.1
    place = inclusion(IMAGE, Crop(Size(40, 40)), Rectangle(Size(10, 10))).position
    hits = 0
    for _ in range(200):
        meets = rng.random(N) < rate
        top = np.where(meets, place[0], (place[0] + 60) % 81)
        left = np.where(meets, place[1], (place[1] + 60) % 121)
        p_value = check(Seen(draws=draws_of(IMAGE, top, left, 40, 40)), claim()).tests[0].p_value
        hits += p_value <= 1e-3
    assert hits >= 180


# What cannot be told.


def test_a_rate_that_is_too_small_is_no_fault() -> None:
    far = draws_of(IMAGE, np.zeros(N), np.zeros(N), 40, 40)
    near_corner = draws_of(IMAGE, np.full(N, 200), np.zeros(N), 40, 40)
    assert finding(near_corner).status == "pass"
    assert finding(far).status == "fail", "a corner that is always met is met too often"


def test_all_or_nothing_is_met_always() -> None:
    whole = draws_of(IMAGE, np.zeros(N), np.zeros(N), IMAGE.height, IMAGE.width)
    seen = finding(whole, claim(crop=WholeImage()))
    assert (seen.status, seen.outcome.figures["rho"]) == ("pass", 1.0)


def test_nothing_given_too_few_and_sizes_that_vary() -> None:
    rng = np.random.default_rng(0)
    assert found(check(Seen(), claim())).status == "skipped"
    assert finding(crop_draws(rng, 99)).status == "inconclusive"
    top, left = uniform_origins(rng, N)
    varied = draws_of(IMAGE, top, left, 20 + top % 7, 40)
    assert finding(varied, claim(crop=None)).status == "skipped"
    assert finding(varied, claim(crop=None, inclusion=0.9)).status == "pass"
    assert finding(varied, claim(crop=None, inclusion=0.01)).status == "fail"


def test_blank_windows_count_and_unread_ones_leave_it_undecided() -> None:
    """Which windows can be read may depend on where they are."""
    rng = np.random.default_rng(0)
    blank = rng.random(N) < 0.5
    half = crop_draws(rng, N, decoded=~blank, blank=blank)
    assert finding(half, claim(inclusion=0.6 * RHO)).status == "pass"
    unread = crop_draws(rng, N, decoded=~blank)
    assert finding(unread, claim(inclusion=0.6 * RHO)).status == "inconclusive"

"""The check of non-interference on simulated replays: one leak among many is found and placed.

Of transforms that can be replayed nothing is left to chance: a sound one has no p-value below 1.
The comparison in law is one of ranks; its false alarms are counted (a binomial law of 5% allows as
many with a probability of 1e-4; seeds are fixed).
"""

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cropaudit.audit.conformance.checks.non_interference import check
from cropaudit.audit.conformance.observe.pairs import Pairs
from cropaudit.audit.conformance.outcome import Finding, Outcome
from cropaudit.audit.conformance.seen import Seen
from tests.conformance_draws import alarms_allowed, claim, found, pairs_of

N = 100
RUNS = 300


def outcome(pairs: Pairs) -> Outcome:
    return check(Seen(pairs=pairs), claim())


def finding(pairs: Pairs) -> Finding:
    return found(outcome(pairs))


def leaking(at: int | slice, distance: int = 50, **changes: object) -> Pairs:
    """Sound replays, of which one shows a patch that its window misses."""
    pairs = pairs_of([-1] * 20 + [distance] * (N - 20), **changes)
    pairs.image_differs[at] = True
    return pairs


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-5, 200), min_size=1, max_size=300))
def test_sound_replays_never_fail(distance: list[int]) -> None:
    seen = finding(pairs_of(distance))
    assert seen.p_value == 1.0
    missed = sum(gap >= 0 for gap in distance)
    assert seen.status == ("pass" if missed >= 40 else "inconclusive")


def test_sound_replays_say_how_many_missed() -> None:
    seen = finding(pairs_of([-1] * 20 + [2] * 30 + [50] * 50))
    assert "80 crops that miss the patch, 30 of them by at most 3 pixels" in seen.detail
    least = 1 - 0.05 ** (1 / 80)
    assert f"a leak into {least:.1%} of the crops" in seen.outcome.power


@pytest.mark.parametrize("what", ["image", "mask"])
def test_a_leak_into_one_of_a_hundred_replays_is_found(what: str) -> None:
    pairs = pairs_of([-1] * 20 + [50] * 80)
    getattr(pairs, f"{what}_differs")[70] = True
    seen = finding(pairs)
    assert (seen.status, seen.p_value) == ("fail", 0.0)
    assert "1 of 80 crops that miss the patch change with it" in seen.detail
    assert (
        "rows 20 to 60 and columns 30 to 70 is 50 pixels from the patch at (110, 30)" in seen.detail
    )
    assert f"yet its {what} differs" in seen.detail


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (leaking(np.s_[20:]), "far patches act as well"),
        (leaking(np.s_[20:], 3), "interpolation or a filter before the crop"),
        (leaking(50), "a statistic of the image before the crop, or a window that is chosen"),
        (leaking(50, 3), "so few of 80 crops whose patch is as near do not tell the cause"),
        (leaking(50, copied=np.ones(N, dtype=bool)), "padding that copies the image"),
        (leaking(50, moved=np.ones(N, dtype=bool)), "what is shown moves the window"),
    ],
)
def test_the_cause_is_named(pairs: Pairs, words: str) -> None:
    assert words in finding(pairs).detail


def test_a_window_that_moves_with_the_content_is_found() -> None:
    moved = np.zeros(N, dtype=bool)
    moved[3] = True
    seen = finding(pairs_of([50] * N, moved=moved))
    assert (seen.status, seen.p_value) == ("fail", 0.0)
    assert "in 1 of 100 random states" in seen.detail
    assert "rho = 1" in seen.detail


@pytest.mark.parametrize(("slack", "status"), [(3, "pass"), (2, "fail")])
def test_patches_within_the_slack_are_not_judged(slack: int, status: str) -> None:
    pairs = pairs_of([50] * 60 + [2] * 40, slack=np.full(N, slack))
    pairs.image_differs[-1] = True
    assert finding(pairs).status == status


def test_an_unread_window_is_not_judged() -> None:
    pairs = leaking(50)
    pairs.decoded[50] = False
    assert finding(pairs).status == "pass"
    nothing = finding(replace(pairs, decoded=np.zeros(N, dtype=bool)))
    assert (nothing.status, "no window could be read" in nothing.detail) == ("inconclusive", True)


def test_an_output_that_never_shows_the_patch_tells_nothing() -> None:
    no = np.zeros(N, dtype=bool)
    seen = finding(pairs_of([-1] * 20 + [50] * 80, image_differs=no, mask_differs=no))
    assert (seen.status, "no output ever showed the patch" in seen.detail) == ("inconclusive", True)


def test_outputs_in_law_keep_the_level_and_never_pass() -> None:
    """What cannot be replayed is compared by ranks of six numbers, and is inconclusive at best."""
    rng = np.random.default_rng(0)
    sets = [
        finding(pairs_of([50] * N, replayable=False, features=rng.normal(size=(N, 2, 6))))
        for _ in range(RUNS)
    ]
    assert {item.status for item in sets} <= {"inconclusive", "fail"}
    assert sum(item.status == "fail" for item in sets) <= alarms_allowed(RUNS)
    assert "hand it a generator" in next(x for x in sets if x.status != "fail").detail


def test_a_leak_into_all_outputs_is_found_in_law() -> None:
    features = np.random.default_rng(0).normal(size=(N, 2, 6))
    features[:, 1, 2] += 1.5
    seen = finding(pairs_of([50] * N, replayable=False, features=features))
    assert seen.status == "fail"
    assert seen.p_value is not None
    assert seen.p_value < 1e-6
    assert "differ in law" in seen.detail


def test_equal_outputs_in_law_have_no_ranks() -> None:
    seen = finding(pairs_of([50] * N, replayable=False, features=np.ones((N, 2, 6))))
    assert (seen.status, seen.p_value) == ("inconclusive", 1.0)


def test_counter_examples_are_drawn_with_their_captions() -> None:
    rng = np.random.default_rng(0)
    sources = rng.integers(0, 256, (2, 120, 160, 3), dtype=np.uint8)
    crops = rng.integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    leaked = np.zeros((2, 40, 40), dtype=bool)
    leaked[:, :10] = True
    pairs = replace(
        leaking(50),
        shown=np.array([50, 51]),
        before=sources,
        after=sources,
        out_before=crops,
        out_after=crops,
        leaked=leaked,
    )
    one, other = outcome(pairs).pictures
    assert (one.name, other.name) == ("leak-1", "leak-2")
    assert "50 pixels from the patch (red) at (110, 30)" in one.caption
    assert "25% of the pixels" in one.caption
    with Image.open(io.BytesIO(one.png)) as picture:
        assert picture.format == "PNG"
        assert picture.size == (2 * 320 + 3 * 12, 240 + 160 + 3 * 12)
        colours = {colour for _, colour in picture.getcolors(1 << 20)}
    assert {(230, 60, 40), (60, 140, 250)} <= colours
    assert outcome(replace(pairs, replayable=False)).pictures == ()


def test_nothing_was_replayed() -> None:
    assert found(check(Seen(), claim())).status == "skipped"

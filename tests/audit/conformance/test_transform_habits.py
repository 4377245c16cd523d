"""Habits of transforms: masks of bytes, several crops of an image, images padded once; one cause.

Windows are simulated, or read off crops of arrays; one battery runs on a whole transform.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as v1

from cropaudit.accounting.geometry import Borders, Crop, Rectangle, Size
from cropaudit.audit.conformance import assert_conforms
from cropaudit.audit.conformance.battery import examine
from cropaudit.audit.conformance.checks import inclusion_rate, independence, window_law
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.draws import Draws
from cropaudit.audit.conformance.outcome import Outcome, decide
from cropaudit.audit.conformance.outcome import Tested as Null
from cropaudit.audit.conformance.probes.codes import DIGITS, WIDE, image_code, mask_code
from cropaudit.audit.conformance.probes.replay import forked, replay_of, restoring
from cropaudit.audit.conformance.probes.styles import find_style
from cropaudit.audit.conformance.probes.windows import coded_crops, probe_windows
from cropaudit.audit.conformance.seen import Seen
from cropaudit.audit.conformance.worker.guard import Guard, UserError
from tests.audit.conformance.test_pairing import NUMPY, SIDE, SIZE, Array, Cropping, Pair
from tests.conformance_draws import IMAGE, claim, crop_draws, draws_of, found, pairs_of

LARGE = Size(300, 520)


def guard() -> Guard:
    return Guard("transform", None, lambda: None)


# Masks of bytes.


def cast(pair: Pair) -> Pair:
    return pair[0], pair[1].astype(np.uint8)


def saturated(pair: Pair) -> Pair:
    return pair[0], pair[1].clip(0, 255).astype(np.uint8)


def as_picture(pair: Pair) -> Pair:
    return pair[0], np.asarray(Image.fromarray(pair[1].astype(np.uint8)).convert("L"))


def tripled(pair: Pair) -> Pair:
    return pair[0].repeat(3, axis=0), cast(pair)[1].repeat(3, axis=0)


@pytest.mark.parametrize("after", [cast, saturated, as_picture, tripled, lambda pair: pair])
@pytest.mark.parametrize("trust", [True, False])
def test_windows_are_read_off_masks_of_bytes_as_off_wide_ones(after: Any, trust: bool) -> None:
    def windows(after: Any, labels: Any) -> Draws:
        crop = Cropping(3, after=after, border=5)
        options: dict[str, Any] = {"calls": 20, "seconds": 60.0, "where": "", "labels": labels}
        options |= {"trust_image": trust, "replay": crop.replay}
        return probe_windows(crop, NUMPY, guard(), LARGE, **options)

    wide = (lambda pair: tripled((pair[0], pair[1]))) if after is tripled else None
    expected = windows(None, WIDE)
    seen = windows(after, DIGITS)
    if wide is None:
        assert all(
            np.array_equal(getattr(seen, name), getattr(expected, name))
            for name in ("top", "left", "height", "width", "decoded", "blank", "padding")
        )
    assert seen.label_decoded[seen.decoded].all()
    assert not seen.label_shift.any()
    assert np.array_equal(seen.top[seen.padding == 0], expected.top[seen.padding == 0])


def test_a_mask_of_bytes_that_is_cut_elsewhere_is_seen() -> None:
    def apart(image: Array, mask: Array) -> Pair:
        return image[10:40, 20:60], mask[11:41, 20:60].astype(np.uint8)

    replay = lambda run, guard: {k: v for k, v in run().items() if v is not None}  # noqa: E731
    options: dict[str, Any] = {"calls": 3, "seconds": 60.0, "where": "", "labels": DIGITS}
    draws = probe_windows(apart, NUMPY, guard(), SIZE, trust_image=True, replay=replay, **options)
    assert (draws.label_shift == 1).all()


def test_a_battery_reads_masks_of_bytes() -> None:
    """One battery at a level of 1%; the seed is fixed."""
    crop = v1.RandomCrop(16)

    def transform(image: Any, mask: Any) -> Any:
        top, left, height, width = crop.get_params(image, (16, 16))
        cut = np.s_[..., top : top + height, left : left + width]
        return image[cut], mask[cut].to(torch.uint8)

    battery = assert_conforms(transform, image="40x50", patch=6, crop=16, quick=True)
    assert battery.verdict == "pass"
    assert "three masks in turn" in battery.finding("contract").detail
    assert battery.finding("label alignment").outcome.figures["windows"] == 480


def test_nothing_is_said_of_windows_that_were_not_read() -> None:
    unread = crop_draws(np.random.default_rng(0), 300, decoded=np.zeros(300, dtype=bool))
    seen = found(independence.check(Seen(draws=unread), claim()))
    assert (seen.status, seen.detail) == (
        "inconclusive",
        "no window of the transform could be read off",
    )
    assert "every window is the same" not in str(seen.outcome)


# Several crops of an image.


def stacks(crops: list[Pair]) -> Any:
    return tuple(torch.from_numpy(np.stack(part)) for part in zip(*crops, strict=True))


RETURNED: dict[str, Any] = {
    "a list of pairs": lambda crops: crops,
    "a tuple of pairs": tuple,
    "a list of dicts": lambda crops: [{"image": i, "mask": m} for i, m in crops],
    "dicts as of MONAI": lambda crops: [
        {"image": torch.from_numpy(i).permute(2, 0, 1), "label": torch.from_numpy(m)[None]}
        for i, m in crops
    ],
    "two stacks": stacks,
    "a dict of stacks": lambda crops: dict(zip(("image", "mask"), stacks(crops), strict=True)),
    "images alone": lambda crops: [i for i, _ in crops],
    "pictures": lambda crops: tuple(Image.fromarray(i) for i, _ in crops),
}


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("kind", RETURNED)
def test_several_crops_of_an_image_are_as_many_windows(kind: str, count: int) -> None:
    crop = Cropping()

    def several(image: Array, mask: Array) -> Any:
        return RETURNED[kind]([crop(image, mask) for _ in range(count)])

    masks = mask_code(SIZE)
    style = find_style(several, "numpy", guard(), image_code(SIZE), masks)
    options: dict[str, Any] = {"calls": 10, "seconds": 60.0, "where": "", "trust_image": True}
    draws = probe_windows(several, style, guard(), SIZE, **options)
    assert len(draws) == draws.wanted == 10 * count
    assert draws.decoded.all()
    assert ((draws.height == SIDE) & (draws.width == SIDE)).all()
    assert list(draws.slot[:count]) == list(range(count))
    assert draws.label_decoded.all() == (kind not in ("images alone", "pictures"))


def test_a_number_of_crops_that_varies_is_refused() -> None:
    calls = iter(range(2, 99))
    crop = Cropping()

    def several(image: Array, mask: Array) -> Any:
        return [crop(image, mask) for _ in range(next(calls))]

    options: dict[str, Any] = {"calls": 10, "seconds": 60.0, "where": "", "trust_image": True}
    with pytest.raises(UserError, match="3 crops of an image, and 2 before"):
        probe_windows(several, NUMPY, guard(), SIZE, **options)


def of_images(rng: np.random.Generator, crops: int, same: bool = False) -> Draws:
    draws = crop_draws(rng, 1200, slot=np.tile(np.arange(crops), 1200 // crops))
    if same:
        top, left = (getattr(draws, name).reshape(-1, crops) for name in ("top", "left"))
        draws = replace(draws, top=top[:, :1].repeat(crops, 1).reshape(-1))
        draws = replace(draws, left=left[:, :1].repeat(crops, 1).reshape(-1))
    return draws


@pytest.mark.parametrize(
    ("claimed", "status"), [(1, "fail"), (3, "fail"), (4, "pass"), (8, "pass")]
)
def test_more_crops_of_an_image_than_are_claimed_are_found(claimed: int, status: str) -> None:
    draws = of_images(np.random.default_rng(0), 4)
    seen = found(window_law.check(Seen(draws=draws), claim(crops=claimed)), 0.01)
    assert seen.status == status
    assert ("--crops-per-image 4" in seen.detail) == (status == "fail")


def test_fixed_windows_of_several_crops_are_left_to_the_window_law() -> None:
    """As of FiveCrop: nothing is drawn, and nothing is kept for the next call either."""
    slot = np.tile(np.arange(4), 100)
    draws = draws_of(IMAGE, 20 * slot, 30 * slot, 40, 40, slot=slot)
    assert "window law" in independence.check(Seen(draws=draws), claim(crops=4)).skipped
    seen = found(window_law.check(Seen(draws=draws), claim(crops=4)))
    assert seen.status == "fail"
    assert "4 of 400 windows are different" in seen.detail


def test_crops_of_one_image_that_are_the_same_are_found() -> None:
    draws = of_images(np.random.default_rng(0), 4, same=True)
    seen = found(independence.check(Seen(draws=draws), claim(crops=4)))
    assert seen.status == "fail"
    assert "one window is drawn for all crops of an image" in seen.detail
    sound = of_images(np.random.default_rng(1), 4)
    assert found(independence.check(Seen(draws=sound), claim(crops=4)), 0.001).status == "pass"


# Images that are padded once.


@pytest.mark.parametrize("image", [Size(80, 300), Size(300, 80), Size(81, 77)])
@pytest.mark.parametrize("where", ["middle", "end"])
def test_images_padded_once_are_told_from_torchvisions_habit(image: Size, where: str) -> None:
    rng, n, side = np.random.default_rng(0), 500, 100
    starts, borders = [], []
    for length in (image.height, image.width):
        lack = max(side - length, 0)
        before = lack // 2 if where == "middle" else 0
        free = rng.integers(0, max(length - side, 0) + 1, n)
        starts.append(free - before)
        borders += [before, lack - before]
    draws = draws_of(image, *starts, side, side)
    crop = Crop(Size(side, side), pad_if_needed=True)
    said = Claimed(image=image, patch=Rectangle(Size(8, 8)), crop=crop)
    seen = found(window_law.check(Seen(draws=draws), said), 0.01)
    top, bottom, left, right = borders
    assert seen.status == "fail"
    assert "albumentations' habit, where --pad-if-needed is torchvision's" in seen.detail
    cure = f"claim --padding {left},{top},{right},{bottom} in its place"
    assert seen.detail.count(cure) == 1, "one cause is one failure"
    cured = Borders.of_sequence((left, top, right, bottom))
    mended = replace(said, crop=Crop(Size(side, side), cured))
    assert found(window_law.check(Seen(draws=draws), mended), 0.01).status == "pass"


# One cause is one failure.


def test_what_a_finding_makes_void_is_not_judged() -> None:
    dependent = Outcome("a", (Null("x", 0.0, "all alike", shows="windows are not independent"),))
    void = Null("y", 0.0, "odd", void_if=("windows are not independent",))
    alone = Null("z", 0.0, "of another size")
    found = decide([dependent, Outcome("b", (void,)), Outcome("c", (void, alone))], 0.05)
    assert [item.status for item in found] == ["fail", "inconclusive", "fail"]
    assert found[1].detail == "cannot be judged while windows are not independent"
    assert found[2].detail == "of another size"
    sound = replace(dependent, tests=(replace(dependent.tests[0], p_value=0.5),))
    assert [item.status for item in decide([sound, Outcome("b", (void,))], 0.05)] == [
        "pass",
        "fail",
    ]


@pytest.mark.parametrize("kept", [5, 20, 60])
def test_windows_that_are_kept_fail_independence_and_nothing_else(kept: int) -> None:
    """Equal windows are no independent draws: rates and uniformity judge nothing then."""
    few = crop_draws(np.random.default_rng(kept), 1200 // kept)
    again = np.repeat(np.arange(len(few)), kept)
    draws = draws_of(IMAGE, few.top[again], few.left[again], 40, 40)
    battery = examine(Seen(draws=draws, pairs=pairs_of([-1] * 20 + [50] * 80)), claim())
    assert [item.check for item in battery.failed] == ["independence"]
    for name in ("window law", "inclusion rate"):
        assert battery.finding(name).status == "inconclusive"
        assert "while windows are not independent" in battery.finding(name).detail


def test_a_wrong_size_fails_whatever_else_does() -> None:
    draws = draws_of(IMAGE, np.repeat(np.arange(12), 100), np.repeat(np.arange(12), 100), 41, 40)
    battery = examine(Seen(draws=draws), claim())
    assert [item.check for item in battery.failed] == ["window law", "independence"]
    assert "not of 40x40" in battery.finding("window law").detail
    assert "first half" not in battery.finding("window law").detail


# Samples that are missing.


@pytest.mark.parametrize("check", [window_law, inclusion_rate, independence])
def test_windows_that_are_missing_leave_every_check_undecided(check: Any) -> None:
    draws = crop_draws(np.random.default_rng(0), 400)
    assert (
        found(check.check(Seen(draws=replace(draws, wanted=400)), claim()), 1e-3).status == "pass"
    )
    seen = found(check.check(Seen(draws=replace(draws, wanted=401)), claim()), 1e-3)
    assert seen.status == "inconclusive"
    assert seen.detail.startswith("400 of 401 windows were drawn before the time was up")


# Replays without copies.


class Counting:
    """Counts its calls, which no generator tells."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> dict[str, Array | None]:
        self.calls += 1
        return {"x": np.array([self.calls])}


class Drawing:
    """Draws from every kind of generator there is."""

    def __init__(self) -> None:
        import random

        self.held = [np.random.default_rng(1), random.Random(2), np.random.RandomState(3)]
        self.torch = torch.Generator().manual_seed(4)

    def __call__(self) -> dict[str, Array | None]:
        import random

        numbers = [generator.random() for generator in self.held[:2]]  # type: ignore[attr-defined]
        numbers += [self.held[2].random_sample(), random.random(), np.random.random()]  # type: ignore[attr-defined]  # noqa: NPY002
        numbers += [float(torch.rand(())), float(torch.rand((), generator=self.torch))]
        return {"x": np.array(numbers)}


def test_generators_are_put_back_wherever_they_are_held() -> None:
    drawing = Drawing()
    for held in (drawing, lambda: drawing()):
        replay = restoring(held)
        one, other = replay(drawing, guard())["x"], replay(drawing, guard())["x"]
        assert np.array_equal(one, other)
        assert np.array_equal(drawing()["x"], one), "the state is as it was"
        assert not np.isin(drawing()["x"], one).any()


def test_what_generators_do_not_tell_is_left_to_copies_of_the_process(one_thread: None) -> None:
    counting = Counting()
    assert replay_of(counting, counting, guard()) is forked
    drawing = Drawing()
    assert replay_of(drawing, drawing, guard()) is not forked


def test_all_crops_of_a_call_are_replayed_together() -> None:
    crop = Cropping()
    crops = coded_crops(crop, NUMPY, guard(), SIZE, image_code(SIZE), DIGITS, crop.replay)
    assert len(crops) == 1
    assert crops[0][1] is not None
    assert crops[0][1].min() >= 1000

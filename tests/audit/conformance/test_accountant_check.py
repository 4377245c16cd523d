"""The accountant's check on simulated logs: sound ones never exceed the claim, short cuts are told.

Its limits hold together with 99.99%: each of the sound runs here fails with a probability of at
most 1e-4, all 120 of them together with at most 1.2%; seeds are fixed.
"""

from typing import Any

import numpy as np
import pytest

from cropaudit.accounting.accountant import bracket
from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.accounting.inclusion import inclusion
from cropaudit.accounting.mechanisms import PoissonPatch
from cropaudit.accounting.shortcuts import shortcut_epsilons
from cropaudit.audit.conformance.checks.accountant import check, reconciled
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.batches import Batches
from cropaudit.audit.conformance.observe.updates import SCENARIOS, Updates
from cropaudit.audit.conformance.outcome import Finding
from cropaudit.audit.conformance.seen import Seen
from tests.conformance_draws import IMAGE, claim, crop_draws, found

SIGMA, NORM, RATE = 1.0, 0.5, 0.1
BATCH, RECORDS, STEPS = 20, 200, 40
P = 60  # parameters of the trainer's probe, the last half of them quiet
RHO = inclusion(IMAGE, Crop(Size(40, 40)), Rectangle(Size(10, 10))).probability
MECHANISM = PoissonPatch(SIGMA, BATCH / RECORDS, RHO, STEPS)


def said(**changes: Any) -> Claimed:
    values = {"batch": BATCH, "records": RECORDS, "steps": STEPS, "noise_multiplier": SIGMA}
    return claim(**{**values, "max_grad_norm": NORM, "learning_rate": RATE, **changes})


def noisy(rng: np.random.Generator, sigma: float = SIGMA) -> Updates:
    """300 updates with noise of this multiplier; images pull at the first half alone."""
    steps, empty = 300, np.zeros(0)
    noise = rng.normal(0, sigma * NORM, (steps, P))
    # One pull a step, of as many images as a batch holds, along one coordinate in each layer.
    noise[:, :2] += BATCH * NORM / np.sqrt(2)
    one = np.ones(steps, dtype=np.int64)
    return Updates(
        change=-RATE / BATCH * noise,
        handed=np.zeros((steps, 0)),
        replayed=np.zeros((steps, 0)),
        optimiser="",
        names=np.array(["one", "other"]),
        layer=np.arange(P) % 2,
        quiet=np.arange(P) >= P // 2,
        scenario=np.full(steps, SCENARIOS.index("stack")),
        count=np.full(steps, BATCH),
        pull_step=np.arange(steps),
        pull_at=np.tile(np.array([0, 1]), (steps, 1)),
        pull_images=BATCH * one,
        pull_size=np.full(steps, 1e3),
        broken=np.zeros(0, dtype=str),
        void=False,
        kept=np.zeros(0, dtype=str),
        kept_change=empty,
        state=np.zeros(0, dtype=str),
        state_known=True,
        empties_refused=False,
        seconds=1.0,
    )


def drawn(rng: np.random.Generator, rate: float = BATCH / RECORDS, steps: int = STEPS) -> Batches:
    """Poisson batches of a whole training."""
    step, record = np.nonzero(rng.random((steps, RECORDS)) < rate)
    return Batches(RECORDS, record, step, np.array([steps]), steps, source="pipeline")


def seen(rng: np.random.Generator, **parts: Any) -> Seen:
    known = {"draws": crop_draws(rng, 1000), "updates": noisy(rng), "batches": drawn(rng)}
    return Seen(**{**known, **parts})


def finding(given: Seen, claimed: Claimed | None = None) -> Finding:
    return found(check(given, claimed or said()))


# The arithmetic.


def test_the_accountants_own_epsilon_is_fine_and_less_is_not() -> None:
    ends = bracket(MECHANISM, 1e-5)
    assert finding(Seen(), said(epsilon=ends.upper)).status == "not measured"
    assert finding(Seen()).outcome.figures["claimed"] == ends.upper
    low = finding(Seen(), said(epsilon=0.9 * ends.lower))
    assert (low.status, low.p_value) == ("fail", 0.0)
    assert "is too small: with the claimed parameters it is" in low.detail
    assert "short cut" not in low.detail


@pytest.mark.parametrize("name", ["add-remove", "replace-one", "sensitivity-c"])
def test_a_short_cut_is_named(name: str) -> None:
    shortcut = next(item for item in shortcut_epsilons(MECHANISM, 1e-5) if item.name == name)
    low = finding(Seen(), said(epsilon=round(shortcut.epsilon, 3)))
    assert low.status == "fail"
    assert f"{name}: {shortcut.why_invalid}" in low.detail
    assert "it is the short cut" in low.detail


def test_a_deviation_for_a_multiplier_is_named_and_not_taken_for_another_short_cut() -> None:
    """At C = 1/2 both give one epsilon, and both are named; at C = 0.7 only the unit does."""
    half = finding(Seen(), said(epsilon=_absolute(0.5), max_grad_norm=0.5)).detail
    assert "sensitivity-c: " in half
    assert "absolute-noise: " in half
    other = finding(Seen(), said(epsilon=_absolute(0.7), max_grad_norm=0.7)).detail
    assert "absolute-noise: " in other
    assert "sensitivity-c" not in other


def _absolute(bound: float) -> float:
    found = {item.name: item.epsilon for item in shortcut_epsilons(MECHANISM, 1e-5, bound)}
    return round(found["absolute-noise"], 4)


def test_several_crops_an_image_are_counted() -> None:
    one = finding(Seen()).outcome.figures["claimed"]
    assert finding(Seen(), said(crops=4, epsilon=one)).status == "fail"


# Reconciliation.


def test_sound_logs_never_exceed_the_claim() -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        whole = seen(rng)
        for parts in (
            whole,
            Seen(updates=whole.updates),
            Seen(batches=whole.batches),
            Seen(draws=whole.draws),
        ):
            result = finding(parts)
            status = "pass" if parts is whole else "not measured"
            assert (result.status, result.p_value) == (status, 1.0)
            assert ("delivered_low" in result.outcome.figures) == (parts is whole)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"updates": noisy(np.random.default_rng(0), SIGMA / 2)}, "noise multiplier"),
        ({"batches": drawn(np.random.default_rng(0), 2 * BATCH / RECORDS)}, "sampling rate"),
        ({"batches": drawn(np.random.default_rng(0), steps=4 * STEPS)}, "over 160 compositions"),
    ],
)
def test_what_was_delivered_beyond_the_claim_is_found(fault: dict, words: str) -> None:
    for seed in range(3):
        result = finding(seen(np.random.default_rng(seed), **fault))
        assert result.status == "fail"
        assert result.p_value is not None
        assert result.p_value <= 1e-3
        assert "delivered epsilon exceeds the claimed" in result.detail
        assert words in result.detail
        assert result.outcome.figures["delivered_low"] > result.outcome.figures["claimed"]


def test_windows_that_meet_the_patch_too_often_raise_epsilon() -> None:
    rng = np.random.default_rng(0)
    result = finding(Seen(draws=crop_draws(rng, 4000)), said(inclusion=0.5 * RHO))
    assert result.status == "fail"
    assert "inclusion probability" in result.detail
    assert "even if noise multiplier and sampling rate and steps were as claimed" in result.detail


def test_steps_alone_are_counted() -> None:
    steps = drawn(np.random.default_rng(0), steps=STEPS)
    none = Batches(RECORDS, steps.record[:0], steps.step[:0], np.zeros(0, dtype=int), 3 * STEPS)
    result = finding(Seen(batches=none))
    assert result.status == "fail"
    assert "even if noise multiplier and" in result.detail
    same = Batches(RECORDS, steps.record[:0], steps.step[:0], np.zeros(0, dtype=int), STEPS)
    assert reconciled(Seen(batches=same), said()) is None


def test_epochs_that_drop_their_last_batch_are_counted_as_they_begin() -> None:
    """24 batches of 10 out of 25 records are 12 epochs of 2, where 3 would be in a whole one."""
    rng = np.random.default_rng(0)
    order = [rng.permutation(25)[:20] for _ in range(12)]
    step = np.repeat(np.arange(24), 10)
    batches = Batches(
        25, np.concatenate(order), step, np.full(12, 2), updates=24, source="pipeline"
    )
    claimed = said(sampler="shuffle", batch=10, records=25, steps=24, epochs=8)
    parts = Seen(draws=crop_draws(rng, 4000), updates=noisy(rng), batches=batches)
    made = reconciled(parts, claimed)
    assert made is not None
    assert made.steps == 12


def test_the_certificate_encloses_the_claimed_epsilon() -> None:
    rng = np.random.default_rng(1)
    made = reconciled(seen(rng), said())
    assert made is not None
    assert made.epsilon_low <= bracket(MECHANISM, 1e-5).upper <= made.epsilon_high
    assert not made.assumed


# What cannot be told.


@pytest.mark.parametrize(
    ("left", "words"),
    [
        ({"noise_multiplier": None}, "noise is not given"),
        ({"batch": None, "steps": None}, "batch, steps are not given"),
        ({"crop": None}, "crop or inclusion must be given"),
    ],
)
def test_a_claim_left_open_is_skipped(left: dict, words: str) -> None:
    result = finding(Seen(), said(**left))
    assert result.status == "skipped"
    assert words in result.detail


def test_a_crop_left_open_is_read_off() -> None:
    rng = np.random.default_rng(0)
    result = finding(Seen(draws=crop_draws(rng, 4000)), said(crop=None))
    assert result.status == "not measured"
    assert result.outcome.figures["claimed"] == pytest.approx(
        bracket(MECHANISM, 1e-5).upper, rel=0.1
    )

"""Noise and steps of a training, on simulated ones: levels, power, and claims that are not met."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from cropaudit.audit.conformance.battery import examine
from cropaudit.audit.conformance.checks import accountant, watched_noise, watched_steps
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.training import Replayed, Training
from cropaudit.audit.conformance.outcome import Finding, decide
from cropaudit.audit.conformance.seen import Seen

STEPS, P = 40, 60
CLAIMED = Claimed(noise_multiplier=1.0, max_grad_norm=0.5)
SAME = Replayed(
    True, False, images=300, missed=250, moved=0, differs=0, pulled=0, losses=250, hit=50
)


def training(
    rng: np.random.Generator, sigma: float = 1.0, bound: float = 0.5, **rest: Any
) -> Training:
    known = {
        "private": "DPOptimizer",
        "optimiser": "SGD(lr=0.1)",
        "noise_multiplier": np.full(STEPS, sigma),
        "max_grad_norm": np.full(STEPS, bound),
        "expected_batch": np.full(STEPS, 8.0),
        "learning_rate": np.full(STEPS, 0.1),
        "count": np.full(STEPS, 8),
        "noise": rng.normal(0, sigma * bound, (STEPS, P)),
        "handed": np.zeros((0, 0)),
        "tensor": np.repeat(np.arange(3), 20),
        "names": np.array(["weight", "bias", "norm"]),
        "sum_error": np.full((STEPS, 2), 1e-6),
        "raw_error": np.full((STEPS, 2), 3.0),
        "norm": np.full((STEPS, 2), 4.0),
        "beside": np.zeros(STEPS),
        "finite": True,
        "labels": np.eye(3, dtype=np.int64) * 100,
    }
    return Training(**{**known, **rest})


def noise(found: Training, claimed: Claimed = CLAIMED) -> Finding:
    return decide([watched_noise.check(Seen(training=found), claimed)], 0.01)[0]


def test_each_test_of_noise_keeps_its_level() -> None:
    """400 sound runs, 4 tests at 2 levels; fails falsely with a probability of at most 1e-4."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(400):
        found = training(rng)
        tests = watched_noise.check(Seen(training=found), CLAIMED).tests
        rows.append([test.p_value for test in tests])
    for column in np.array(rows).T:
        for level in (0.01, 0.05):
            assert (column <= level).sum() <= stats.binom.isf(1e-5, 400, level)


def faulty(name: str, rng: np.random.Generator) -> Training:
    found = training(rng)
    rows = found.noise.copy()
    if name == "half":
        return training(rng, noise=rows / 2)
    if name == "one step without":
        rows[7] = 0
    elif name == "no bias":
        rows[:, 20:40] = 0
    elif name == "repeated":
        rows[30] = rows[3]
    elif name == "uniform":
        rows = 0.5 * rng.uniform(-(3**0.5), 3**0.5, (STEPS, P))
    elif name == "setting":
        return replace(found, noise_multiplier=np.r_[np.ones(STEPS - 1), 0.5])
    elif name == "second phase":  # plain steps after the private ones
        read = np.r_[np.ones(30), np.full(10, np.nan)]
        handed = np.repeat([[1.0], [0.0]], [30, 10], axis=0)
        return replace(found, noise=rows[:30], noise_multiplier=read, handed=handed)
    return replace(found, noise=rows)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("half", "delivered noise multiplier 0.5"),
        ("one step without", "step 7 gets 0 times the noise"),
        ("no bias", "the parameter bias gets 0 times"),
        ("repeated", "1 pairs of steps add the same"),
        ("uniform", "not normal"),
        ("setting", "multiplier is 0.5 in 1 of 40 steps"),
        ("second phase", "10 of 40 steps are made by an optimiser that is none of Opacus'"),
    ],
)
def test_faults_of_noise_are_found_by_their_names(name: str, words: str) -> None:
    for seed in range(3):
        found = noise(faulty(name, np.random.default_rng(seed)))
        assert found.status == "fail"
        assert words in found.detail


def test_more_noise_loses_no_privacy_and_none_is_a_failure() -> None:
    rng = np.random.default_rng(1)
    more = noise(training(rng, 1.3))
    assert more.status == "differs"
    assert "no privacy is lost" in more.detail
    assert noise(training(rng, 0.0)).status == "fail"
    by_hand = training(rng, private="", noise=np.zeros((0, P)), handed=np.ones((STEPS, 5)))
    assert noise(by_hand).status == "not measured"
    silent = replace(by_hand, handed=np.zeros((STEPS, 5)))
    assert "exactly 0 in all 40 steps" in noise(silent).detail
    assert noise(silent).status == "fail"


CHECKS = {
    "clipping": watched_steps.check_clipping,
    "update": watched_steps.check_update,
    "label alignment": watched_steps.check_labels,
    "non-interference": watched_steps.check_interference,
    "isolation": watched_steps.check_isolation,
}


def step(name: str, changes: dict[str, Any], claimed: Claimed = CLAIMED) -> Finding:
    of_world = {key: value for key, value in changes.items() if hasattr(SAME, key)}
    of_steps = {key: value for key, value in changes.items() if key not in of_world}
    found = training(np.random.default_rng(0), **of_steps)
    seen = Seen(training=found, replayed=replace(SAME, **of_world))
    return decide([CHECKS[name](seen, claimed)], 0.01)[0]


@pytest.mark.parametrize(
    ("name", "changes", "status", "words"),
    [
        ("clipping", {}, "pass", "clipped by itself to 0.5"),
        ("clipping", {"sum_error": np.full((STEPS, 2), 0.1)}, "fail", "off by 0.1 C in step 0"),
        ("clipping", {"sum_error": np.full((STEPS, 2), np.nan)}, "not measured", "not seen"),
        ("clipping", {"finite": False}, "fail", "not finite"),
        ("clipping", {"norm": np.full((STEPS, 2), 0.4)}, "inconclusive", "never seen at work"),
        ("clipping", {"max_grad_norm": np.ones(STEPS)}, "differs", "where C = 0.5 is claimed"),
        ("clipping", {"private": "DPPerLayerOptimizer"}, "not measured", "each layer"),
        ("clipping", {"private": ""}, "pass", ""),
        ("update", {}, "pass", "SGD(lr=0.1)"),
        ("update", {"beside": np.full(STEPS, 0.1)}, "fail", "comes past it, in 40 of 40 steps"),
        (
            "clipping",
            {"max_grad_norm": np.linspace(0.4, 0.6, STEPS)},
            "not measured",
            "not to one C",
        ),
        ("update", {"after": 1e-6}, "pass", "SGD(lr=0.1)"),
        ("update", {"after": 0.02}, "not measured", "by 0.02 of the largest"),
        ("update", {"after": float("nan")}, "not measured", "after the last step"),
        ("update", {"beside": np.full(STEPS, np.nan)}, "not measured", "second one"),
        ("label alignment", {}, "pass", "100.0% are pulled"),
        ("label alignment", {"labels": np.ones((3, 3), dtype=int)}, "inconclusive", "cut apart"),
        ("label alignment", {"labels": np.zeros((0, 0), dtype=int)}, "not measured", "not seen"),
        ("non-interference", {}, "pass", "250 images"),
        ("non-interference", {"moved": 1}, "fail", "moves with the content: in 1 of 300"),
        ("non-interference", {"differs": 3}, "fail", "3 of 250 images"),
        ("non-interference", {"replayable": False}, "not measured", "does not repeat itself"),
        ("non-interference", {"images": 0}, "not measured", "no window could be read off"),
        ("non-interference", {"missed": 10}, "inconclusive", "only 10 of 40"),
        ("isolation", {}, "pass", "250 images"),
        ("isolation", {"pulled": 2}, "fail", "the loss crosses images"),
        ("isolation", {"losses": 0}, "not measured", "was not seen"),
        ("isolation", {"hit": 0}, "inconclusive", "no image showed the patch"),
    ],
)
def test_each_check_of_steps(name: str, changes: dict, status: str, words: str) -> None:
    if changes == {"private": ""}:  # nothing to take a sum from
        changes, status = {**changes, "sum_error": np.full((STEPS, 2), np.nan)}, "not measured"
    found = step(name, changes)
    assert found.status == status
    assert words in found.detail


def test_a_rate_that_changes_loses_nothing_only_if_no_image_changes_it() -> None:
    claimed = replace(CLAIMED, learning_rate=0.1)
    found = step("update", {"learning_rate": np.linspace(0.1, 0.2, STEPS)}, claimed)
    assert found.status == "differs"
    assert found.detail.endswith("if its changes do not hang on the images or their loss")
    assert step("update", {"learning_rate": np.full(STEPS, 0.2)}, claimed).detail.endswith("lost")


@pytest.mark.parametrize("changes", [{"beside": np.full(STEPS, np.nan)}, {"after": 0.02}, {}])
def test_no_epsilon_is_delivered_of_weights_that_could_not_be_followed(changes: dict) -> None:
    seen = Seen(training=training(np.random.default_rng(0), **changes))
    said = replace(CLAIMED, inclusion=0.3, noise_multiplier=1.0, batch=8, records=64, steps=STEPS)
    found = decide([accountant.check(seen, said)], 0.01)[0]
    assert ("weights (see update)" in found.detail) == bool(changes)
    assert "delivered_low" not in found.outcome.figures


def test_nothing_given_is_skipped_and_both_are_merged() -> None:
    battery = examine(Seen(), CLAIMED)
    assert {battery.finding(name).status for name in (*CHECKS, "noise")} == {"skipped"}

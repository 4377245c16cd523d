"""The check of independence: its level for several laws of windows, and the faults that it names.

Windows are simulated as arrays, no loader runs. A test of false alarms compares how often Holm's
procedure rejects at 5% with the 1 - 1e-4 quantile of a binomial law: it fails falsely with a
probability of at most 1e-4 (seeds are fixed).
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cropaudit.audit.conformance.checks.independence import check
from cropaudit.audit.conformance.checks.relations import relations, windows
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.draws import Draws
from cropaudit.audit.conformance.outcome import Finding, decide
from cropaudit.audit.conformance.seen import Seen

RECORDS, B, EPOCHS, STEPS = 64, 8, 6, 8
N = RECORDS * EPOCHS
RUNS = 200
EPOCH = np.repeat(np.arange(EPOCHS), RECORDS)
STEP = np.repeat(np.arange(EPOCHS * STEPS), B)
SLOT = np.tile(np.arange(B), EPOCHS * STEPS)


def draws(origins: np.ndarray, **rest) -> Draws:
    """Windows of 32 pixels at these origins, shape (n, 2), as of consecutive calls."""
    n = len(origins)
    number, flag = np.full(n, -1), np.zeros(n, dtype=bool)
    names = {"skewed": flag, "blank": flag, "flipped_rows": flag, "flipped_columns": flag}
    names |= {"label_decoded": flag, "label_aligned": flag, "decoded": ~flag}
    names |= {"top": origins[:, 0], "left": origins[:, 1], "slack": number + 1}
    names |= {"height": number + 33, "width": number + 33, "padding": number + 1}
    names |= {"label_shift": number + 1, "record": number, "epoch": number + 1}
    names |= {"step": number, "slot": number, "worker": number}
    return Draws(image_height=48, image_width=64, **(names | rest))


def loader(rng: np.random.Generator, origins: np.ndarray, workers: int = 0) -> Draws:
    order = np.concatenate([rng.permutation(RECORDS) for _ in range(EPOCHS)])
    worker = STEP % STEPS % workers if workers else np.full(N, -1)
    return draws(origins, record=order, epoch=EPOCH, step=STEP, slot=SLOT, worker=worker)


def uniform(rng: np.random.Generator, n: int = N) -> np.ndarray:
    return np.stack([rng.integers(17, size=n), rng.integers(33, size=n)], axis=1)


def biased(rng: np.random.Generator, n: int = N) -> np.ndarray:
    return np.stack([rng.binomial(4, 0.9, size=n), rng.integers(2, size=n)], axis=1)


def large(rng: np.random.Generator, n: int = N) -> np.ndarray:
    return rng.integers(1000, size=(n, 2))


def finding(seen: Seen) -> Finding:
    return decide([check(seen, Claimed())], 0.05)[0]


@pytest.mark.parametrize("law", [uniform, biased, large])
@pytest.mark.parametrize("workers", [0, 2])
def test_independent_windows_of_a_loader_pass_whatever_their_law(law, workers: int) -> None:
    rng, runs = np.random.default_rng(0), RUNS // 4
    alarms = sum(
        finding(Seen(loader_draws=loader(rng, law(rng), workers))).status != "pass"
        for _ in range(runs)
    )
    assert alarms <= stats.binom.isf(1e-4, runs, 0.05)


def test_independent_calls_pass() -> None:
    rng = np.random.default_rng(1)
    alarms = sum(finding(Seen(draws=draws(uniform(rng)))).status != "pass" for _ in range(RUNS))
    assert alarms <= stats.binom.isf(1e-4, RUNS, 0.05)


def one_crop_a_batch(rng: np.random.Generator) -> Draws:
    return loader(rng, uniform(rng)[STEP * B])


def cached(rng: np.random.Generator) -> Draws:
    seen = loader(rng, uniform(rng))
    kept = uniform(rng, RECORDS)[seen.record]
    return replace(seen, top=kept[:, 0], left=kept[:, 1])


def reseeded_epochs(rng: np.random.Generator) -> Draws:
    return loader(rng, np.tile(uniform(rng, RECORDS), (EPOCHS, 1)))


def reseeded_batches(rng: np.random.Generator) -> Draws:
    return loader(rng, np.tile(uniform(rng, B), (EPOCHS * STEPS, 1)))


def equal_workers(rng: np.random.Generator) -> Draws:
    fresh = uniform(rng).reshape(-1, 2, B, 2)
    fresh[:, 1] = fresh[:, 0]
    return loader(rng, fresh.reshape(-1, 2), workers=2)


def walking(rng: np.random.Generator) -> Draws:
    steps = rng.integers(-4, 5, size=(N, 2)).cumsum(axis=0)
    return loader(rng, np.abs(steps) % np.array([17, 33]))


def half_cached(rng: np.random.Generator) -> Draws:
    seen, kept = cached(rng), rng.random(N) < 0.5
    fresh = uniform(rng)
    top = np.where(kept, seen.top, fresh[:, 0])
    return replace(seen, top=top, left=np.where(kept, seen.left, fresh[:, 1]))


FAULTS = {
    one_crop_a_batch: "one window is drawn for the whole batch",
    cached: "crops are kept and used again",
    half_cached: "crops are kept and used again",
    reseeded_epochs: "starts anew in each epoch",
    reseeded_batches: "starts anew in each batch",
    equal_workers: "workers have equal generators",
    walking: "depends on earlier ones",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_found_and_named(fault) -> None:
    """Three runs each, all found at the least p-value of 9999 permutations, times six tests."""
    rng = np.random.default_rng(2)
    for _ in range(3):
        found = finding(Seen(loader_draws=fault(rng)))
        assert found.status == "fail"
        assert found.p_value <= 7e-4
        assert FAULTS[fault] in found.detail


def test_a_transform_that_keeps_its_window_is_found() -> None:
    rng = np.random.default_rng(3)
    twice = np.repeat(uniform(rng, N // 2), 2, axis=0)
    found = finding(Seen(draws=draws(twice)))
    assert found.status == "fail"
    assert "kept for the next call" in found.detail


def test_equal_windows_are_left_to_the_window_law() -> None:
    same = draws(np.zeros((N, 2), dtype=int))
    assert "window law" in check(Seen(draws=same), Claimed()).skipped
    mixed = Seen(
        draws=same, loader_draws=loader(np.random.default_rng(4), uniform(np.random.default_rng(4)))
    )
    found = finding(mixed)
    assert found.status == "pass"
    assert "no power" in found.detail


def test_what_was_not_read_is_left_out() -> None:
    rng = np.random.default_rng(5)
    seen = cached(rng)
    hidden = rng.random(N) < 0.3
    found = finding(Seen(loader_draws=replace(seen, decoded=~hidden)))
    assert "crops are kept" in found.detail
    # Wrong numbers of what was not read move nothing.
    other = replace(seen, decoded=~hidden, top=np.where(hidden, 99, seen.top))
    assert finding(Seen(loader_draws=other)).p_value == found.p_value


def test_few_windows_are_undecided_and_none_are_skipped() -> None:
    few = draws(uniform(np.random.default_rng(6), 10))
    assert "too few" in check(Seen(draws=few), Claimed()).undecided
    assert "no loader" in check(Seen(), Claimed()).skipped


def test_stated_power_is_reached() -> None:
    """Of 40 runs as many are found as a probability of 0.95 gives; falsely fewer in 1 of 1000."""
    rng, found = np.random.default_rng(7), 0
    words = check(Seen(loader_draws=loader(rng, large(rng))), Claimed()).power
    share = float(words.split("equal in ")[1].split("%")[0]) / 100 + 0.001
    for _ in range(40):
        seen = loader(rng, large(rng))
        relation = next(item for item in relations(seen) if "same record" in item.of)
        top, left = seen.top.copy(), seen.left.copy()
        alike = rng.random(len(relation.first)) < share
        # In the order of epochs, so that a window is kept from the one before.
        for one, other in zip(relation.first[alike], relation.second[alike], strict=True):
            top[other], left[other] = top[one], left[one]
        tests = check(Seen(loader_draws=replace(seen, top=top, left=left)), Claimed()).tests
        found += next(test.p_value for test in tests if "same record" in test.null) <= 1e-3
    assert found >= stats.binom.ppf(1e-3, 40, 0.95)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(1, 4), st.integers(0, 3), st.integers(0, 9999))
def test_relations_are_those_of_a_slow_search(n: int, batch: int, workers: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    step = np.arange(n) // batch
    epoch = step // 3
    worker = step % 3 % workers if workers else np.full(n, -1)
    seen = draws(
        uniform(rng, n),
        record=rng.permutation(n) % 5,
        epoch=epoch,
        step=step,
        slot=np.arange(n) % batch,
        worker=worker,
    )
    found = {
        i.of: set(zip(i.first.tolist(), i.second.tolist(), strict=True)) for i in relations(seen)
    }
    every = [(a, b) for a in range(n) for b in range(n)]
    neighbours = {(a, b) for a, b in every if b == a + 1 and step[a] == step[b]}
    assert found.get("of neighbours in a batch", set()) == neighbours
    for a, b in found.get("of the same record in consecutive epochs", set()):
        assert seen.record[a] == seen.record[b]
        assert epoch[b] == epoch[a] + 1
    for a, b in found.get("at the same place of different workers", set()):
        assert worker[b] == worker[a] + 1
        assert epoch[a] == epoch[b]


def test_windows_differ_if_any_number_does() -> None:
    base = draws(np.zeros((3, 2), dtype=int))
    changed = replace(base, width=np.array([32, 33, 32]), decoded=np.array([True, True, False]))
    assert windows(changed).tolist() == [0, 1, -1]

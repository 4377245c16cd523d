"""The check of batch laws: its level on sound samplers, and that it finds each planted one.

Batches are simulated as arrays. False alarms: over n sound runs, the number in which Holm's
procedure rejects any test at 5% is compared with the 1 - 1e-4 quantile of its binomial law, so
that each of these tests fails falsely with a probability of at most 1e-4 (seeds are fixed).
"""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from cropaudit.audit.conformance.checks.batch_law import check
from cropaudit.audit.conformance.checks.orders import fresh, once_an_epoch, split
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.batches import Batches
from cropaudit.audit.conformance.outcome import decide
from cropaudit.audit.conformance.seen import Seen

N, B, STEPS, EPOCHS = 64, 8, 8, 18
RUNS = 200
Draw = Callable[[np.random.Generator], list[list[int]]]


def batches(lists: list[list[int]], epochs: int = EPOCHS, records: int = N, **rest) -> Batches:
    step = np.repeat(np.arange(len(lists)), [len(item) for item in lists])
    record = np.array([r for item in lists for r in item], dtype=np.int64)
    return Batches(records, record, step, np.full(epochs, len(lists) // epochs), **rest)


def poisson(rng: np.random.Generator, rates=B / N, steps: int = STEPS * EPOCHS) -> list[list[int]]:
    rates = np.broadcast_to(rates, N)
    return [np.flatnonzero(rng.random(N) < rates).tolist() for _ in range(steps)]


def fixed(rng: np.random.Generator) -> list[list[int]]:
    return [rng.choice(N, B, replace=False).tolist() for _ in range(STEPS * EPOCHS)]


def shuffled(rng: np.random.Generator, records: int = N, last: bool = True) -> list[list[int]]:
    orders = [rng.permutation(records) for _ in range(EPOCHS)]
    whole = records if last else records // B * B
    return [order[i : min(i + B, whole)].tolist() for order in orders for i in range(0, whole, B)]


def same_order(rng: np.random.Generator) -> list[list[int]]:
    order = rng.permutation(N)
    return [order[i : i + B].tolist() for _ in range(EPOCHS) for i in range(0, N, B)]


def same_batches(rng: np.random.Generator) -> list[list[int]]:
    order = rng.permutation(N).reshape(-1, B)
    return [row.tolist() for _ in range(EPOCHS) for row in order[rng.permutation(N // B)]]


def pairs_together(rng: np.random.Generator) -> list[list[int]]:
    halves = [np.flatnonzero(rng.random(N // 2) < B / N) for _ in range(STEPS * EPOCHS)]
    return [np.concatenate([2 * half, 2 * half + 1]).tolist() for half in halves]


def finding(lists: list[list[int]], sampler: str, **claims):
    seen = Seen(batches=batches(lists))
    claimed = Claimed(sampler=sampler, batch=B, records=N, **claims)
    return decide([check(seen, claimed)], 0.05)[0]


def rates(**odd: float) -> np.ndarray:
    found = np.full(N, B / N)
    for index, value in odd.items():
        found[int(index[1:])] = value
    return found


@pytest.mark.parametrize(
    ("draw", "sampler"), [(poisson, "poisson"), (fixed, "fixed"), (shuffled, "shuffle")]
)
def test_sound_samplers_pass(draw: Draw, sampler: str) -> None:
    rng = np.random.default_rng(2)
    alarms = sum(finding(draw(rng), sampler).status != "pass" for _ in range(RUNS))
    assert alarms <= stats.binom.isf(1e-4, RUNS, 0.05)


@pytest.mark.parametrize("rate", [0.01, 0.5, 0.98])
def test_sparse_and_crowded_poisson_batches_pass(rate: float) -> None:
    rng = np.random.default_rng(3)
    alarms = sum(
        finding(poisson(rng, rate, 120), "poisson").status == "fail" for _ in range(RUNS // 4)
    )
    assert alarms <= stats.binom.isf(1e-4, RUNS // 4, 0.05)


FAULTS = {
    "shuffle for Poisson": (shuffled, "poisson", "fixed size"),
    "fixed size for Poisson": (fixed, "poisson", "fixed size"),
    "Poisson for fixed size": (poisson, "fixed", "no fixed size"),
    "shuffle for fixed size": (shuffled, "fixed", "neighbouring batches"),
    "thrice the rate": (lambda rng: poisson(rng, rates(_5=3 * B / N)), "poisson", "record 5 is in"),
    "a record dropped": (lambda rng: poisson(rng, rates(_9=0.0)), "poisson", "dropped"),
    "half at thrice the rate": (
        lambda rng: poisson(rng, np.where(np.arange(N) < N // 2, 0.06, 0.18)),
        "poisson",
        "some records are drawn more often",
    ),
    "records in pairs": (pairs_together, "poisson", "travel together"),
    "one order for all epochs": (same_order, "shuffle", "stands at the same place"),
    "batches formed once": (same_batches, "shuffle", "come back in other epochs"),
    "batches formed once, for fixed size": (same_batches, "fixed", "batches come back"),
    "reshuffled cyclic": (shuffled, "cyclic", "not those of the first epoch"),
    "Poisson for shuffle": (poisson, "shuffle", "once"),
    "Poisson for full": (poisson, "full", "no full"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_found_and_named(name: str) -> None:
    """Five runs each: all found at p < 0.001, the corrected level of a battery of 50 tests.

    The weakest, a record that is never drawn in 144 batches, has a p-value of 6e-7 on average.
    """
    draw, sampler, words = FAULTS[name]
    rng = np.random.default_rng(4)
    for _ in range(5):
        found = finding(draw(rng), sampler)
        assert found.status == "fail"
        assert found.p_value <= 1e-3
        assert words in found.detail or name == "Poisson for shuffle"


def test_cyclic_and_full_batches_pass() -> None:
    rng = np.random.default_rng(5)
    assert finding(same_order(rng), "cyclic").status == "pass"
    assert finding([list(range(N))] * EPOCHS, "full").status == "pass"


def test_several_crops_are_found_unless_claimed() -> None:
    rng = np.random.default_rng(6)
    twice = [item + item for item in poisson(rng)]
    found = finding(twice, "poisson")
    assert (found.status, found.p_value) == ("fail", 0.0)
    assert "2 crops of an image are accounted as 1" in found.detail
    assert finding(twice, "poisson", crops=2).status == "pass"
    assert finding([2 * item for item in shuffled(rng)], "shuffle", crops=2).status == "pass"


@pytest.mark.parametrize("last", [True, False])
def test_a_short_last_batch_may_be_dropped_but_no_more(last: bool) -> None:
    rng, records = np.random.default_rng(7), N + 3
    claimed = Claimed(sampler="shuffle", batch=B, records=records)
    lists = shuffled(rng, records, last)
    found = check(Seen(batches=batches(lists, records=records)), claimed)
    assert decide([found], 0.05)[0].status == "pass"
    fewer = [[r for r in item if r < records - B] for item in lists]
    found = check(Seen(batches=batches(fewer, records=records)), claimed)
    assert "records are dropped" in decide([found], 0.05)[0].detail


def test_always_the_same_records_in_a_dropped_batch_are_found() -> None:
    lists = shuffled(np.random.default_rng(8))
    claimed = Claimed(sampler="shuffle", batch=B, records=N + 4)
    found = check(Seen(batches=batches(lists, records=N + 4)), claimed)
    assert "always dropped" in decide([found], 0.05)[0].detail


def test_an_epoch_that_was_cut_off_misses_nothing() -> None:
    lists = shuffled(np.random.default_rng(9))[:-3]
    step = np.repeat(np.arange(len(lists)), B)
    sizes = np.array([STEPS] * (EPOCHS - 1) + [STEPS - 3])
    seen = Batches(N, np.concatenate(lists), step, sizes, whole=False)
    epochs = split(seen, seen.counts(10**6) > 0)
    assert once_an_epoch(epochs, B).p_value == 1.0
    assert fresh(epochs).p_value > 1e-3


def test_too_little_is_undecided_and_nothing_is_skipped() -> None:
    rng = np.random.default_rng(10)
    few = Seen(batches=batches(poisson(rng, steps=16), epochs=2))
    assert "are needed" in check(few, Claimed(sampler="poisson")).undecided
    one = Seen(batches=batches(shuffled(rng)[:STEPS], epochs=1))
    assert "one epoch" in check(one, Claimed(sampler="shuffle")).undecided
    assert "no loader" in check(Seen(), Claimed()).skipped
    unread = Seen(batches=batches(poisson(rng), unread=3))
    assert "could not be told" in check(unread, Claimed()).undecided
    empty = Seen(batches=batches([[], []], epochs=1))
    assert check(empty, Claimed()).undecided


def test_stated_power_is_reached() -> None:
    """The stated rate is found with probability 0.95: at least 86 of 100 runs, falsely below
    86 with a probability of 3e-4.
    """
    rng = np.random.default_rng(11)
    words = check(Seen(batches=batches(poisson(rng))), Claimed()).power
    times = float(words.split("drawn ")[1].split(" times")[0]) + 0.05
    odd = rates(_0=times * B / N)
    runs = [check(Seen(batches=batches(poisson(rng, odd))), Claimed()).tests[1] for _ in range(100)]
    assert sum(test.p_value <= 2e-3 for test in runs) >= 86

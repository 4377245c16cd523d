"""The check of steps and rate: exact level, and what it finds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cropaudit.audit.conformance.checks.steps_and_rate import check
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.batches import Batches
from cropaudit.audit.conformance.outcome import Finding, decide
from cropaudit.audit.conformance.seen import Seen

N, B, STEPS = 64, 8, 160
CLAIMED = Claimed(sampler="poisson", batch=B, records=N, steps=STEPS, epochs=20)


def poisson(rng: np.random.Generator, rate: float = B / N, **rest) -> Batches:
    step, record = np.nonzero(rng.random((STEPS, N)) < rate)
    named = {"source": "pipeline", "updates": STEPS, **rest}
    return Batches(N, record, step, np.full(20, STEPS // 20), **named)


def finding(batches: Batches, claimed: Claimed = CLAIMED) -> Finding:
    return decide([check(Seen(batches=batches), claimed)], 0.05)[0]


def test_the_rate_test_keeps_its_level() -> None:
    """1000 sound runs; fails falsely with a probability of at most 1e-4."""
    rng = np.random.default_rng(0)
    p_values = [check(Seen(batches=poisson(rng)), CLAIMED).tests[-1].p_value for _ in range(1000)]
    for level in (0.01, 0.05, 0.5):
        assert sum(p <= level for p in p_values) <= stats.binom.isf(3e-5, 1000, level)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 10_000))
def test_the_p_value_is_the_binomial_tail(steps: int, batch: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    step, record = np.nonzero(rng.random((steps, 30)) < rng.random())
    batches = Batches(30, record, step, np.array([steps]))
    found = check(Seen(batches=batches), Claimed(batch=batch, records=30)).tests[-1].p_value
    size = len(record)
    slow = sum(stats.binom.pmf(k, steps * 30, batch / 30) for k in range(size, steps * 30 + 1))
    assert found == pytest.approx(slow, abs=1e-9)


def test_an_epoch_more_and_a_wrong_rate_are_found() -> None:
    rng = np.random.default_rng(1)
    found = finding(poisson(rng, updates=STEPS + B))
    assert (found.status, found.p_value) == ("fail", 0.0)
    assert "168 optimiser steps, where the accountant was told 160 (8 more)" in found.detail
    for _ in range(10):
        assert finding(poisson(rng, 2 * B / N)).p_value < 1e-100


def test_stated_power_is_reached() -> None:
    """The stated ratio is found with probability 0.95: 172 of 200 runs, or falsely fewer (1e-6)."""
    rng = np.random.default_rng(2)
    words = check(Seen(batches=poisson(rng)), CLAIMED).power
    ratio = float(words.split("batches ")[1].split(" times")[0]) + 0.005
    runs = [finding(poisson(rng, ratio * B / N)) for _ in range(200)]
    p_values = [run.outcome.tests[-1].p_value for run in runs]
    assert sum(p <= 1e-3 for p in p_values) >= 172


def test_a_stated_rate_above_the_claim_is_found_and_one_below_is_not() -> None:
    rng = np.random.default_rng(3)
    uneven = replace(CLAIMED, records=66)
    drop_last = replace(poisson(rng, stated_rate=1 / 8), records=66)
    found = finding(drop_last, uneven)
    assert "drop_last" in found.detail
    kept = replace(poisson(rng, 1 / 9, stated_rate=1 / 9), records=66)
    assert finding(kept, uneven).status == "pass"


def test_less_than_claimed_is_safe_and_told() -> None:
    rng = np.random.default_rng(4)
    found = finding(poisson(rng, B / N / 2, updates=100))
    assert found.status == "pass"
    assert "100 steps, fewer than claimed, which is safe" in found.detail


def test_a_loader_is_judged_by_its_epochs() -> None:
    rng = np.random.default_rng(5)
    loader = poisson(rng, source="loader", updates=-1)
    assert finding(loader).status == "not measured"
    assert "does not show how often it is gone through" in finding(loader).detail
    longer = finding(loader, replace(CLAIMED, epochs=21))
    assert (
        "21 epochs that are claimed, of 8 batches, would make 168 optimiser steps" in longer.detail
    )


def test_batches_of_fixed_size_may_not_be_larger() -> None:
    step = np.repeat(np.arange(8), 8)
    batches = Batches(N, np.arange(N), step, np.array([8]))
    claimed = Claimed(sampler="shuffle", batch=8, records=N)
    assert finding(batches, claimed).p_value == 1
    assert "a batch holds 8 records" in finding(batches, replace(claimed, batch=7)).detail


def test_a_data_set_of_its_own_must_be_large_enough() -> None:
    batches = poisson(np.random.default_rng(6), ours=False, source="loader", updates=-1)
    assert (
        "64 records, where 100 are claimed"
        in finding(batches, replace(CLAIMED, records=100)).detail
    )
    assert finding(batches).p_value > 0.05


def test_nothing_claimed_or_seen_is_skipped() -> None:
    batches = poisson(np.random.default_rng(7), source="loader", updates=-1)
    assert "claimed" in check(Seen(batches=batches), Claimed()).skipped
    assert "no loader" in check(Seen(), CLAIMED).skipped
    hidden = poisson(np.random.default_rng(8), updates=-1)
    assert "no optimiser of torch" in finding(hidden).detail
    assert finding(hidden).status == "not measured"

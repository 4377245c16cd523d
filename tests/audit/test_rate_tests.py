"""What limits of rates rest on: one rate, drawn afresh. False alarms and known faults."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from cropaudit.accounting.mechanisms import PoissonPatch, ShufflePatch
from cropaudit.audit.certificate import certificate
from cropaudit.audit.rate_tests import judge_rates
from cropaudit.audit.run_logs import InclusionLog, Tally

Bits = NDArray[np.bool_]


def logged(drawn: Bits, met: Bits) -> InclusionLog:
    """Returns the log of records by steps, shape (records, steps)."""
    steps = tuple(
        tuple((int(a), int(a and b)) for a, b in zip(*rows, strict=True))
        for rows in zip(drawn, met, strict=True)
    )
    count, hits = int(drawn.sum()), int((drawn & met).sum())
    return InclusionLog(Tally(count, drawn.size), Tally(hits, max(count, 1)), steps=steps)


def random_log(seed: int, q: object = 0.1, rho: object = 0.3, records: int = 1) -> InclusionLog:
    rng = np.random.default_rng(seed)
    draws = rng.random((2, records, 1000))
    return logged(draws[0] < q, draws[1] < rho)


def refuted(log: InclusionLog, level: float = 0.01, *, sampled: bool = True) -> list[str]:
    return [item.fault for item in judge_rates(log, level, sampled=sampled) if item.refuted]


@pytest.mark.parametrize("records", [1, 5])
@pytest.mark.parametrize("q", [0.02, 0.1, 0.9])
def test_null_logs_of_one_rate_keep_the_level(q: float, records: int) -> None:
    """Level 0.3, 60 logs; false-failure rate at most 1e-5 each."""
    alarms = sum(bool(refuted(random_log(seed, q, 0.3, records), 0.3)) for seed in range(60))
    assert alarms <= binom.isf(1e-5, 60, 0.3)


HALF = np.arange(1000) < 500
CONSTANT = "is not constant over steps"


@pytest.mark.parametrize("records", [1, 4])
def test_power_rates_that_change_are_named(records: int) -> None:
    """Half of the steps at 0.02 and half at 0.18 pass for 0.1. Missed in less than 1e-6."""
    for seed in range(5):
        log = random_log(seed, np.where(HALF, 0.02, 0.18), 0.3, records)
        assert refuted(log) == [f"sampling rate {CONSTANT}"]
    changing = random_log(1, 0.5, np.where(HALF, 0.1, 0.5), records)
    assert refuted(changing) == [f"inclusion probability {CONSTANT}"]
    assert refuted(changing, sampled=False) == [f"inclusion probability {CONSTANT}"]
    burst = random_log(2, np.where(np.arange(1000) // 16 == 20, 0.95, 0.1), 0.3, records)
    assert refuted(burst) == [f"sampling rate {CONSTANT}"]


def test_power_batches_that_are_kept_are_named() -> None:
    """A batch that is used five times in a row, and records in turn, as a shuffled loader does."""
    for seed in range(5):
        drawn = np.repeat(np.random.default_rng(seed).random((1, 200)) < 0.1, 5, axis=1)
        log = logged(drawn, np.random.default_rng(seed).random((1, 1000)) < 0.3)
        assert "sampling rate is not drawn afresh" in refuted(log) or refuted(log) == [
            f"sampling rate {CONSTANT}"
        ]
    one_an_epoch = np.zeros((1, 1000), dtype=bool)
    at = np.arange(100) * 10 + np.random.default_rng(3).integers(10, size=100)
    one_an_epoch[0, at] = True
    assert refuted(logged(one_an_epoch, one_an_epoch)) != []
    assert refuted(logged(one_an_epoch, one_an_epoch), sampled=False) == []


def test_a_certificate_states_no_epsilon_of_rates_that_change() -> None:
    log = random_log(1, np.where(HALF, 0.02, 0.18))
    found = certificate(PoissonPatch(1.0, 0.1, 0.3, 1000), 1e-5, 0.05, inclusion=log)
    assert found.causes == (f"sampling rate {CONSTANT}",)
    assert not found.stated
    shuffled = ShufflePatch(4.0, 0.1, 0.3, 1000, epochs=100)
    assert certificate(shuffled, 1e-5, 0.05, inclusion=log).stated


def test_nothing_is_judged_of_tallies_alone() -> None:
    assert judge_rates(InclusionLog(Tally(3, 10)), 0.1, sampled=True) == ()


def test_few_draws_break_nothing() -> None:
    for bits in ([0, 0, 0], [1, 1, 1], [1], [0], [0, 1]):
        drawn = np.array([bits], dtype=bool)
        log = logged(drawn, drawn)
        assert refuted(log) == []

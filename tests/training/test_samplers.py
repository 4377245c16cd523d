from collections import Counter
from itertools import chain

import pytest
import torch
from scipy import stats

from cropaudit.accounting.registry import patch_mechanism, sampler_names
from cropaudit.errors import InputError
from cropaudit.training.samplers import (
    Cyclic,
    FixedSize,
    FullBatch,
    Poisson,
    Shuffle,
    batches,
    expected_batch,
    sampler_name,
    sampling_of,
)


def draw(sampling, records: int, steps: int, seed: int = 0) -> list[list[int]]:
    return list(batches(sampling, records, steps, torch.Generator().manual_seed(seed)))


def two_sided(successes: int, trials: int, probability: float) -> float:
    return stats.binomtest(successes, trials, probability).pvalue


def test_poisson_batches_may_be_empty():
    drawn = draw(Poisson(0.01), 3, 200)
    assert len(drawn) == 200
    assert [] in drawn


@pytest.mark.parametrize("sampling", [Poisson(0.2), FixedSize(2)])
def test_marginals_and_pairs_follow_the_law(sampling):
    # Exact binomial tests, each with false-failure rate 1e-6.
    drawn = draw(sampling, 10, 4000)
    joint = 0.04 if isinstance(sampling, Poisson) else 2 / 10 * 1 / 9
    for record in range(10):
        assert two_sided(sum(record in batch for batch in drawn), 4000, 0.2) > 1e-6
    both = sum({0, 1} <= set(batch) for batch in drawn)
    assert two_sided(both, 4000, joint) > 1e-6
    serial = sum(0 in a and 0 in b for a, b in zip(drawn[::2], drawn[1::2], strict=True))
    assert two_sided(serial, 2000, 0.04) > 1e-6


def test_poisson_at_rate_one_takes_every_record():
    assert draw(Poisson(1.0), 4, 2) == [[0, 1, 2, 3]] * 2


def test_fixed_size_batches_are_distinct_records():
    for batch in draw(FixedSize(7), 9, 300):
        assert len(set(batch)) == len(batch) == 7


def test_shuffling_takes_each_record_once_an_epoch():
    drawn = draw(Shuffle(4), 10, 9)
    assert [len(batch) for batch in drawn] == [4, 4, 2] * 3
    epochs = [[*chain(*drawn[start : start + 3])] for start in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_cycle_brings_the_same_batches_again_and_again():
    drawn = draw(Cyclic(4), 10, 9)
    assert drawn[:3] == drawn[3:6] == drawn[6:]
    assert sorted(chain(*drawn[:3])) == list(range(10))
    # The order is drawn once, not that of the records: 1 / 10! that both are the same.
    assert [*chain(*drawn[:3])] != list(range(10))


def test_the_order_of_a_cycle_is_uniform():
    # A chi-square test over the 24 orders of 4 records: false-failure rate 1e-6.
    orders = Counter(tuple(chain(*draw(Cyclic(2), 4, 2, seed))) for seed in range(4800))
    assert len(orders) == 24
    assert stats.chisquare(list(orders.values())).pvalue > 1e-6


@pytest.mark.parametrize("kind", [Shuffle, Cyclic])
def test_dropping_the_last_batch_leaves_whole_ones(kind):
    drawn = draw(kind(4, drop_last=True), 10, 6)
    assert [len(batch) for batch in drawn] == [4] * 6
    for epoch in (drawn[:2], drawn[2:4], drawn[4:]):
        assert len(set(chain(*epoch))) == 8


def test_every_record_is_dropped_as_often_as_another_by_shuffling_not_by_a_cycle():
    # Exact binomial tests, each with false-failure rate 1e-6.
    drawn = draw(Shuffle(4, drop_last=True), 5, 4000)
    for record in range(5):
        assert two_sided(sum(record in batch for batch in drawn), 4000, 0.8) > 1e-6
    left = {record for batch in draw(Cyclic(4, drop_last=True), 5, 50) for record in batch}
    assert len(left) == 4


def test_a_full_batch_holds_every_record():
    assert draw(FullBatch(), 3, 2) == [[0, 1, 2]] * 2


def test_no_batch_is_changed_by_changing_another():
    for sampling in (FullBatch(), Cyclic(3)):
        plan = batches(sampling, 3, 2, torch.Generator().manual_seed(0))
        next(plan).clear()
        assert len(next(plan)) == 3


@pytest.mark.parametrize("name", sampler_names())
@pytest.mark.parametrize("drop_last", [False, True])
def test_samplers_are_those_of_the_accountant(name, drop_last):
    # A record takes part no more often than the accountant composes; where a coin decides, at the
    # accounted rate (exact binomial test, false-failure rate 1e-6).
    batch, steps = 7 if name == "full" else 3, 300
    sampling = sampling_of(name, batch, 7, drop_last=drop_last)
    assert sampler_name(sampling) == name
    claim = patch_mechanism(
        name,
        noise_multiplier=1.0,
        batch=batch,
        records=7,
        inclusion=0.5,
        steps=steps,
        epochs=-(-steps // (7 // batch if drop_last else -(-7 // batch))),
        drop_last=drop_last,
    )
    drawn = draw(sampling, 7, steps)
    for record in range(7):
        took_part = sum(record in batch for batch in drawn)
        assert took_part <= claim.compositions
        if name in ("poisson", "fixed"):
            assert two_sided(took_part, steps, claim.sample_rate) > 1e-6


@pytest.mark.parametrize("sampling", [Poisson(0.3), FixedSize(3), Shuffle(3), Cyclic(3)])
def test_the_seed_fixes_the_batches(sampling):
    assert draw(sampling, 12, 20, seed=5) == draw(sampling, 12, 20, seed=5)
    assert draw(sampling, 12, 20, seed=5) != draw(sampling, 12, 20, seed=6)


def test_the_expected_batch_is_the_laws_mean():
    assert expected_batch(Poisson(0.125), 20) == 2.5
    assert expected_batch(FixedSize(3), 20) == 3.0
    assert expected_batch(Shuffle(3), 20) == 3.0
    assert expected_batch(Cyclic(3), 20) == 3.0
    assert expected_batch(FullBatch(), 20) == 20.0


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1, float("nan")])
def test_an_illegal_rate_is_refused(rate):
    with pytest.raises(InputError, match="sample_rate must be above 0 and at most 1"):
        Poisson(rate)


def test_a_full_batch_of_fewer_records_is_refused():
    with pytest.raises(InputError, match="batch must be all 9 records for full batches, got 4"):
        sampling_of("full", 4, 9)


@pytest.mark.parametrize("kind", [FixedSize, Shuffle, Cyclic])
def test_an_illegal_batch_is_refused(kind):
    with pytest.raises(InputError, match="batch must be at least 1, got 0"):
        kind(0)
    with pytest.raises(InputError, match="batch must be at most the 4 records, got 5"):
        batches(kind(5), 4, 1, torch.Generator())


def test_no_records_are_refused():
    with pytest.raises(InputError, match="records must be at least 1, got 0"):
        batches(Poisson(0.5), 0, 1, torch.Generator())

from itertools import chain

import pytest
import torch
from scipy import stats

from cropaudit.errors import InputError
from cropaudit.training.samplers import FixedSize, Poisson, Shuffle, batches, expected_batch


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


@pytest.mark.parametrize("sampling", [Poisson(0.3), FixedSize(3), Shuffle(3)])
def test_the_seed_fixes_the_batches(sampling):
    assert draw(sampling, 12, 20, seed=5) == draw(sampling, 12, 20, seed=5)
    assert draw(sampling, 12, 20, seed=5) != draw(sampling, 12, 20, seed=6)


def test_the_expected_batch_is_the_laws_mean():
    assert expected_batch(Poisson(0.125), 20) == 2.5
    assert expected_batch(FixedSize(3), 20) == 3.0
    assert expected_batch(Shuffle(3), 20) == 3.0


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1, float("nan")])
def test_an_illegal_rate_is_refused(rate):
    with pytest.raises(InputError, match="sample_rate must be above 0 and at most 1"):
        Poisson(rate)


@pytest.mark.parametrize("kind", [FixedSize, Shuffle])
def test_an_illegal_batch_is_refused(kind):
    with pytest.raises(InputError, match="batch must be at least 1, got 0"):
        kind(0)
    with pytest.raises(InputError, match="batch must be at most the 4 records, got 5"):
        batches(kind(5), 4, 1, torch.Generator())


def test_no_records_are_refused():
    with pytest.raises(InputError, match="records must be at least 1, got 0"):
        batches(Poisson(0.5), 0, 1, torch.Generator())

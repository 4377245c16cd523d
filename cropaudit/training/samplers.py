"""Which records take part in each step: Poisson, fixed-size or shuffled batches.

The laws are those that the accountant knows (theory, section 4). Records are drawn independently of
their content, and every draw comes from the generator that is passed in.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from opacus.utils.uniform_sampler import UniformWithReplacementSampler

from cropaudit.errors import require

__all__ = ["FixedSize", "Poisson", "Sampling", "Shuffle", "batches", "expected_batch"]


@dataclass(frozen=True)
class Poisson:
    """Each record joins each step on its own with probability ``sample_rate``; none may."""

    sample_rate: float

    def __post_init__(self) -> None:
        legal = "above 0 and at most 1"
        require(0 < self.sample_rate <= 1, "sample_rate", legal, self.sample_rate)


@dataclass(frozen=True)
class FixedSize:
    """Each step draws ``batch`` distinct records, independently of the other steps."""

    batch: int

    def __post_init__(self) -> None:
        require(self.batch >= 1, "batch", "at least 1", self.batch)


@dataclass(frozen=True)
class Shuffle:
    """Each epoch permutes the records afresh and takes ``batch`` at a time.

    The last batch of an epoch may be short, so every record takes part exactly once an epoch.
    """

    batch: int

    def __post_init__(self) -> None:
        require(self.batch >= 1, "batch", "at least 1", self.batch)


Sampling = Poisson | FixedSize | Shuffle


def batches(
    sampling: Sampling, records: int, steps: int, generator: torch.Generator
) -> Iterator[list[int]]:
    """Returns the records of each of ``steps`` batches.

    Raises:
        InputError: If a batch is larger than the data set, or a count is below its range.

    >>> list(batches(Shuffle(2), 2, 2, torch.Generator().manual_seed(0)))
    [[0, 1], [1, 0]]
    """
    require(steps >= 0, "steps", "at least 0", steps)
    _check(sampling, records)
    return islice(_endless(sampling, records, generator), steps)


def expected_batch(sampling: Sampling, records: int) -> float:
    """Returns the batch size by which the noisy sum is divided.

    >>> expected_batch(Poisson(0.25), 10), expected_batch(Shuffle(4), 10)
    (2.5, 4.0)
    """
    _check(sampling, records)
    match sampling:
        case Poisson(sample_rate):
            return sample_rate * records
        case FixedSize(batch) | Shuffle(batch):
            return float(batch)


def _check(sampling: Sampling, records: int) -> None:
    require(records >= 1, "records", "at least 1", records)
    match sampling:
        case FixedSize(batch) | Shuffle(batch):
            require(batch <= records, "batch", f"at most the {records} records", batch)
        case Poisson():
            pass


def _endless(sampling: Sampling, records: int, generator: torch.Generator) -> Iterator[list[int]]:
    match sampling:
        case Poisson(sample_rate):
            return _poisson(sample_rate, records, generator)
        case FixedSize(batch):
            return _fixed_size(batch, records, generator)
        case Shuffle(batch):
            return _shuffle(batch, records, generator)


def _poisson(rate: float, records: int, generator: torch.Generator) -> Iterator[list[int]]:
    # One step an "epoch": Opacus would otherwise stop after 1 / rate batches.
    sampler = UniformWithReplacementSampler(
        num_samples=records, sample_rate=rate, generator=generator, steps=1
    )
    while True:
        yield from sampler


def _fixed_size(batch: int, records: int, generator: torch.Generator) -> Iterator[list[int]]:
    while True:
        yield torch.randperm(records, generator=generator)[:batch].tolist()


def _shuffle(batch: int, records: int, generator: torch.Generator) -> Iterator[list[int]]:
    while True:
        order = torch.randperm(records, generator=generator).tolist()
        for start in range(0, records, batch):
            yield order[start : start + batch]

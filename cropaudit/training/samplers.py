"""Which records take part in each step: the samplers that the accountant has a bound for.

The laws are those of `cropaudit.accounting.mechanisms`. Records are drawn independently of their
content, and every draw comes from the generator that is passed in.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice, repeat

import torch
from opacus.utils.uniform_sampler import UniformWithReplacementSampler

from cropaudit.accounting.names import SamplerName
from cropaudit.errors import require

__all__ = [
    "Cyclic",
    "FixedSize",
    "FullBatch",
    "Poisson",
    "Sampling",
    "Shuffle",
    "batches",
    "expected_batch",
    "sampler_name",
    "sampling_of",
]


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
class _Ordered:
    """Batches of a fixed order, one after the other.

    Attributes:
        batch: Records in each.
        drop_last: Whether the short batch at the end of an epoch is left out. Without that every
            record takes part exactly once an epoch.
    """

    batch: int
    drop_last: bool = False

    def __post_init__(self) -> None:
        require(self.batch >= 1, "batch", "at least 1", self.batch)


@dataclass(frozen=True)
class Shuffle(_Ordered):
    """Each epoch permutes the records afresh and takes ``batch`` at a time."""


@dataclass(frozen=True)
class Cyclic(_Ordered):
    """The records are permuted once, and the same batches come round again and again."""


@dataclass(frozen=True)
class FullBatch:
    """Every step takes every record."""


Sampling = Poisson | FixedSize | Shuffle | Cyclic | FullBatch


def sampling_of(
    name: SamplerName, batch: int, records: int, *, drop_last: bool = False
) -> Sampling:
    """Returns the sampler that the accountant means by a name and these numbers.

    Args:
        name: Of the sampler.
        batch: Batch size; its expectation under Poisson sampling.
        records: Images in the data set.
        drop_last: Whether the last short batch is dropped. Under Poisson sampling the rate is then
            one over the number of whole batches, as in Opacus' DPDataLoader.

    Raises:
        InputError: If the batch does not fit the records.

    >>> sampling_of("poisson", 3, 10, drop_last=True), sampling_of("cyclic", 3, 10)
    (Poisson(sample_rate=0.3333333333333333), Cyclic(batch=3, drop_last=False))
    """
    require(1 <= batch <= records, "batch", f"between 1 and the {records} records", batch)
    match name:
        case "poisson":
            return Poisson(1 / (records // batch) if drop_last else batch / records)
        case "fixed":
            return FixedSize(batch)
        case "shuffle":
            return Shuffle(batch, drop_last)
        case "cyclic":
            return Cyclic(batch, drop_last)
        case "full":
            require(batch == records, "batch", f"all {records} records for full batches", batch)
            return FullBatch()


def sampler_name(sampling: Sampling) -> SamplerName:
    """Returns the accountant's name of a sampler.

    >>> sampler_name(FullBatch())
    'full'
    """
    match sampling:
        case Poisson():
            return "poisson"
        case FixedSize():
            return "fixed"
        case Shuffle():
            return "shuffle"
        case Cyclic():
            return "cyclic"
        case FullBatch():
            return "full"


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
    return map(list, islice(_endless(sampling, records, generator), steps))


def expected_batch(sampling: Sampling, records: int) -> float:
    """Returns the batch size by which the noisy sum is divided.

    >>> expected_batch(Poisson(0.25), 10), expected_batch(Shuffle(4), 10)
    (2.5, 4.0)
    """
    _check(sampling, records)
    match sampling:
        case Poisson(sample_rate):
            return sample_rate * records
        case FixedSize(batch) | Shuffle(batch) | Cyclic(batch):
            return float(batch)
        case FullBatch():
            return float(records)


def _check(sampling: Sampling, records: int) -> None:
    require(records >= 1, "records", "at least 1", records)
    match sampling:
        case FixedSize(batch) | Shuffle(batch) | Cyclic(batch):
            require(batch <= records, "batch", f"at most the {records} records", batch)
        case Poisson() | FullBatch():
            pass


def _endless(sampling: Sampling, records: int, generator: torch.Generator) -> Iterator[list[int]]:
    match sampling:
        case Poisson(sample_rate):
            return _poisson(sample_rate, records, generator)
        case FixedSize(batch):
            return _fixed_size(batch, records, generator)
        case Shuffle(batch, drop_last):
            return _shuffle(batch, drop_last, records, generator)
        case Cyclic(batch, drop_last):
            return cycle(_cut(_order(records, generator), batch, drop_last))
        case FullBatch():
            return repeat(list(range(records)))


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


def _shuffle(
    batch: int, drop_last: bool, records: int, generator: torch.Generator
) -> Iterator[list[int]]:
    while True:
        yield from _cut(_order(records, generator), batch, drop_last)


def _order(records: int, generator: torch.Generator) -> list[int]:
    order: list[int] = torch.randperm(records, generator=generator).tolist()
    return order


def _cut(order: list[int], batch: int, drop_last: bool) -> list[list[int]]:
    stop = len(order) // batch * batch if drop_last else len(order)
    return [order[start : start + batch] for start in range(0, stop, batch)]

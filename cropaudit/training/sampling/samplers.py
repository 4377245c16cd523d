"""Which records take part in each step: the samplers that the accountant has a bound for.

The laws are those of `accounting.mechanisms.descriptions`, under the same names. Records are drawn
independently of their content, and every draw comes from the generator that is passed in. A new
sampler is one class here and one entry of `SAMPLERS`.
"""

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from itertools import cycle, islice, repeat
from typing import ClassVar, Self

import torch
from opacus.utils.uniform_sampler import UniformWithReplacementSampler

from cropaudit.accounting.names import SamplerName
from cropaudit.errors import require

__all__ = [
    "SAMPLERS",
    "Cyclic",
    "FixedSize",
    "FullBatch",
    "Poisson",
    "Sampling",
    "Shuffle",
    "batches",
    "expected_batch",
    "sampling_of",
]


@dataclass(frozen=True)
class Sampling:
    """How batches are drawn.

    Attributes:
        name: As the accountant has it.
    """

    name: ClassVar[SamplerName]

    @classmethod
    def of(cls, batch: int, records: int, *, drop_last: bool) -> Self:
        """Makes the sampler that the accountant means by these numbers."""
        raise NotImplementedError

    def expected(self, records: int) -> float:
        """Returns the batch size by which the noisy sum is divided."""
        raise NotImplementedError

    def endless(self, records: int, generator: torch.Generator) -> Iterator[list[int]]:
        """Yields the records of batch after batch."""
        raise NotImplementedError


@dataclass(frozen=True)
class Poisson(Sampling):
    """Each record joins each step on its own with probability ``sample_rate``; none may."""

    name: ClassVar[SamplerName] = "poisson"

    sample_rate: float

    def __post_init__(self) -> None:
        legal = "above 0 and at most 1"
        require(0 < self.sample_rate <= 1, "sample_rate", legal, self.sample_rate)

    @classmethod
    def of(cls, batch: int, records: int, *, drop_last: bool) -> Self:  # noqa: D102
        return cls(1 / (records // batch) if drop_last else batch / records)

    def expected(self, records: int) -> float:  # noqa: D102
        return self.sample_rate * records

    def endless(self, records: int, generator: torch.Generator) -> Iterator[list[int]]:  # noqa: D102
        # One step an "epoch": Opacus would otherwise stop after 1 / rate batches.
        sampler = UniformWithReplacementSampler(
            num_samples=records, sample_rate=self.sample_rate, generator=generator, steps=1
        )
        while True:
            yield from sampler


@dataclass(frozen=True)
class _Sized(Sampling):
    """Batches of so many records."""

    batch: int

    def __post_init__(self) -> None:
        require(self.batch >= 1, "batch", "at least 1", self.batch)

    @classmethod
    def of(cls, batch: int, records: int, *, drop_last: bool) -> Self:
        return cls(batch)

    def expected(self, records: int) -> float:
        return float(self.batch)


@dataclass(frozen=True)
class FixedSize(_Sized):
    """Each step draws ``batch`` distinct records, independently of the other steps."""

    name: ClassVar[SamplerName] = "fixed"

    def endless(self, records: int, generator: torch.Generator) -> Iterator[list[int]]:  # noqa: D102
        while True:
            yield torch.randperm(records, generator=generator)[: self.batch].tolist()


@dataclass(frozen=True)
class _Ordered(_Sized):
    """Batches of a fixed order, one after the other.

    Attributes:
        batch: Records in each.
        drop_last: Whether the short batch at the end of an epoch is left out. Without that every
            record takes part exactly once an epoch.
    """

    drop_last: bool = False

    @classmethod
    def of(cls, batch: int, records: int, *, drop_last: bool) -> Self:
        return cls(batch, drop_last)

    def epoch(self, records: int, generator: torch.Generator) -> list[list[int]]:
        """Returns the batches of one epoch in a new random order."""
        order: list[int] = torch.randperm(records, generator=generator).tolist()
        stop = records // self.batch * self.batch if self.drop_last else records
        return [order[start : start + self.batch] for start in range(0, stop, self.batch)]


@dataclass(frozen=True)
class Shuffle(_Ordered):
    """Each epoch permutes the records afresh and takes ``batch`` at a time."""

    name: ClassVar[SamplerName] = "shuffle"

    def endless(self, records: int, generator: torch.Generator) -> Iterator[list[int]]:  # noqa: D102
        while True:
            yield from self.epoch(records, generator)


@dataclass(frozen=True)
class Cyclic(_Ordered):
    """The records are permuted once, and the same batches come round again and again."""

    name: ClassVar[SamplerName] = "cyclic"

    def endless(self, records: int, generator: torch.Generator) -> Iterator[list[int]]:  # noqa: D102
        return cycle(self.epoch(records, generator))


@dataclass(frozen=True)
class FullBatch(Sampling):
    """Every step takes every record."""

    name: ClassVar[SamplerName] = "full"

    @classmethod
    def of(cls, batch: int, records: int, *, drop_last: bool) -> Self:  # noqa: D102
        require(batch == records, "batch", f"all {records} records for full batches", batch)
        return cls()

    def expected(self, records: int) -> float:  # noqa: D102
        return float(records)

    def endless(self, records: int, generator: torch.Generator) -> Iterator[list[int]]:  # noqa: D102
        return repeat(list(range(records)))


SAMPLERS: MutableMapping[str, type[Sampling]] = {
    kind.name: kind for kind in (Poisson, FixedSize, Shuffle, Cyclic, FullBatch)
}


def sampling_of(name: str, batch: int, records: int, *, drop_last: bool = False) -> Sampling:
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
    require(name in SAMPLERS, "sampler", f"one of {', '.join(SAMPLERS)}", name)
    return SAMPLERS[name].of(batch, records, drop_last=drop_last)


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
    return map(list, islice(sampling.endless(records, generator), steps))


def expected_batch(sampling: Sampling, records: int) -> float:
    """Returns the batch size by which the noisy sum is divided.

    >>> expected_batch(Poisson(0.25), 10), expected_batch(Shuffle(4), 10)
    (2.5, 4.0)
    """
    _check(sampling, records)
    return sampling.expected(records)


def _check(sampling: Sampling, records: int) -> None:
    require(records >= 1, "records", "at least 1", records)
    if isinstance(sampling, _Sized):
        fits = sampling.batch <= records
        require(fits, "batch", f"at most the {records} records", sampling.batch)

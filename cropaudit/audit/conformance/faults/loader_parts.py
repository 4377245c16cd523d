"""Data sets and samplers of the planted loaders: with one fault each, where their words say so."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate
from torchvision.transforms import v2

__all__ = [
    "BATCH",
    "CROP",
    "CachedCrops",
    "Cropped",
    "Endless",
    "FixedSize",
    "NumpyCrops",
    "Reseeded",
    "WeightedPoisson",
    "collate",
]

BATCH = 8
CROP = 32
_FAVOUR = 3.0
_SEED = 0


class Cropped(Dataset[Any]):
    """The data set with a fresh window for each image that is read."""

    def __init__(self, dataset: Dataset[Any], transform: Any = None) -> None:
        self.dataset = dataset
        self.transform = transform or v2.RandomCrop(CROP)

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        return self.transform(*self.dataset[index])


class CachedCrops(Cropped):
    """Keeps the first crop of each image: later epochs see it again."""

    def __init__(self, dataset: Dataset[Any], transform: Any = None) -> None:
        super().__init__(dataset, transform)
        self.cache: dict[int, Any] = {}

    def __getitem__(self, index: int) -> Any:
        if index not in self.cache:
            self.cache[index] = super().__getitem__(index)
        return self.cache[index]


class NumpyCrops(Cropped):
    """Draws windows from a generator that it holds: each worker gets a copy in the same state."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        super().__init__(dataset)
        self.rng = np.random.default_rng()

    def __getitem__(self, index: int) -> Any:
        image, mask = self.dataset[index]
        height, width = mask.shape
        top = int(self.rng.integers(height - CROP + 1))
        left = int(self.rng.integers(width - CROP + 1))
        window = slice(top, top + CROP), slice(left, left + CROP)
        return image[:, *window], mask[window]


class WeightedPoisson(Sampler[list[int]]):
    """Poisson sampling in which record 0 has `_FAVOUR` times the rate of the others."""

    def __init__(self, records: int, rate: float) -> None:
        self.rates = torch.full((records,), rate)
        self.rates[0] *= _FAVOUR
        self.steps = round(1 / rate)

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        for _ in range(self.steps):
            yield torch.nonzero(torch.rand(len(self.rates)) < self.rates).flatten().tolist()


class FixedSize(Sampler[list[int]]):
    """Draws `BATCH` distinct records for each batch, afresh."""

    def __init__(self, records: int) -> None:
        self.records = records

    def __len__(self) -> int:
        return self.records // BATCH

    def __iter__(self) -> Iterator[list[int]]:
        for _ in range(len(self)):
            yield torch.randperm(self.records)[:BATCH].tolist()


class Endless:
    """A loader that begins anew where it ends, as trainers that count steps have it."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield from self.loader


class Reseeded:
    """A loader that seeds torch when an epoch begins, for the sake of reproducible runs."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        torch.manual_seed(_SEED)
        yield from self.loader


def collate(samples: list[Any]) -> Any:
    """Stacks samples; none at all are an empty batch."""
    if samples:
        return default_collate(samples)
    return [torch.zeros(0, 3, CROP, CROP), torch.zeros(0, CROP, CROP, dtype=torch.int64)]

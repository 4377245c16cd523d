"""Loaders that break one assumption each, and sound ones: real torch and Opacus code.

Each is a factory that a user could have written: it is given a data set of pairs (image, mask) and
returns an iterable of batches. Crops are torchvision's, of `CROP` pixels a side.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from opacus.data_loader import DPDataLoader
from torch.utils.data import DataLoader, Dataset, Sampler, Subset, default_collate
from torchvision.transforms import v2

from cropaudit.accounting.geometry.shapes import Crop, Rectangle, Size
from cropaudit.conformance.mutants.mutant import Shelf
from cropaudit.conformance.pipeline_claim import PipelineClaim

__all__ = ["BATCH", "CROP", "MUTANTS", "CachedCrops", "Cropped", "Endless"]

BATCH, CROP, RECORDS = 8, 32, 64
_DROPPED, _CROPS, _WORKERS, _FAVOUR, _SEED = 4, 2, 2, 3.0, 0


class Cropped(Dataset[Any]):
    """The data set with a fresh window for each image that is read."""

    def __init__(self, dataset: Any, transform: Any = None) -> None:
        self.dataset = dataset
        self.transform = transform or v2.RandomCrop(CROP)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.transform(*self.dataset[index])


class CachedCrops(Cropped):
    """Keeps the first crop of each image: later epochs see it again."""

    def __init__(self, dataset: Any, transform: Any = None) -> None:
        super().__init__(dataset, transform)
        self.cache: dict[int, Any] = {}

    def __getitem__(self, index: int) -> Any:
        if index not in self.cache:
            self.cache[index] = super().__getitem__(index)
        return self.cache[index]


class _NumpyCrops(Cropped):
    """Draws windows from a generator that it holds: each worker gets a copy in the same state."""

    def __init__(self, dataset: Any) -> None:
        super().__init__(dataset)
        self.rng = np.random.default_rng()

    def __getitem__(self, index: int) -> Any:
        image, mask = self.dataset[index]
        top, left = (int(self.rng.integers(side - CROP + 1)) for side in mask.shape)
        window = slice(top, top + CROP), slice(left, left + CROP)
        return image[:, *window], mask[window]


class _Batches(Sampler[list[int]]):
    """Draws each batch afresh: of `BATCH` records, or each record at a rate of its own."""

    def __init__(self, records: int, rates: torch.Tensor | None = None) -> None:
        self.records, self.rates = records, rates

    def __len__(self) -> int:
        return self.records // BATCH

    def __iter__(self) -> Iterator[list[int]]:
        for _ in range(len(self)):
            if self.rates is None:
                yield torch.randperm(self.records)[:BATCH].tolist()
            else:
                yield torch.nonzero(torch.rand(self.records) < self.rates).flatten().tolist()


class Endless:
    """A loader that begins anew where it ends, as trainers that count steps have it."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield from self.loader


class _Reseeded(Endless):
    """A loader that seeds torch when an epoch begins, for the sake of reproducible runs."""

    def __iter__(self) -> Iterator[Any]:
        torch.manual_seed(_SEED)
        yield from self.loader


def _collate(samples: list[Any]) -> Any:
    """Stacks samples; none at all are an empty batch."""
    if samples:
        return default_collate(samples)
    return [torch.zeros(0, 3, CROP, CROP), torch.zeros(0, CROP, CROP, dtype=torch.int64)]


def _shuffled(
    dataset: Any, data: Callable[[Any], Any] = Cropped, **options: Any
) -> DataLoader[Any]:
    return DataLoader(data(dataset), batch_size=BATCH, shuffle=True, **options)


def _poisson(dataset: Any, data: Callable[[Any], Any] = Cropped, **options: Any) -> DPDataLoader:
    return DPDataLoader(data(dataset), sample_rate=BATCH / len(dataset), **options)


def _favoured(dataset: Any) -> DataLoader[Any]:
    rates = torch.full((len(dataset),), BATCH / len(dataset))
    rates[0] *= _FAVOUR
    sampler = _Batches(len(dataset), rates)
    return DataLoader(Cropped(dataset), batch_sampler=sampler, collate_fn=_collate)


def _kept(dataset: Any) -> Any:
    return Cropped(Subset(dataset, range(len(dataset) - _DROPPED)))


def _dropping_last(dataset: Any) -> DPDataLoader:
    plain = DataLoader(Cropped(dataset), batch_size=BATCH, drop_last=True)
    return DPDataLoader.from_data_loader(plain)


def _same_order(dataset: Any) -> DataLoader[Any]:
    order = torch.randperm(len(dataset)).tolist()
    return DataLoader(Subset(Cropped(dataset), order), batch_size=BATCH)


def _one_crop_a_batch(dataset: Any) -> DataLoader[Any]:
    crop = v2.RandomCrop(CROP)

    def crop_all(samples: list[Any]) -> Any:
        images, masks = default_collate(samples)
        return tuple(crop(torch.cat([images, masks[:, None]], dim=1)).split([3, 1], dim=1))

    return _shuffled(dataset, lambda data: data, collate_fn=crop_all)


def _several_crops(dataset: Any) -> DPDataLoader:
    crop = v2.RandomCrop(CROP)

    def crop_each(samples: list[Any]) -> Any:
        return _collate([crop(*sample) for sample in samples for _ in range(_CROPS)])

    return _poisson(dataset, lambda data: data, collate_fn=crop_each)


def _own_generator() -> torch.Generator:
    return torch.Generator().manual_seed(_SEED)


_CODE: dict[str, Any] = {
    "shuffle-for-poisson": lambda dataset: _shuffled(dataset),
    "favoured-record": _favoured,
    "dropped-records": lambda dataset: _poisson(dataset, _kept),
    "several-crops-as-one": _several_crops,
    "same-order": _same_order,
    "drop-last-rate": _dropping_last,
    "reseeded-epochs": lambda dataset: _Reseeded(_shuffled(dataset, generator=_own_generator())),
    "cached-crops": lambda dataset: _shuffled(dataset, CachedCrops),
    "one-crop-a-batch": _one_crop_a_batch,
    "equal-workers": lambda dataset: _shuffled(dataset, _NumpyCrops, num_workers=_WORKERS),
    "poisson": lambda dataset: _poisson(dataset),
    "fixed-size": lambda dataset: DataLoader(
        Cropped(dataset), batch_sampler=_Batches(len(dataset))
    ),
    "shuffled": lambda dataset: _shuffled(dataset),
    "endless": lambda dataset: Endless(_shuffled(dataset)),
    "shuffled-workers": lambda dataset: _shuffled(dataset, num_workers=_WORKERS),
}
MUTANTS = Shelf(
    __name__,
    "loader",
    PipelineClaim(
        image=Size(48, 64),
        patch=Rectangle(Size(8, 8)),
        crop=Crop(Size(CROP, CROP)),
        sampler="shuffle",
        batch=BATCH,
        records=RECORDS,
    ),
    _CODE,
    {
        "shuffle-for-poisson": {"sampler": "poisson"},
        "favoured-record": {"sampler": "poisson"},
        "dropped-records": {"sampler": "poisson"},
        "several-crops-as-one": {"sampler": "poisson"},
        "drop-last-rate": {"sampler": "poisson", "records": RECORDS + 2},
        "poisson": {"sampler": "poisson"},
        "fixed-size": {"sampler": "fixed"},
    },
)
__getattr__ = MUTANTS.code

"""Loaders that break one assumption each, and sound ones: real torch and Opacus code.

Each is a factory that a user could have written: it is given a data set of pairs (image, mask) and
returns an iterable of batches. Crops are torchvision's, of `CROP` pixels a side.
"""

from collections.abc import Callable
from typing import Any

import torch
from opacus.data_loader import DPDataLoader
from torch.utils.data import DataLoader, Dataset, Subset, default_collate
from torchvision.transforms import v2

from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.accounting.names import SamplerName
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.faults.fault import Fault
from cropaudit.audit.conformance.faults.loader_parts import (
    BATCH,
    CROP,
    CachedCrops,
    Cropped,
    Endless,
    FixedSize,
    NumpyCrops,
    Reseeded,
    WeightedPoisson,
    collate,
)
from cropaudit.audit.conformance.subjects import Subjects

__all__ = [
    "CLEAN",
    "FAULTS",
    "make_cached_crops",
    "make_drop_last",
    "make_dropped_records",
    "make_endless",
    "make_equal_workers",
    "make_favoured_record",
    "make_fixed_size",
    "make_one_crop_a_batch",
    "make_poisson",
    "make_reseeded",
    "make_same_order",
    "make_several_crops",
    "make_shuffled",
    "make_shuffled_in_workers",
]

RECORDS = 64
_DROPPED = 4
_CROPS = 2
_WORKERS = 2
_SEED = 0
_UNEVEN = 66  # records that are no multiple of the batch


def make_poisson(dataset: Dataset[Any]) -> DPDataLoader:
    """Returns Opacus' loader: each record joins each batch on its own."""
    return DPDataLoader(Cropped(dataset), sample_rate=BATCH / len(dataset))  # type: ignore[arg-type]


def make_fixed_size(dataset: Dataset[Any]) -> DataLoader[Any]:
    """Returns batches of one size, each drawn afresh."""
    return DataLoader(Cropped(dataset), batch_sampler=FixedSize(len(dataset)))  # type: ignore[arg-type]


def make_shuffled(dataset: Dataset[Any]) -> DataLoader[Any]:
    """Returns torch's plain loader: sound as shuffled batches, and no Poisson sampling."""
    return DataLoader(Cropped(dataset), batch_size=BATCH, shuffle=True)


def make_shuffled_in_workers(dataset: Dataset[Any]) -> DataLoader[Any]:
    """Returns the same with workers, whose generators torch seeds apart."""
    return DataLoader(Cropped(dataset), batch_size=BATCH, shuffle=True, num_workers=_WORKERS)


def make_endless(dataset: Dataset[Any]) -> Endless:
    """Returns the same without an end."""
    return Endless(make_shuffled(dataset))


def make_favoured_record(dataset: Dataset[Any]) -> DataLoader[Any]:
    """Returns Poisson batches in which one record has thrice the rate."""
    sampler = WeightedPoisson(len(dataset), BATCH / len(dataset))  # type: ignore[arg-type]
    return DataLoader(Cropped(dataset), batch_sampler=sampler, collate_fn=collate)


def make_dropped_records(dataset: Dataset[Any]) -> DPDataLoader:
    """Returns Poisson batches of all records but the last few, which a split lost."""
    records = len(dataset)  # type: ignore[arg-type]
    kept = Subset(dataset, range(records - _DROPPED))
    return DPDataLoader(Cropped(kept), sample_rate=BATCH / records)


def make_drop_last(dataset: Dataset[Any]) -> DPDataLoader:
    """Returns Opacus' loader made from one with drop_last: its rate is one over the batches."""
    plain = DataLoader(Cropped(dataset), batch_size=BATCH, drop_last=True)
    return DPDataLoader.from_data_loader(plain)


def make_same_order(dataset: Dataset[Any]) -> DataLoader[Any]:
    """Returns a list that was shuffled once, and is gone through in that order ever after."""
    order = torch.randperm(len(dataset)).tolist()  # type: ignore[arg-type]
    return DataLoader(Subset(Cropped(dataset), order), batch_size=BATCH)


def make_reseeded(dataset: Dataset[Any]) -> Reseeded:
    """Returns a loader whose windows are the same at the same place of each epoch."""
    own = torch.Generator().manual_seed(_SEED)
    return Reseeded(DataLoader(Cropped(dataset), batch_size=BATCH, shuffle=True, generator=own))


def make_cached_crops(dataset: Dataset[Any]) -> DataLoader[Any]:
    """Returns a loader whose crops are made in the first epoch and kept."""
    return DataLoader(CachedCrops(dataset), batch_size=BATCH, shuffle=True)


def make_one_crop_a_batch(dataset: Dataset[Any]) -> DataLoader[Any]:
    """Returns a loader that crops the batch, and not each image."""
    crop = v2.RandomCrop(CROP)

    def crop_all(samples: list[Any]) -> Any:
        images, masks = default_collate(samples)
        return tuple(crop(torch.cat([images, masks[:, None]], dim=1)).split([3, 1], dim=1))

    return DataLoader(dataset, batch_size=BATCH, shuffle=True, collate_fn=crop_all)


def make_equal_workers(dataset: Dataset[Any]) -> DataLoader[Any]:
    """Returns a loader whose workers hold copies of one numpy generator."""
    return DataLoader(NumpyCrops(dataset), batch_size=BATCH, shuffle=True, num_workers=_WORKERS)


def make_several_crops(dataset: Dataset[Any]) -> DPDataLoader:
    """Returns Poisson batches with more than one crop of each image."""
    crop = v2.RandomCrop(CROP)

    def crop_each(samples: list[Any]) -> Any:
        return collate([crop(*sample) for sample in samples for _ in range(_CROPS)])

    rate = BATCH / len(dataset)  # type: ignore[arg-type]
    return DPDataLoader(dataset, sample_rate=rate, collate_fn=crop_each)


_IMAGE = Size(48, 64)


def _planted(
    name: str,
    factory: Callable[..., Any],
    check: str,
    summary: str,
    sampler: SamplerName = "shuffle",
    records: int = RECORDS,
) -> Fault:
    claimed = Claimed(
        image=_IMAGE,
        patch=Rectangle(Size(8, 8)),
        crop=Crop(Size(CROP, CROP)),
        sampler=sampler,
        batch=BATCH,
        records=records,
    )
    subjects = Subjects(loader=f"{__name__}:{factory.__name__}")
    return Fault(name, summary, check, subjects, claimed)


FAULTS: tuple[Fault, ...] = (
    _planted(
        "shuffle-for-poisson",
        make_shuffled,
        "batch law",
        "A shuffled list is passed off as Poisson sampling.",
        "poisson",
    ),
    _planted(
        "favoured-record",
        make_favoured_record,
        "batch law",
        "One record is drawn three times as often as the others.",
        "poisson",
    ),
    _planted(
        "dropped-records",
        make_dropped_records,
        "batch law",
        "Four of 64 records never join a batch.",
        "poisson",
    ),
    _planted(
        "several-crops-as-one",
        make_several_crops,
        "batch law",
        "Two crops of each image are accounted as one.",
        "poisson",
    ),
    _planted(
        "same-order",
        make_same_order,
        "batch law",
        "The list is shuffled once and not in each epoch.",
    ),
    _planted(
        "drop-last-rate",
        make_drop_last,
        "steps and rate",
        "Opacus samples at one over the number of batches, which drop_last makes smaller.",
        "poisson",
        _UNEVEN,
    ),
    _planted(
        "reseeded-epochs",
        make_reseeded,
        "independence",
        "The generator of the windows is seeded again in each epoch.",
    ),
    _planted(
        "cached-crops",
        make_cached_crops,
        "independence",
        "The crop of an image is made once and used in all epochs.",
    ),
    _planted(
        "one-crop-a-batch",
        make_one_crop_a_batch,
        "independence",
        "One window is drawn for all images of a batch.",
    ),
    _planted(
        "equal-workers",
        make_equal_workers,
        "independence",
        "Workers hold copies of one numpy generator and draw the same windows.",
    ),
)

CLEAN: tuple[Fault, ...] = (
    _planted("poisson", make_poisson, "", "Opacus' Poisson loader.", "poisson"),
    _planted("fixed-size", make_fixed_size, "", "Batches of one size, drawn afresh.", "fixed"),
    _planted("shuffled", make_shuffled, "", "A list that is shuffled in each epoch."),
    _planted("endless", make_endless, "", "The same without an end."),
    _planted("shuffled-workers", make_shuffled_in_workers, "", "The same, read by two workers."),
)

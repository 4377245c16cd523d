"""Which windows may depend on which: the pairs of draws that a fault would make alike."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropaudit.audit.conformance.observe.draws import Draws

__all__ = ["Relation", "relations", "windows"]

Integers = NDArray[np.int64]

_FIELDS = ("top", "left", "height", "width", "flipped_rows", "flipped_columns")


@dataclass(frozen=True, eq=False)
class Relation:
    """Pairs of draws.

    Attributes:
        of: What the two have in common, to be read after "windows".
        cause: What makes them alike, and how to mend it.
        first: Index of one of each pair, shape (n,).
        second: Index of the other.
    """

    of: str
    cause: str
    first: Integers
    second: Integers


def windows(draws: Draws) -> Integers:
    """Returns one number for each window, the same for equal ones; -1 if it was not read off."""
    table = np.stack([getattr(draws, name).astype(np.int64) for name in _FIELDS], axis=1)
    numbers = np.unique(table, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return np.where(draws.decoded, numbers, -1)


def relations(draws: Draws) -> tuple[Relation, ...]:
    """Returns the relations that these draws have pairs of; calls only follow one another."""
    if not len(draws):
        return ()
    of_loader = bool((draws.step >= 0).any())
    found = _of_loader(draws) if of_loader else _of_calls(draws)
    return tuple(item for item in found if len(item.first))


def _of_calls(draws: Draws) -> tuple[Relation, ...]:
    several = int(draws.slot.max()) + 1 or 1  # crops of an image in each call
    order = np.arange(len(draws))
    after = order[several:]
    neighbours = order[1:][draws.slot[1:] > 0]
    return (
        Relation(
            "of consecutive calls",
            "a window is kept for the next call; draw one in each call",
            after - several,
            after,
        ),
        Relation(
            "of the same image",
            "one window is drawn for all crops of an image; draw each on its own, or take one crop",
            neighbours - 1,
            neighbours,
        ),
    )


def _of_loader(draws: Draws) -> tuple[Relation, ...]:
    workers = int(draws.worker.max()) + 1
    ordinal = _ordinal(draws.epoch, draws.worker)
    return (
        Relation(
            "of neighbours in a batch",
            "one window is drawn for the whole batch; crop each image in the data set, not the "
            "batch in the loop or the collate function",
            *_following((draws.step,), draws.slot),
        ),
        Relation(
            "of the same record in consecutive epochs",
            "crops are kept and used again (a cache, or crops made once); crop when the image is "
            "read, in each epoch",
            *_following((draws.record,), draws.epoch, draws.record >= 0),
        ),
        Relation(
            "at the same place of consecutive epochs",
            "the generator of the windows starts anew in each epoch; do not seed again, and in "
            "workers seed from torch.initial_seed(), which changes",
            *_following((draws.worker, ordinal), draws.epoch),
        ),
        Relation(
            "at the same place of different workers",
            "workers have equal generators, copied when they were started (as a numpy Generator "
            "that the data set holds); seed it in worker_init_fn from torch.initial_seed()",
            *_following((draws.epoch, ordinal), draws.worker, draws.worker >= 0),
        ),
        Relation(
            "at the same place of consecutive batches",
            "the generator of the windows starts anew in each batch; do not seed again",
            *_following((draws.slot,), draws.step // max(workers, 1), _first(draws, workers)),
        ),
    )


def _first(draws: Draws, workers: int) -> NDArray[np.bool_]:
    """Picks the batches of one worker: those of different ones have their own relation."""
    everyone = np.ones(len(draws), dtype=np.bool_)
    return draws.worker == 0 if workers > 1 else everyone


def _ordinal(*keys: Integers) -> Integers:
    """Returns how many draws of the same keys came before."""
    group = np.unique(np.stack(keys), axis=1, return_inverse=True)[1].reshape(-1)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], group[order])
    ordinal = np.empty(len(group), dtype=np.int64)
    ordinal[order] = np.arange(len(group)) - starts
    return ordinal


def _following(
    keys: tuple[Integers, ...], rank: Integers, kept: NDArray[np.bool_] | None = None
) -> tuple[Integers, Integers]:
    """Returns the pairs of equal keys whose ranks differ by one."""
    index = np.arange(len(rank)) if kept is None else np.flatnonzero(kept)
    order = index[np.lexsort((rank[index], *(key[index] for key in keys)))]
    one, other = order[:-1], order[1:]
    same = rank[other] == rank[one] + 1
    for key in keys:
        same &= key[one] == key[other]
    return one[same], other[same]

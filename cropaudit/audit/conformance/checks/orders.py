"""Batches in a fixed order: shuffled afresh each epoch, always alike, or whole.

What cannot happen in a sound loader has a p-value of 0. Whether the order is fresh is tested
exactly: a batch of one epoch and one of another are hypergeometric, whichever they are.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropaudit.audit.conformance.checks.exact import poisson_binomial, tails
from cropaudit.audit.conformance.checks.subsets import MOST_STEPS, overlaps
from cropaudit.audit.conformance.observe.batches import Batches
from cropaudit.audit.conformance.outcome import Tested

__all__ = ["Epochs", "complete", "fresh", "once_an_epoch", "same_each_epoch", "split"]

Flags = NDArray[np.bool_]
Integers = NDArray[np.int64]

_MOSTLY = 0.5  # of all places: below it, records keep theirs because whole batches come back


@dataclass(frozen=True, eq=False)
class Epochs:
    """Batches with the epoch that each is of.

    Attributes:
        members: Whether a record is in a batch, shape (steps, records).
        epoch: Of each batch, shape (steps,).
        whole: Epochs that were iterated to their end.
        place: Place of each participation in its epoch, in the order of delivery, shape (n,).
        record: Its record.
        of: Its epoch.
    """

    members: Flags
    epoch: Integers
    whole: int
    place: Integers
    record: Integers
    of: Integers

    @property
    def records(self) -> int:
        """Size of the data set."""
        return int(self.members.shape[1])


def split(batches: Batches, members: Flags) -> Epochs:
    """Returns the epochs of ``batches``, as far as ``members`` goes."""
    steps = len(members)
    epoch = np.repeat(np.arange(len(batches.epoch_steps)), batches.epoch_steps)
    # Several crops of one image in one batch are one participation, at the place of the first.
    cells = batches.step * batches.records + batches.record
    kept = np.sort(np.unique(cells, return_index=True)[1])
    kept = kept[batches.step[kept] < steps]
    of = epoch[batches.step[kept]]
    starts = np.searchsorted(of, np.arange(len(batches.epoch_steps)))
    ends = np.cumsum(batches.epoch_steps)
    whole = min(batches.whole_epochs, int((ends <= steps).sum()))
    place = np.arange(len(of)) - starts[of]
    return Epochs(members, epoch[:steps], whole, place, batches.record[kept], of)


def once_an_epoch(epochs: Epochs, batch: int | None) -> Tested:
    """Tests that no record comes twice in an epoch, and none is left out of a whole one.

    Args:
        epochs: What was seen.
        batch: Claimed size of a batch: a last one that is short may be dropped.
    """
    turns = [epochs.members[epochs.epoch == e].sum(axis=0) for e in np.unique(epochs.epoch)]
    table = np.stack(turns) if turns else np.zeros((1, epochs.records), dtype=np.int64)
    null = "every record comes once in an epoch, but for a short last batch that may be dropped"
    if table.max() > 1:
        number, record = np.unravel_index(int(table.argmax()), table.shape)
        words = (
            f"record {record} is in {table.max()} batches of epoch {number}: the accountant counts "
            "one participation an epoch; shuffle without replacement, and list each record once"
        )
        return Tested(null, 0.0, words)
    missing = (table[: epochs.whole] == 0).sum(axis=1)
    spare = epochs.records % _size(epochs, batch)
    if epochs.whole and missing.max() > spare:
        epoch = int(missing.argmax())
        absent = int(np.flatnonzero(table[epoch] == 0)[0])
        words = (
            f"{missing.max()} of {epochs.records} records, such as record {absent}, are in no "
            f"batch of epoch {epoch}, where a dropped last batch explains {spare}: records are "
            "dropped; go through all of them, or account for fewer records"
        )
        return Tested(null, 0.0, words)
    return Tested(null, 1.0, "every record came once in each epoch")


def fresh(epochs: Epochs) -> Tested | None:
    """Tests that epochs are shuffled independently of one another; none with one epoch."""
    members, epoch = epochs.members[:MOST_STEPS], epochs.epoch[:MOST_STEPS]
    if len(np.unique(epoch)) < 2:
        return None
    apart = epoch[:, None] != epoch[None, :]
    of_batches, one, other = overlaps(members, apart, epochs.records)
    of_places, same, share = _same_places(epochs)
    of_dropped, dropped = _always_dropped(epochs)
    p_values = of_batches, of_places, of_dropped
    shared = int((members[one] & members[other]).sum())
    words = (
        f"a batch of epoch {epoch[one]} and one of epoch {epoch[other]} share {shared} of "
        f"{members[one].sum()} records: batches come back in other epochs; shuffle records, not "
        "batches, afresh in each epoch"
    )
    if of_places == min(p_values) and share > _MOSTLY:
        words = (
            f"{same} times ({share:.0%}) a record stands at the same place as in the epoch before, "
            "where once an epoch is due: the order is not drawn afresh; shuffle in each epoch and "
            "do not seed the sampler again"
        )
    if of_dropped == min(p_values):
        words = dropped
    null = "the order of the records is drawn afresh for each epoch"
    return Tested(null, min(1.0, len(p_values) * min(p_values)), words)


def same_each_epoch(epochs: Epochs) -> Tested:
    """Tests that every epoch has the batches of the first one, in the same order."""
    null = "every epoch has the same batches in the same order"
    first = epochs.members[epochs.epoch == 0]
    for number in np.unique(epochs.epoch):
        batches = epochs.members[epochs.epoch == number]
        shorter = number < epochs.whole and len(batches) != len(first)
        if shorter or not np.array_equal(batches, first[: len(batches)]):
            words = (
                f"the batches of epoch {number} are not those of the first epoch: they are not "
                "cyclic; do not shuffle, or account for shuffled batches"
            )
            return Tested(null, 0.0, words)
    return Tested(null, 1.0, "every epoch had the batches of the first one")


def complete(members: Flags) -> Tested:
    """Tests that every batch holds every record."""
    null = "every batch holds every record"
    sizes = members.sum(axis=1)
    if sizes.min(initial=members.shape[1]) == members.shape[1]:
        return Tested(null, 1.0, "every batch held every record")
    step = int(sizes.argmin())
    words = (
        f"batch {step} holds {sizes[step]} of {members.shape[1]} records: these are no full "
        "batches; account for the sampler that draws them"
    )
    return Tested(null, 0.0, words)


def _size(epochs: Epochs, batch: int | None) -> int:
    sizes = epochs.members.sum(axis=1)
    return batch or max(int(sizes.max(initial=1)), 1)


def _always_dropped(epochs: Epochs) -> tuple[float, str]:
    """Returns the p-value of the record that is left out most often, and words on it: exact."""
    whole = range(epochs.whole)
    absent = [~epochs.members[epochs.epoch == e].any(axis=0) for e in whole]
    if not absent:
        return 1.0, ""
    table = np.stack(absent)
    counts = table.sum(axis=0)
    record = int(counts.argmax())
    law = poisson_binomial(table.mean(axis=1))
    words = (
        f"record {record} is left out of {counts[record]} of {epochs.whole} epochs, where "
        f"{table.mean() * epochs.whole:.1f} are due: the same records are always dropped; shuffle "
        "afresh in each epoch, before the last batch is dropped"
    )
    return min(1.0, epochs.records * tails(law, int(counts[record]))[1]), words


def _same_places(epochs: Epochs) -> tuple[float, int, float]:
    """Returns a bound on the p-value of the records that keep their place, how many, and a share.

    Of a random order, C(F, k) of its fixed points F has a mean of at most 1 / k!. Epochs are
    independent, so over n of them it is at most n^k / k!, and so is P(F >= k).
    """
    seen = np.unique(epochs.of)
    table = np.full((len(seen), int(epochs.place.max(initial=0)) + 1), -1, dtype=np.int64)
    table[np.searchsorted(seen, epochs.of), epochs.place] = epochs.record
    same = int(((table[1:] == table[:-1]) & (table[1:] >= 0)).sum())
    share = same / max(int((table[1:] >= 0).sum()), 1)
    following = len(seen) - 1
    if following < 1 or same == 0:
        return 1.0, same, share
    bound = same * math.log(following) - math.lgamma(same + 1)
    return min(1.0, math.exp(min(bound, 0.0))), same, share

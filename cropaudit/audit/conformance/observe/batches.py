"""Who joined which batch, as a loader or a whole training run delivered it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Batches"]

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Batches:
    """All participations, in the order in which they were delivered.

    Attributes:
        records: Size of the data set that was handed in, or of the loader's own one.
        record: Index of the record of each participation, shape (n,).
        step: Its batch, counted over all epochs from 0, shape (n,).
        epoch_steps: Batches of each epoch that was iterated, empty ones included, shape (epochs,).
        updates: Optimiser steps of a whole run; -1 where only batches were seen.
        expected_batch: The divisor that the code itself states (Opacus' optimiser), or -1.
        source: ``loader`` or ``pipeline``.
        where: File and line of the user's code.
        whole: Whether the last epoch was iterated to its end.
        stated_rate: Sampling rate that the loader itself states (Opacus' loaders), or -1.
        unread: Participations whose record could not be told; they are in no batch here.
        cut: Whether the loader was stopped for its time, with fewer batches than were wanted.
        endless: Whether it did not end: epochs are passes, each up to a record that comes again.
        ours: Whether the data set was the probe's own; else only the indices were seen.
    """

    records: int
    record: Integers
    step: Integers
    epoch_steps: Integers
    updates: int = -1
    expected_batch: float = -1.0
    source: str = "loader"
    where: str = ""
    whole: bool = True
    stated_rate: float = -1.0
    unread: int = 0
    ours: bool = True
    cut: bool = False
    endless: bool = False

    @property
    def steps(self) -> int:
        """Batches in all."""
        return int(self.epoch_steps.sum())

    @property
    def whole_epochs(self) -> int:
        """Epochs that were iterated to their end."""
        return len(self.epoch_steps) - (not self.whole)

    def counts(self, most_cells: int) -> Integers:
        """Returns how often each record is in each batch, shape (steps, records).

        Args:
            most_cells: Largest size of the array; later batches are left out beyond it.
        """
        steps = min(self.steps, max(most_cells // self.records, 1))
        kept = self.step < steps
        cells = self.step[kept] * self.records + self.record[kept]
        found = np.bincount(cells, minlength=steps * self.records)
        return found.reshape(steps, self.records).astype(np.int64)

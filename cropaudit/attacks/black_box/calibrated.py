"""Calibrated difference: the loss difference less what reference models give on the same slot.

Threat model: as for the loss difference, and the adversary trains references with the same recipe
on data of the same law; their coins are not used. A slot's own difficulty cancels.
Source: Watson, Guo, Cormode and Sablayrolles, ICLR 2022 (difficulty calibration).
"""

from dataclasses import dataclass

import numpy as np

from cropaudit.attacks.black_box.base import Array, Coins, checked
from cropaudit.attacks.black_box.signals import Signals

__all__ = ["CalibratedDifference"]


@dataclass(frozen=True)
class CalibratedDifference:
    """Loss difference of the target less the mean of the references'."""

    def score(
        self, target: Signals, references: Signals | None, coins: Coins | None = None
    ) -> Array:
        """Returns scores of shape (T, S), nats per pixel."""
        shape = (0 if references is None else len(references), target.slots)
        known, _ = checked("calibrated", target, references, np.zeros(shape, dtype=np.bool_))
        return np.asarray(target.gap().mean(axis=2) - known.gap().mean(axis=(0, 2)))

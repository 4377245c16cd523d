"""Loss difference: no reference model, no training; the adversary only queries.

Threat model: the released model answers with losses (or logits); contents and crop are known.
Source: Yeom, Giacomelli, Fredrikson and Jha, CSF 2018 (the loss as a membership score); here the
loss of world B's content less that of world A's, which takes much of a record's difficulty away.
"""

from dataclasses import dataclass

import numpy as np

from cropaudit.attacks.black_box.base import Array, Coins
from cropaudit.attacks.black_box.signals import Signals

__all__ = ["LossDifference"]


@dataclass(frozen=True)
class LossDifference:
    """Loss of B's content less that of A's, averaged over windows."""

    def score(
        self, target: Signals, references: Signals | None = None, coins: Coins | None = None
    ) -> Array:
        """Returns scores of shape (T, S), nats per pixel; references are not looked at."""
        return np.asarray(target.gap().mean(axis=2))

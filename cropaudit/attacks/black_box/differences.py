"""Loss differences: of the released model alone, or less what reference models give.

Threat model: the released model answers with losses (or logits); contents and crop are known. The
calibrated adversary also trains references with the same recipe on data of the same law, whose
coins are not used: a slot's own difficulty cancels.
Sources: Yeom, Giacomelli, Fredrikson and Jha, CSF 2018 (the loss as a membership score; here the
loss of world B's content less that of world A's, which takes much of a record's difficulty away);
Watson, Guo, Cormode and Sablayrolles, ICLR 2022 (difficulty calibration).
"""

import numpy as np

from cropaudit.attacks.base import Array, Querying
from cropaudit.attacks.signals import Coins, Signals, checked

__all__ = ["CALIBRATED", "LOSS"]


def _loss(target: Signals, references: Signals | None, coins: Coins | None) -> Array:
    """Returns the loss of B's content less that of A's, averaged over windows, nats per pixel."""
    return np.asarray(target.gap().mean(axis=2))


def _calibrated(target: Signals, references: Signals | None, coins: Coins | None) -> Array:
    """Returns the loss difference of the target less the mean of the references', nats a pixel."""
    known = checked("calibrated", target, references)
    return np.asarray(target.gap().mean(axis=2) - known.gap().mean(axis=(0, 2)))


LOSS = Querying(name="loss", source="Yeom et al. 2018", score=_loss)
CALIBRATED = Querying(
    name="calibrated", needs="references", source="Watson et al. 2022", score=_calibrated
)

"""All slots of a model decoded together: what the coins of the other slots do is taken off.

Canaries of one model push along directions that are not orthogonal, so that each coin also moves
the answers on the other slots; without noise that is most of what blurs a score. Coins are
regressed on the margins of all slots, over references whose coins are known: a common weight on a
slot's own margin, and a ridge on everything beyond it. The penalty is chosen by leaving out one
reference at a time; where references are too few to learn anything of the others it is infinite,
and the score is the calibrated one.

Threat model: as for LiRA online. Source: linear minimum-mean-square detection of users who share a
channel (Madhow and Honig, IEEE Trans. Communications 1994), with ridge regression.
"""

from dataclasses import dataclass

import numpy as np

from cropaudit.attacks.black_box.base import Array, Coins, checked, per_world
from cropaudit.attacks.black_box.signals import Signals
from cropaudit.errors import require

__all__ = ["Joint"]


@dataclass(frozen=True)
class Joint:
    """Linear regression of every coin on the margins of all slots.

    Attributes:
        penalties: Of the weights on other slots, times the number of references; the best is taken.
    """

    penalties: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)

    def __post_init__(self) -> None:
        legal = "at least one, all above 0"
        ok = len(self.penalties) >= 1 and all(penalty > 0 for penalty in self.penalties)
        require(ok, "penalties", legal, self.penalties)

    def score(self, target: Signals, references: Signals | None, coins: Coins | None) -> Array:
        """Returns scores of shape (T, S), predicted coins in [-1, 1] or beyond."""
        known, worlds = checked("joint", target, references, coins)
        seen, rows = (one.margins().mean(axis=(2, 3)) for one in (target, known))
        for side in (worlds, ~worlds):
            per_world(rows[:, :, None], side, 2)
        mean, scale = rows.mean(axis=0), rows.std(axis=0) + np.finfo(np.float64).tiny
        rows, seen = (rows - mean) / scale, (seen - mean) / scale
        signs = 2.0 * worlds - 1
        own = float((rows * signs).sum() / max((rows**2).sum(), np.finfo(np.float64).tiny))
        return np.asarray(own * seen + seen @ self._weights(rows, signs - own * rows))

    def _weights(self, rows: Array, left: Array) -> Array:
        """Returns what the slots say of each other's rests, shape (S, S): zeros if nothing."""
        count, slots = rows.shape
        gram = rows.T @ rows
        best, found = float((left**2).sum()), np.zeros((slots, slots))
        for penalty in self.penalties:
            solved = np.linalg.solve(gram + penalty * count * np.eye(slots), rows.T)
            hat = rows @ solved
            # A row's residual if it were left out of the fit (Allen's PRESS).
            error = (left - hat @ left) / (1 - np.diag(hat))[:, None]
            if (total := float((error**2).sum())) < best:
                best, found = total, solved @ left
        return found

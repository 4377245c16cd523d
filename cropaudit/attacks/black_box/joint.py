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

import numpy as np

from cropaudit.attacks.base import Array, Querying
from cropaudit.attacks.signals import Coins, Signals, checked_coins, per_world

__all__ = ["JOINT"]

# Of the weights on other slots, times the number of references; the best is taken.
_PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_TINY = np.finfo(np.float64).tiny


def _joint(target: Signals, references: Signals | None, coins: Coins | None) -> Array:
    """Returns predicted coins in [-1, 1] or beyond."""
    known, worlds = checked_coins("joint", target, references, coins)
    seen, rows = (one.margins().mean(axis=(2, 3)) for one in (target, known))
    for side in (worlds, ~worlds):
        per_world(rows[:, :, None], side, 2)
    mean, scale = rows.mean(axis=0), rows.std(axis=0) + _TINY
    rows, seen = (rows - mean) / scale, (seen - mean) / scale
    signs = 2.0 * worlds - 1
    own = float((rows * signs).sum() / max((rows**2).sum(), _TINY))
    return np.asarray(own * seen + seen @ _weights(rows, signs - own * rows))


def _weights(rows: Array, left: Array) -> Array:
    """Returns what the slots say of each other's rests, shape (S, S): zeros if nothing."""
    count, slots = rows.shape
    gram = rows.T @ rows
    best, found = float((left**2).sum()), np.zeros((slots, slots))
    for penalty in _PENALTIES:
        solved = np.linalg.solve(gram + penalty * count * np.eye(slots), rows.T)
        hat = rows @ solved
        # A row's residual if it were left out of the fit (Allen's PRESS).
        error = (left - hat @ left) / (1 - np.diag(hat))[:, None]
        if (total := float((error**2).sum())) < best:
            best, found = total, solved @ left
    return found


JOINT = Querying(name="joint", needs="references", source="Madhow and Honig 1994", score=_joint)

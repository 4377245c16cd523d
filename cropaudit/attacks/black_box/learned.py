"""A learned attack: a classifier of worlds, trained on references' slots, whose coins are known.

Threat model: as for LiRA online. One classifier serves all slots, so that what a patch's content
does to the answers is learnt from all of them; what is special to a slot is taken off first, as the
mean over references, of which a reference's own row is left out as a target's is.
Source: Shokri, Stronati, Song and Shmatikov, S&P 2017 (shadow models); losses by place as in
segmentation attacks (He, Rahimian, Schiele and Fritz, ECCV 2020).
"""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cropaudit.attacks.base import Array, Querying
from cropaudit.attacks.signals import Coins, Signals, checked_coins
from cropaudit.errors import require

__all__ = ["LEARNED"]

_INVERSE_PENALTY = 0.01  # scikit-learn's C


def _learned(target: Signals, references: Signals | None, coins: Coins | None) -> Array:
    """Returns log-odds of world A, by window statistics, and by loss maps where there are any."""
    known, worlds = checked_coins("learned", target, references, coins)
    require(len(known) >= 2, "references", "at least 2", len(known))
    both = bool(worlds.any()) and not bool(worlds.all())
    require(both, "coins", "of both worlds", "one world only")
    seen, values = _statistics(target), _statistics(known)
    mean = values.mean(axis=0)
    # Without its own row the mean lies R / (R - 1) times as far from a reference's value.
    rows = (values - mean) * (len(known) / (len(known) - 1))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=_INVERSE_PENALTY, max_iter=1000))
    model.fit(rows.reshape(-1, rows.shape[2]), worlds.ravel())
    found = model.decision_function((seen - mean).reshape(-1, rows.shape[2]))
    return np.asarray(found, dtype=np.float64).reshape(len(target), -1)


def _statistics(signals: Signals) -> Array:
    """Returns features of every model and slot, shape (M, S, F)."""
    answers = np.concatenate([signals.margins(), signals.gap()[..., None]], axis=3)
    parts = [answers.mean(axis=2), answers.min(axis=2), answers.max(axis=2), answers.std(axis=2)]
    if signals.maps is not None:
        own = signals.maps[:, :, 1, 1] - signals.maps[:, :, 0, 0]
        parts.append(own.reshape(*own.shape[:2], -1))
    return np.concatenate(parts, axis=2)


LEARNED = Querying(
    name="learned", needs="references", source="Shokri et al. 2017", score=_learned, maps=4
)

"""A learned attack: a classifier of worlds, trained on references' slots, whose coins are known.

Threat model: as for LiRA online. One classifier serves all slots, so that what a patch's content
does to the answers is learnt from all of them; what is special to a slot is taken off first, as the
mean over references, of which a reference's own row is left out as a target's is.
Source: Shokri, Stronati, Song and Shmatikov, S&P 2017 (shadow models); losses by place as in
segmentation attacks (He, Rahimian, Schiele and Fritz, ECCV 2020).
"""

from dataclasses import dataclass, field

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from cropaudit.attacks.black_box.base import Array, Coins, checked
from cropaudit.attacks.black_box.signals import Signals
from cropaudit.errors import require

__all__ = ["Boosting", "Learned", "Logistic"]


@dataclass(frozen=True)
class Logistic:
    """Logistic regression.

    Attributes:
        inverse_penalty: scikit-learn's C.
    """

    inverse_penalty: float = 0.01

    def __post_init__(self) -> None:
        given = self.inverse_penalty
        require(given > 0, "inverse_penalty", "above 0", given)


@dataclass(frozen=True)
class Boosting:
    """Gradient-boosted trees, for effects that are not linear.

    Attributes:
        rounds: Number of trees.
        leaves: Leaves of each.
    """

    rounds: int = 100
    leaves: int = 8

    def __post_init__(self) -> None:
        require(self.rounds >= 1, "rounds", "at least 1", self.rounds)
        require(self.leaves >= 2, "leaves", "at least 2", self.leaves)


@dataclass(frozen=True)
class Learned:
    """A classifier on window statistics, and on loss maps where signals have them.

    Attributes:
        classifier: Its kind.
    """

    classifier: Logistic | Boosting = field(default_factory=Logistic)

    def score(self, target: Signals, references: Signals | None, coins: Coins | None) -> Array:
        """Returns scores of shape (T, S), log-odds of world A."""
        known, worlds = checked("learned", target, references, coins)
        require(len(known) >= 2, "references", "at least 2", len(known))
        both = bool(worlds.any()) and not bool(worlds.all())
        require(both, "coins", "of both worlds", "one world only")
        seen, values = _statistics(target), _statistics(known)
        mean = values.mean(axis=0)
        # Without its own row the mean lies R / (R - 1) times as far from a reference's value.
        rows = (values - mean) * (len(known) / (len(known) - 1))
        model = self._unfitted()
        model.fit(rows.reshape(-1, rows.shape[2]), worlds.ravel())
        found = model.decision_function((seen - mean).reshape(-1, rows.shape[2]))
        return np.asarray(found, dtype=np.float64).reshape(len(target), -1)

    def _unfitted(self) -> Pipeline:
        match self.classifier:
            case Logistic(penalty):
                kind: ClassifierMixin = LogisticRegression(C=penalty, max_iter=1000)
            case Boosting(rounds, leaves):
                kind = HistGradientBoostingClassifier(
                    max_iter=rounds, max_leaf_nodes=leaves, early_stopping=False, random_state=0
                )
        return make_pipeline(StandardScaler(), kind)


def _statistics(signals: Signals) -> Array:
    """Returns features of every model and slot, shape (M, S, F)."""
    answers = np.concatenate([signals.margins(), signals.gap()[..., None]], axis=3)
    parts = [answers.mean(axis=2), answers.min(axis=2), answers.max(axis=2), answers.std(axis=2)]
    if signals.maps is not None:
        own = signals.maps[:, :, 1, 1] - signals.maps[:, :, 0, 0]
        parts.append(own.reshape(*own.shape[:2], -1))
    return np.concatenate(parts, axis=2)

"""Robust membership inference: is a content likelier under the target than a random one is?

Threat model: losses of the target, and of references trained with the same recipe, whose coins are
not used; a population of contents z to compare with. Those are the decoys, which no model was
trained on, where there are any, else the contents of the other slots.
Source: Zarifzadeh, Liu and Shokri, ICML 2024 (arXiv 2312.03262): with p(x | model) = exp(-loss) and
p(x) its mean over references, the score of x is the share of z for which
(p(x | target) / p(x)) / (p(z | target) / p(z)) is at least gamma. Here the score of world A's
content less that of world B's.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from cropaudit.attacks.black_box.base import Array, Coins, checked
from cropaudit.attacks.black_box.signals import Signals
from cropaudit.errors import require

__all__ = ["Rmia"]


@dataclass(frozen=True)
class Rmia:
    """Share of the population that A's content beats, less the share that B's beats.

    Attributes:
        gamma: By which factor a content must be likelier.
    """

    gamma: float = 1.0

    def __post_init__(self) -> None:
        require(self.gamma > 0, "gamma", "above 0", self.gamma)

    def score(
        self, target: Signals, references: Signals | None, coins: Coins | None = None
    ) -> Array:
        """Returns scores of shape (T, S), in [-1, 1]."""
        shape = (0 if references is None else len(references), target.slots)
        known, _ = checked("rmia", target, references, np.zeros(shape, dtype=np.bool_))
        ratios = _log_ratios(target, known)
        if target.decoys is not None and known.decoys is not None:
            population = _log_ratios(target.decoys, known.decoys).reshape(len(target), 1, -1)
            masks = np.ones((1, population.shape[2]), dtype=np.bool_)
        else:
            require(target.slots >= 2, "slots", "at least 2, or decoys given", target.slots)
            population = ratios.reshape(len(target), 1, -1)
            masks = ~np.repeat(np.eye(target.slots, dtype=np.bool_), 2, axis=1)
        beaten = [self._share(ratios[:, :, world], population, masks) for world in (0, 1)]
        return np.asarray(beaten[0] - beaten[1])

    def _share(self, ratios: Array, population: Array, masks: Coins) -> Array:
        beats = ratios[:, :, None] - population >= math.log(self.gamma)
        return np.asarray((beats & masks).sum(axis=2) / masks.sum(axis=1))


def _log_ratios(target: Signals, references: Signals) -> Array:
    """Returns log p(x | target) / p(x) of the contents of A and B, shape (T, S, 2)."""
    seen, known = (
        -np.stack([one.losses[..., 0, 0], one.losses[..., 1, 1]], axis=-1).mean(axis=2)
        for one in (target, references)
    )
    return np.asarray(seen - logsumexp(known, axis=0) + math.log(len(known)))

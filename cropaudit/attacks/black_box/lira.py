"""The likelihood ratio attack, online and offline.

Threat model: the adversary queries logits and trains reference models through the same DP and crop
pipeline; online, of both worlds of every slot, offline, of world B only. Answers are logit-scaled
confidences, nearly Gaussian over models; each slot has its own Gaussians.
Source: Carlini, Chien, Nasr, Song, Terzis and Tramer, S&P 2022 (arXiv 2112.03570), sections V and
VI: parametric likelihoods, several queries as one multivariate Gaussian, and one variance for all
slots where references are few. Here a slot's covariance is shrunk towards that of all slots, which
counts as ``prior`` references: 0 is one of its own, a large number the fixed variance of the paper.
"""

from dataclasses import dataclass

import numpy as np

from cropaudit.attacks.black_box.base import Array, Coins, checked, per_world
from cropaudit.attacks.black_box.signals import Signals
from cropaudit.errors import require

__all__ = ["LiraOffline", "LiraOnline"]

_RIDGE = 1e-6  # of the mean variance: queries that answer alike make a covariance singular


@dataclass(frozen=True)
class LiraOnline:
    """Log-likelihood ratio of two Gaussians a slot, of one covariance.

    Attributes:
        per_window: Whether every window is a dimension of its own; else answers are averaged over
            windows, which is stronger where references are few.
        prior: Number of references that the covariance of all slots counts for.
    """

    per_window: bool = False
    prior: float = 256.0

    def __post_init__(self) -> None:
        require(self.prior >= 0, "prior", "at least 0", self.prior)

    def score(self, target: Signals, references: Signals | None, coins: Coins | None) -> Array:
        """Returns scores of shape (T, S), log-likelihood ratios."""
        known, worlds = checked("lira-online", target, references, coins)
        seen, values = (_answers(one, per_window=self.per_window) for one in (target, known))
        count_a, mean_a, _, square_a = per_world(values, worlds, 2)
        count_b, mean_b, _, square_b = per_world(values, ~worlds, 2)
        covariance = _shrunk(square_a + square_b, count_a + count_b - 2, self.prior)
        # With one covariance the ratio is linear: (mu_A - mu_B)' S^-1 (x - (mu_A + mu_B) / 2).
        weights = np.linalg.solve(covariance, (mean_a - mean_b)[:, :, None])[:, :, 0]
        away = seen - (mean_a + mean_b) / 2
        return np.asarray(np.einsum("tsd,sd->ts", away, weights))


@dataclass(frozen=True)
class LiraOffline:
    """How far the answer lies above what models of world B give, in their deviations.

    Attributes:
        prior: As in `LiraOnline`.
    """

    prior: float = 256.0

    def __post_init__(self) -> None:
        require(self.prior >= 0, "prior", "at least 0", self.prior)

    def score(self, target: Signals, references: Signals | None, coins: Coins | None) -> Array:
        """Returns scores of shape (T, S); references of world A are not looked at."""
        known, worlds = checked("lira-offline", target, references, coins)
        seen, values = (one.margins().mean(axis=(2, 3))[:, :, None] for one in (target, known))
        count, mean, _, square = per_world(values, ~worlds, 2)
        deviation = np.sqrt(_shrunk(square, count - 1, self.prior)[:, 0, 0])
        return np.asarray((seen - mean)[:, :, 0] / deviation)


def _answers(signals: Signals, *, per_window: bool) -> Array:
    """Returns margins on the pixels of either world, shape (M, S, D)."""
    margins = signals.margins()
    if per_window:
        return np.asarray(margins.reshape(*margins.shape[:2], -1))
    return np.asarray(margins.mean(axis=2))


def _shrunk(squares: Array, degrees: Array, prior: float) -> Array:
    """Returns each slot's covariance, shrunk towards the common one, shape (S, D, D)."""
    common = squares.sum(axis=0) / degrees.sum()
    size = len(common)
    ridge = _RIDGE * np.trace(common) / size + np.finfo(np.float64).tiny
    shrunk = (prior * common + squares) / (prior + degrees)[:, None, None]
    return np.asarray(shrunk + ridge * np.eye(size))

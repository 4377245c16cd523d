"""The likelihood ratio attack, online and offline.

Threat model: the adversary queries logits and trains reference models through the same DP and crop
pipeline; online, of both worlds of every slot, offline, of world B only. Answers are logit-scaled
confidences, nearly Gaussian over models; each slot has its own Gaussians.
Source: Carlini, Chien, Nasr, Song, Terzis and Tramer, S&P 2022 (arXiv 2112.03570), sections V and
VI: parametric likelihoods, several queries as one multivariate Gaussian, and one variance for all
slots where references are few. Here a slot's covariance is shrunk towards that of all slots, which
counts as 256 references. Answers are averaged over windows: one query for the pixels of each world.
"""

import numpy as np

from cropaudit.attacks.base import Array, Querying
from cropaudit.attacks.signals import Coins, Signals, checked_coins, per_world

__all__ = ["LIRA_OFFLINE", "LIRA_ONLINE"]

_RIDGE = 1e-6  # of the mean variance: queries that answer alike make a covariance singular
_PRIOR = 256.0  # references that the covariance of all slots counts for


def _online(target: Signals, references: Signals | None, coins: Coins | None) -> Array:
    """Returns log-likelihood ratios of two Gaussians a slot, of one covariance."""
    known, worlds = checked_coins("lira-online", target, references, coins)
    seen, values = (one.margins().mean(axis=2) for one in (target, known))
    count_a, mean_a, _, square_a = per_world(values, worlds, 2)
    count_b, mean_b, _, square_b = per_world(values, ~worlds, 2)
    covariance = _shrunk(square_a + square_b, count_a + count_b - 2)
    # With one covariance the ratio is linear: (mu_A - mu_B)' S^-1 (x - (mu_A + mu_B) / 2).
    weights = np.linalg.solve(covariance, (mean_a - mean_b)[:, :, None])[:, :, 0]
    away = seen - (mean_a + mean_b) / 2
    return np.asarray(np.einsum("tsd,sd->ts", away, weights))


def _offline(target: Signals, references: Signals | None, coins: Coins | None) -> Array:
    """Returns how far answers lie above what models of world B give, in their deviations."""
    known, worlds = checked_coins("lira-offline", target, references, coins)
    seen, values = (one.margins().mean(axis=(2, 3))[:, :, None] for one in (target, known))
    count, mean, _, square = per_world(values, ~worlds, 2)
    deviation = np.sqrt(_shrunk(square, count - 1)[:, 0, 0])
    return np.asarray((seen - mean)[:, :, 0] / deviation)


def _shrunk(squares: Array, degrees: Array) -> Array:
    """Returns each slot's covariance, shrunk towards the common one, shape (S, D, D)."""
    common = squares.sum(axis=0) / degrees.sum()
    size = len(common)
    ridge = _RIDGE * np.trace(common) / size + np.finfo(np.float64).tiny
    shrunk = (_PRIOR * common + squares) / (_PRIOR + degrees)[:, None, None]
    return np.asarray(shrunk + ridge * np.eye(size))


LIRA_ONLINE = Querying(
    name="lira-online", needs="references", source="Carlini et al. 2022", score=_online
)
LIRA_OFFLINE = Querying(
    name="lira-offline", needs="references of world B", source="Carlini et al. 2022", score=_offline
)

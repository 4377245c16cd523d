"""The wealth of many bets, game by game."""

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_ndtr, ndtr

from cropaudit.audit.estimators.betting.nulls import Bets, Null
from cropaudit.audit.estimators.betting.stakes import Alternatives, masses_between, planned_stakes

__all__ = ["Book", "Wager"]

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

_WARM_UP = 16  # pairs that only teach where the thresholds are
_RELEARN = 1.5  # thresholds are learned anew when the pairs have grown by this factor
_BLOCK = 1 << 14  # pairs worked through at once


@dataclass(frozen=True, eq=False)
class Book:
    """All bets against all nulls: one row for each null and each alternative to it.

    Attributes:
        nulls: What is bet against.
        bets: What is decided beforehand.
        alternatives: What may be true.
    """

    nulls: tuple[Null, ...]
    bets: Bets
    alternatives: Alternatives
    _tables: dict[int, tuple[Array, Array]] = field(default_factory=dict, repr=False)

    @cached_property
    def rows(self) -> tuple[Indices, Indices, Array]:
        """Null, alternative and log weight of every row, in the order of the nulls."""
        found = [
            (number, pick, math.log(weight))
            for number, null in enumerate(self.nulls)
            for pick, weight in self.alternatives.mixture(null, self.bets.horizons).items()
        ]
        of_null, of_alternative, weights = zip(*found, strict=True)
        return np.array(of_null), np.array(of_alternative), np.array(weights)

    def tables(self, thresholds: int) -> tuple[Array, Array]:
        """Returns log G and log H by row and cell, the first so many thresholds being in use."""
        if thresholds not in self._tables:
            of_null, of_alternative, _ = self.rows
            nulls = [self.nulls[number] for number in of_null]
            hits = self.alternatives.hits[of_alternative, :thresholds]
            self._tables[thresholds] = planned_stakes(
                nulls, hits, self.alternatives.rates[:thresholds]
            )
        return self._tables[thresholds]

    def mixed(self, wealth: Array) -> Array:
        """Returns the log wealth against each null, (.., nulls), from that of rows, (.., rows)."""
        of_null, _, weights = self.rows
        starts = np.searchsorted(of_null, np.arange(len(self.nulls)))
        weighted = wealth + weights
        top = np.maximum.reduceat(weighted, starts, axis=-1)
        shares = np.exp(weighted - top[..., of_null])
        return np.asarray(top + np.log(np.add.reduceat(shares, starts, axis=-1)))

    def chances(self, null: int, hits: Array, pairs: int, level: float) -> Array:
        """Returns the probability that so many pairs reject a null, by true positive rates.

        Mean and variance of one pair's log wealth are exact sums over cells; that the path reaches
        the bar is taken from Brownian motion (first passage), for the best alternative alone.

        Args:
            null: Its number.
            hits: True positive rates at the planned rates that may be true, shape (t, k).
            pairs: Pairs played.
            level: Of the test.
        """
        known = self.bets.thresholds is not None
        count = len(self.bets.rates) if known else self.bets.available(pairs)
        if not count:
            return np.zeros(len(hits))
        of_null, _, weights = self.rows
        rows = np.flatnonzero(of_null == null)
        bar = -math.log(level) - weights[rows]
        log_g, log_h = (table[rows].T for table in self.tables(count))
        p, q = masses_between(hits[:, :count]), masses_between(self.alternatives.rates[:count])
        mean_g, mean_h = p @ log_g, q @ log_h
        spread = p @ log_g**2 - mean_g**2 + q @ log_h**2 - mean_h**2
        drift, deviation = pairs * (mean_g + mean_h), np.sqrt(np.maximum(pairs * spread, 1e-300))
        direct = ndtr((drift - bar) / deviation)
        # Paths that were above the bar and fell back below it.
        returned = 2 * bar * drift / deviation**2 + log_ndtr(-(drift + bar) / deviation)
        return np.asarray(np.minimum(direct + np.exp(np.minimum(returned, 0)), 1.0).max(axis=1))


class Wager:
    """The wealth of every bet as pairs of scores come in; grows by `play`, in the order of pairs.

    Wealth is looked at after every pair at first, then at every second, fourth, ..: never rarer
    than once in 256 of the pairs that there are. A look left out can only lose.

    Attributes:
        pairs: Pairs played.
        highest: Largest log wealth ever against each null, at least 0, shape (nulls,).
    """

    def __init__(self, book: Book) -> None:
        self.pairs = 0
        self.highest = np.zeros(len(book.nulls))
        self._book = book
        self._wealth = np.zeros(len(book.rows[0]))
        known = book.bets.thresholds
        self._cuts = None if known is None else np.asarray(known, dtype=np.float64)
        self._learns = math.inf if known is not None else _WARM_UP
        self._seen: list[Array] = []

    @property
    def wealth(self) -> Array:
        """Log wealth against each null now, shape (nulls,)."""
        return self._book.mixed(self._wealth)

    def play(self, member: ArrayLike, nonmember: ArrayLike) -> None:
        """Bets on pairs, the i-th member score with the i-th nonmember score.

        Args:
            member: Scores of world A, shape (n,).
            nonmember: Scores of world B, shape (n,).
        """
        x, y = (np.asarray(scores, dtype=np.float64) for scores in (member, nonmember))
        while len(x):
            if self.pairs >= self._learns:
                self._cuts = self._book.bets.cuts(np.concatenate(self._seen))
                self._learns = math.ceil(self.pairs * _RELEARN)
            size = int(min(len(x), _BLOCK, self._learns - self.pairs))
            self._advance(x[:size], y[:size])
            x, y = x[size:], y[size:]

    def rejected(self, level: float) -> NDArray[np.bool_]:
        """Returns which nulls the wealth has ever rejected, shape (nulls,)."""
        return np.asarray(self.highest >= -math.log(level))

    def _advance(self, x: Array, y: Array) -> None:
        if self._cuts is not None and len(self._cuts):
            self._bet(x, y, self._cuts)
        if math.isfinite(self._learns):
            self._seen.append(y)
        self.pairs += len(x)

    def _bet(self, x: Array, y: Array, cuts: Array) -> None:
        log_g, log_h = self._book.tables(len(cuts))
        seen = self.pairs + np.arange(1, len(x) + 1)
        looks = np.flatnonzero(seen % (1 << np.maximum(np.frexp(seen)[1] - 9, 0)) == 0)
        counts_x, counts_y = _counted(x, cuts), _counted(y, cuts)
        if len(looks):
            path = self._wealth + counts_x[looks] @ log_g.T + counts_y[looks] @ log_h.T
            self.highest = np.maximum(self.highest, self._book.mixed(path).max(axis=0))
        self._wealth = self._wealth + counts_x[-1] @ log_g.T + counts_y[-1] @ log_h.T


def _counted(scores: Array, cuts: Array) -> Array:
    """Returns how many scores fell into each cell after each of them, shape (n, k + 1)."""
    cells = np.searchsorted(cuts, scores, side="left")  # a score on a threshold is not above it
    ones = cells[:, None] == np.arange(len(cuts) + 1)
    return np.cumsum(ones, axis=0, dtype=np.float64)

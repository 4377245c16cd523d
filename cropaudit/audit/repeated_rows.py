"""Are the rows of a score file trials of their own? Copies make chance look like evidence.

Scores of many digits do not tie by chance, nor do several tied values each keep to one world;
and where every row is there as often as some number divides, the whole file was copied. Discrete
scores tie, but in either world and as often as it comes: they pass.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from cropaudit.audit.score_tables import ScoreTable
from cropaudit.errors import InputError

__all__ = ["RepeatWatch", "refuse_repeats"]

Array = NDArray[np.float64]

_TIED = 5  # values of many digits that tie, each in one world
_ALONE = 0.9  # share of them that keeps to one world
_COPIED = 12  # different rows that all come equally often: by chance in 2^-11 of discrete files
_DIGITS = 6  # up to so many, a score may be rounded and tie
_PARTS = 200  # a score may be a share of so many: of windows, of reference models
_FINEST = 2.0**-23  # relative spacing of float32
_CURE = (
    "copies are no trials of their own; take them out, or give --repeats-are-independent if each "
    "was played anew"
)


def refuse_repeats(tables: Iterable[ScoreTable]) -> None:
    """Refuses tables with rows that were copied.

    Raises:
        InputError: If there is one.
    """
    for table in tables:
        found = _repeats(table.values, table.member)
        if found:
            name = f" of attack {table.attack}" if table.attack else ""
            raise InputError(f"scores{name} must be independent trials, got {found}: {_CURE}")


class RepeatWatch:
    """Looks for copies among games as they come: only so many ties of many digits are chance."""

    def __init__(self) -> None:
        """Starts with no game."""
        self._seen: dict[float, int] = {}
        self._tied: dict[float, bool] = {}
        self._exact: dict[float, bool] = {}
        self._games, self._coarse = 0, True

    def add(self, score: float, bit: int) -> None:
        """Takes one game.

        Raises:
            InputError: If games were copied.
        """
        self._games += 1
        world = 1 << bit
        before = self._seen.get(score, 0)
        self._seen[score] = before | world
        value = np.array([score])
        self._coarse = self._coarse and bool(_float32(value)[0])
        if before and score not in self._exact:
            self._exact[score] = bool(_exact(value)[0])
        if before and not self._exact[score]:
            self._tied[score] = before | world != 3
            alone = sum(self._tied.values())
            if _too_many(len(self._tied), alone, self._games, self._coarse):
                found = f"{len(self._tied)} scores of many digits more than once"
                raise InputError(f"games must be independent, got {found}: {_CURE}")


def _repeats(values: Array, member: NDArray[np.bool_]) -> str:
    """Returns what repeats, in words; nothing if nothing does."""
    rows, counts = np.unique(
        np.stack([values, member.astype(np.float64)]), axis=1, return_counts=True
    )
    often = int(np.gcd.reduce(counts))
    if often > 1 and counts.size >= _COPIED:
        return f"each of {counts.size} rows {often} times or a multiple of it"
    scores, where, worlds = np.unique(rows[0], return_inverse=True, return_counts=True)
    total = np.bincount(where.ravel(), weights=counts)
    fine = ~_exact(scores)
    tied, alone = fine & (total > 1), fine & (total > 1) & (worlds == 1)
    coarse = bool(_float32(scores).all())
    if _too_many(int(tied.sum()), int(alone.sum()), values.size, coarse):
        first = scores[np.flatnonzero(tied)[0]]
        return f"{int(tied.sum())} scores of many digits more than once ({first:g} the first)"
    return ""


def _too_many(tied: int, alone: int, trials: int, coarse: bool) -> bool:
    """Whether ties are more than chance gives; of float32 it gives some among very many."""
    chance = trials**2 * _FINEST if coarse else 0.0
    return alone >= _TIED + chance and alone >= _ALONE * tied


def _exact(values: Array) -> NDArray[np.bool_]:
    """Whether values may tie for a reason: rounded to few digits, shares of few, infinite."""
    sizes = np.where(np.isfinite(values) & (values != 0), np.abs(values), 1.0)
    places = np.clip(_DIGITS - 1 - np.floor(np.log10(sizes)), -290, 290)
    few = np.where(np.isfinite(values), values, 0.0) * 10.0**places
    # What was rounded and then stored in float32 is off by as much.
    slack = np.where(_float32(values), _FINEST / 2 * 10**_DIGITS, 1e-7)
    exact = np.asarray(np.abs(few - np.round(few)) <= slack)
    rest = values[~exact]
    near, shared = (
        np.where(_float32(rest), _FINEST, 1e-13) * np.abs(rest),
        np.zeros(rest.size, bool),
    )
    for parts in range(2, _PARTS if rest.size else 0):
        with np.errstate(over="ignore", invalid="ignore"):
            shares = rest * parts
            shared |= np.abs(shares - np.round(shares)) <= near * parts
    exact[~exact] = shared
    return exact


def _float32(values: Array) -> NDArray[np.bool_]:
    with np.errstate(over="ignore"):
        return np.asarray(values.astype(np.float32).astype(np.float64) == values)

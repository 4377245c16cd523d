"""Check 3: windows of different samples, steps, epochs and workers are independent.

Independent windows of one law are exchangeable, whatever that law: the number of equal windows
among named pairs, and rank correlations, are compared with those of permuted windows. These tests
are exact for any crop. Assumes images of one size, so that all windows have the same law.
"""

import math
from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from cropaudit.audit.conformance.checks.exact import FOUND, SMALL, monte_carlo
from cropaudit.audit.conformance.checks.laws import DEPENDENT, short_of
from cropaudit.audit.conformance.checks.relations import Relation, relations, windows
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.draws import Draws
from cropaudit.audit.conformance.outcome import Outcome, Tested
from cropaudit.audit.conformance.seen import Seen

__all__ = ["check"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NAME = "independence"
_SEED = 30
_LEAST_PAIRS = 8
_LEAST_WINDOWS = 30
_CELLS = 2_000_000  # permuted windows at a time
_MOST_WINDOWS = 4_000  # of the first calls: more would take long, and find what matters no better


def check(seen: Seen, claimed: Claimed) -> Outcome:
    """Tests the windows of the transform and of the loader."""
    given = [item for item in (seen.draws, seen.loader_draws) if item is not None and len(item)]
    if not given:
        return Outcome(NAME, skipped="no transform and no loader was given")
    parts = [_Part(draws) for draws in given]
    tests = [test for part in parts for test in part.tests()]
    same = all(part.constant for part in parts)
    undecided = "; ".join(part.too_little for part in parts if part.too_little)
    return Outcome(
        NAME,
        tests=tuple(tests),
        evidence="; ".join(part.evidence() for part in parts),
        power="; ".join(part.power() for part in parts if not part.constant),
        undecided="" if same else undecided,
        skipped=_CONSTANT if same else "",
        where=next((draws.where for draws in given if draws.where), ""),
        figures={
            f"correlation of {name}": value
            for part in parts
            for name, value in part.correlations.items()
        },
    )


_CONSTANT = (
    "every window is the same, so that nothing is random whose independence could be tested: the "
    "window law judges whether it may be"
)


class _Part:
    """The windows of one subject, with the permutations that judge them."""

    def __init__(self, draws: Draws) -> None:
        missing = short_of(draws)
        self._draws = draws = _first(draws, _MOST_WINDOWS)
        self._windows = windows(draws)
        self._read = np.flatnonzero(self._windows >= 0)
        self.name = "loader" if bool((draws.step >= 0).any()) else "transform"
        self.read = len(self._read) > 0
        self.constant = self.read and self._fixed()
        self.too_little = "" if self.constant else missing
        if not self.read:
            self.too_little = f"no window of the {self.name} could be read off"
        elif len(self._read) < _LEAST_WINDOWS and not self.constant:
            self.too_little = (
                f"{len(self._read)} windows of the {self.name} are too few: {_LEAST_WINDOWS} are "
                "needed"
            )
        self._relations = () if self.constant or not self.read else self._usable()
        self.correlations: dict[str, float] = {}

    def _fixed(self) -> bool:
        """Returns whether all windows are the same, or those of each of several crops."""
        crop = self._draws.slot if self.name == "transform" else np.zeros(len(self._draws))
        kinds = np.unique(np.stack([crop, self._windows])[:, self._read], axis=1)
        return bool(len(np.unique(kinds[0])) == kinds.shape[1])

    def tests(self) -> list[Tested]:
        """Returns one test for each relation, and one of the rank correlations."""
        if self.constant or len(self._read) < _LEAST_WINDOWS:
            return []
        found = [self._alike(item) for item in self._relations]
        return [*found, self._serial()]

    def evidence(self) -> str:
        """Returns what was seen."""
        read, kinds = len(self._read), len(np.unique(self._windows[self._read]))
        if self.constant:
            return f"all {read} windows of the {self.name} are the same: no power"
        alike = ", ".join(
            f"{self._equal(item)} of {len(item.first)} {item.of}" for item in self._relations
        )
        if not self.read:
            return self.too_little
        largest = max((abs(value) for value in self.correlations.values()), default=0.0)
        return (
            f"{read} windows of the {self.name}, {kinds} different ones; equal ones: {alike}; rank "
            f"correlations of at most {largest:.2f}"
        )

    def power(self) -> str:
        """Returns which share of equal pairs, and which correlation, would be found."""
        if not self._relations:
            return ""
        chance, seen = self._chance(), len(self._read)
        shares = [
            (_share_found(len(item.first), chance, seen), item.of) for item in self._relations
        ]
        share, of = max(shares)
        # Of the normal approximation of a rank correlation, at SMALL from both sides.
        distance = stats.norm.isf(SMALL / 8) + stats.norm.ppf(FOUND)
        return (
            f"in the {self.name}, windows {of} that are equal in {share:.1%} of the pairs (other "
            f"pairs less) are found at p < {SMALL} with probability {FOUND}, and neighbours "
            f"with a rank correlation of {min(1.0, distance / math.sqrt(seen)):.2f}"
        )

    def _usable(self) -> tuple[Relation, ...]:
        found = []
        for item in relations(self._draws):
            kept = (self._windows[item.first] >= 0) & (self._windows[item.second] >= 0)
            if kept.sum() >= _LEAST_PAIRS:
                pairs = item.first[kept], item.second[kept]
                found.append(Relation(item.of, item.cause, *pairs))
        return tuple(found)

    def _equal(self, item: Relation) -> int:
        return int((self._windows[item.first] == self._windows[item.second]).sum())

    def _chance(self) -> float:
        """Returns the probability that two of the windows, drawn at random, are equal."""
        counts = np.unique(self._windows[self._read], return_counts=True)[1].astype(np.float64)
        seen = counts.sum()
        return float((counts * (counts - 1)).sum() / (seen * (seen - 1)))

    def _alike(self, item: Relation) -> Tested:
        equal, pairs = self._equal(item), len(item.first)
        null = f"windows {item.of} are independent ({self.name})"
        place = np.full(len(self._windows), -1)
        place[self._read] = np.arange(len(self._read))
        first, second = place[item.first], place[item.second]

        def statistic(permuted: Integers) -> Floats:
            alike = permuted[:, first] == permuted[:, second]
            return np.asarray(alike.sum(axis=1), dtype=np.float64)

        values = self._windows[self._read]
        p_value = self._permuted(float(equal), values, statistic) if equal else 1.0
        words = (
            f"{self.name}: {equal} of {pairs} windows {item.of} are equal, where "
            f"{pairs * self._chance():.1f} are due: {item.cause}"
        )
        return Tested(null, p_value, words, shows=DEPENDENT)

    def _serial(self) -> Tested:
        """Tests rank correlations of the origin with the next window and with the next batch's."""
        lags = self._lags()
        ranks = [stats.rankdata(getattr(self._draws, side)[self._read]) for side in _SIDES]
        scaled = np.stack([_standard(values) for values in ranks])
        table = np.stack([_products(row[None], lags)[0] for row in scaled])
        names = [f"{side} at lag {lag} ({self.name})" for side in _SIDES for lag in lags]
        self.correlations = dict(zip(names, table.reshape(-1).tolist(), strict=True))
        weight = np.sqrt(len(self._read) - np.asarray(lags))

        def statistic(order: Integers) -> Floats:
            parts = [np.abs(_products(row[order], lags) * weight).max(axis=1) for row in scaled]
            return np.asarray(np.max(parts, axis=0), dtype=np.float64)

        every = np.arange(len(self._read))
        p_value = self._permuted(float(statistic(every[None])[0]), every, statistic)
        side, lag = np.unravel_index(int(np.argmax(np.abs(table * weight))), table.shape)
        words = (
            f"{self.name}: the {_SIDES[side]} sides of windows {lags[lag]} draws apart have a rank "
            f"correlation of {table[side, lag]:.2f} over {len(self._read)} windows, where 0 is "
            "due: the next window depends on earlier ones; draw each from the generator alone"
        )
        null = f"windows are uncorrelated in the order of drawing ({self.name})"
        return Tested(null, p_value, words, shows=DEPENDENT)

    def _lags(self) -> tuple[int, ...]:
        if self.name == "transform":
            return (1,)
        batch = round(len(self._draws) / (int(self._draws.step.max()) + 1))
        usable = 1 < batch <= len(self._read) // 2
        return (1, batch) if usable else (1,)

    def _permuted(
        self, seen: float, values: Integers, statistic: Callable[[Integers], Floats]
    ) -> float:
        rng = np.random.default_rng(_SEED)
        rows = max(_CELLS // len(values), 1)

        def draw(size: int) -> Floats:
            parts = [
                statistic(rng.permuted(np.tile(values, (min(rows, size - done), 1)), axis=1))
                for done in range(0, size, rows)
            ]
            return np.concatenate(parts)

        return monte_carlo(seen, draw)


_SIDES = ("top", "left")


def _first(draws: Draws, most: int) -> Draws:
    """Returns the first draws only."""
    arrays = {
        item.name: value[:most]
        for item in fields(draws)
        if isinstance(value := getattr(draws, item.name), np.ndarray)
    }
    return replace(draws, **arrays)  # type: ignore[arg-type]


def _standard(values: Floats) -> Floats:
    deviation = values.std()
    standard: Floats = (values - values.mean()) / (deviation if deviation else 1.0)
    return standard


def _products(rows: Floats, lags: tuple[int, ...]) -> Floats:
    """Returns the mean products of standardised ranks at each lag, shape (rows, lags)."""
    parts = [(rows[:, lag:] * rows[:, :-lag]).mean(axis=1) for lag in lags]
    return np.stack(parts, axis=1)


def _share_found(pairs: int, chance: float, seen: int) -> float:
    """Returns the share of equal pairs that is found, by Poisson counts of chance ones.

    Pairs that are equal by a fault make the permuted windows more alike as well.
    """
    counts = np.arange(1, pairs + 1)
    due = pairs * (chance + 2 * counts / (seen * (seen - 1)))
    enough = counts[stats.poisson.sf(counts - 1, due) <= SMALL]
    if not len(enough):
        return 1.0
    critical = int(enough[0])
    return float(stats.beta.ppf(FOUND, critical, pairs - critical + 1))

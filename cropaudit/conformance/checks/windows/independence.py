"""Windows of different samples, steps, epochs and workers are independent.

Independent windows of one law are exchangeable, whatever that law: the number of equal windows
among named pairs, and rank correlations, are compared with those of permuted windows. These tests
are exact for any crop. Assumes images of one size, so that all windows have the same law.
"""

import math
from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray

from cropaudit.conformance.check import Check, Observations, Outcome, PipelineClaim, Tested, Words
from cropaudit.conformance.checks.windows.laws import DEPENDENT, short_of
from cropaudit.conformance.checks.windows.relations import Relation, relations, windows
from cropaudit.conformance.exact import FOUND, SMALL, permuted_p_value
from cropaudit.conformance.observations.draws import Draws

__all__ = ["check"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_SEED = 30
_LEAST_PAIRS = 8
_LEAST_WINDOWS = 30
_MOST_WINDOWS = 4_000  # of the first calls: more would take long, and find what matters no better
_SIDES = ("top", "left")

say = Words("""
asks: windows of different samples, steps, epochs and workers are independent
catches: one crop a batch, cached crops, equal worker seeds, reseeding each epoch
alike?: windows {of} are independent ({name})
alike: {name}: {equal} of {pairs} windows {of} are equal, where {due:.1f} are due: {cause}
serial?: windows are uncorrelated in the order of drawing ({name})
serial: {name}: the {side} sides of windows {lag} draws apart have a rank correlation of
  {correlation:.2f} over {count} windows, where 0 is due: the next window depends on earlier ones;
  draw each from the generator alone
constant: every window is the same, so that nothing is random whose independence could be tested:
  the window law judges whether it may be
constant.seen: all {read} windows of the {name} are the same: no power
seen: {read} windows of the {name}, {kinds} different ones; equal ones: {alike}; rank correlations
  of at most {largest:.2f}
power: in the {name}, windows {of} that are equal in {share:.1%} of the pairs (other pairs less) are
  found at p < {small} with probability {found}, and neighbours with a rank correlation of
  {least:.2f}
unread: no window of the {name} could be read off
few: {read} windows of the {name} are too few: {needed} are needed
""")


def _read(draws: Draws, claimed: PipelineClaim, seen: Observations) -> Outcome:
    """Tests the windows of one subject."""
    return _Part(draws).outcome() if len(draws) else Outcome(skipped=say("unread", name="code"))


class _Part:
    """The windows of one subject, with the permutations that judge them."""

    def __init__(self, draws: Draws) -> None:
        self._missing = short_of(draws)
        self._draws = draws = _first(draws, _MOST_WINDOWS)
        self._windows = windows(draws)
        self._read = np.flatnonzero(self._windows >= 0)
        self.name = "loader" if bool((draws.step >= 0).any()) else "transform"
        self._kinds, counts = np.unique(self._windows[self._read], return_counts=True)
        total = len(self._read)
        # The probability that two of the windows, drawn at random, are equal.
        self._chance = float((counts * (counts - 1.0)).sum()) / max(total * (total - 1.0), 1.0)
        self._relations = self._usable()

    def outcome(self) -> Outcome:
        """Tests each relation, and the rank correlations."""
        read, name = len(self._read), self.name
        if read and self._fixed():
            seen = say("constant.seen", read=read, name=name)
            return Outcome(skipped=say("constant"), evidence=seen)
        table, serial = self._serial() if read >= _LEAST_WINDOWS else (np.zeros((2, 0)), [])
        few = say("few", read=read, name=name, needed=_LEAST_WINDOWS)
        alike = ", ".join(
            f"{self._equal(item)} of {len(item.first)} {item.of}" for item in self._relations
        )
        largest = float(np.abs(table).max(initial=0.0))
        seen = say(
            "seen", read=read, name=name, kinds=len(self._kinds), alike=alike, largest=largest
        )
        unread = say("unread", name=name)
        return Outcome(
            tests=(*(map(self._alike, self._relations) if serial else ()), *serial),
            evidence=seen if read else unread,
            power=self._power(),
            undecided=unread if not read else few if not serial else self._missing,
            figures={
                f"correlation of {side} at lag {lag} ({name})": float(value)
                for side, row in zip(_SIDES, table, strict=True)
                for lag, value in zip(self._lags(), row, strict=bool(serial))
            },
        )

    def _fixed(self) -> bool:
        """Returns whether all windows are the same, or those of each of several crops."""
        crop = self._draws.slot if self.name == "transform" else np.zeros(len(self._draws))
        kinds = np.unique(np.stack([crop, self._windows])[:, self._read], axis=1)
        return bool(len(np.unique(kinds[0])) == kinds.shape[1])

    def _power(self) -> str:
        """Says which share of equal pairs, and which correlation, would be found."""
        from scipy.stats import norm

        if not self._relations:
            return ""
        seen = len(self._read)
        shares = [
            (_share_found(len(item.first), self._chance, seen), item.of) for item in self._relations
        ]
        share, of = max(shares)
        # Of the normal approximation of a rank correlation, at SMALL from both sides.
        distance = norm.isf(SMALL / 8) + norm.ppf(FOUND)
        least = min(1.0, distance / math.sqrt(seen))
        return say(
            "power", name=self.name, of=of, share=share, small=SMALL, found=FOUND, least=least
        )

    def _usable(self) -> tuple[Relation, ...]:
        found = []
        for item in relations(self._draws):
            kept = (self._windows[item.first] >= 0) & (self._windows[item.second] >= 0)
            if kept.sum() >= _LEAST_PAIRS:
                found.append(Relation(item.kind, item.first[kept], item.second[kept]))
        return tuple(found)

    def _equal(self, item: Relation) -> int:
        return int((self._windows[item.first] == self._windows[item.second]).sum())

    def _alike(self, item: Relation) -> Tested:
        equal, pairs = self._equal(item), len(item.first)
        place = np.full(len(self._windows), -1)
        place[self._read] = np.arange(len(self._read))
        first, second = place[item.first], place[item.second]

        def statistic(permuted: Integers) -> Floats:
            alike = permuted[:, first] == permuted[:, second]
            return np.asarray(alike.sum(axis=1), dtype=np.float64)

        values = self._windows[self._read]
        return say.test(
            "alike",
            self._permuted(float(equal), values, statistic) if equal else 1.0,
            shows=DEPENDENT,
            name=self.name,
            equal=equal,
            pairs=pairs,
            of=item.of,
            due=pairs * self._chance,
            cause=item.cause,
        )

    def _serial(self) -> tuple[Floats, list[Tested]]:
        """Tests rank correlations of the origin with the next window and with the next batch's."""
        from scipy.stats import rankdata

        lags, count = self._lags(), len(self._read)
        scaled = [_standard(rankdata(getattr(self._draws, s)[self._read])) for s in _SIDES]
        table = np.stack([_products(row[None], lags)[0] for row in scaled])
        weight = np.sqrt(count - np.asarray(lags))

        def statistic(order: Integers) -> Floats:
            parts = [np.abs(_products(row[order], lags) * weight).max(axis=1) for row in scaled]
            return np.asarray(np.max(parts, axis=0), dtype=np.float64)

        every = np.arange(count)
        p_value = self._permuted(float(statistic(every[None])[0]), every, statistic)
        side, lag = np.unravel_index(int(np.argmax(np.abs(table * weight))), table.shape)
        tested = say.test(
            "serial",
            p_value,
            shows=DEPENDENT,
            name=self.name,
            side=_SIDES[side],
            lag=lags[lag],
            correlation=table[side, lag],
            count=count,
        )
        return table, [tested]

    def _lags(self) -> tuple[int, ...]:
        if self.name == "transform":
            return (1,)
        batch = round(len(self._draws) / (int(self._draws.step.max()) + 1))
        usable = 1 < batch <= len(self._read) // 2
        return (1, batch) if usable else (1,)

    def _permuted(
        self, seen: float, values: Integers, statistic: Callable[[Integers], Floats]
    ) -> float:
        return permuted_p_value(seen, values, statistic, np.random.default_rng(_SEED))


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
    from scipy.stats import beta, poisson

    counts = np.arange(1, pairs + 1)
    due = pairs * (chance + 2 * counts / (seen * (seen - 1)))
    enough = counts[poisson.sf(counts - 1, due) <= SMALL]
    if not len(enough):
        return 1.0
    critical = int(enough[0])
    return float(beta.ppf(FOUND, critical, pairs - critical + 1))


check = Check("independence", say, {"draws": _read, "loader_draws": _read, "trained_draws": _read})

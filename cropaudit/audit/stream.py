"""A claim held against games as they finish: the audit may stop at any of them.

Games come in any order, each with its score and its bit (1: world A). The i-th member is paired
with the i-th nonmember, by the bits alone, and the e-process bets on the pairs. Its confidence
holds for all times at once, so that looking after every game, and stopping when the answer pleases,
costs nothing.

Two statements are made, each at the level of its own: "violation", and the lower bound. Both assume
that the games come in an order that knows nothing of their scores, which a file sorted by score
does not. That is tested as well, game by game; once it is refuted nothing is said any more.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cropaudit.accounting.curves import PrivacyCurve
from cropaudit.audit.estimators.betting.exchangeability import Exchangeability
from cropaudit.audit.estimators.betting.nulls import Null
from cropaudit.audit.estimators.e_process import EProcess
from cropaudit.errors import require

__all__ = ["ORDER_LEVEL", "Decision", "Stream", "StreamClaim", "StreamState"]

Array = NDArray[np.float64]
Decision = Literal["violation", "close", "undecided", "withheld"]

ORDER_LEVEL = 1e-3
"""Chance, at most, that a random order is ever taken for one that knows the scores."""

_APART = 1.02  # games between two states that are kept, as a factor


@dataclass(frozen=True, eq=False)
class StreamClaim:
    """What is held against the games.

    Attributes:
        epsilon: Claimed epsilon.
        delta: Claimed delta.
        curve: The claimed trade-off curve, in either order of the worlds. To contradict it assumes
            nothing about the mechanism. Without one the claim is what the process makes of its
            epsilon: a region, or given a family the member of that epsilon.

    Raises:
        InputError: If epsilon is not positive and finite, or delta is not in [0, 1).
    """

    epsilon: float
    delta: float
    curve: PrivacyCurve | None = None

    def __post_init__(self) -> None:
        legal = 0 < self.epsilon < math.inf
        require(legal, "claimed epsilon", "positive and finite", self.epsilon)
        require(0 <= self.delta < 1, "delta", "in [0, 1)", self.delta)

    def nulls(self, process: EProcess) -> tuple[Null, ...]:
        """Returns what must be rejected, all of it, to contradict the claim."""
        return process.claim(self.epsilon, self.delta) if self.curve is None else self._orders

    @cached_property
    def _orders(self) -> tuple[Null, ...]:
        parts = () if self.curve is None else self.curve.parts
        return tuple(Null.under(part, self.epsilon) for part in parts)


@dataclass(frozen=True)
class StreamState:
    """What the games have shown so far.

    Attributes:
        games: Games seen.
        pairs: Pairs that were bet on.
        log_wealth: Log of the largest wealth so far against the claim; a violation needs
            -ln(level). Of a claim of two curves the smaller one.
        epsilon: Lower bound on epsilon, not rounded; it never falls unless it is withheld.
        decision: "withheld", with a bound of 0, once the order of the games is refuted to know
            nothing of their scores; "violation" once the wealth has reached its bar; "close" once
            the bound has reached the wanted share of the claim; else "undecided".
    """

    games: int
    pairs: int
    log_wealth: float
    epsilon: float
    decision: Decision


class Stream:
    """Games fed one by one or in batches, and what they show at any time.

    Attributes:
        process: Decides the bets and the ladder of the lower bound.
        claim: What is held against the games.
        level: Chance of a false violation, and of a bound ever above the truth.
        close: Share of the claim that the bound must reach for the decision "close".
        games: Games seen.
    """

    def __init__(
        self,
        process: EProcess,
        claim: StreamClaim,
        level: float = 0.05,
        close: float = 0.9,
        rng: np.random.Generator | None = None,
    ) -> None:
        """Starts with no game.

        Args:
            process: See the class.
            claim: See the class.
            level: See the class.
            close: See the class.
            rng: Parts tied scores where the order of the games is tested, and nothing else; fresh
                unless given.

        Raises:
            InputError: If level is not in (0, 1) or close not in (0, 1].
        """
        require(0 < level < 1, "level", "in (0, 1)", level)
        require(0 < close <= 1, "close", "in (0, 1]", close)
        self.process, self.claim, self.level, self.close = process, claim, level, close
        self.games = 0
        self._order = Exchangeability(rng or np.random.default_rng())
        self._bound = process.wager(process.ladder(claim.delta))
        self._against = process.wager(claim.nulls(process))
        self._waiting: tuple[list[float], list[float]] = ([], [])  # nonmembers, members
        self._kept: list[StreamState] = []
        self._keep_at = 2

    @property
    def state(self) -> StreamState:
        """What is known now."""
        if self._order.highest >= -math.log(ORDER_LEVEL):
            return StreamState(self.games, self._bound.pairs, 0.0, 0.0, "withheld")
        found = self.process.found(self._bound, self.claim.delta, self.level)
        wealth = float(self._against.highest.min())
        state = StreamState(self.games, self._bound.pairs, wealth, found.epsilon, "undecided")
        if wealth >= -math.log(self.level):
            return replace(state, decision="violation")
        if found.epsilon >= self.close * self.claim.epsilon:
            return replace(state, decision="close")
        return state

    @property
    def history(self) -> Sequence[StreamState]:
        """States at games 2% apart (every game at first), and the present one."""
        last = self._kept[-1].games if self._kept else 0
        return (*self._kept, *([self.state] if self.games > last else []))

    def add(self, score: float, bit: int) -> None:
        """Takes one finished game; see `extend`."""
        self.extend([score], [bit])

    def extend(self, scores: ArrayLike, bits: ArrayLike) -> None:
        """Takes finished games in the order in which they finished.

        That order may depend on the bits, but not on the scores of games not yet taken.

        Args:
            scores: Higher means member, shape (n,). They may be infinite.
            bits: 1 for world A, 0 for world B, shape (n,).

        Raises:
            InputError: If a score is NaN, a bit is neither 0 nor 1, or the lengths differ.
        """
        values, members = _checked(scores, bits)
        while len(values):
            size = min(len(values), self._keep_at - self.games)
            self._take(values[:size], members[:size])
            values, members = values[size:], members[size:]
            if self.games == self._keep_at:
                self._kept.append(self.state)
                self._keep_at = max(self.games + 1, math.ceil(self.games * _APART))

    def _take(self, values: Array, members: NDArray[np.bool_]) -> None:
        """Pairs what can be paired; the rest waits."""
        for world, queue in enumerate(self._waiting):
            queue.extend(values[members == bool(world)].tolist())
        self.games += len(values)
        for score, member in zip(values.tolist(), members.tolist(), strict=True):
            self._order.add(score, int(member))
        ready = min(map(len, self._waiting))
        if ready:
            nonmember, member = (queue[:ready] for queue in self._waiting)
            for wager in (self._bound, self._against):
                wager.play(member, nonmember)
            for queue in self._waiting:
                del queue[:ready]


def _checked(scores: ArrayLike, bits: ArrayLike) -> tuple[Array, NDArray[np.bool_]]:
    """Returns scores and bits as arrays; unlike in a file, one world may be missing here."""
    values, given = np.asarray(scores, dtype=np.float64), np.asarray(bits, dtype=np.float64)
    require(values.ndim == 1, "scores", "a list of numbers", f"shape {values.shape}")
    require(given.shape == values.shape, "bits", f"as many as scores ({len(values)})", given.size)
    require(not np.isnan(values).any(), "scores", "free of NaN", "NaN")
    require(bool(np.isin(given, (0, 1)).all()), "bits", "0 or 1", "something else")
    return values, given == 1

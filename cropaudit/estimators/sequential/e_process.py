"""Estimator 9: a lower bound on epsilon that may be read after every game, and at any stop.

A null says that no test does better than a set of lines: P(A) <= s Q(A) + d for every event A (the
tangents of a trade-off curve, or the two lines of an (epsilon, delta) region). Games are taken in
pairs, one member score X and one nonmember score Y. With thresholds t_k fixed before the pair, one
line (s_k, d_k) and one stake l_k >= 0 for each, and g + h + sum_k l_k d_k = 2,

    e = G(X) H(Y),  G(x) = g + sum_k l_k 1[x > t_k],  H(y) = h - sum_k l_k s_k 1[y > t_k] >= 0

has E[G] + E[H] <= 2 under the null, hence E[e] = E[G] E[H] <= 1: the product over pairs is a
nonnegative supermartingale, and reaches 1 / level with probability at most ``level`` (Ville). A
fixed mixture of such products is another one. This is the growth-optimal e-variable for a convex
null (Turner, Ly and Grünwald, 2106.02693) written through its multipliers: with the best
stakes, G and H are the likelihood ratios of an expected alternative to the null's nearest point. A
stake that is not the best costs power, never validity. All thresholds are bet on at once: a single
one uses a fraction of what two score lists tell.

Stakes are planned, not learned: for each null, one alternative for each number of pairs that a
rejection may take. Learned stakes pay for every threshold with half a log of the pairs and come
out far lower. Thresholds may be learned, from the nonmember scores of earlier pairs.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.special import ndtr, ndtri

from cropaudit.errors import require
from cropaudit.estimators.bound import Validity
from cropaudit.estimators.evidence import Found
from cropaudit.estimators.gaussian import gdp_epsilon
from cropaudit.estimators.null import Null
from cropaudit.estimators.scores import Scores
from cropaudit.estimators.sequential.lines import RATES, Lines
from cropaudit.estimators.sequential.stakes import Alternatives
from cropaudit.estimators.sequential.wager import Book, Wager
from cropaudit.estimators.trials.family import Family

__all__ = ["EProcess"]

_SHIFTS = np.geomspace(0.05, 12.0, 50)  # of the Gaussian curves expected without a family
_MOST = 2000  # distance from the configured member, in steps of the family
_FAR = 30.0, 6.0  # nulls beyond this epsilon, and this multiple of the own one, are left out


@dataclass(frozen=True, eq=False)
class EProcess:
    """A lower bound that holds at all times at once, for games in any number.

    Attributes:
        family: Whose members are the nulls; without one they are (epsilon, delta) regions, which
            assume nothing about the mechanism.
    """

    family: Family | None = None
    _ladders: dict[float, tuple[Lines, ...]] = field(default_factory=dict, repr=False)
    _books: dict[tuple[Lines, ...], Book] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """Name in tables and options."""
        return "e-process"

    @property
    def validity(self) -> Validity:
        """Exact for regions; given the family for its members."""
        return "exact" if self.family is None else "model-based"

    @property
    def assumes(self) -> str:
        """What must hold for that, in words."""
        common = (
            "independent games, each world's score of one law, in an order that knows nothing of "
            "the scores; valid at any stopping time"
        )
        if self.family is None:
            return common
        return f"{common}; the delivered mechanism is the configured one at some {self.family.axis}"

    def bound(self, scores: Scores, delta: float, level: float) -> Found:
        """Returns the bound after all scores, in the order in which they stand.

        What one list has more than the other is left out.

        Raises:
            InputError: If delta is not that of the family, or level is not in (0, 1).
        """
        require(0 < level < 1, "level", "in (0, 1)", level)
        wager = self.wager(self.ladder(delta))
        size = min(len(scores.member), len(scores.nonmember))
        wager.play(scores.member[:size], scores.nonmember[:size])
        return self.found(wager, delta, level)

    def found(self, wager: Wager, delta: float, level: float) -> Found:
        """Returns what a wager on the ladder shows: the loudest rung rejected with all below it.

        The true null is on some rung or between two; a bound above the truth needs the next rung
        rejected, which is as true. So no correction for the number of rungs is due.
        """
        ladder = self.ladder(delta)
        standing = np.flatnonzero(~wager.rejected(level))
        if not len(standing):
            return Found(ladder[-1].epsilon)
        first = ladder[standing[0]]
        below = [null.epsilon for null in ladder[: standing[0]] if null.epsilon < first.epsilon]
        return Found(max(below, default=0.0))

    def against(self, null: Null) -> tuple[Lines, ...]:
        """Returns what must be rejected, all of it, to reject a null hypothesis.

        Raises:
            InputError: If its epsilon is infinite.
        """
        if null.losses:
            return tuple(Lines.under(loss, null.epsilon) for loss in null.losses)
        return (Lines.region(null.epsilon, null.delta),)

    def detectable_epsilon(
        self, pairs: int, delta: float, level: float, power: float = 0.9
    ) -> float | None:
        """Returns the smallest true epsilon that so many pairs are likely to show at all.

        Args:
            pairs: Pairs played.
            delta: Of the epsilon.
            level: Of the test.
            power: Wanted probability of rejecting the quietest rung.

        Returns:
            An epsilon of a member of the family, or of the Gaussian mechanism without one, such
            that all louder ones are found as well; none if even the loudest is missed.
        """
        ladder, hits = self.ladder(delta), self._alternatives.hits
        rung = tuple(null for null in ladder if null.epsilon == ladder[0].epsilon)
        book = self._book(rung)
        chances = [book.chances(n, hits, pairs, level) for n in range(len(rung))]
        missed = np.flatnonzero(np.min(chances, axis=0) < power)
        first = int(missed[-1]) + 1 if len(missed) else 0
        if first == len(hits):
            return None
        if self.family is not None:
            return self.family.epsilon(_members(self.family)[first])
        return gdp_epsilon(float(_SHIFTS[first]), delta)

    def wager(self, nulls: tuple[Lines, ...]) -> Wager:
        """Returns a fresh wager against nulls; their bets are planned once."""
        return Wager(self._book(nulls))

    def ladder(self, delta: float) -> tuple[Lines, ...]:
        """Returns the nulls, from quiet to loud; those further from the expected are fewer.

        A rung of a family that is played in either order of the worlds has a null for each.
        """
        if delta not in self._ladders:
            if self.family is None:
                self._ladders[delta] = tuple(Lines.region(e, delta) for e in _epsilons())
            else:
                given = self.family.delta
                require(delta == given, "delta", f"{given}, that of the family", delta)
                self._ladders[delta] = tuple(
                    null for index in _members(self.family) for null in _rung(self.family, index)
                )
        return self._ladders[delta]

    def _book(self, nulls: tuple[Lines, ...]) -> Book:
        if nulls not in self._books:
            self._books[nulls] = Book(nulls, self._alternatives)
        return self._books[nulls]

    @cached_property
    def _alternatives(self) -> Alternatives:
        """The family's members in their own direction, or without a family Gaussian curves."""
        if self.family is None:
            return Alternatives(RATES, ndtr(ndtri(RATES) + _SHIFTS[:, None]), None)
        members = _members(self.family)
        # The first part has world A first, which is how the games are played.
        hits = [self.family.curve(index).parts[0].highest_tpr(RATES) for index in members]
        return Alternatives(RATES, np.minimum(np.array(hits), 1.0), members.index(0))


def _rung(family: Family, index: int) -> list[Lines]:
    parts = family.curve(index).parts[: len(family.allowed(index))]
    return [Lines.under(part, family.epsilon(index)) for part in parts]


def _epsilons() -> list[float]:
    """Returns the epsilons of regions on a ladder: 0.02 apart at first, then 3%."""
    found = [0.0]
    while found[-1] < 14:
        found.append(found[-1] + max(0.02, 0.03 * found[-1]))
    return found


def _members(family: Family) -> list[int]:
    """Returns the indices of a ladder's members: the nearer to the configured one, the denser."""
    low, high = family.span
    quiet, loud = [0], [0]
    while quiet[-1] > low:
        away = -quiet[-1]
        step = max(4, round(away * (0.05 if away < 400 else 0.15)))
        quiet.append(max(low, quiet[-1] - step))
    most = max(_FAR[0], _FAR[1] * family.epsilon(0))
    while loud[-1] < min(high, _MOST) and family.epsilon(loud[-1]) < most:
        loud.append(min(high, _MOST, loud[-1] + max(5, round(0.07 * loud[-1]))))
    return quiet[:0:-1] + loud

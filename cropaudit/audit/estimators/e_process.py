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

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.special import ndtr, ndtri

from cropaudit.audit.estimators.betting.nulls import Bets, Null
from cropaudit.audit.estimators.betting.stakes import Alternatives
from cropaudit.audit.estimators.betting.wager import Book, Wager
from cropaudit.audit.estimators.evidence import Found
from cropaudit.audit.estimators.family import Family
from cropaudit.audit.estimators.gaussian_mu import gdp_epsilon
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.result import Validity
from cropaudit.errors import require

__all__ = ["EProcess"]

_SHIFTS = np.geomspace(0.05, 12.0, 50)  # of the Gaussian curves expected without a family
_MOST = 2000  # distance from the configured member, in steps of the family
_FAR = 30.0, 6.0  # nulls beyond this epsilon, and this multiple of the own one, are left out
_BEYOND = "every null on the ladder is rejected"


@dataclass(frozen=True, eq=False)
class EProcess:
    """A lower bound that holds at all times at once, for games in any number.

    Attributes:
        family: Whose members are the nulls; without one they are (epsilon, delta) regions, which
            assume nothing about the mechanism.
        bets: What is decided before the first game.
    """

    family: Family | None = None
    bets: Bets = field(default_factory=Bets)
    _ladders: dict[float, tuple[Null, ...]] = field(default_factory=dict, repr=False)
    _claims: dict[tuple[float, float], tuple[Null, ...]] = field(default_factory=dict, repr=False)
    _books: dict[tuple[Null, ...], Book] = field(default_factory=dict, repr=False)

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
            return Found(ladder[-1].epsilon, _BEYOND)
        first = ladder[standing[0]]
        below = [null.epsilon for null in ladder[: standing[0]] if null.epsilon < first.epsilon]
        return Found(max(below, default=0.0), f"{wager.pairs} pairs")

    def claim(self, epsilon: float, delta: float) -> tuple[Null, ...]:
        """Returns the nulls of "epsilon is at most this", all of which must be rejected.

        Given a family it is its quietest member that is louder than the claim; without one, or if
        no member is as loud, the region, which assumes nothing about the mechanism.
        """
        if (epsilon, delta) not in self._claims:
            index = None if self.family is None else self.family.index_of(epsilon)
            if self.family is None or index is None:
                self._claims[epsilon, delta] = (Null.region(epsilon, delta),)
            else:
                self._claims[epsilon, delta] = tuple(_rung(self.family, index))
        return self._claims[epsilon, delta]

    def likely_epsilon(
        self, pairs: int, delta: float, level: float, power: float = 0.9
    ) -> float | None:
        """Returns a bound that so many games are likely to reach if all is as configured.

        Returns:
            The largest epsilon on the ladder that is rejected with probability ``power`` (see
            `chances` for how it is approximated); none without a family.
        """
        book = self._book(self.ladder(delta))
        if self.family is None or book.alternatives.design is None:
            return None
        truth = book.alternatives.hits[book.alternatives.design][None]
        best = 0.0
        for number, null in enumerate(book.nulls):
            if null.epsilon > best and book.chances(number, truth, pairs, level)[0] >= power:
                best = null.epsilon
        return best

    def detectable_epsilon(
        self, claims: Sequence[Null], pairs: int, delta: float, level: float, power: float = 0.9
    ) -> float | None:
        """Returns the smallest true epsilon with which so many games are likely to refute a claim.

        Args:
            claims: The claim's nulls; all must be rejected.
            pairs: Pairs played.
            delta: Of the epsilon.
            level: Of the test.
            power: Wanted probability.

        Returns:
            An epsilon of a member of the family, or of the Gaussian mechanism without one, such
            that all louder ones are found as well; none if even the loudest is missed.
        """
        book = self._book(tuple(claims))
        hits = self._alternatives.hits
        chances = [book.chances(n, hits, pairs, level) for n in range(len(claims))]
        missed = np.flatnonzero(np.min(chances, axis=0) < power)
        first = int(missed[-1]) + 1 if len(missed) else 0
        if first == len(hits):
            return None
        if self.family is not None:
            return self.family.epsilon(_members(self.family)[first])
        return gdp_epsilon(float(_SHIFTS[first]), delta)

    def wager(self, nulls: tuple[Null, ...]) -> Wager:
        """Returns a fresh wager against nulls; their bets are planned once."""
        return Wager(self._book(nulls))

    def ladder(self, delta: float) -> tuple[Null, ...]:
        """Returns the nulls, from quiet to loud; those further from the expected are fewer.

        A rung of a family that is played in either order of the worlds has a null for each.
        """
        if delta not in self._ladders:
            if self.family is None:
                self._ladders[delta] = tuple(Null.region(e, delta) for e in _epsilons())
            else:
                given = self.family.delta
                require(delta == given, "delta", f"{given}, that of the family", delta)
                self._ladders[delta] = tuple(
                    null for index in _members(self.family) for null in _rung(self.family, index)
                )
        return self._ladders[delta]

    def _book(self, nulls: tuple[Null, ...]) -> Book:
        if nulls not in self._books:
            self._books[nulls] = Book(nulls, self.bets, self._alternatives)
        return self._books[nulls]

    @cached_property
    def _alternatives(self) -> Alternatives:
        """The family's members in their own direction, or without a family Gaussian curves."""
        rates = np.asarray(self.bets.rates)
        if self.family is None:
            return Alternatives(rates, ndtr(ndtri(rates) + _SHIFTS[:, None]), None)
        members = _members(self.family)
        # The first part has world A first, which is how the games are played.
        hits = [self.family.curve(index).parts[0].highest_tpr(rates) for index in members]
        return Alternatives(rates, np.minimum(np.array(hits), 1.0), members.index(0))


def _rung(family: Family, index: int) -> list[Null]:
    parts = family.curve(index).parts[: len(family.played(index))]
    return [Null.under(part, family.epsilon(index)) for part in parts]


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

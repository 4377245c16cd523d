"""Whether games came in an order that knows nothing of their scores: bets against it, game by game.

The e-process needs pairs that are independent of each other, and members independent of the
nonmembers they are paired with. Of independent games of one law the rank of each score among the
earlier ones of its world is uniform, and independent of all earlier ranks (ties by a fair draw):
conformal p-values (Vovk, Gammerman and Shafer 2005). Centred as c = 2 p - 1, each of

    1 + s c_i (a trend),   1 + s c_i c_(i-1) (neighbours alike),   1 + s x_i y_i (pairs alike)

has mean one, so that their products are wealth that reaches 1 / level with probability at most
``level``, ever. What is staked on, s, jumps among three values, so that an order that goes wrong
late is found as well (the simple jumper; Vovk et al. 2021).
"""

from bisect import bisect_left, bisect_right, insort

import numpy as np
from numpy.typing import NDArray

__all__ = ["Exchangeability"]

Array = NDArray[np.float64]

_STAKES = np.array([-0.95, 0.0, 0.95])
_JUMP = 0.01  # of each stake's wealth, shared out before every bet


class _Jumper:
    """One kind of bet; log wealth starts at zero."""

    def __init__(self) -> None:
        self.log_wealth = 0.0
        self._shares = np.full(len(_STAKES), 1 / len(_STAKES))

    def bet(self, centred: float) -> None:
        """Takes a number of mean zero in [-1, 1]."""
        won = ((1 - _JUMP) * self._shares + _JUMP / len(_STAKES)) * (1 + _STAKES * centred)
        total = float(won.sum())
        self.log_wealth += float(np.log(total))
        self._shares = won / total


class Exchangeability:
    """Wealth of bets that the games of a stream are not in a random order.

    Attributes:
        highest: Largest log wealth ever; large values refute that the order is random.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        """Starts with no game.

        Args:
            rng: Source of the draws that part ties.
        """
        self.highest = 0.0
        self._rng = rng
        self._sorted: tuple[list[float], list[float]] = ([], [])
        self._ranks: tuple[list[float], list[float]] = ([], [])  # not yet paired
        self._last: list[float | None] = [None, None]
        self._bets = {
            name: _Jumper() for name in ("trend 0", "trend 1", "near 0", "near 1", "pair")
        }

    def add(self, score: float, bit: int) -> None:
        """Takes the next game.

        Args:
            score: Not NaN.
            bit: 1 for world A, 0 for world B.
        """
        earlier = self._sorted[bit]
        below, upto = bisect_left(earlier, score), bisect_right(earlier, score)
        rank = below + self._rng.random() * (upto - below + 1)
        centred = 2 * rank / (len(earlier) + 1) - 1
        insort(earlier, score)
        last, self._last[bit] = self._last[bit], centred
        self._bets[f"trend {bit}"].bet(centred)
        if last is not None:
            self._bets[f"near {bit}"].bet(centred * last)
        self._ranks[bit].append(centred)
        if self._ranks[0] and self._ranks[1]:
            self._bets["pair"].bet(self._ranks[0].pop(0) * self._ranks[1].pop(0))
        wealth = [bet.log_wealth for bet in self._bets.values()]
        self.highest = max(self.highest, float(np.logaddexp.reduce(wealth) - np.log(len(wealth))))

"""How many canaries of one run to guess: planned from their number and the claim, before scores.

Few guesses are the surest ones, many count more; which is better depends on the number of canaries
and on the curve. Two plans share the level of `RunFdp`: the share of canaries that hears the
quietest game louder than the claimed one, and the share that promises the largest bound if what was
claimed is what ran. Both are searched for over all shares at once.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from cropaudit.audit.estimators.evidence import Guesses
from cropaudit.audit.estimators.family import Family
from cropaudit.audit.estimators.order_statistics import SHARES, likely_right
from cropaudit.audit.estimators.power import FamilyTruth, Truth, smallest_found
from cropaudit.audit.estimators.rate_test import TradeOff
from cropaudit.audit.estimators.run_fdp import RunFdp

__all__ = ["contradicting_share", "likely_guesses", "planned_shares"]

_SHARES = (0.02, 0.035, *SHARES)
_NEAR = 2.0  # shares within this factor are one plan, at the whole level
_UNEVEN = 0.8225  # half the deviations within which nine of ten splits of fair coins lie


def planned_shares(canaries: int, family: Family, level: float) -> tuple[float, ...]:
    """Returns the shares that `RunFdp` guesses of so many canaries, each at its part of the level.

    Args:
        canaries: In the run.
        family: Its configured member is the claim.
        level: Of all shares together.
    """
    estimator = RunFdp(family)
    claim = [estimator.against(curve) for curve in family.played(0)]

    def contradicts(guesses: Guesses) -> bool:
        return all(rejects(guesses, level / 2) for rejects in claim)

    found = contradicting_share(canaries, FamilyTruth(family), contradicts)
    promised = _promising_share(canaries, estimator, level / 2)
    if promised is None or found / _NEAR <= promised <= found * _NEAR:
        return (found,)
    return found, promised


def contradicting_share(
    canaries: int, truth: Truth, contradicts: Callable[[Guesses], bool]
) -> float:
    """Returns the share that contradicts a claim at the quietest truth; all if none ever does.

    Args:
        canaries: In the run.
        truth: What may be true.
        contradicts: Whether guesses contradict the claim.
    """

    def heard(loudness: int) -> Sequence[float]:
        items = likely_guesses(canaries, _SHARES, truth.trade_off(loudness), 0.9)
        return [share for share, item in items.items() if contradicts(item)]

    loudness = smallest_found(truth, lambda one: bool(heard(one)))
    return 1.0 if loudness is None else max(heard(loudness))


def likely_guesses(
    canaries: int, shares: Sequence[float], truth: TradeOff, power: float
) -> Mapping[float, Guesses]:
    """Returns guesses that are as right as the best guesser's with probability about ``power``.

    Guesses are half of each world, and fair coins split unevenly: what the smaller world lacks is
    guessed wrong, however sure the scores are.
    """
    least = math.floor(canaries / 2 - _UNEVEN * math.sqrt(canaries))
    found = {}
    for share in shares:
        made = min(canaries, max(2, round(share * canaries)))
        lacking = max(0, math.ceil(made / 2) - least)
        right = min(likely_right(canaries, made, truth, power), made - lacking)
        found[share] = Guesses(canaries, made, max(0, right))
    return found


def _promising_share(canaries: int, estimator: RunFdp, level: float) -> float | None:
    """Returns the share whose bound is likely to be largest if the claim is true; none if 0."""
    family = estimator.family
    items = likely_guesses(canaries, _SHARES, family.played(0)[0], 0.5)

    def heard(curve: TradeOff) -> Sequence[float]:
        rejects = estimator.against(curve)
        return [share for share, item in items.items() if rejects(item, level)]

    best = family.loudest_rejected(lambda curve: bool(heard(curve)))
    if best.index is None:
        return None
    found = set.intersection(*(set(heard(curve)) for curve in family.played(best.index)))
    return max(found, default=None)

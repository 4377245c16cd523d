"""Check 4, the inclusion rate: the patch is met as often as the accountant was told, and no more.

Null hypothesis: for every place of the patch, the probability that a window shows a part of it is
at most rho, the accountant's. Exact: binomial tails at the worst place of the law and on a grid of
places, with Bonferroni's correction. Too small a rate is no fault of this check: rho is a bound.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc

from cropaudit.accounting.geometry import Size
from cropaudit.accounting.inclusion import inclusion
from cropaudit.audit.conformance.checks.laws import (
    DEPENDENT,
    MOVING,
    law_of,
    short_of,
    well_read,
)
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.draws import Draws
from cropaudit.audit.conformance.outcome import Outcome, Tested
from cropaudit.audit.conformance.seen import Seen
from cropaudit.audit.run_logs import Tally

__all__ = ["check", "worst_place"]

_NAME = "inclusion rate"
_GRID = 12  # places a side
_LEVEL = 0.005  # of each limit that is shown
_FEWEST = 100


@dataclass(frozen=True)
class _Told:
    """What the accountant was told."""

    rho: float
    place: tuple[int, int]
    words: str


def check(seen: Seen, claimed: Claimed) -> Outcome:
    """Counts the windows that meet the patch, place by place."""
    draws = seen.windows
    if draws is None:
        return Outcome(_NAME, skipped="no transform and no loader was given")
    told = _told(draws, seen, claimed)
    if told is None:
        words = "no crop and no rho was claimed, and the windows vary in size: nothing to compare"
        return Outcome(_NAME, skipped=words, where=draws.where)
    kept = draws.decoded | draws.blank
    n = int(kept.sum())
    if n < _FEWEST:
        return Outcome(_NAME, undecided=f"only {n} windows were seen", where=draws.where)
    if not well_read(draws):
        words = "too many windows could not be read off: see the window law"
        return Outcome(_NAME, undecided=words, where=draws.where)
    tally = worst_place(draws, claimed, told.place)
    low, rate, high = tally.limits(_LEVEL)
    return Outcome(
        check=_NAME,
        tests=(_tested(draws, claimed, told),),
        evidence=(
            f"the patch at {told.place} is met by {rate:.4f} of {n} windows (99% interval "
            f"{low:.4f} to {high:.4f}), rho {told.rho:.4f} ({told.words})"
        ),
        undecided=short_of(draws),
        power=f"a rate of {_detectable(told.rho, n):.4f} at the worst place is found with 95%",
        where=draws.where,
        figures={"rho": told.rho, "rate": rate, "low": low, "high": high, "windows": float(n)},
    )


def worst_place(draws: Draws, claimed: Claimed, place: tuple[int, int]) -> Tally:
    """Returns how many windows meet the patch at ``place``, of those that could be read."""
    kept = draws.decoded | draws.blank
    met = _met(draws, claimed.patch.size, *(np.array([value]) for value in place))
    return Tally(int(met[0]), int(kept.sum()))


def _told(draws: Draws, seen: Seen, claimed: Claimed) -> _Told | None:
    image = Size(draws.image_height, draws.image_width)
    law = law_of(draws, seen.near_draws, claimed)
    crop = law.crop
    if crop is None:
        middle = (image.height // 2, image.width // 2)
        if claimed.inclusion is None:
            return None
        return _Told(claimed.inclusion, middle, "as claimed")
    found = inclusion(image, crop, claimed.patch)
    if claimed.inclusion is not None:
        return _Told(claimed.inclusion, found.position, "as claimed")
    return _Told(found.probability, found.position, f"of {law.words}")


def _tested(draws: Draws, claimed: Claimed, told: _Told) -> Tested:
    size = claimed.patch.size
    rows = np.linspace(0, draws.image_height - size.height, _GRID).round().astype(np.int64)
    columns = np.linspace(0, draws.image_width - size.width, _GRID).round().astype(np.int64)
    tops, lefts = (axis.ravel() for axis in np.meshgrid(rows, columns, indexing="ij"))
    tops, lefts = np.append(tops, told.place[0]), np.append(lefts, told.place[1])
    met = _met(draws, size, tops, lefts)
    n = int((draws.decoded | draws.blank).sum())
    tails = np.where(met > 0, bdtrc(met - 1, n, min(told.rho, 1.0)), 1.0)
    i = int(np.argmin(tails))
    # The worst place alone has half of the level: there the claim is about to be exceeded.
    worst, rest = float(tails[-1]), float(tails[:-1].min()) * (len(tails) - 1)
    p = min(1.0, 2 * min(worst, rest))
    words = (
        f"the patch at ({tops[i]}, {lefts[i]}) is met by {met[i] / n:.4f} of {n} windows, where "
        f"rho is {told.rho:.4f} ({told.words}): the accountant was told too little"
    )
    null = "windows meet the patch with a probability of at most rho"
    return Tested(null, p, words, void_if=(DEPENDENT, MOVING))


def _met(
    draws: Draws, patch: Size, tops: NDArray[np.int64], lefts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Counts, for each place, the windows that share a pixel with the patch."""
    kept = draws.decoded
    top, left = draws.top[kept, None], draws.left[kept, None]
    bottom, right = top + draws.height[kept, None], left + draws.width[kept, None]
    met = (tops < bottom) & (top < tops + patch.height)
    met &= (lefts < right) & (left < lefts + patch.width)
    return np.asarray(met.sum(axis=0))


def _detectable(rho: float, n: int) -> float:
    """Returns the rate that is found with 95% at a level of a thousandth."""
    counts = np.arange(n + 1)
    least = int(np.argmax(bdtrc(counts - 1.0, n, rho) <= _LEVEL / 5)) if rho < 1 else n
    rates = np.linspace(rho, 1, 2001)
    found = bdtrc(max(least - 1, 0), n, rates) >= 0.95
    return float(rates[np.argmax(found)]) if found.any() else 1.0

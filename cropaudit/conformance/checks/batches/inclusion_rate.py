"""The inclusion rate: the patch is met as often as the accountant was told, and no more.

Null hypothesis: for every place of the patch, the probability that a window shows a part of it is
at most rho, the accountant's. Exact: binomial tails at the worst place of the law and on a grid of
places, with Bonferroni's correction. Too small a rate is no fault of this check: rho is a bound.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc

from cropaudit.accounting.geometry.shapes import Size
from cropaudit.accounting.inclusion.probability import inclusion
from cropaudit.certificate.run_logs import Tally
from cropaudit.conformance.check import Check, Observations, Outcome, PipelineClaim, Tested, Words
from cropaudit.conformance.checks.windows.laws import (
    DEPENDENT,
    MOVING,
    law_of,
    short_of,
    well_read,
)
from cropaudit.conformance.observations.draws import Draws

__all__ = ["check", "worst_place"]

_GRID = 12  # places a side
_LEVEL = 0.005  # of each limit that is shown
_FEWEST = 100

say = Words("""
asks: the patch in its worst place is met as often as the accountant was told, and no more
catches: a wrong formula for rho, padding left out or counted twice, wrong image size
met?: windows meet the patch with a probability of at most rho
met: the patch at ({top}, {left}) is met by {share:.4f} of {n} windows, where rho is {rho:.4f}
  ({law}): the accountant was told too little
claimed: as claimed
law: of {words}
seen: the patch at {place} is met by {rate:.4f} of {n} windows (99% interval {low:.4f} to
  {high:.4f}), rho {rho:.4f} ({law})
power: a rate of {rate:.4f} at the worst place is found with 95%
open: no crop and no rho was claimed, and the windows vary in size: nothing to compare
few: only {n} windows were seen
unread: too many windows could not be read off: see the window law
""")


def _read(draws: Draws, claimed: PipelineClaim, seen: Observations) -> Outcome:
    """Counts the windows that meet the patch, place by place."""
    image, law = (
        Size(draws.image_height, draws.image_width),
        law_of(draws, seen.near(draws), claimed),
    )
    rho, place, words = claimed.inclusion, (image.height // 2, image.width // 2), say("claimed")
    if law.crop is not None:
        found = inclusion(image, law.crop, claimed.patch)
        place = found.position
        if rho is None:
            rho, words = found.probability, say("law", words=law.words)
    if rho is None:
        return Outcome(skipped=say("open"))
    n = int((draws.decoded | draws.blank).sum())
    if n < _FEWEST:
        return Outcome(undecided=say("few", n=n))
    if not well_read(draws):
        return Outcome(undecided=say("unread"))
    low, rate, high = worst_place(draws, claimed, place).limits(_LEVEL)
    return Outcome(
        tests=(_tested(draws, claimed, rho, place, words),),
        evidence=say("seen", place=place, rate=rate, n=n, low=low, high=high, rho=rho, law=words),
        undecided=short_of(draws),
        power=say("power", rate=_detectable(rho, n)),
        figures={"rho": rho, "rate": rate, "low": low, "high": high, "windows": float(n)},
    )


def worst_place(draws: Draws, claimed: PipelineClaim, place: tuple[int, int]) -> Tally:
    """Returns how many windows meet the patch at ``place``, of those that could be read."""
    kept = draws.decoded | draws.blank
    met = _met(draws, claimed.patch.size, *(np.array([value]) for value in place))
    return Tally(int(met[0]), int(kept.sum()))


def _tested(
    draws: Draws, claimed: PipelineClaim, rho: float, place: tuple[int, int], law: str
) -> Tested:
    size = claimed.patch.size
    rows = np.linspace(0, draws.image_height - size.height, _GRID).round().astype(np.int64)
    columns = np.linspace(0, draws.image_width - size.width, _GRID).round().astype(np.int64)
    tops, lefts = (axis.ravel() for axis in np.meshgrid(rows, columns, indexing="ij"))
    tops, lefts = np.append(tops, place[0]), np.append(lefts, place[1])
    met = _met(draws, size, tops, lefts)
    n = int((draws.decoded | draws.blank).sum())
    tails = np.where(met > 0, bdtrc(met - 1, n, min(rho, 1.0)), 1.0)
    i = int(np.argmin(tails))
    # The worst place alone has half of the level: there the claim is about to be exceeded.
    worst, rest = float(tails[-1]), float(tails[:-1].min()) * (len(tails) - 1)
    return say.test(
        "met",
        min(1.0, 2 * min(worst, rest)),
        void_if=(DEPENDENT, MOVING),
        top=tops[i],
        left=lefts[i],
        share=met[i] / n,
        n=n,
        rho=rho,
        law=law,
    )


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


check = Check("inclusion rate", say, {"windows": _read, "trained_draws": _read})

"""Check 2, the window law: windows of the claimed size, their origins uniform over all there are.

Null hypotheses, each exact: (1) every window has the claimed size, or sizes have the claimed law
(Hoeffding's inequality on their means); (2) origins stay within their range and reach its ends: n
draws miss an end of R origins with probability (1 - 1/R)^n; (3) origins are uniform: origin plus
dither over R is uniform on [0, 1], which Kolmogorov and Smirnov test in place and in its distance
from the centre, and a table of 6 by 6 tests jointly by simulation. (2) and (3) are tested again on
small images, where each origin comes up often enough for one that never does to be missed. Of
crops of random size the window that is taken where none fits has a place of its own: windows of its
size are left out of (3), and (4) so many of them lie there as the law has it (a binomial tail).
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kstest

from cropaudit.accounting.geometry import Crop, Size
from cropaudit.audit.conformance.checks.fallback_window import fallback_test, may_be_fallback
from cropaudit.audit.conformance.checks.laws import (
    DEPENDENT,
    MOVING,
    Law,
    law_of,
    reach,
    short_of,
    well_read,
)
from cropaudit.audit.conformance.checks.padding_habits import padding_habit
from cropaudit.audit.conformance.checks.window_size import placed, size_test
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.draws import Draws
from cropaudit.audit.conformance.outcome import Outcome, Tested
from cropaudit.audit.conformance.seen import Seen
from cropaudit.errors import InputError

__all__ = ["check"]

Array = NDArray[np.float64]
_NAME = "window law"
_FEWEST = 100
_TABLE = 6
_REPEATED = 0.8  # of the different windows that chance gives: fewer are worth a word
_SIMULATIONS = 4999
_LEFT_OUT = "; small images are padded otherwise, so that no range was tested there"
_COARSE = 0.01  # largest slack over origins for which a position is known well enough


def check(seen: Seen, claimed: Claimed) -> Outcome:
    """Tests sizes, ranges and uniformity."""
    draws = seen.windows
    if draws is None:
        return Outcome(_NAME, skipped="no transform and no loader was given")
    law = law_of(draws, seen.near_draws, claimed)
    kept = draws.decoded & ~draws.skewed
    near = _fitting(seen.near_draws, law)
    tests = [_crops_test(draws, claimed)]
    tests += [size_test(draws, law)] if well_read(draws) else []
    for item, on in ((draws, ""), (near, "on small images, ")):
        if item is not None and well_read(item):
            tests += _origin_tests(item, law, on)
    figures = {"windows": float(len(draws)), "read": float(kept.mean()) if len(draws) else 0.0}
    return Outcome(
        check=_NAME,
        tests=tuple(test for test in tests if test is not None),
        evidence=_evidence(draws, law) + ("" if near is seen.near_draws else _LEFT_OUT),
        power=_power(draws, near, law),
        undecided=_undecided(draws, kept),
        where=draws.where,
        figures=figures,
    )


def _crops_test(draws: Draws, claimed: Claimed) -> Tested | None:
    """Tests that a transform returns no more crops of an image than are claimed."""
    crops = int(draws.slot.max(initial=-1)) + 1
    if not crops or (draws.step >= 0).any():  # batches of loaders have slots of their own
        return None
    words = (
        f"each call returns {crops} crops of an image, where {claimed.crops} in a step is claimed: "
        f"the accountant must be told of all of them (--crops-per-image {crops})"
    )
    null = "an image has no more crops than are claimed"
    return Tested(null, 0.0 if crops > claimed.crops else 1.0, words)


def _fitting(near: Draws | None, law: Law) -> Draws | None:
    """Returns the windows of small images, if the law can hold for these as well.

    They may be too small for the claimed padding; or the padding depends on the size of the image,
    as where all images are brought to one size, and the claim is of larger ones.
    """
    if near is None or not isinstance(law.crop, Crop):
        return near
    image = Size(near.image_height, near.image_width)
    try:
        law.crop.origins(image)
    except InputError:
        return None
    borders = law.crop.borders(image) if law.claimed else law.borders
    allowed = (borders.top, borders.bottom, borders.left, borders.right)
    return near if (np.array(reach(near)) <= allowed).all() else None


def _origin_tests(draws: Draws, law: Law, on: str) -> list[Tested | None]:
    kept = placed(draws, law)
    if kept.sum() < 2:
        return []
    last = may_be_fallback(draws, law)
    every = [_Axis(draws, law, kept, name) for name in ("rows", "columns")]
    free = [_Axis(draws, law, kept & ~last, name) for name in ("rows", "columns")]
    found = [_range_test(every, free, law, on), _uniform_test(free, law, on)]
    return [*found, fallback_test(draws, law, kept & last)]


class _Axis:
    """Origins on one axis, from 0, and how many there are for each window."""

    def __init__(self, draws: Draws, law: Law, kept: NDArray[np.bool_], name: str) -> None:
        rows = name == "rows"
        start, length = (draws.top, draws.height) if rows else (draws.left, draws.width)
        side = draws.image_height if rows else draws.image_width
        border = law.borders
        before, after = (border.top, border.bottom) if rows else (border.left, border.right)
        if isinstance(law.crop, Crop) and law.claimed:  # borders depend on the size of the image
            border = law.crop.borders(Size(draws.image_height, draws.image_width))
            before, after = (border.top, border.bottom) if rows else (border.left, border.right)
        self.name, self.before, self.after = name, before, after
        self.origin = start[kept] + before
        self.count = side + before + after - length[kept] + 1
        self.slack = draws.slack[kept]

    @property
    def position(self) -> Array:
        """Places in [0, 1] of the windows whose origins are many, uniform under the null."""
        fine = (self.count > 1) & (self.slack < _COARSE * self.count)
        dither = np.random.default_rng(0).random(int(fine.sum()))
        place = (self.origin[fine] + dither) / self.count[fine]
        return np.asarray(np.clip(place, 0, 1))


def _range_test(axes: list[_Axis], free: list[_Axis], law: Law, on: str) -> Tested:
    null = f"{on}origins stay within their range and reach its ends"
    for axis in axes:
        outside = (axis.origin < -axis.slack) | (axis.origin >= axis.count + axis.slack)
        if outside.any():
            i = int(np.flatnonzero(outside)[0])
            words = (
                f"{on}{int(outside.sum())} windows start outside the range of {axis.name}: at "
                f"{axis.origin[i]} of 0 to {axis.count[i] - 1} ({law.words})"
            )
            return Tested(null, 0.0, words)
    ends = [end for axis in free for end in _ends(axis)]
    if not ends:
        return Tested(null, 1.0, f"{on}there is but one origin, or windows vary in size")
    p, words = min(ends)
    words = padding_habit(free, law) or on + words
    return Tested(null, min(1.0, len(ends) * p), words, void_if=(DEPENDENT, MOVING))


def _ends(axis: _Axis) -> list[tuple[float, str]]:
    """Returns, for both ends, the chance of coming no nearer to it, and what was seen."""
    counts = np.unique(axis.count)
    if len(counts) != 1 or counts[0] == 1 or len(axis.origin) < 2 or axis.slack.any():
        return []
    n, count = len(axis.origin), int(counts[0])
    low, high = int(axis.origin.min()), int(axis.origin.max())
    return [
        (
            ((count - low) / count) ** n,
            f"the first origin of {axis.name} that occurs in {n} windows is {low}, not 0",
        ),
        (
            ((high + 1) / count) ** n,
            f"the last origin of {axis.name} that occurs in {n} windows is {high}, not "
            f"{count - 1}: the range is too short by {count - 1 - high}",
        ),
    ]


def _uniform_test(axes: list[_Axis], law: Law, on: str) -> Tested:
    null = f"{on}origins are uniform"
    found: list[tuple[float, str]] = []
    for axis in axes:
        place = axis.position
        if len(place) < 2:
            continue
        middle = np.abs(2 * place - 1)
        p_values = [float(kstest(values, "uniform").pvalue) for values in (place, middle)]
        words = (
            f"the middle half of the {axis.name} holds {np.mean(middle < 0.5):.1%} of the "
            f"origins, their first half {np.mean(place < 0.5):.1%} (50% expected of both)"
        )
        found += [(p, words) for p in p_values]
    places = [axis.position for axis in axes]
    if len(places[0]) == len(places[1]) >= _FEWEST:
        p = _table_p_value(places[0], places[1])
        found.append((p, "rows and columns of origins are not uniform together"))
    if not found:
        return Tested(null, 1.0, f"{on}there is but one origin, or none known well enough")
    p, words = min(found)
    words = padding_habit(axes, law) or on + _repeated(axes) + words
    return Tested(null, min(1.0, len(found) * p), words, void_if=(DEPENDENT, MOVING))


def _repeated(axes: list[_Axis]) -> str:
    """Says so if windows come again far more often than chance has it; "" if they do not."""
    origins = np.stack([axis.origin for axis in axes])
    n, different = origins.shape[1], np.unique(origins, axis=1).shape[1]
    places = float(np.prod([axis.count.max() for axis in axes], dtype=np.float64))
    expected = -places * float(np.expm1(-n / places))  # of n uniform draws
    if different == 1:
        return f"all {n} windows are the same; "
    if different > _REPEATED * expected:
        return ""
    return f"only {different} of {n} windows are different (see independence); "


def _table_p_value(rows: Array, columns: Array) -> float:
    """Returns the p-value of a table of counts against equal cells, by simulation."""
    cells = (rows * _TABLE).clip(max=_TABLE - 1).astype(int) * _TABLE
    cells += (columns * _TABLE).clip(max=_TABLE - 1).astype(int)
    n, cases = len(cells), _TABLE**2
    odd = (np.bincount(cells, minlength=cases) ** 2).sum()
    return (1 + int((_table_law(n) >= odd).sum())) / (1 + _SIMULATIONS)


@lru_cache(maxsize=16)
def _table_law(n: int) -> NDArray[np.int64]:
    """Returns simulated sums of squared counts of n equal chances."""
    cases = _TABLE**2
    drawn = np.random.default_rng(1).multinomial(n, np.full(cases, 1 / cases), _SIMULATIONS)
    return np.asarray((drawn**2).sum(axis=1))


def _evidence(draws: Draws, law: Law) -> str:
    kept = draws.decoded & ~draws.skewed
    parts = [f"{len(draws)} windows, {law.words}"]
    if kept.any():
        parts.append(
            f"rows {draws.top[kept].min()} to {(draws.top + draws.height)[kept].max()}, columns "
            f"{draws.left[kept].min()} to {(draws.left + draws.width)[kept].max()}"
        )
    whole = kept & (draws.top <= 0) & (draws.top + draws.height >= draws.image_height)
    whole &= (draws.left <= 0) & (draws.left + draws.width >= draws.image_width)
    if len(draws) and whole.mean() > 0.5:
        parts.append("most windows are the whole image, so that nothing is amplified")
    return "; ".join(parts)


def _power(draws: Draws, near: Draws | None, law: Law) -> str:
    n = int((draws.decoded & ~draws.skewed).sum())
    if n < 2:
        return "no bias is found: no window is known"
    # Massart's inequality, once for the threshold at a thousandth and once for the miss of 5%.
    bias = sum(float(np.sqrt(np.log(odds) / (2 * n))) for odds in (2 / 0.001, 2 / 0.05))
    words = f"a shift of {bias:.1%} of the windows from any part of the range is found with 95%"
    if near is not None and isinstance(law.crop, Crop):
        most = max(near.image_height - law.crop.size.height, near.image_width - law.crop.size.width)
        count = most + law.borders.top + law.borders.bottom + 1
        missed = ((count - 1) / count) ** len(near)
        words += f"; a range short by one goes unseen on small images with {missed:.1e}"
    return words


def _undecided(draws: Draws, kept: NDArray[np.bool_]) -> str:
    if not draws.decoded.any():
        return (
            "no window could be read off the outputs: neither the image nor the mask keeps its "
            "pixels"
        )
    if not well_read(draws):
        return (
            f"only {int(draws.decoded.sum())} of {len(draws)} windows could be read off, and which "
            "ones may depend on where they are: hand the mask over as well"
        )
    turned = int((draws.decoded & draws.skewed).sum())
    if 2 * kept.sum() < len(draws):
        return (
            f"{turned} of {len(draws)} outputs are turned or warped: only the box that they show "
            "is known, not the window"
        )
    if kept.sum() < _FEWEST:
        return f"only {int(kept.sum())} windows were seen"
    return short_of(draws)

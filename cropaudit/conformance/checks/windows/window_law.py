"""The window law: windows of the claimed size, their origins uniform over all there are.

Null hypotheses, each exact: (1) every window has the claimed size, or sizes have the claimed law,
see `window_size`; (2) origins stay within their range and reach its ends: n draws miss an end of R
origins with probability (1 - 1/R)^n; (3) origins are uniform: origin plus dither over R is uniform
on [0, 1], which Kolmogorov and Smirnov test in place and in its distance from the centre, and a
table of 6 by 6 tests jointly by simulation. (2) and (3) are tested again on small images, where
each origin comes up often enough for one that never does to be missed. Of crops of random size the
window that is taken where none fits has a place of its own: windows of its size are left out of
(3), and so many of them lie there as the law has it.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.geometry.crop_laws import ResizedCrop
from cropaudit.accounting.geometry.shapes import Crop, Size
from cropaudit.conformance.check import Check, Observations, Outcome, PipelineClaim, Tested, Words
from cropaudit.conformance.checks.windows.laws import (
    DEPENDENT,
    MOVING,
    Law,
    law_of,
    reach,
    short_of,
    well_read,
)
from cropaudit.conformance.checks.windows.window_size import (
    fallback_test,
    may_be_fallback,
    placed,
    size_test,
)
from cropaudit.conformance.observations.draws import Draws
from cropaudit.errors import InputError

__all__ = ["check"]

Array = NDArray[np.float64]
_VOID = (DEPENDENT, MOVING)
_FEWEST = 100
_TABLE = 6
_REPEATED = 0.8  # of the different windows that chance gives: fewer are worth a word
_SIMULATIONS = 4999
_COARSE = 0.01  # largest slack over origins for which a position is known well enough

say = Words("""
asks: the window has the claimed size, and its origin is uniform over all origins
catches: centre bias, ranges off by one, fixed windows, crops drawn to objects
crops?: an image has no more crops than are claimed
crops: each call returns {crops} crops of an image, where {claimed} in a step is claimed: the
  accountant must be told of all of them (--crops-per-image {crops})
range?: {on}origins stay within their range and reach its ends
range: {on}{outside} windows start outside the range of {name}: at {at} of 0 to {last} ({law})
first: {on}the first origin of {name} that occurs in {n} windows is {low}, not 0
last: {on}the last origin of {name} that occurs in {n} windows is {high}, not {last}: the range is
  too short by {short}
uniform?: {on}origins are uniform
uniform: {on}{again}the middle half of the {name} holds {middle:.1%} of the origins, their first
  half {first:.1%} (50% expected of both)
together: {on}{again}rows and columns of origins are not uniform together
small: on small images,
fixed: all {n} windows are the same;
again: only {different} of {n} windows are different (see independence);
habit: images smaller than the window are padded once, by {top} rows above and {bottom} below and
  {left} columns before and {right} behind, so that no place is drawn: albumentations' habit, where
  --pad-if-needed is torchvision's, which pads both sides by all that is lacking; claim --padding
  {left},{top},{right},{bottom} in its place
seen: {count} windows, {law}
seen.reach: ; rows {top} to {bottom}, columns {left} to {right}
seen.whole: ; most windows are the whole image, so that nothing is amplified
seen.padded: ; small images are padded otherwise, so that no range was tested there
power: a shift of {bias:.1%} of the windows from any part of the range is found with 95%
power.range: ; a range short by one goes unseen on small images with {missed:.1e}
power.none: no bias is found: no window is known
unread: no window could be read off the outputs: neither the image nor the mask keeps its pixels
partly: only {read} of {count} windows could be read off, and which ones may depend on where they
  are: hand the mask over as well
turned: {turned} of {count} outputs are turned or warped: only the box that they show is known, not
  the window
few: only {kept} windows were seen
""")


def _read(draws: Draws, claimed: PipelineClaim, seen: Observations) -> Outcome:
    """Tests sizes, ranges and uniformity."""
    all_near = seen.near(draws)
    law = law_of(draws, all_near, claimed)
    kept = draws.decoded & ~draws.skewed
    near = _fitting(all_near, law)
    tests = [_crops_test(draws, claimed)]
    tests += [size_test(draws, law)] if well_read(draws) else []
    for item, on in ((draws, ""), (near, f"{say('small')} ")):
        if item is not None and well_read(item):
            tests += _origin_tests(item, law, on)
    return Outcome(
        tests=tuple(test for test in tests if test is not None),
        evidence=_evidence(draws, kept, law) + ("" if near is all_near else say("seen.padded")),
        power=_power(draws, near, law),
        undecided=_undecided(draws, kept),
        figures={"windows": float(len(draws)), "read": float(kept.mean()) if len(draws) else 0.0},
    )


def _crops_test(draws: Draws, claimed: PipelineClaim) -> Tested | None:
    """Tests that a transform returns no more crops of an image than are claimed."""
    crops = int(draws.slot.max(initial=-1)) + 1
    if not crops or (draws.step >= 0).any():  # batches of loaders have slots of their own
        return None
    p_value = 0.0 if crops > claimed.crops else 1.0
    return say.test("crops", p_value, crops=crops, claimed=claimed.crops)


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
        rows, border = name == "rows", law.borders
        if isinstance(law.crop, Crop) and law.claimed:  # borders depend on the size of the image
            border = law.crop.borders(Size(draws.image_height, draws.image_width))
        start, length = (draws.top, draws.height) if rows else (draws.left, draws.width)
        side = draws.image_height if rows else draws.image_width
        before, after = (border.top, border.bottom) if rows else (border.left, border.right)
        self.name, self.before, self.after = name, before, after
        self.origin = start[kept] + before
        self.count = side + before + after - length[kept] + 1
        # A line that is enlarged by one pixel reads like one whose edge is padded by one.
        copied = (draws.padding[kept] > 0) & isinstance(law.crop, ResizedCrop)
        self.slack = np.maximum(draws.slack[kept], copied)

    @property
    def position(self) -> Array:
        """Places in [0, 1] of the windows whose origins are many, uniform under the null."""
        fine = (self.count > 1) & (self.slack < _COARSE * self.count)
        dither = np.random.default_rng(0).random(int(fine.sum()))
        place = (self.origin[fine] + dither) / self.count[fine]
        return np.asarray(np.clip(place, 0, 1))


def _range_test(axes: Sequence[_Axis], free: Sequence[_Axis], law: Law, on: str) -> Tested:
    for axis in axes:
        outside = np.flatnonzero(
            (axis.origin < -axis.slack) | (axis.origin >= axis.count + axis.slack)
        )
        if outside.size:
            i = outside[0]
            return say.test(
                "range",
                0.0,
                on=on,
                outside=outside.size,
                name=axis.name,
                at=axis.origin[i],
                last=axis.count[i] - 1,
                law=law.words,
            )
    ends = [end for axis in free for end in _ends(axis, on)]
    if not ends:
        return say.test("range", 1.0, on=on)
    p, words = min(ends)
    said = _padding_habit(free, law) or words
    return say.test("range", min(1.0, len(ends) * p), said, void_if=_VOID, on=on)


def _ends(axis: _Axis, on: str) -> list[tuple[float, str]]:
    """Returns, for both ends, the chance of coming no nearer to it, and what was seen."""
    counts = np.unique(axis.count)
    if len(counts) != 1 or counts[0] == 1 or len(axis.origin) < 2 or axis.slack.any():
        return []
    n, count = len(axis.origin), int(counts[0])
    low, high = int(axis.origin.min()), int(axis.origin.max())
    last = say(
        "last", on=on, name=axis.name, n=n, high=high, last=count - 1, short=count - 1 - high
    )
    return [
        (((count - low) / count) ** n, say("first", on=on, name=axis.name, n=n, low=low)),
        (((high + 1) / count) ** n, last),
    ]


def _uniform_test(axes: Sequence[_Axis], law: Law, on: str) -> Tested:
    from scipy.stats import kstest

    found: list[tuple[float, str]] = []
    places, again = [axis.position for axis in axes], _repeated(axes)
    for axis, place in zip(axes, places, strict=True):
        if len(place) < 2:
            continue
        middle = np.abs(2 * place - 1)
        shares = {"middle": np.mean(middle < 0.5), "first": np.mean(place < 0.5)}
        words = say("uniform", on=on, again=again, name=axis.name, **shares)
        found += [(float(kstest(part, "uniform").pvalue), words) for part in (place, middle)]
    if len(places[0]) == len(places[1]) >= _FEWEST:
        found.append((_table_p_value(*places), say("together", on=on, again=again)))
    if not found:
        return say.test("uniform", 1.0, on=on)
    p, chosen = min(found)
    said = _padding_habit(axes, law) or chosen
    return say.test("uniform", min(1.0, len(found) * p), said, void_if=_VOID, on=on)


def _repeated(axes: Sequence[_Axis]) -> str:
    """Says so if windows come again far more often than chance has it; "" if they do not."""
    origins = np.stack([axis.origin for axis in axes])
    n, different = origins.shape[1], np.unique(origins, axis=1).shape[1]
    places = float(np.prod([axis.count.max(initial=1) for axis in axes], dtype=np.float64))
    expected = -places * float(np.expm1(-n / places))  # of n uniform draws
    if different == 1:
        return f"{say('fixed', n=n)} "
    return "" if different > _REPEATED * expected else f"{say('again', different=different, n=n)} "


def _padding_habit(axes: Sequence[_Axis], law: Law) -> str:
    """Says so if small images were padded once where the claim pads both sides; else "".

    torchvision's ``pad_if_needed`` pads both sides by all that is lacking, and draws the place; so
    does kornia. albumentations pads once, in the middle or at one end, and nothing is left to draw.
    """
    if not (isinstance(law.crop, Crop) and law.claimed and law.crop.pad_if_needed):
        return ""
    once, padding = False, []
    for side in axes:
        lack = int(side.count.max(initial=1)) - 1
        alone = 0 < lack <= min(side.before, side.after) and len(np.unique(side.origin)) == 1
        start = side.before - int(side.origin[0]) if alone else side.before
        rest = side.before + side.after - lack - start if alone else side.after
        padding.append((start, rest) if lack > 0 else (0, 0))
        once |= alone
    if not once:
        return ""
    (top, bottom), (left, right) = padding
    return say("habit", top=top, bottom=bottom, left=left, right=right)


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


def _evidence(draws: Draws, kept: NDArray[np.bool_], law: Law) -> str:
    words: str = say("seen", count=len(draws), law=law.words)
    bottom, right = draws.top + draws.height, draws.left + draws.width
    if kept.any():
        words += say(
            "seen.reach",
            top=draws.top[kept].min(),
            bottom=bottom[kept].max(),
            left=draws.left[kept].min(),
            right=right[kept].max(),
        )
    whole = kept & (draws.top <= 0) & (bottom >= draws.image_height)
    whole &= (draws.left <= 0) & (right >= draws.image_width)
    return words + (say("seen.whole") if len(draws) and whole.mean() > 0.5 else "")


def _power(draws: Draws, near: Draws | None, law: Law) -> str:
    n = int((draws.decoded & ~draws.skewed).sum())
    if n < 2:
        return say("power.none")
    # Massart's inequality, once for the threshold at a thousandth and once for the miss of 5%.
    bias = sum(float(np.sqrt(np.log(odds) / (2 * n))) for odds in (2 / 0.001, 2 / 0.05))
    words: str = say("power", bias=bias)
    if near is not None and isinstance(law.crop, Crop):
        most = max(near.image_height - law.crop.size.height, near.image_width - law.crop.size.width)
        count = most + law.borders.top + law.borders.bottom + 1
        words += say("power.range", missed=((count - 1) / count) ** len(near))
    return words


def _undecided(draws: Draws, kept: NDArray[np.bool_]) -> str:
    count, read = len(draws), int(draws.decoded.sum())
    if not read:
        return say("unread")
    if not well_read(draws):
        return say("partly", read=read, count=count)
    if 2 * kept.sum() < count:
        return say("turned", turned=int((draws.decoded & draws.skewed).sum()), count=count)
    return say("few", kept=int(kept.sum())) if kept.sum() < _FEWEST else short_of(draws)


check = Check("window law", say, {"windows": _read, "trained_draws": _read})

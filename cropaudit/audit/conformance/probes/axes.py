"""One side of a window: from the source rows that an output shows to where the window lies.

Sides of the source's own scale come first: start + place, or backwards if flipped, and beyond the
image what a padding mode shows there. Failing that, samples a scale apart are read: a window that
was shrunk or magnified by nearest-neighbour sampling.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropaudit.audit.conformance.observe.draws import PADDING_MODES

__all__ = ["Axis", "beside", "read_axis"]

Integers = NDArray[np.int64]
_BENT = 1.5  # pixels by which nearest sampling may stray from a straight line


@dataclass(frozen=True)
class Axis:
    """One side of a window.

    Attributes:
        start: First source index; below 0 in padding.
        length: Source pixels.
        slack: By which it may be longer on either side.
        flipped: Whether it runs backwards.
        padding: Index into `PADDING_MODES`.
        scaled: Whether it was resized, so that its ends are no pixels that were read.
    """

    start: int
    length: int
    slack: int
    flipped: bool
    padding: int
    scaled: bool = False


def read_axis(source: Integers, length: int) -> Axis | None:
    """Reads one side.

    Args:
        source: Source row (or column) of each row of the output, -1 where none is shown.
        length: Rows of the source.

    Returns:
        The side, or none if no window of any scale shows these rows.
    """
    found = _unscaled(source, length)
    return found if found is not None else _scaled(source)


def beside(axis: Axis, other: Axis, source: Integers) -> Axis:
    """Returns a side, given the other one: rows 0, 0, 1, 2 are resized or padded by one.

    Args:
        axis: The side as it reads alone.
        other: The other side; where it is resized, so is this one.
        source: What `read_axis` was given for this side.
    """
    copied = axis.padding > PADDING_MODES.index("constant")
    found = _scaled(source) if copied and other.scaled else None
    return axis if found is None else found


def _unscaled(source: Integers, length: int) -> Axis | None:
    """Reads a side in the source's own scale: start + place, or last - place if flipped."""
    place = np.arange(len(source))
    found: list[Axis] = []
    for flipped in (False, True):
        line = source[::-1] if flipped else source
        seen = line >= 0
        starts, counts = np.unique((line - place)[seen], return_counts=True)
        start = int(starts[np.argmax(counts)])
        padding = _padding(line, start, length)
        if padding is None or 2 * counts.max() < counts.sum() * (padding == len(PADDING_MODES) - 1):
            continue
        found.append(Axis(start, len(source), 0, flipped, padding))
    return min(found, key=_strangeness, default=None)


def _strangeness(axis: Axis) -> int:
    """Ranks readings of one line: what a mirrored border fills can be read either way round.

    A flipped window within the image is likelier than one that all but leaves it.
    """
    return {"none": 0, "other": 2}.get(PADDING_MODES[axis.padding], 1)


def _padding(line: Integers, start: int, length: int) -> int | None:
    """Returns how ``line`` leaves the image; none if it is not in the source's scale."""
    place = start + np.arange(len(line))
    inside = (place >= 0) & (place < length)
    if not inside.any() or not np.array_equal(line[inside], place[inside]):
        return None
    if inside.all():
        return PADDING_MODES.index("none")
    outside, shown = place[~inside], line[~inside]
    for mode in ("constant", "edge", "reflect", "symmetric"):
        if np.array_equal(shown, _padded(outside, mode, length)):
            return PADDING_MODES.index(mode)
    return PADDING_MODES.index("other")


def _padded(place: Integers, mode: str, length: int) -> Integers:
    """Returns the source index that a mode shows at places outside the image."""
    if mode == "constant":
        return np.full_like(place, -1)
    if mode == "edge":
        return np.clip(place, 0, length - 1)
    spare = 1 if mode == "reflect" else 0
    period = max(2 * length - 2 * spare, 1)
    turned = np.mod(place, period)
    return np.where(turned < length, turned, period - turned - (1 - spare))


def _scaled(source: Integers) -> Axis | None:
    """Reads a side that was resized by nearest-neighbour sampling."""
    seen = np.flatnonzero(source >= 0)
    if len(seen) < 2:
        return None
    values = source[seen]
    scale, first = np.polyfit(seen, values, 1)
    if np.abs(values - (first + scale * seen)).max() > _BENT or abs(scale) < 1e-9:
        return None
    padding = "none" if len(seen) == len(source) else "constant"
    low, high = int(values.min()), int(values.max())
    # n samples, a scale s apart, span more than (n - 1) s - 1: so s is below this.
    slack = max(math.ceil((high - low + 1) / int(seen[-1] - seen[0])) - 1, 0)
    index = PADDING_MODES.index(padding)
    return Axis(low, high - low + 1, slack, bool(scale < 0), index, scaled=True)

"""Undoes a constant normalisation after the crop, so that codes in images can be read.

Training code mostly ends in one affine map of each channel. Flat images of the lowest and of the
highest byte tell it: if their outputs are flat too, and the same in each random state, the map is
known. Anything else is left as it comes.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.geometry import Size
from cropaudit.audit.conformance.probes.codes import WIDE, Labels, image_code
from cropaudit.audit.conformance.probes.replay import forked
from cropaudit.audit.conformance.probes.styles import Style
from cropaudit.audit.conformance.worker.guard import Guard, UserError

__all__ = ["calibrated"]

Floats = NDArray[np.float64]
_STATES = 4
_MOST = 0.5  # of the pixels, at least, bear the flat colour; the others may be padding
_CLOSE = 1e-5  # relative distance of the levels of two states
_TOP = 255


def calibrated(
    transform: Any, style: Style, guard: Guard, size: Size, labels: Labels = WIDE
) -> Style:
    """Returns the style, with what it returns brought back to bytes if that can be done."""
    levels = []
    try:
        for _ in range(_STATES):
            flats = [_level(transform, style, guard, size, labels, flat) for flat in (0, _TOP)]
            levels.append(flats)
            # On to the next state.
            style.call(transform, image_code(size), labels.masks(size)[0], guard)
    except UserError:  # no flat image is asked for elsewhere, so that raising on it is no fault
        return style
    found = np.array(levels, dtype=np.float64)
    low, high = found[0]
    if not np.isfinite(found).all():
        return style
    spread = np.abs(found - found[0]).max()
    plain = np.all(low == 0) and np.all(np.isin(high, (1, _TOP)))
    if plain or spread > _CLOSE * np.abs(found).max() or np.any(high == low):
        return style
    return replace(style, after=_affine(low, high))


def _level(
    transform: Any, style: Style, guard: Guard, size: Size, labels: Labels, flat: int
) -> Floats:
    """Returns what a flat image becomes in each channel; NaN where it does not stay flat."""
    image = np.full((size.height, size.width, 3), flat, dtype=np.uint8)

    def run() -> dict[str, Any]:
        return {"image": style.call(transform, image, labels.masks(size)[0], guard)[0]}

    return np.array(
        [_common(channel) for channel in np.moveaxis(forked(run, guard)["image"], 2, 0)]
    )


def _common(channel: NDArray[Any]) -> float:
    values, counts = np.unique(channel, return_counts=True)
    most = int(np.argmax(counts))
    return float(values[most]) if counts[most] >= _MOST * channel.size else float("nan")


def _affine(low: Floats, high: Floats) -> Callable[[NDArray[Any]], NDArray[Any]]:
    def bytes_of(image: NDArray[Any]) -> NDArray[Any]:
        return np.asarray((image.astype(np.float64) - low) * (_TOP / (high - low)))

    return bytes_of

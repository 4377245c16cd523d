"""Composition of discrete losses by FFT, with everything that is cut off or rounded accounted for.

A composition of independent steps convolves their losses. The window of the transform holds all but
a chosen tail (a Chernoff bound); what lies outside wraps around, and is charged once as an infinite
loss. Rounding of the transform is charged in the same way: from above as an infinite loss, from
below as slack.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

from cropaudit.accounting.curves import ComposedLoss
from cropaudit.accounting.grids import GridLoss

__all__ = ["compose_losses", "compose_powers", "unsure"]

Array = NDArray[np.float64]

_TAIL = 1e-15  # probability of a composition outside of the window
_TILTS = np.geomspace(0.03, 30, 12)


def unsure(steps: int, size: int) -> float:
    """Returns how much probability may be in the wrong place, in a transform of ``size`` cells.

    Two unit roundings for each factor of the power and one for each stage of the transforms, noise
    in every cell that does not cancel once negative values are cut off, and the tail on either
    side: twice the largest error seen beside transforms in long double.
    """
    return 2 * _TAIL + (2 * steps + 50 + size / 8) * np.finfo(np.float64).eps


def compose_losses(parts: Sequence[tuple[GridLoss, int]], *, above: bool) -> ComposedLoss:
    """Composes steps of different kinds, each so many times.

    Args:
        parts: Losses on one grid width, with their numbers of steps.
        above: Whether the result shall dominate; else it is dominated, after its ``slack``.
    """
    low, high = _window([part for part, _ in parts], [[steps] for _, steps in parts])
    size = next_fast_len(high - low + 1, real=True)
    spectrum = np.ones(size // 2 + 1, dtype=np.complex128)
    for part, steps in parts:
        spectrum *= _spectrum(part, size) ** steps
    return _finished(spectrum, [(part, steps) for part, steps in parts], low, size, above)


def compose_powers(
    part: GridLoss, counts: Sequence[int], *, above: bool = True
) -> Iterator[ComposedLoss]:
    """Composes one step with itself for every number of steps, with one transform in common."""
    if not counts:
        return
    low, high = _window([part], [list(counts)])
    size = next_fast_len(high - low + 1, real=True)
    spectrum = _spectrum(part, size)
    for steps in counts:
        yield _finished(spectrum**steps, [(part, steps)], low, size, above)


def _spectrum(part: GridLoss, size: int) -> NDArray[np.complex128]:
    """Returns the transform of a loss laid on a circle, loss zero at index zero."""
    circle = np.zeros(size)
    np.add.at(circle, part.index % size, part.probs)
    return np.asarray(rfft(circle))


def _finished(
    spectrum: NDArray[np.complex128],
    parts: Sequence[tuple[GridLoss, int]],
    low: int,
    size: int,
    above: bool,
) -> ComposedLoss:
    probs = np.roll(np.maximum(irfft(spectrum, size), 0.0), -(low % size))
    steps = sum(count for _, count in parts)
    log_finite = sum(count * math.log1p(-part.infinity) for part, count in parts)
    wrong = unsure(steps, size)
    if above:
        lost = -math.expm1(log_finite) + wrong
        return ComposedLoss(parts[0][0].width, low, probs, lost)
    return ComposedLoss(parts[0][0].width, low, probs, 0.0, wrong)


def _window(parts: Sequence[GridLoss], counts: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Returns the first and last index that hold all but the tail, for every number of steps."""
    width = parts[0].width
    lows, highs = [], []
    for taken in zip(*counts, strict=True):
        tilts = _tilts(parts, taken)
        up = sum(n * _log_moments(p, tilts) for p, n in zip(parts, taken, strict=True))
        down = sum(n * _log_moments(p, -tilts) for p, n in zip(parts, taken, strict=True))
        first = sum(int(p.index[0]) * n for p, n in zip(parts, taken, strict=True))
        last = sum(int(p.index[-1]) * n for p, n in zip(parts, taken, strict=True))
        high = float(np.min((up - math.log(_TAIL)) / tilts)) / width
        low = float(np.max((math.log(_TAIL) - down) / tilts)) / width
        lows.append(max(math.floor(low), first))
        highs.append(min(math.ceil(high), last))
    return min(lows), max(*highs, min(lows) + 1)


def _tilts(parts: Sequence[GridLoss], taken: Sequence[int]) -> Array:
    """Returns tilts around the best one for a Gaussian, and around one for rare large losses."""
    spread = 0.0
    for part, steps in zip(parts, taken, strict=True):
        losses = part.index * part.width
        mean = float(part.probs @ losses)
        spread += steps * float(part.probs @ (losses - mean) ** 2)
    best = 8 / math.sqrt(max(spread, 1e-12))
    return np.concatenate([_TILTS, best * np.geomspace(0.1, 4, 9)])


def _log_moments(part: GridLoss, tilts: Array) -> Array:
    """Returns log E exp(tilt * loss) over the finite losses."""
    held = part.probs > 0
    terms = np.log(part.probs[held]) + tilts[:, None] * (part.index[held] * part.width)
    top = terms.max(axis=1, keepdims=True)
    return np.asarray(top[:, 0] + np.log(np.exp(terms - top).sum(axis=1)))

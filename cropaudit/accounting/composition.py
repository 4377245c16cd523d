"""Composition of discrete losses by FFT, with everything that is cut off or rounded accounted for.

A composition of independent steps convolves their losses. The window of the transform holds all but
a chosen tail (a Chernoff bound); what lies outside wraps around, and is charged once as an infinite
loss. Rounding of the transform is charged in the same way: from above as an infinite loss, from
below as slack. How much that can be is bounded in docs/theory.md (Rounding), not observed; the
transforms are in the longest floating point numbers that the machine has.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

from cropaudit.accounting.curves import ComposedLoss
from cropaudit.accounting.grids import GridLoss

__all__ = ["compose_losses", "compose_powers", "transform_rounding"]

Array = NDArray[np.float64]
Spectrum = NDArray[np.clongdouble]

_TAIL = 1e-15  # probability of a composition outside of the window, on either side
_TILTS = np.geomspace(0.03, 30, 12)
_ROUNDOFF = float(np.finfo(np.longdouble).eps) / 2
_STAGE = 16  # roundoffs for each bit of a transform's length: docs/theory.md, Rounding
_MOST_LOG = 60.0  # sizes exceed 1 by rounding alone, and then nothing is claimed
_STEP = float(np.finfo(np.float64).eps)  # of one step's profile, evaluated in double precision


def transform_rounding(size: int) -> float:
    """Returns how far a transform's values may be off, of numbers whose sizes add to 1."""
    return _STAGE * _ROUNDOFF * max(math.log2(size), 1.0)


def compose_losses(parts: Sequence[tuple[GridLoss, int]], *, above: bool) -> ComposedLoss:
    """Composes steps of different kinds, each so many times.

    Args:
        parts: Losses on one grid width, with their numbers of steps.
        above: Whether the result shall dominate; else it is dominated, after its ``slack``.
    """
    if any(part.infinity >= 1 for part, _ in parts):  # without noise, and shown in every step
        return ComposedLoss(parts[0][0].width, 0, np.zeros(1), 1.0, 0.0 if above else 3 * _TAIL)
    low, high = _window([part for part, _ in parts], [[steps] for _, steps in parts])
    size = next_fast_len(high - low + 1, real=True)
    return _finished(_Product.of(parts, size), low, above)


def compose_powers(
    part: GridLoss, counts: Sequence[int], *, above: bool = True
) -> Iterator[ComposedLoss]:
    """Composes one step with itself for every number of steps, with one transform in common."""
    if not counts:
        return
    low, high = _window([part], [list(counts)])
    size = next_fast_len(high - low + 1, real=True)
    single = _spectrum(part, size)
    for steps in counts:
        yield _finished(_Product.of([(part, steps)], size, [single]), low, above)


def _spectrum(part: GridLoss, size: int) -> Spectrum:
    """Returns the transform of a loss laid on a circle, loss zero at index zero."""
    circle = np.zeros(size, dtype=np.longdouble)
    np.add.at(circle, part.index % size, part.probs)
    return np.asarray(rfft(circle))


@dataclass(frozen=True, eq=False)
class _Product:
    """A product of powers of transforms.

    Attributes:
        parts: The losses that were transformed, with their numbers of steps.
        size: Of the transform.
        values: The product.
        wrong: Bound on the sum of its errors, over all frequencies.
    """

    parts: Sequence[tuple[GridLoss, int]]
    size: int
    values: Spectrum
    wrong: float

    @classmethod
    def of(
        cls,
        parts: Sequence[tuple[GridLoss, int]],
        size: int,
        spectra: Sequence[Spectrum] | None = None,
    ) -> "_Product":
        """Multiplies, and bounds the error: that of one factor times all others, for each."""
        off = transform_rounding(size)
        values = np.ones(size // 2 + 1, dtype=np.clongdouble)
        logs, least = np.zeros(len(values)), np.zeros(len(values))
        for number, (part, steps) in enumerate(parts):
            single = _spectrum(part, size) if spectra is None else spectra[number]
            values *= _power(single, steps)
            log_size = np.log(np.abs(single).astype(np.float64) + off)
            logs += steps * log_size
            least = np.minimum(least, log_size)
        total = sum(count for _, count in parts)
        others = np.exp(np.minimum(logs - least, _MOST_LOG))
        return cls(parts, size, values, total * (off + 4 * _ROUNDOFF) * 2 * float(others.sum()))


def _power(base: Spectrum, exponent: int) -> Spectrum:
    """Returns a power by repeated squaring: its rounding is that of so many products, or less."""
    found = np.ones_like(base)
    while exponent:
        if exponent & 1:
            found = found * base
        exponent >>= 1
        if exponent:
            base = base * base
    return found


def _finished(product: _Product, low: int, above: bool) -> ComposedLoss:
    parts, size = product.parts, product.size
    finite = np.maximum(irfft(product.values, size), 0.0).astype(np.float64)
    probs = np.roll(finite, -(low % size))
    steps = sum(count for _, count in parts)
    heights = 2 * float(np.abs(product.values).sum())
    wrong = product.wrong + transform_rounding(size) * heights + (2 * steps + 1) * _STEP + 3 * _TAIL
    lost = -math.expm1(sum(count * math.log1p(-part.infinity) for part, count in parts))
    offset = sum(count * part.offset for part, count in parts)
    width = parts[0][0].width
    if above:
        return ComposedLoss(width, low, probs, min(lost + wrong, 1.0), offset=offset)
    return ComposedLoss(width, low, probs, max(lost, 0.0), wrong, offset)


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

"""Images that say who they are and where a window of them lies, after almost any change of colours.

The texture is an exclusive or of a bit for the row and a bit for the column, added to or taken from
a colour of the record. Two rows that are neighbours are alike in every column or in none, whatever
was done to the colours by pixel: the sequence of that, compared with those of all records, gives
record, first row and flip. Bits of columns are the same for all records. A window whose texture
was interpolated, blurred or turned is not read; its colour may still tell the record (`datasets`).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from cropaudit.accounting.geometry import Size
from cropaudit.audit.conformance.probes.codes import Sources
from cropaudit.audit.conformance.probes.reading import Window, read_window

__all__ = ["Place", "Textures"]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

_SEED = 20  # of the bits: the same in every process
_KEYS = (24, 16, 10)  # bits that are looked up; fewer where padding leaves no longer piece clean
_CLEAR = 0.8  # share of a row's pixels that must agree; a patch may be among the others
_AGREES = 0.9  # share of the bits of a window that must be those of the texture
_MODES = ("edge", "reflect", "symmetric")


@dataclass(frozen=True, eq=False)
class Place:
    """Where an output comes from.

    Attributes:
        record: Index of the record.
        rows: Source row of each output row, -1 in constant padding, (h,).
        columns: Source column of each output column, likewise, (w,).
        window: The window, its padding told apart.
    """

    record: int
    rows: Integers
    columns: Integers
    window: Window

    def shows(self, top: int, left: int, height: int, width: int) -> bool:
        """Returns whether any pixel of a rectangle of the source is shown, in padding too."""
        rows = (self.rows >= top) & (self.rows < top + height)
        columns = (self.columns >= left) & (self.columns < left + width)
        return bool(rows.any() and columns.any())


class Textures:
    """The textures of all records of one data set."""

    def __init__(self, size: Size, records: int) -> None:
        """Draws the bits, the same ones for the same size and number.

        Args:
            size: Of the images.
            records: How many there are.
        """
        rng = np.random.default_rng([_SEED, size.height, size.width, records])
        self.size = size
        self._rows = rng.integers(0, 2, (records, size.height)).astype(np.bool_)
        self._columns = rng.integers(0, 2, (1, size.width)).astype(np.bool_)

    def signs(self, record: int) -> NDArray[np.int64]:
        """Returns the texture of a record, -1 or 1, shape (H, W)."""
        bits = self._rows[record][:, None] ^ self._columns[0][None, :]
        return np.where(bits, 1, -1).astype(np.int64)

    def locate(self, pixels: Array) -> Place | None:
        """Returns where an output (h, w, channels) comes from; none if it cannot be told."""
        values = pixels.sum(axis=2)
        down, across = np.abs(np.diff(values, axis=0)), np.abs(np.diff(values, axis=1))
        if not (down.size and across.size):
            return None
        steps = np.concatenate([down.ravel(), across.ravel()])
        floor = float(np.percentile(steps[steps > 0], 50)) / 2 if (steps > 0).any() else 0.0
        if not floor:
            return None
        found_rows = self._axis(down > floor, across > floor, self._of_rows)
        found_columns = self._axis((across > floor).T, (down > floor).T, self._of_columns)
        if found_rows is None or found_columns is None:
            return None
        rows, columns = found_rows[1], found_columns[1]
        window = read_window(Sources(rows, columns, skewed=False, shown=1.0), self.size)
        return None if window is None else Place(found_rows[0], rows, columns, window)

    @cached_property
    def _of_rows(self) -> "_Sequences":
        return _Sequences(self._rows)

    @cached_property
    def _of_columns(self) -> "_Sequences":
        return _Sequences(self._columns)

    @staticmethod
    def _axis(
        changes: Flags, beside: Flags, sequences: "_Sequences"
    ) -> tuple[int, Integers] | None:
        """Returns the sequence and the source index of each line of an output.

        Args:
            changes: Whether a pixel differs from the next one along the axis, (lines - 1, pixels).
            beside: Whether it differs from the next one in its line, (lines, pixels - 1).
            sequences: Bits of all records.
        """
        full = np.flatnonzero(beside.any(axis=1))  # lines of one colour are constant padding
        across = np.flatnonzero(changes.any(axis=0))
        if len(full) < 2 or not len(across):
            return None
        first, last = int(full[0]), int(full[-1])
        share = changes[first:last, across[0] : across[-1] + 1].mean(axis=1)
        if np.median(np.maximum(share, 1 - share)) < _CLEAR:
            return None
        found = sequences.find(share > 0.5)
        if found is None:
            return None
        lines = np.full(len(beside), -1)
        lines[first : last + 1] = found[1]
        return found[0], lines


class _Sequences:
    """Sequences of bits, of which a piece is to be found by where it changes."""

    def __init__(self, bits: Flags) -> None:
        self._bits = bits
        self._changes = bits[:, 1:] ^ bits[:, :-1]
        self._tables: dict[int, tuple[Integers, Integers]] = {}

    def find(self, changes: Flags) -> tuple[int, Integers] | None:
        """Returns which sequence has these changes, and its index at each of their ends."""
        for width in sorted({min(key, len(changes)) for key in _KEYS}, reverse=True):
            if _KEYS[-1] <= width <= self._changes.shape[1]:
                found = self._found(changes, width)
                if found is not None:
                    return found
        return None

    def _found(self, changes: Flags, width: int) -> tuple[int, Integers] | None:
        """Returns the place that fits best, none if two fit alike or none well enough."""
        fits: dict[tuple[int, int, int], tuple[float, Integers]] = {}
        for start in sorted({(len(changes) - width) * part // 4 for part in range(5)}):
            for which, first, direction in self._candidates(changes[start : start + width]):
                whole = which, first - direction * start, direction
                if whole not in fits:
                    fits[whole] = self._fit(which, first, direction, start, changes)
        ranked = sorted(fits.items(), key=lambda item: -item[1][0])
        if not ranked or ranked[0][1][0] < _AGREES:
            return None
        if len(ranked) > 1 and ranked[1][1][0] == ranked[0][1][0]:
            return None
        return ranked[0][0][0], ranked[0][1][1]

    def _candidates(self, key: Flags) -> list[tuple[int, int, int]]:
        """Returns (sequence, index of the first bit, direction) of places with these changes."""
        codes, places = self._table(len(key))
        count = self._changes.shape[1] - len(key) + 1
        found = []
        for direction, bits in ((1, key), (-1, key[::-1])):
            code = _codes(bits[None])[0]
            low, high = np.searchsorted(codes, [code, code + 1])
            for place in places[low:high]:
                at = int(place % count)
                found.append(
                    (int(place // count), at if direction > 0 else at + len(key), direction)
                )
        return found

    def _table(self, width: int) -> tuple[Integers, Integers]:
        if width not in self._tables:
            pieces = sliding_window_view(self._changes, width, axis=1)
            codes = _codes(pieces.reshape(-1, width))
            order = np.argsort(codes, kind="stable")
            self._tables[width] = codes[order], order
        return self._tables[width]

    def _fit(
        self, which: int, first: int, direction: int, start: int, changes: Flags
    ) -> tuple[float, Integers]:
        """Returns the share of changes that fit, and the index of each line."""
        bits = self._bits[which]
        lines = first + direction * (np.arange(len(changes) + 1) - start)
        inside = (lines >= 0) & (lines < len(bits))
        if inside.all():
            return float((_changed(bits, lines) == changes).mean()), lines
        best = 0.0, np.where(inside, lines, -1)
        for mode in _MODES:
            padded = _padded(lines, len(bits), mode)
            score = float((_changed(bits, padded) == changes).mean())
            if score > best[0]:
                best = score, padded
        return best


def _changed(bits: Flags, lines: Integers) -> Flags:
    shown = bits[lines]
    changed: Flags = shown[1:] ^ shown[:-1]
    return changed


def _codes(bits: Flags) -> Integers:
    weights = 1 << np.arange(bits.shape[1], dtype=np.int64)
    codes: Integers = bits.astype(np.int64) @ weights
    return codes


def _padded(lines: Integers, length: int, mode: str) -> Integers:
    """Returns which line of the source each line shows, if padding is made in this mode."""
    if mode == "edge":
        return np.clip(lines, 0, length - 1)
    period = 2 * length - (2 if mode == "reflect" else 0)
    turned = lines % period
    last = length - 1
    over = turned - last if mode == "reflect" else turned - last - 1
    return np.where(turned > last, last - over, turned)

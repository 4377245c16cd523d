"""From where the pixels of an output come from to the window that was cut.

Windows of the source's own scale are read exactly, whatever pads them: the row r of a window that
starts at t shows source row t + r, and beyond the image what one of the padding modes puts there.
Of windows that were shrunk by nearest-neighbour sampling only every s-th row is seen, so that they
are known up to ceil(s) - 1 pixels on each side: their *slack*. Of outputs that were turned
or warped the box around the pixels that they show is read, and said to be *skewed*; around these
interpolation reads some more, which is their slack.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.geometry import Size
from cropaudit.audit.conformance.observe.draws import Draws
from cropaudit.audit.conformance.probes.axes import Axis, beside, read_axis
from cropaudit.audit.conformance.probes.codes import Sources, read_image, read_mask
from cropaudit.audit.conformance.probes.mirrors import settled

__all__ = ["Axis", "Reader", "Window", "credible", "read_both", "read_window"]

Integers = NDArray[np.int64]
_SHOWN = 0.5  # of an output: fewer pixels that read as codes do so by chance
_AROUND = 4  # pixels beyond those that are shown that interpolation of a warp reads (Lanczos)


@dataclass(frozen=True)
class Window:
    """A window: two axes; or the box around what a turned output shows, if ``skewed``."""

    rows: Axis
    columns: Axis
    skewed: bool = False

    @property
    def exact(self) -> bool:
        """Whether every pixel was read, in the source's own scale."""
        return not (self.skewed or self.rows.scaled or self.columns.scaled)

    @property
    def slack(self) -> int:
        """Of both axes, the larger: an axis may have been shrunk by too little to show it."""
        scaled = self.rows.scaled or self.columns.scaled
        return max(self.rows.slack, self.columns.slack, int(scaled))

    @property
    def padding(self) -> int:
        """Of both axes: what is not "none", "other" first."""
        return max(self.rows.padding, self.columns.padding)

    def distance(self, top: int, left: int, height: int, width: int) -> int:
        """Returns the pixels between the window and a rectangle; 0 if they touch or meet."""
        below = max(top - self.rows.start - self.rows.length, self.rows.start - top - height)
        beside = max(
            left - self.columns.start - self.columns.length, self.columns.start - left - width
        )
        return max(below, beside, 0)

    def meets(self, top: int, left: int, height: int, width: int) -> bool:
        """Returns whether the window and a rectangle of the source share a pixel."""
        rows = top < self.rows.start + self.rows.length and self.rows.start < top + height
        return rows and (
            left < self.columns.start + self.columns.length and self.columns.start < left + width
        )


def read_window(sources: Sources, size: Size) -> Window | None:
    """Returns the window, or none where the output shows nothing of the source."""
    if sources.blank:
        return None
    if sources.skewed:
        top, bottom, left, right = sources.box
        down = Axis(top, bottom - top + 1, _AROUND, False, 0)
        return Window(down, Axis(left, right - left + 1, _AROUND, False, 0), skewed=True)
    rows = read_axis(sources.rows, size.height)
    columns = read_axis(sources.columns, size.width)
    if rows is None or columns is None:
        return None
    return Window(beside(rows, columns, sources.rows), beside(columns, rows, sources.columns))


def credible(sources: Sources, size: Size) -> Window | None:
    """Returns the window of an image; none where its pixels are codes by chance, if at all."""
    if sources.skewed and sources.shown < _SHOWN:
        return None
    return read_window(sources, size)


_COLUMNS = (
    *("decoded", "skewed", "blank", "top", "left", "height", "width", "slack"),
    *("flipped_rows", "flipped_columns", "padding"),
    *("label_decoded", "label_aligned", "label_shift"),
    *("record", "epoch", "step", "slot", "worker"),
)
_FLAGS = {"decoded", "skewed", "blank", "flipped_rows", "flipped_columns"}
_FLAGS |= {"label_decoded", "label_aligned"}


def read_both(
    image: NDArray[np.generic],
    mask: NDArray[np.generic] | None,
    size: Size,
    *,
    trust_image: bool,
) -> tuple[Window | None, Window | None]:
    """Returns the window of the image and that of its mask, each read apart from the other."""
    of_image = credible(read_image(image, size), size) if trust_image else None
    of_mask = None if mask is None else read_window(read_mask(mask, size), size)
    # Pixels that were interpolated are no codes, and seldom look like codes by chance.
    if of_image is not None and not of_image.exact and of_mask is not None:
        of_image = None
    return of_image, of_mask


class Reader:
    """Reads windows off outputs, one by one, and gathers them."""

    def __init__(self, size: Size, *, trust_image: bool = True) -> None:
        """Starts with none.

        Args:
            size: Of the coded images.
            trust_image: Whether codes in images are to be believed: not so where colours change.
        """
        self._size = size
        self._trust = trust_image
        self._rows: list[_Row] = []
        self._doubtful = False

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self,
        image: NDArray[np.generic],
        mask: NDArray[np.generic] | None,
        *,
        record: int = -1,
        epoch: int = 0,
        step: int = -1,
        slot: int = -1,
        worker: int = -1,
    ) -> Window | None:
        """Reads one output and returns its window, if it has one.

        Args:
            image: Shape (h, w, 3), of the coded image or of any other one.
            mask: Shape (h, w), of the coded mask or any other; none if there is none.
            record: Index of the record; likewise the rest, as in `Draws`.
            epoch: Of a loader.
            step: Batch.
            slot: Place in it.
            worker: That loaded it.
        """
        of_image, of_mask = read_both(image, mask, self._size, trust_image=self._trust)
        # Colours that changed are no codes either, but the output then is not of one colour.
        # Nor are labels that were all mapped to one.
        blank = _plain(image) and (mask is None or _plain(mask))
        self._doubtful |= _doubtful(of_image, of_mask) and not _plain(image)
        self._rows.append(_Row(of_image, of_mask, blank, (record, epoch, step, slot, worker)))
        return of_image if of_image is not None else of_mask

    def note(self, window: Window | None, *, record: int, epoch: int, step: int, slot: int) -> None:
        """Takes a window that was read off elsewhere, of an image that is not coded."""
        self._rows.append(_Row(window, None, False, (record, epoch, step, slot, -1)))

    def draws(self, where: str, wanted: int = 0) -> Draws:
        """Returns all windows so far, of so many as were wanted.

        Where some images cannot be read their colours change now and then, and others may be read
        and be wrong (a solarised code is another code): then masks alone are believed.
        """
        trusted = self._trust and not self._doubtful
        rows = [row.numbers(trusted) for row in self._rows]
        table = np.asarray(rows, dtype=np.int64).reshape(-1, len(_COLUMNS))
        arrays = {
            name: table[:, i].astype(np.bool_) if name in _FLAGS else table[:, i]
            for i, name in enumerate(_COLUMNS)
        }
        images = sum(row.of_image is not None for row in self._rows)
        found = Draws(
            image_height=self._size.height,
            image_width=self._size.width,
            from_image=trusted and 2 * images >= len(self._rows),
            where=where,
            wanted=wanted,
            **arrays,  # type: ignore[arg-type]
        )
        return settled(found)


@dataclass(frozen=True)
class _Row:
    """What was read off one output, and of which record, epoch, step, slot and worker it is."""

    of_image: Window | None
    of_mask: Window | None
    blank: bool
    origin: tuple[int, ...]

    def numbers(self, trusted: bool) -> tuple[int, ...]:
        """Returns the columns, with the window of the image or without."""
        of_image = self.of_image if trusted else None
        found = of_image if of_image is not None else self.of_mask
        window = (0,) * 8 if found is None else _numbers(found)
        shift = _shift(of_image, self.of_mask)
        label = (self.of_mask is not None, shift == 0, shift)
        kind = (found is not None, found is not None and found.skewed, found is None and self.blank)
        return (*kind, *window, *label, *self.origin)


def _doubtful(of_image: Window | None, of_mask: Window | None) -> bool:
    """Returns whether an image should have been read and was not."""
    return of_image is None and (of_mask is None or of_mask.exact)


def _plain(values: NDArray[np.generic]) -> bool:
    """Returns whether all pixels are alike, as where a window lies in constant padding."""
    return bool((values == values[:1, :1]).all())


def _numbers(window: Window) -> tuple[int, ...]:
    rows, columns = window.rows, window.columns
    place = (rows.start, columns.start, rows.length, columns.length, window.slack)
    return (*place, rows.flipped, columns.flipped, window.padding)


def _shift(one: Window | None, other: Window | None) -> int:
    """Returns how far two windows are apart in pixels, beyond what is not seen of them."""
    if one is None or other is None:
        return 0
    pairs = ((one.rows, other.rows), (one.columns, other.columns))
    starts = [abs(a.start - b.start) for a, b in pairs]
    ends = [abs(a.start + a.length - b.start - b.length) for a, b in pairs]
    flips = any(a.flipped != b.flipped for a, b in pairs)
    return max(*starts, *ends, int(flips)) if flips else max(*starts, *ends)

"""A user's transform: how it is called and replayed, and the windows of its consecutive calls.

It is called on images whose pixels say where they are. Training code mostly ends in one affine map
of each channel, which flat images tell, so that it can be undone. Any other change of colours may
leave codes that are codes of another place: a code and its scrambled copy then tell different ones.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.geometry.shapes import Size
from cropaudit.conformance.observations.draws import Draws
from cropaudit.conformance.probes.crops.codes import WIDE, Labels, image_code, read_image
from cropaudit.conformance.probes.crops.reading import Reader, Window, credible, read_both
from cropaudit.conformance.probes.crops.replay import Replay, forked, replay_of
from cropaudit.conformance.probes.crops.styles import Pair, Style
from cropaudit.conformance.probes.guard import Guard, UserError

__all__ = ["Transform", "Windows", "calibrated", "colours_kept", "near_size", "probe_windows"]

Array = NDArray[Any]
Windows = tuple[Window | None, Window | None]
_SPARE = 15
_FLAT_STATES, _CODE_STATES = 4, 12
_MOST = 0.5  # of the pixels, at least, bear the flat colour; the others may be padding
_CLOSE = 1e-5  # relative distance of the levels of two states
_TOP = 255
_FACTOR = 101  # odd, and so with an inverse modulo 256


@dataclass(frozen=True, eq=False)
class Transform:
    """A transform.

    Attributes:
        code: The user's.
        style: How it is called.
        guard: That calls it.
        size: Of the images.
        labels: How masks say where their pixels are.
        replay: Runs a call in the present random state and leaves that state as it is.
        trust: Whether codes in images survive the transform, if they are seen at all.
        where: File and line of the code.
    """

    code: Any
    style: Style
    guard: Guard
    size: Size
    labels: Labels = WIDE
    replay: Replay = forked
    trust: bool = True
    where: str = ""

    @cached_property
    def image(self) -> Array:
        """The coded image."""
        return image_code(self.size)

    @cached_property
    def masks(self) -> tuple[Array, ...]:
        """The coded masks, to be shown in turn in one random state."""
        return self.labels.masks(self.size)

    def crops(self, image: Array, mask: Array) -> list[Pair]:
        """Returns the crops of a call."""
        return self.style.crops(self.code, image, mask, self.guard)

    def go_on(self) -> None:
        """Goes on to the next random state."""
        self.crops(self.image, self.masks[0])

    def replayed(self, image: Array, mask: Array) -> list[Pair]:
        """Returns the crops of a call in the present random state, which stays as it is."""

        def run() -> dict[str, Array | None]:
            crops = self.crops(image, mask)
            named = {f"image {k}": pixels for k, (pixels, _) in enumerate(crops)}
            return {**named, **{f"mask {k}": labels for k, (_, labels) in enumerate(crops)}}

        found = self.replay(run, self.guard)
        count = sum(name.startswith("image") for name in found)
        return [(found[f"image {k}"], found.get(f"mask {k}")) for k in range(count)]

    def coded(self) -> list[Pair]:
        """Calls it once, and returns its crops with masks that can be read.

        All but the last of the calls that this takes are replays, after which nothing is changed.
        """
        *others, last = self.masks
        found = [self.replayed(self.image, mask) for mask in others]
        return self._joined([*found, self.crops(self.image, last)])

    def windows(self, image: Array, mask: Array | None = None) -> list[Windows]:
        """Returns the windows of replayed crops of an image, and of its mask or the coded ones."""
        masks = self.masks if mask is None else (mask,)
        return [
            read_both(pixels, labels, self.size, trust_image=self.trust)
            for pixels, labels in self._joined([self.replayed(image, each) for each in masks])
        ]

    def _joined(self, found: list[list[Pair]]) -> list[Pair]:
        """Returns each crop with the one mask that the masks of several calls make."""
        if len({len(crops) for crops in found}) != 1:
            raise self.guard.fail("type", "returns a number of crops that varies with the labels")
        return [
            (calls[0][0], self.labels.joined([mask for _, mask in calls], self.size))
            for calls in zip(*found, strict=True)
        ]

    def replayable(self) -> "Transform":
        """Returns it with the cheaper replay, if that tells what copies of the process tell."""

        def run() -> dict[str, Array | None]:
            crops = self.crops(self.image, self.masks[0])
            return {str(k): image for k, (image, _) in enumerate(crops)}

        return replace(self, replay=replay_of(self.code, run, self.guard))


def probe_windows(transform: Transform, calls: int, seconds: float) -> Draws:
    """Returns the windows of consecutive calls on the coded image."""
    reader = Reader(transform.size, trust_image=transform.trust)
    end = time.monotonic() + seconds
    done = several = 0
    while done < calls and (not done or time.monotonic() < end):
        crops = transform.coded()
        several = several or len(crops)
        if len(crops) != several:
            words = f"returned {len(crops)} crops of an image, and {several} before"
            raise transform.guard.fail("type", words, transform.where)
        for slot, (pixels, mask) in enumerate(crops):
            reader.add(pixels, mask, slot=slot if several > 1 else -1)
        done += 1
    return reader.draws(transform.where, wanted=calls * several)


def near_size(draws: Draws) -> Size | None:
    """Returns the size of images that are hardly larger than the windows, if these are all alike.

    There a window has so few origins that one which never occurs is soon missed.
    """
    exact = draws.decoded & ~draws.skewed & (draws.slack == 0)
    sizes = np.unique(np.stack([draws.height, draws.width]), axis=1)
    if not exact.all() or sizes.shape[1] != 1:
        return None
    # A window that is forced to fit shows nothing, and neither does one that spans the image.
    height, width = (int(value) for value in sizes[:, 0])
    found = Size(min(height + _SPARE, draws.image_height), min(width + _SPARE, draws.image_width))
    return None if found == Size(draws.image_height, draws.image_width) else found


def calibrated(transform: Transform) -> Transform:
    """Returns the transform with its images brought back to bytes, if one map does that."""
    levels = []
    try:
        for _ in range(_FLAT_STATES):
            levels.append([_level(transform, flat) for flat in (0, _TOP)])
            transform.go_on()
    except UserError:  # no flat image is asked for elsewhere, so that raising on it is no fault
        return transform
    found = np.array(levels, dtype=np.float64)
    low, high = found[0]
    if not np.isfinite(found).all():
        return transform
    spread = np.abs(found - found[0]).max()
    plain = np.all(low == 0) and np.all(np.isin(high, (1, _TOP)))
    if plain or spread > _CLOSE * np.abs(found).max() or np.any(high == low):
        return transform
    return replace(transform, style=replace(transform.style, after=_affine(low, high)))


def _first(transform: Transform, image: Array) -> Array:
    """Returns the first crop of an image in a copy of the process."""
    return replace(transform, replay=forked).replayed(image, transform.masks[0])[0][0]


def _level(transform: Transform, flat: int) -> Array:
    """Returns what a flat image becomes in each channel; NaN where it does not stay flat."""
    shown = _first(transform, np.full_like(transform.image, flat))
    levels = []
    for channel in np.moveaxis(shown, 2, 0):
        values, counts = np.unique(channel, return_counts=True)
        most = int(np.argmax(counts))
        levels.append(values[most] if counts[most] >= _MOST * channel.size else np.nan)
    return np.array(levels, dtype=np.float64)


def _affine(low: Array, high: Array) -> Callable[[Array], Array]:
    def bytes_of(image: Array) -> Array:
        return np.asarray((image.astype(np.float64) - low) * (_TOP / (high - low)))

    return bytes_of


def colours_kept(transform: Transform) -> bool:
    """Returns whether a code and its scrambled copy tell the same window, state by state."""

    def read(factor: int) -> Window | None:
        code = (transform.image.astype(np.int64) * factor % 256).astype(np.uint8)
        found = read_image(_first(transform, code), transform.size, factor=factor)
        return credible(found, transform.size)

    for _ in range(_CODE_STATES):
        if read(1) != read(_FACTOR):
            return False
        transform.go_on()
    return True

"""Do labels fit their pixels, where colours or sizes change so that no code survives?

Every label of a mask of blocks has a colour of its own. Whatever a transform does to colours, pixel
by pixel, those of one label stay alike if the mask was cut where the image was; if it was cut
elsewhere, labels say nothing about colours, or say it some pixels away.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.geometry import Size
from cropaudit.audit.conformance.probes.contents import Scene

__all__ = ["block_scene", "label_fit"]

Array = NDArray[Any]
_BLOCK = 12
_CLASSES = 2
_SHIFTS = (-6, -4, -2, 2, 4, 6)  # pixels
_FEWEST = 16  # pixels a side that suffice to tell


def block_scene(size: Size, rng: np.random.Generator) -> Scene:
    """Returns random blocks of labels and their colours."""
    rows, columns = -(-size.height // _BLOCK), -(-size.width // _BLOCK)
    labels = rng.integers(0, _CLASSES, (rows, columns)).repeat(_BLOCK, 0).repeat(_BLOCK, 1)
    labels = labels[: size.height, : size.width].astype(np.int32)
    # Far apart in every channel, in another order in each.
    levels = np.linspace(10, 245, _CLASSES)
    colours = np.stack([rng.permutation(levels) for _ in range(3)], axis=1).astype(np.uint8)
    return Scene(colours[labels], labels)


def label_fit(image: Array, mask: Array | None) -> tuple[float, float]:
    """Returns the share of the colours' variance that labels explain: in place, and beside it.

    Returns:
        NaN where there is no mask of the image's size, or it is too small or of one colour.
    """
    if mask is None or mask.shape != image.shape[:2] or min(mask.shape) < _FEWEST:
        return float("nan"), float("nan")
    values = np.asarray(image, dtype=np.float64)
    beside = [
        _explained(*_moved(values, mask, shift, axis)) for shift in _SHIFTS for axis in (0, 1)
    ]
    return _explained(values, mask), max(beside)


def _moved(values: Array, mask: Array, shift: int, axis: int) -> tuple[Array, Array]:
    length = mask.shape[axis] - abs(shift)
    first, second = (abs(shift), 0) if shift > 0 else (0, abs(shift))
    at = np.arange(length)
    return values.take(at + first, axis=axis), mask.take(at + second, axis=axis)


def _explained(values: Array, mask: Array) -> float:
    """Returns 1 less the variance within labels over all variance, over labelled blocks."""
    known = (mask >= 0) & (mask < _CLASSES) & np.isfinite(values).all(axis=2)
    labels = mask[known].astype(np.int64)
    shown = values[known]
    if len(np.unique(labels)) < 2:
        return float("nan")
    counts = np.bincount(labels, minlength=_CLASSES).clip(min=1)
    total = shown.var(axis=0)
    means = [np.bincount(labels, shown[:, c], _CLASSES) / counts for c in range(3)]
    within = np.array([((shown[:, c] - means[c][labels]) ** 2).mean() for c in range(3)])
    known_channels = total > 1e-12 * max(float(np.abs(shown).max()) ** 2, 1e-300)
    if not known_channels.any():
        return float("nan")
    return float((1 - within[known_channels] / total[known_channels]).mean())

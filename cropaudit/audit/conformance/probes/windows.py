"""Windows of a transform: its own consecutive calls on images whose pixels say where they are."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.geometry import Size
from cropaudit.audit.conformance.observe.draws import Draws
from cropaudit.audit.conformance.probes.codes import image_code, mask_code
from cropaudit.audit.conformance.probes.reading import Reader
from cropaudit.audit.conformance.probes.styles import Style
from cropaudit.audit.conformance.worker.guard import Guard

__all__ = ["MaskMaker", "near_size", "probe_windows"]

MaskMaker = Callable[[Size], NDArray[Any]]

_SPARE = 15


def probe_windows(
    transform: Any,
    style: Style,
    guard: Guard,
    size: Size,
    *,
    calls: int,
    seconds: float,
    trust_image: bool,
    where: str,
    labels: MaskMaker = mask_code,
) -> Draws:
    """Calls the transform on the coded image of one size, again and again.

    Args:
        transform: The user's.
        style: How it is called.
        guard: That calls it.
        size: Of the image.
        calls: How often, at most.
        seconds: After which no more calls begin.
        trust_image: Whether codes in images survive the transform, if they are seen at all.
        where: File and line of the transform.
        labels: Makes the mask of a size.
    """
    reader, image, mask = Reader(size, trust_image=trust_image), image_code(size), labels(size)
    end = time.monotonic() + seconds
    while len(reader) < calls and (not len(reader) or time.monotonic() < end):
        reader.add(*style.call(transform, image, mask, guard))
    return reader.draws(where)


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

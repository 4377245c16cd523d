"""Windows of a transform: its own consecutive calls on images whose pixels say where they are."""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.geometry import Size
from cropaudit.audit.conformance.observe.draws import Draws
from cropaudit.audit.conformance.probes.codes import WIDE, Labels, image_code
from cropaudit.audit.conformance.probes.reading import Reader
from cropaudit.audit.conformance.probes.replay import Replay, forked
from cropaudit.audit.conformance.probes.styles import Pair, Style
from cropaudit.audit.conformance.worker.guard import Guard

__all__ = ["coded_crops", "near_size", "probe_windows", "replayed"]

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
    labels: Labels = WIDE,
    replay: Replay = forked,
) -> Draws:
    """Calls the transform on the coded image of one size, again and again.

    Args:
        transform: The user's.
        style: How it is called.
        guard: That calls it.
        size: Of the image.
        calls: How often.
        seconds: After which no more calls begin, though some are missing.
        trust_image: Whether codes in images survive the transform, if they are seen at all.
        where: File and line of the transform.
        labels: How masks say where their pixels are.
        replay: Runs a call in the present random state, which stays, where that takes several.
    """
    reader, image = Reader(size, trust_image=trust_image), image_code(size)
    end = time.monotonic() + seconds
    done = several = 0
    while done < calls and (not done or time.monotonic() < end):
        crops = coded_crops(transform, style, guard, size, image, labels, replay)
        several = several or len(crops)
        if len(crops) != several:
            words = f"returned {len(crops)} crops of an image, and {several} before"
            raise guard.fail("type", words, where)
        for slot, (pixels, mask) in enumerate(crops):
            reader.add(pixels, mask, slot=slot if several > 1 else -1)
        done += 1
    return reader.draws(where, wanted=calls * several)


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


def coded_crops(
    transform: Any,
    style: Style,
    guard: Guard,
    size: Size,
    image: NDArray[Any],
    labels: Labels,
    replay: Replay,
) -> list[Pair]:
    """Calls the transform once, and returns its crops with masks that can be read.

    All but the last of the calls that this takes are replays, after which nothing is changed.
    """
    *others, last = labels.masks(size)
    found = [replayed(transform, style, guard, image, mask, replay) for mask in others]
    found.append(style.crops(transform, image, last, guard))
    if len({len(crops) for crops in found}) != 1:
        raise guard.fail("type", "returns a number of crops that varies with the labels")
    crops = zip(*found, strict=True)
    return [(each[0][0], labels.joined([mask for _, mask in each], size)) for each in crops]


def replayed(
    transform: Any,
    style: Style,
    guard: Guard,
    image: NDArray[Any],
    mask: NDArray[Any],
    replay: Replay,
) -> list[Pair]:
    """Returns the crops of a call in the present random state, which stays as it is."""

    def run() -> dict[str, NDArray[Any] | None]:
        crops = style.crops(transform, image, mask, guard)
        named = {f"image {k}": pixels for k, (pixels, _) in enumerate(crops)}
        return {**named, **{f"mask {k}": labels for k, (_, labels) in enumerate(crops)}}

    found = replay(run, guard)
    count = sum(name.startswith("image") for name in found)
    return [(found[f"image {k}"], found.get(f"mask {k}")) for k in range(count)]

"""Pictures of a leak: both images, the window, both crops, and the pixels that differ."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cropaudit.accounting.geometry import Size
from cropaudit.audit.conformance.observe.pairs import Pairs
from cropaudit.audit.conformance.outcome import Picture

__all__ = ["drawn"]

_PATCH, _WINDOW, _LEAK = (230, 60, 40), (60, 140, 250), (230, 60, 40)
_WIDE = 320  # pixels to which sources are scaled
_SIDE = 160  # to which crops are
_GAP = 12
_FAINT = 0.3  # share of red where a pixel differs by less than a picture shows


def drawn(pairs: Pairs, patch: Size) -> tuple[Picture, ...]:
    """Returns a picture of each counter-example that was kept."""
    return tuple(_one(pairs, k, int(i), patch) for k, i in enumerate(pairs.shown))


def _one(pairs: Pairs, k: int, i: int, patch: Size) -> Picture:
    place = int(pairs.patch_top[i]), int(pairs.patch_left[i])
    window = tuple(int(a[i]) for a in (pairs.top, pairs.left, pairs.height, pairs.width))
    scale = _WIDE / pairs.before.shape[2]
    sources = [
        _source(image, window, place, patch, scale) for image in (pairs.before[k], pairs.after[k])
    ]
    crops = [_scaled(Image.fromarray(image)) for image in (pairs.out_before[k], pairs.out_after[k])]
    leak = _leak(pairs.out_before[k], pairs.out_after[k], pairs.leaked[k])
    rows, columns = (f"{window[k]} to {window[k] + window[k + 2]}" for k in (0, 1))
    share = f"{float(pairs.leaked[k].mean()):.0%}"
    caption = (
        f"The window (blue) of rows {rows} and columns {columns} is {int(pairs.distance[i])} "
        f"pixels from the patch (red) at {place}; of its crop {share} of the pixels (red, last) "
        "change with the patch. Above both images, below both crops."
    )
    return Picture(f"leak-{k + 1}", caption, _sheet(sources, [*crops, leak]))


def _source(
    image: NDArray[np.uint8],
    window: tuple[int, ...],
    place: tuple[int, int],
    patch: Size,
    scale: float,
) -> Image.Image:
    shape = round(image.shape[1] * scale), max(round(image.shape[0] * scale), 1)
    picture = Image.fromarray(image).resize(shape, Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(picture)
    for (top, left, height, width), colour in (
        (window, _WINDOW),
        ((*place, patch.height, patch.width), _PATCH),
    ):
        box = [left, top, left + width, top + height]
        pen.rectangle([value * scale for value in box], outline=colour, width=2)
    return picture


def _leak(
    crop: NDArray[np.uint8], other: NDArray[np.uint8], leaked: NDArray[np.bool_]
) -> Image.Image:
    """Draws pixels that differ in red, the more the stronger, over the crop in grey."""
    grey = crop.mean(axis=2, keepdims=True).repeat(3, axis=2) / 2 + 100
    change = np.abs(crop.astype(np.float64) - other).max(axis=2)
    share = _FAINT + (1 - _FAINT) * change / max(float(change.max()), 1.0)
    share = np.where(leaked, share, 0.0)[..., None]
    return _scaled(Image.fromarray((share * np.array(_LEAK) + (1 - share) * grey).astype(np.uint8)))


def _scaled(picture: Image.Image) -> Image.Image:
    factor = _SIDE / max(picture.size)
    shape = [max(round(side * factor), 1) for side in picture.size]
    return picture.resize((shape[0], shape[1]), Image.Resampling.NEAREST)


def _sheet(above: list[Image.Image], below: list[Image.Image]) -> bytes:
    rows = [above, below]
    width = max(sum(p.width + _GAP for p in row) for row in rows) + _GAP
    height = sum(max(p.height for p in row) + _GAP for row in rows) + _GAP
    sheet = Image.new("RGB", (width, height), "white")
    down = _GAP
    for row in rows:
        across = _GAP
        for picture in row:
            sheet.paste(picture, (across, down))
            across += picture.width + _GAP
        down += max(p.height for p in row) + _GAP
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()

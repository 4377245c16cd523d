"""Pictures of a leak: both images, the window, both crops, and the pixels that differ."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cropaudit.conformance.outcome import Leak

__all__ = ["leak_png"]

_PATCH, _WINDOW, _LEAK = (230, 60, 40), (60, 140, 250), (230, 60, 40)
_WIDE = 320  # pixels to which sources are scaled
_SIDE = 160  # to which crops are
_GAP = 12
_FAINT = 0.3  # share of red where a pixel differs by less than a picture shows


def leak_png(leak: Leak) -> bytes:
    """Returns the picture of one counter-example."""
    scale = _WIDE / leak.sources[0].shape[1]
    sources = [_source(image, leak, scale) for image in leak.sources]
    crops = [_scaled(Image.fromarray(image)) for image in leak.crops]
    return _sheet(sources, [*crops, _differing(*leak.crops, leak.leaked)])


def _source(image: NDArray[np.uint8], leak: Leak, scale: float) -> Image.Image:
    shape = round(image.shape[1] * scale), max(round(image.shape[0] * scale), 1)
    picture = Image.fromarray(image).resize(shape, Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(picture)
    for (top, left, height, width), colour in ((leak.window, _WINDOW), (leak.patch, _PATCH)):
        box = [left, top, left + width, top + height]
        pen.rectangle([value * scale for value in box], outline=colour, width=2)
    return picture


def _differing(
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

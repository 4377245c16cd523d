"""Reads one image or one mask from disk, and words what is wrong with a file.

Only PNG and JPEG decoders run, whatever a file is called, and nothing is ever unpickled. EXIF
orientation is ignored: masks are aligned with the pixels as stored, so turning an image by its
tag would part it from its mask.
"""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cropaudit.accounting.geometry import Size
from cropaudit.errors import InputError

__all__ = ["read_colours", "read_image", "read_mask", "resize_mask"]

# Pillow spreads the small greys of 2 and 4-bit PNG over 0..255; these factors undo it.
_GREY_STEPS = {2: 85, 4: 17}
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
_LARGEST = Image.DecompressionBombWarning, Image.DecompressionBombError
_DEEP = ("I", "F", "I;16", "I;16B", "I;16L")


def read_image(path: Path, short_side: int | None) -> tuple[NDArray[np.uint8], Size]:
    """Returns an image as uint8 (3, H, W) RGB, and the size that its file has.

    Args:
        path: A PNG or JPEG file of 8 bits a channel; transparency is dropped.
        short_side: Larger images are reduced to this short side, bilinear with antialiasing.

    Raises:
        InputError: If the file cannot be read as such an image.
    """
    with _opened(path, ("PNG", "JPEG")) as picture:
        if picture.mode in _DEEP:
            raise InputError(f"image {path} must have 8 bits a channel, got mode {picture.mode}")
        rgb = picture.convert("RGB")
    stored = Size(rgb.height, rgb.width)
    wanted = _reduced(stored, short_side)
    if wanted != stored:
        rgb = rgb.resize((wanted.width, wanted.height), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(rgb).transpose(2, 0, 1)), stored


def read_mask(path: Path) -> NDArray[np.int32]:
    """Returns a mask's class ids, shape (H, W): grey values, or the indices of a palette.

    Raises:
        InputError: If the file is no single-channel PNG.
    """
    with _opened(path, ("PNG",)) as picture:
        if picture.mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
            raise InputError(
                f"mask {path} must have one channel of class indices (grey or palette PNG), "
                f"got mode {picture.mode}"
            )
        ids = np.asarray(picture).astype(np.int32)
        grey = picture.mode == "L"
    return ids // _GREY_STEPS.get(_bit_depth(path), 1) if grey else ids


def read_colours(path: Path) -> NDArray[np.int32]:
    """Returns a mask's colours, shape (H, W): red x 65536 + green x 256 + blue.

    Raises:
        InputError: If the file is no colour PNG of 8 bits a channel.
    """
    with _opened(path, ("PNG",)) as picture:
        if picture.mode not in ("RGB", "RGBA", "P"):
            raise InputError(f"mask {path} must be a colour PNG, got mode {picture.mode}")
        channels = np.asarray(picture.convert("RGB")).astype(np.int32)
    packed: NDArray[np.int32] = channels @ np.array([65536, 256, 1], dtype=np.int32)
    return packed


def resize_mask(ids: NDArray[np.int32], short_side: int | None) -> NDArray[np.int32]:
    """Reduces a mask as `read_image` reduces its image; each pixel takes its nearest one's id."""
    stored = Size(*ids.shape)
    wanted = _reduced(stored, short_side)
    if wanted == stored:
        return ids
    # Centres of the new pixels, as in Pillow's NEAREST, which can't take every integer width.
    rows = (2 * np.arange(wanted.height) + 1) * stored.height // (2 * wanted.height)
    columns = (2 * np.arange(wanted.width) + 1) * stored.width // (2 * wanted.width)
    return ids[np.ix_(rows, columns)]


def _reduced(stored: Size, short_side: int | None) -> Size:
    shortest = min(stored.height, stored.width)
    if short_side is None or shortest <= short_side:
        return stored
    height = max(1, round(stored.height * short_side / shortest))
    return Size(height, max(1, round(stored.width * short_side / shortest)))


@contextmanager
def _opened(path: Path, formats: tuple[str, ...]) -> Iterator[Image.Image]:
    """Opens and decodes a picture; every fault of the file becomes one `InputError`."""
    kinds = " or ".join(formats)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            _check_sums(path)
            with Image.open(path, formats=formats) as picture:
                picture.load()
                yield picture
    except InputError:
        raise
    except _LARGEST:
        most = Image.MAX_IMAGE_PIXELS
        raise InputError(f"{path} must have at most {most} pixels, got more") from None
    except _BROKEN as error:
        reason = " ".join(str(error).split()).replace(str(path), "the file")[:120]
        raise InputError(
            f"{path} must be a whole {kinds} file, got a corrupt or truncated one: {reason}"
        ) from None


def _check_sums(path: Path) -> None:
    """Has Pillow check a PNG's checksums: a flipped bit would else move labels in silence."""
    with Image.open(path, formats=("PNG", "JPEG")) as picture:
        if picture.format == "PNG":
            picture.verify()


def _bit_depth(path: Path) -> int:
    """Returns the bits per pixel that a PNG's header names (byte 24, after the image's size)."""
    with path.open("rb") as file:
        header = file.read(25)
    return header[24]

"""Reads one image or one mask from disk, and words what is wrong with a file.

Only the decoders of common formats run, whatever a file is called (some of Oxford-IIIT Pet's .jpg
are GIF), and nothing is ever unpickled. What would be lost or turned in silence is refused: more
than 8 bits a channel, several pictures in one file, masks stored with loss. An orientation tag
turns a picture in some libraries and not in others; it is followed where the mask's size shows
that the mask was made for the turned picture, and refused where nothing shows it.
"""

import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cropaudit.accounting.geometry import Size
from cropaudit.accounting.image_sizes import FORMATS, orientation
from cropaudit.errors import InputError, require

__all__ = ["MASK_FORMATS", "read_colours", "read_image", "read_indexed", "read_mask", "resize_mask"]

MASK_FORMATS = ("PNG", "BMP", "TIFF", "GIF")  # those that keep every label

# Pillow spreads the small greys of 2 and 4-bit PNG over 0..255; these factors undo it.
_GREY_STEPS = {2: 85, 4: 17}
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
_LARGEST = Image.DecompressionBombWarning, Image.DecompressionBombError
_DEEP = ("I", "F", "I;16", "I;16B", "I;16L")
_BYTE = 8
_BITS_PER_SAMPLE = 258  # TIFF


def read_image(
    path: Path, short_side: int | None, mask: Size | None = None
) -> tuple[NDArray[np.uint8], Size]:
    """Returns an image as uint8 (3, H, W) RGB, and its size before any reduction.

    Args:
        path: A file of 8 bits a channel in one of the common formats; transparency is dropped.
        short_side: Larger images are reduced to this short side, bilinear with antialiasing.
        mask: Size of its mask, which tells whether an orientation tag is to be followed.

    Raises:
        InputError: If the file cannot be read as such an image.
    """
    with _opened(path) as picture:
        deep = picture.mode in _DEEP or _bits(path, picture) > _BYTE
        if deep:
            bits = max(_bits(path, picture), 2 * _BYTE)
            got = f"mode {picture.mode} of {bits} bits"
            raise InputError(f"image {path} must have 8 bits a channel, got {got}")
        rgb = _upright(path, picture, mask).convert("RGB")
    stored = Size(rgb.height, rgb.width)
    wanted = _reduced(stored, short_side)
    if wanted != stored:
        rgb = rgb.resize((wanted.width, wanted.height), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(rgb).transpose(2, 0, 1)), stored


def _upright(path: Path, picture: Image.Image, mask: Size | None) -> Image.Image:
    """Returns the picture as its mask lies.

    Raises:
        InputError: If its tag turns it and the mask's size does not show whether it is turned.
    """
    tag = orientation(picture)
    stored = Size(picture.height, picture.width)
    turned = Size(stored.width, stored.height)
    swaps = tag >= 5 and stored != turned and picture.format != "TIFF"  # Pillow turns TIFF itself
    if tag == 1 or (swaps and mask == stored):
        return picture
    if swaps and mask == turned:
        return ImageOps.exif_transpose(picture)
    raise InputError(
        f"image {path} must be stored upright, got orientation tag {tag}, which some loaders "
        "follow and others do not: turn its pixels once and save it without the tag"
    )


def read_mask(path: Path) -> NDArray[np.int32]:
    """Returns a mask's class ids, shape (H, W): grey values, or the indices of a palette.

    Raises:
        InputError: If the file is no single-channel picture stored without loss.
    """
    return read_indexed(path)[0]


def read_indexed(path: Path) -> tuple[NDArray[np.int32], Mapping[int, tuple[int, int, int]]]:
    """Returns a mask's class ids as `read_mask`, and the colours of those that a palette shows.

    Raises:
        InputError: If the file is no single-channel picture stored without loss.
    """
    with _opened(path) as picture:
        _require_mask(path, picture)
        if picture.mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
            raise InputError(
                f"mask {path} must have one channel of class indices (grey or palette PNG), or its "
                "folder a labelmap.txt that names the colours (name:red,green,blue a line), "
                f"got mode {picture.mode}"
            )
        ids = np.asarray(picture).astype(np.int32)
        grey = picture.mode == "L" and picture.format == "PNG"
        palette = picture.getpalette("RGB") or [] if picture.mode == "P" else []
        bits = _bits(path, picture)
    shown = {
        id_: (palette[3 * id_], palette[3 * id_ + 1], palette[3 * id_ + 2])
        for id_ in np.unique(ids).tolist()
        if 0 <= 3 * id_ + 2 < len(palette)
    }
    return (ids // _GREY_STEPS.get(bits, 1) if grey else ids), shown


def read_colours(path: Path) -> NDArray[np.int32]:
    """Returns a mask's colours, shape (H, W): red x 65536 + green x 256 + blue.

    Raises:
        InputError: If the file is no colour picture of 8 bits a channel stored without loss.
    """
    with _opened(path) as picture:
        _require_mask(path, picture)
        if picture.mode not in ("RGB", "RGBA", "P") or _bits(path, picture) > _BYTE:
            bits = "" if picture.mode not in ("RGB", "RGBA") else " of 16 bits"
            raise InputError(f"mask {path} must be a colour PNG, got mode {picture.mode}{bits}")
        channels = np.asarray(picture.convert("RGB")).astype(np.int32)
    packed: NDArray[np.int32] = channels @ np.array([65536, 256, 1], dtype=np.int32)
    return packed


def _require_mask(path: Path, picture: Image.Image) -> None:
    legal = f"stored without loss ({', '.join(MASK_FORMATS)})"
    require(picture.format in MASK_FORMATS, f"mask {path}", legal, picture.format)
    tag = orientation(picture)
    require(tag == 1, f"mask {path}", "stored upright, without an orientation tag", tag)


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
def _opened(path: Path) -> Iterator[Image.Image]:
    """Opens and decodes a picture; every fault of the file becomes one `InputError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            _check_sums(path)
            with Image.open(path, formats=FORMATS) as picture:
                frames = getattr(picture, "n_frames", 1)
                require(frames == 1, str(path), "a file of one picture", frames)
                picture.load()
                yield picture
    except InputError:
        raise
    except _LARGEST:
        most = Image.MAX_IMAGE_PIXELS
        raise InputError(f"{path} must have at most {most} pixels, got more") from None
    except _BROKEN as error:
        reason = " ".join(str(error).split()).replace(str(path), "the file")[:120]
        kinds = ", ".join(FORMATS)
        raise InputError(
            f"{path} must be a whole picture ({kinds}), got a corrupt or truncated one: {reason}"
        ) from None


def _check_sums(path: Path) -> None:
    """Has Pillow check a PNG's checksums: a flipped bit would else move labels in silence."""
    with Image.open(path, formats=FORMATS) as picture:
        if picture.format == "PNG":
            picture.verify()


def _bits(path: Path, picture: Image.Image) -> int:
    """Returns the bits a sample as stored: Pillow cuts 16-bit colours to 8 without a word."""
    if picture.format == "PNG":
        with path.open("rb") as file:
            return file.read(25)[24]  # the header names them after the image's size
    if picture.format == "TIFF":
        bits: tuple[int, ...] = getattr(picture, "tag_v2", {}).get(_BITS_PER_SAMPLE, (1,))
        return max(bits)
    return _BYTE

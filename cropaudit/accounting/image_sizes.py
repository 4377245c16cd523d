"""Reads the sizes of images from the headers of their files; pixels are never decoded for that.

The one module of the accounting that opens pictures. Only the decoders of common formats run,
whatever a file is called. An orientation tag turns a picture in some loaders (OpenCV) and not in
others (Pillow, torchvision): where it swaps the sides, both sizes count.
"""

import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from cropaudit.accounting.geometry import Size
from cropaudit.errors import InputError, require

__all__ = [
    "FORMATS",
    "SUFFIXES",
    "UNREAD_SUFFIXES",
    "image_size",
    "image_sizes",
    "opened",
    "orientation",
]

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"})
# Pictures too, which nothing here decodes: passing over them in silence would hide images.
UNREAD_SUFFIXES = frozenset(
    {
        *(".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".jfif", ".dng", ".cr2", ".nef"),
        *(".arw", ".raw", ".ppm", ".pgm", ".pnm", ".exr", ".tga", ".dcm"),
    }
)
_ORIENTATION = 0x0112
_UPRIGHT = 1
_SWAPPED = (5, 6, 7, 8)
_NO_IMAGES = {"masks", "labels"}
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)


def image_sizes(folder: str | Path) -> dict[Size, int]:
    """Counts the sizes of all images under a folder.

    Args:
        folder: Searched at any depth for jpg, png, bmp, webp, tif and gif; folders called masks or
            labels and hidden files are passed over.

    Returns:
        Number of images by size, smallest size first. An image whose orientation tag swaps its
        sides counts once in each of both sizes.

    Raises:
        InputError: If there is no such folder, it holds no image, a file is none, or there are
            pictures of a format that is not read.
    """
    root = Path(folder)
    require(root.is_dir(), "image folder", "a folder", folder)
    counts: Counter[Size] = Counter()
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root).parts
        hidden = any(part.startswith(".") for part in inside)
        if hidden or _NO_IMAGES & {part.lower() for part in inside[:-1]} or not path.is_file():
            continue
        end = path.suffix.lower()
        wanted = f"one whose pictures are {', '.join(sorted(SUFFIXES))}"
        require(end not in UNREAD_SUFFIXES, "image folder", wanted, path)
        if end in SUFFIXES:
            counts.update(_shown_sizes(path))
    require(bool(counts), "image folder", "one with jpg, png, bmp, webp, tif or gif files", folder)
    return dict(sorted(counts.items()))


def image_size(path: str | Path) -> Size:
    """Returns the size that an image file's header names, before any turning.

    Raises:
        InputError: If the file cannot be read as an image.
    """
    with opened(path, FORMATS) as picture:
        return Size(picture.height, picture.width)


def orientation(picture: Image.Image) -> int:
    """Returns the orientation tag of an opened picture: 1 if upright, 2 to 8 as in EXIF."""
    # A PNG may carry its tags behind the pixels; it is not decoded just to look for them.
    if picture.format == "PNG" and "exif" not in picture.info:
        return _UPRIGHT
    tag = picture.getexif().get(_ORIENTATION, _UPRIGHT)
    return tag if tag in range(1, 9) else _UPRIGHT


def _shown_sizes(path: Path) -> set[Size]:
    """Returns the sizes that loaders see: with the sides swapped too where a tag says so."""
    with opened(path, FORMATS) as picture:
        stored = Size(picture.height, picture.width)
        swapped = orientation(picture) in _SWAPPED
    return {stored, Size(stored.width, stored.height)} if swapped else {stored}


@contextmanager
def opened(path: str | Path, formats: tuple[str, ...]) -> Iterator[Image.Image]:
    """Opens a picture without decoding it; every fault of the file becomes one `InputError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images: nothing is decoded yet
            with Image.open(path, formats=formats) as picture:
                yield picture
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(
            f"{path} must be an image of ordinary size, got a far larger one"
        ) from None
    except _BROKEN as error:
        reason = " ".join(str(error).split()).replace(str(path), "the file")[:120]
        kinds = " or ".join(formats)
        raise InputError(f"{path} must be a whole {kinds} file, got: {reason}") from None

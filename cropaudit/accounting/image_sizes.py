"""Reads the sizes of images from the headers of their files; pixels are never decoded for that.

The one module of the accounting that opens pictures. Assumes sizes as stored: an orientation tag is
ignored, as it is in training. Only the decoders of common formats run, whatever a file is called.
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

__all__ = ["image_size", "image_sizes", "opened"]

_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
_NO_IMAGES = {"masks", "labels"}
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)


def image_sizes(folder: str | Path) -> dict[Size, int]:
    """Counts the sizes of all images under a folder.

    Args:
        folder: Searched at any depth for jpg, png, bmp and webp; folders called masks or labels and
            hidden files are passed over.

    Returns:
        Number of images by size, smallest size first.

    Raises:
        InputError: If there is no such folder, it holds no image, or a file is none.
    """
    root = Path(folder)
    require(root.is_dir(), "image folder", "a folder", folder)
    counts: Counter[Size] = Counter()
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root).parts
        hidden = any(part.startswith(".") for part in inside)
        if path.suffix.lower() not in _SUFFIXES or hidden or not path.is_file():
            continue
        if not _NO_IMAGES & {part.lower() for part in inside[:-1]}:
            counts[image_size(path)] += 1
    require(bool(counts), "image folder", "one with jpg, png, bmp or webp files", folder)
    return dict(sorted(counts.items()))


def image_size(path: str | Path) -> Size:
    """Returns the size that an image file's header names.

    Raises:
        InputError: If the file cannot be read as an image.
    """
    with opened(path, _FORMATS) as picture:
        return Size(picture.height, picture.width)


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

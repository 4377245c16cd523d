"""Arrays of numbers from files that a user hands in; nothing is unpickled, sizes are checked first.

A header may promise more than there is, and an archive may unpack to more than it weighs: both are
read before any memory is taken.
"""

import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from cropaudit.errors import InputError, require

__all__ = ["LARGEST", "read_archive", "read_numbers"]

LARGEST = 2**28
"""Bytes of a file that are read, once unpacked (256 MiB)."""

_BROKEN = (
    *(OSError, ValueError, EOFError, SyntaxError, RecursionError, MemoryError, KeyError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError, RuntimeError, NotImplementedError),
)


def read_numbers(path: Path, what: str, kinds: str) -> NDArray[np.float64]:
    """Reads a ``.npy`` file.

    Args:
        path: The file.
        what: What it holds, for messages.
        kinds: Legal kinds of numbers, as numpy's ``dtype.kind`` names them.

    Raises:
        InputError: If it is no such file, or too large.
    """
    with _told(path, what, ".npy"), path.open("rb") as file:
        return _array(file, path.stat().st_size, kinds)


def read_archive(path: Path, what: str, kinds: str) -> dict[str, NDArray[np.float64]]:
    """Reads the arrays of a ``.npz`` file by name.

    Args:
        path: The file.
        what: What it holds, for messages.
        kinds: Legal kinds of numbers.

    Raises:
        InputError: If it is no such file, or too large.
    """
    found = {}
    with _told(path, what, ".npz"), zipfile.ZipFile(path) as archive:
        items = archive.infolist()
        size = sum(item.file_size for item in items)
        require(size <= LARGEST, f"{what} {path}", f"at most {LARGEST} bytes unpacked", size)
        for item in items:
            with archive.open(item) as file:
                found[item.filename.removesuffix(".npy")] = _array(file, item.file_size, kinds)
    return found


@contextmanager
def _told(path: Path, what: str, suffix: str) -> Iterator[None]:
    """Words whatever is wrong with a file in one line."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{what} {path} must be an existing {suffix} file") from None
    except _BROKEN as error:
        words = " ".join(str(error).split())[:200]
        raise InputError(f"{what} {path} must be a {suffix} file of numbers: {words}") from None


def _array(file: IO[bytes], size: int, kinds: str) -> NDArray[np.float64]:
    """Reads one array.

    Raises:
        ValueError: If it holds no such numbers, or promises more than the file has.
    """
    version = npy.read_magic(file)
    header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, kind = header(file)
    if kind.kind not in kinds:
        raise ValueError(f"its kind is {kind}")
    count = 1
    for length in shape:
        count *= length
    if min(shape, default=0) < 0 or count * kind.itemsize > min(size, LARGEST):
        raise ValueError(f"its header promises {count} numbers, the file has {size} bytes")
    file.seek(0)
    values = npy.read_array(file, allow_pickle=False)
    return np.asarray(values, dtype=np.float64)

"""Files that a user names: checked before the work that fills them, then written whole or not.

Nothing here needs matplotlib, so that a command can refuse a path before it computes anything.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from cropaudit.errors import InputError, require
from cropaudit.reports.store import write_atomic

__all__ = [
    "PICTURE_SUFFIXES",
    "PROFILE_SUFFIXES",
    "check_output",
    "write_output",
    "write_profile_csv",
]

PICTURE_SUFFIXES = (".svg", ".png", ".pdf")
PROFILE_SUFFIXES = (".csv",)


def check_output(path: Path, suffixes: Sequence[str], force: bool, *, name: str = "output") -> None:
    """Checks that a file can be written; changes nothing.

    Args:
        path: The file.
        suffixes: Legal endings, lower case with their dots; the path's case does not matter.
        force: Whether an existing file may be replaced.
        name: The parameter, as the user knows it.

    Raises:
        InputError: If the ending is another, the folder is missing or cannot be written, the path
            is a folder, or the file exists and ``force`` is off.
    """
    *others, last = suffixes
    legal = f"{', '.join(others)} or {last}" if others else last
    require(path.suffix.lower() in suffixes, name, f"a file that ends in {legal}", path)
    require(path.parent.is_dir(), name, "in an existing folder", path)
    require(os.access(path.parent, os.W_OK | os.X_OK), name, "in a folder with write access", path)
    require(not path.is_dir(), name, "a file, not a folder", path)
    # A link to nowhere counts as a file: writing would replace it.
    require(force or not os.path.lexists(path), name, "a new file, or give --force", path)


def write_output(path: Path, data: bytes) -> None:
    """Writes a file atomically.

    Raises:
        InputError: If the system refuses, for example because the disk is full.
    """
    try:
        write_atomic(path, data)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def write_profile_csv(
    path: Path, epsilon: Iterable[float], delta: Iterable[float], *, force: bool
) -> None:
    """Writes a privacy profile, one point a line, every digit kept.

    Args:
        path: The file, ending in ``.csv``.
        epsilon: Shape (n,).
        delta: Shape (n,), delta of each epsilon.
        force: Whether an existing file may be replaced.

    Raises:
        InputError: If the path cannot be written, or the two differ in length.
    """
    check_output(path, PROFILE_SUFFIXES, force, name="profile")
    left, right = [float(x) for x in epsilon], [float(x) for x in delta]
    require(len(left) == len(right), "profile", f"{len(left)} deltas", len(right))
    rows = [f"{x!r},{y!r}" for x, y in zip(left, right, strict=True)]
    write_output(path, ("\n".join(["epsilon,delta", *rows]) + "\n").encode("ascii"))

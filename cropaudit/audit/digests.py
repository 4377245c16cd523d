"""SHA-256 digests by which reports name data, weights and files, and run folders their files."""

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from cropaudit.errors import InputError, require

if TYPE_CHECKING:  # torch is slow to import, and most of the callers have no images
    from cropaudit.training.data import SegmentationData

__all__ = ["MARKER_NAME", "check_digests", "data_digest", "recorded_digests", "sha256"]

MARKER_NAME = ".cropaudit-run.json"
"""The file of a run folder that lists what cropaudit wrote into it, with digests."""


def sha256(data: bytes) -> str:
    """Returns the SHA-256 of ``data`` in hexadecimal.

    >>> sha256(b"")[:16]
    'e3b0c44298fc1c14'
    """
    return hashlib.sha256(data).hexdigest()


def data_digest(data: "SegmentationData") -> str:
    """Returns the SHA-256 over all images and masks, in order."""
    digest = hashlib.sha256()
    for image, mask in zip(data.images, data.masks, strict=True):
        digest.update(repr(tuple(image.shape)).encode())
        digest.update(image.contiguous().numpy().tobytes())
        digest.update(mask.contiguous().numpy().tobytes())
    return digest.hexdigest()


def recorded_digests(folder: Path) -> dict[str, str]:
    """Returns the digests of a run folder's files by name; none of a run that recorded none.

    Raises:
        InputError: If its list cannot be read.
    """
    marker = folder / MARKER_NAME
    if not marker.is_file():
        return {}
    try:
        found = json.loads(marker.read_bytes()).get("digests", {})
        inside = all(".." not in PurePosixPath(name).parts and name[0] != "/" for name in found)
        if inside and all(isinstance(digest, str) for digest in found.values()):
            return dict(found)
    except (OSError, ValueError, RecursionError, AttributeError, IndexError, TypeError):
        pass
    raise InputError(f"{marker} must be as cropaudit left it, got a changed file")


def check_digests(folder: Path) -> bool:
    """Compares the files of a run folder with what was recorded of them.

    A report without its pictures is still the report: what is gone is left to whoever needs it.

    Returns:
        Whether anything was recorded: nothing by earlier versions.

    Raises:
        InputError: If a file was changed; the message names it.
    """
    found = recorded_digests(folder)
    for name, digest in found.items():
        path = folder / name
        same = not path.exists() or (path.is_file() and sha256(path.read_bytes()) == digest)
        require(same, str(path), "as its run left it", "a changed file")
    return bool(found)

"""SHA-256 digests by which reports name data, weights and files."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch is slow to import, and most of the callers have no images
    from cropaudit.training.data import SegmentationData

__all__ = ["data_digest", "sha256"]


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

"""Folders of images with masks, the generic layout of `cropaudit.training.datasets`.

The layouts are in `cropaudit.training.folder_layout`, the files that can be read in
`folder_pictures`, the meaning of ids and ``classes.txt`` in `folder_classes`. Everything is read
into memory at once.
"""

from pathlib import Path

from cropaudit.training.datasets.folder import FOLDER
from cropaudit.training.datasets.reading import FolderSplits, check_options, read_splits

__all__ = ["FolderSplits", "load_folder"]


def load_folder(
    root: Path, *, short_side: int | None = None, limit: int | None = None
) -> FolderSplits:
    """Reads a folder of images and masks.

    Args:
        root: The folder; see `cropaudit.training.folder_layout` for the layouts.
        short_side: Images whose short side is larger are reduced to it, and their masks too.
        limit: At most so many images per split, evenly spaced over the sorted names.

    Raises:
        InputError: If the folder or one of its files cannot be used; the message names it.
    """
    check_options(short_side, limit)
    listing = FOLDER.open(root)
    words = _describe(root, listing.root)
    return read_splits(listing, words, short_side=short_side, limit=limit)


def _describe(root: Path, read: Path) -> str:
    """Names the folder by its last parts alone: a report need not tell whose disk it was on."""
    name = root.resolve().name
    return f"folder {name}" if read == root else f"folder {name}/{read.name}"

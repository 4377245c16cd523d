"""Any folder of ``images`` and ``masks``; see `cropaudit.training.folder_layout`.

Classes are the ids that occur in what is read, named by ``classes.txt`` where there is one.
"""

from pathlib import Path

from cropaudit.training.datasets.layout import Layout, Listing
from cropaudit.training.folder_classes import map_classes, read_names
from cropaudit.training.folder_layout import find_folder, list_pairs
from cropaudit.training.folder_pictures import read_mask

__all__ = ["FOLDER"]


def _open(root: Path) -> Listing:
    found = find_folder(root)
    train, validation = list_pairs(found)
    return Listing(
        found.root,
        tuple(train),
        tuple(validation),
        read_mask,
        lambda ids: map_classes(ids, read_names(found.root), found.root),
    )


FOLDER = Layout(
    kind="folder",
    structure="images/ and masks/ (pictures flat, or in train/ and val/ below both), or one part "
    "that does, such as scenes/",
    sign=lambda root: True,
    open=_open,
)

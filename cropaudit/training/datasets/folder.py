"""Any folder of ``images`` and ``masks``; see `cropaudit.training.folder_layout`.

Classes are the ids that occur in what is read, named by ``classes.txt`` where there is one. Where a
``labelmap.txt`` names colours, masks are read as colours.
"""

from pathlib import Path

from cropaudit.training.datasets.labelmap import LABELMAP, colour_listing
from cropaudit.training.datasets.layout import Layout, Listing
from cropaudit.training.folder_classes import map_classes, read_names
from cropaudit.training.folder_layout import find_folder, left_out, list_pairs
from cropaudit.training.folder_pictures import read_mask

__all__ = ["FOLDER"]


def _open(root: Path) -> Listing:
    found = find_folder(root)
    train, validation = (tuple(pairs) for pairs in list_pairs(found))
    if (found.root / LABELMAP).is_file():
        return colour_listing(found.root, train, validation, left_out(found))
    names = read_names(found.root)
    return Listing(
        found.root,
        train,
        validation,
        read_mask,
        lambda ids: map_classes(ids, names, found.root),
        frozenset(names),
        left_out(found),
    )


FOLDER = Layout(
    kind="folder",
    structure="images/ and masks/ (pictures flat, or in train/ and val/ below both), or one part "
    "that does, such as scenes/",
    sign=lambda root: True,
    open=_open,
)

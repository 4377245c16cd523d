"""The data sets that can be read. A new layout is one file beside this one and one line here.

Nothing is downloaded: a data set is a folder on disk in the structure in which its makers hand it
out. Procedural scenes need no folder.
"""

from collections.abc import Callable
from pathlib import Path

from cropaudit.accounting.geometry.shapes import Size
from cropaudit.errors import InputError, require
from cropaudit.training.datasets.a2d2 import A2D2
from cropaudit.training.datasets.camvid import CAMVID
from cropaudit.training.datasets.cityscapes import BDD100K, CITYSCAPES, KITTI
from cropaudit.training.datasets.coco_panoptic import COCO_PANOPTIC
from cropaudit.training.datasets.folder import FOLDER
from cropaudit.training.datasets.layout import Layout
from cropaudit.training.datasets.reading import FolderSplits, read_splits
from cropaudit.training.datasets.split_folders import ADE20K, ROBOFLOW, VISTAS
from cropaudit.training.datasets.voc import CVAT, LABELME, OXFORD_PET, VOC
from cropaudit.training.scenes.streets import street_scenes

__all__ = ["LAYOUTS", "find_layout", "kinds", "load_dataset"]

# By kind, in the order in which `find_layout` tries them; the generic one, which takes every
# folder, is tried after all others.
LAYOUTS: dict[str, Layout] = {
    layout.kind: layout
    for layout in (
        *(CITYSCAPES, A2D2, CAMVID, CVAT, LABELME, VOC, OXFORD_PET, COCO_PANOPTIC),
        *(KITTI, ADE20K, BDD100K, VISTAS, ROBOFLOW, FOLDER),
    )
}

_SCENES, _SCENE_ROWS = 64, 160  # as in the quickstart; faces and plates can be seen


def kinds() -> tuple[str, ...]:
    """Returns what users may ask for."""
    return ("auto", *LAYOUTS, "scenes")


def find_layout(root: Path) -> Layout:
    """Returns the layout that a folder's names show, the generic one where none is known."""
    if not root.is_dir():
        kind = "a folder, got the file" if root.exists() else "an existing folder, got"
        raise InputError(f"data folder must be {kind} {root}")
    known = (layout for layout in LAYOUTS.values() if layout is not FOLDER)
    return next((layout for layout in known if layout.sign(root)), FOLDER)


def load_dataset(
    kind: str,
    root: Path | None,
    *,
    short_side: int | None = None,
    limit: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> FolderSplits:
    """Reads a data set.

    Args:
        kind: One of `kinds`; "auto" looks at the names in the folder.
        root: Its folder; None for scenes.
        short_side: Images whose short side is larger are reduced to it, and their masks too. Of
            scenes, the height; they are twice as wide.
        limit: At most so many images per split, evenly spaced; only these are opened. Of scenes,
            the number drawn for each split (64 unless given).
        progress: Called after each image with the number of images read so far.

    Raises:
        InputError: If the kind is unknown, or the folder or one of its files cannot be used.
    """
    require(kind in kinds(), "data set", f"one of {', '.join(kinds())}", kind)
    require(short_side is None or short_side >= 1, "short side", "at least 1", short_side)
    require(limit is None or limit >= 1, "limit", "at least 1", limit)
    if kind == "scenes":
        require(root is None, "data folder of scenes", "left out", root)
        count, rows = limit or _SCENES, short_side or _SCENE_ROWS
        train, held_out = (street_scenes(count, Size(rows, 2 * rows), seed) for seed in (0, 1))
        if progress is not None:
            progress(2 * count)
        return FolderSplits(train, held_out)
    if root is None:
        wanted = "" if kind == "auto" else f" with {LAYOUTS[kind].structure}"
        raise InputError(f"data set {kind} must be given its folder{wanted}, got none")
    layout = find_layout(root) if kind == "auto" else LAYOUTS[kind]
    if not root.is_dir() or not layout.sign(root):
        legal = "hold" if root.is_dir() else "exist and hold"
        got = f"the file {root}" if root.is_file() else root
        raise InputError(f"{layout.kind} data folder must {legal} {layout.structure}, got {got}")
    listing = layout.open(root)
    part = "" if listing.root == root else f"/{listing.root.name}"
    words = f"{layout.kind} {root.resolve().name}{part}"
    return read_splits(listing, words, short_side=short_side, limit=limit, progress=progress)

"""The data sets that can be read. A new layout is one file beside this one and one line here.

Nothing is downloaded: a data set is a folder on disk in the structure in which its makers hand it
out. Procedural scenes need no folder.
"""

from collections.abc import Callable
from pathlib import Path

from cropaudit.accounting.geometry import Size
from cropaudit.errors import InputError, require
from cropaudit.training.datasets.a2d2 import A2D2
from cropaudit.training.datasets.ade20k import ADE20K
from cropaudit.training.datasets.bdd100k import BDD100K
from cropaudit.training.datasets.camvid import CAMVID
from cropaudit.training.datasets.cityscapes import CITYSCAPES
from cropaudit.training.datasets.coco_panoptic import COCO_PANOPTIC
from cropaudit.training.datasets.cvat import CVAT
from cropaudit.training.datasets.folder import FOLDER
from cropaudit.training.datasets.kitti import KITTI
from cropaudit.training.datasets.labelme import LABELME
from cropaudit.training.datasets.layout import Layout, Listing
from cropaudit.training.datasets.oxford_pet import OXFORD_PET
from cropaudit.training.datasets.reading import FolderSplits, check_options, read_splits
from cropaudit.training.datasets.roboflow import ROBOFLOW
from cropaudit.training.datasets.vistas import VISTAS
from cropaudit.training.datasets.voc import VOC
from cropaudit.training.scenes import street_scenes

__all__ = ["KINDS", "LAYOUTS", "find_layout", "load_dataset"]

# In the order in which `find_layout` tries them; the last one takes what no other knows.
LAYOUTS = (
    *(CITYSCAPES, A2D2, CAMVID, CVAT, LABELME, VOC, OXFORD_PET, COCO_PANOPTIC),
    *(KITTI, ADE20K, BDD100K, VISTAS, ROBOFLOW, FOLDER),
)
KINDS = ("auto", *(layout.kind for layout in LAYOUTS), "scenes")

_SCENES = 64
_SCENE_ROWS = 160  # as in the quickstart; faces and plates can be seen
_SEEDS = (0, 1)


def find_layout(root: Path) -> Layout:
    """Returns the layout that a folder's names show, the generic one where none is known.

    Raises:
        InputError: If there is no such folder.
    """
    if not root.is_dir():
        kind = "a folder, got the file" if root.exists() else "an existing folder, got"
        raise InputError(f"data folder must be {kind} {root}")
    return next(layout for layout in LAYOUTS if layout.sign(root))


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
        kind: One of `KINDS`; "auto" looks at the names in the folder.
        root: Its folder; None for scenes.
        short_side: Images whose short side is larger are reduced to it, and their masks too. Of
            scenes, the height; they are twice as wide.
        limit: At most so many images per split, evenly spaced; only these are opened. Of scenes,
            the number drawn for each split (64 unless given).
        progress: Called after each image with the number of images read so far.

    Raises:
        InputError: If the kind is unknown, or the folder or one of its files cannot be used.
    """
    require(kind in KINDS, "data set", f"one of {', '.join(KINDS)}", kind)
    check_options(short_side, limit)
    if kind == "scenes":
        require(root is None, "data folder of scenes", "left out", root)
        return _draw_scenes(short_side or _SCENE_ROWS, limit or _SCENES, progress)
    if root is None:
        wanted = "" if kind == "auto" else f" with {_layout(kind).structure}"
        raise InputError(f"data set {kind} must be given its folder{wanted}, got none")
    layout = find_layout(root) if kind == "auto" else _layout(kind)
    listing = _open(layout, root)
    part = "" if listing.root == root else f"/{listing.root.name}"
    words = f"{layout.kind} {root.resolve().name}{part}"
    return read_splits(listing, words, short_side=short_side, limit=limit, progress=progress)


def _layout(kind: str) -> Layout:
    return next(layout for layout in LAYOUTS if layout.kind == kind)


def _open(layout: Layout, root: Path) -> Listing:
    """Lists the files; a folder that is nothing like the layout is told the whole structure."""
    if not root.is_dir() or not layout.sign(root):
        raise InputError(f"{layout.kind} data folder must hold {layout.structure}, got {root}")
    return layout.open(root)


def _draw_scenes(rows: int, count: int, progress: Callable[[int], None] | None) -> FolderSplits:
    splits = [street_scenes(count, Size(rows, 2 * rows), seed) for seed in _SEEDS]
    if progress is not None:
        progress(2 * count)
    return FolderSplits(splits[0], splits[1])

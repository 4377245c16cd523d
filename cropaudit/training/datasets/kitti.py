"""KITTI's semantics: ``training/image_2/*.png`` and ``training/semantic/*.png``.

Ids are those of Cityscapes, and the same 19 are classes. The test images have no labels; of the 200
others the last quarter validates.
"""

from pathlib import Path

from cropaudit.training.datasets.cityscapes import benchmark_classes
from cropaudit.training.datasets.layout import (
    Layout,
    Listing,
    entries,
    folder_under,
    refuse_missing,
    split_tail,
)
from cropaudit.training.folder_layout import Pair
from cropaudit.training.folder_pictures import read_mask

__all__ = ["KITTI"]

_IMAGES, _MASKS = Path("training", "image_2"), Path("training", "semantic")


def _sign(root: Path) -> bool:
    return (root / _MASKS).is_dir()


def _open(root: Path) -> Listing:
    images, masks = folder_under(root, _IMAGES, "kitti"), folder_under(root, _MASKS, "kitti")
    frames = [path for path in entries(images) if path.suffix == ".png"]
    pairs = [Pair(path, masks / path.name) for path in frames]
    listed = refuse_missing(pairs, images, masks.glob("[!.]*.png"))
    return Listing(root, *split_tail(listed, images), read_mask, lambda _: benchmark_classes())


KITTI = Layout(
    kind="kitti",
    structure="training/image_2/*.png and training/semantic/*.png",
    sign=_sign,
    open=_open,
)

"""KITTI's semantics: ``training/image_2/*.png`` and ``training/semantic/*.png``.

Ids are those of Cityscapes, and the same 19 are classes. The test images have no labels; of the 200
others the last quarter validates.
"""

from pathlib import Path

from cropaudit.training.datasets.cityscapes import benchmark_classes
from cropaudit.training.datasets.layout import Layout, Listing, by_name, split_tail

__all__ = ["KITTI"]

_IMAGES, _MASKS = "training/image_2", "training/semantic"


def _open(root: Path) -> Listing:
    pairs = by_name(root, (_IMAGES, _MASKS), "kitti", (".png",))
    return Listing(root, *split_tail(pairs, root / _IMAGES), benchmark_classes())


KITTI = Layout(
    kind="kitti",
    structure=f"{_IMAGES}/*.png and {_MASKS}/*.png",
    sign=lambda root: (root / _MASKS).is_dir(),
    open=_open,
)

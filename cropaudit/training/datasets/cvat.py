"""CVAT's "Segmentation mask": Pascal VOC's folders, but masks in the colours of ``labelmap.txt``.

Lists in ImageSets/Segmentation name the subsets; a lone ``default.txt`` is split, its last quarter
validates. The images are there only if they were saved with the annotations.
"""

from pathlib import Path

from cropaudit.errors import InputError
from cropaudit.training.datasets.labelmap import LABELMAP, colour_listing
from cropaudit.training.datasets.layout import (
    Layout,
    Listing,
    find_image,
    folder_under,
    read_lines,
    refuse_missing,
    split_tail,
)
from cropaudit.training.folder_layout import Pair

__all__ = ["CVAT"]

_LISTS = Path("ImageSets", "Segmentation")
_TRAIN, _VALIDATION = ("train", "Train"), ("val", "Validation", "validation")


def _sign(root: Path) -> bool:
    return (root / LABELMAP).is_file() and (root / "SegmentationClass").is_dir()


def _open(root: Path) -> Listing:
    images = folder_under(root, "JPEGImages", "cvat (exported with its images saved)")
    lists = {path.stem: path for path in folder_under(root, _LISTS, "cvat").glob("*.txt")}
    train = next((lists[name] for name in _TRAIN if name in lists), None)
    held = next((lists[name] for name in _VALIDATION if name in lists), None)
    if train is not None and held is not None:
        return colour_listing(root, _pairs(root, images, train), _pairs(root, images, held))
    if len(lists) != 1:
        names = ", ".join(sorted(lists)) or "none"
        raise InputError(
            f"{root / _LISTS} must hold one list, or train.txt and val.txt, got {names}"
        )
    (lone,) = lists.values()
    return colour_listing(root, *split_tail(_pairs(root, images, lone), lone))


def _pairs(root: Path, images: Path, path: Path) -> tuple[Pair, ...]:
    masks = root / "SegmentationClass"
    pairs = [Pair(find_image(images, name), masks / f"{name}.png") for name in read_lines(path)]
    return refuse_missing(pairs, path)


CVAT = Layout(
    kind="cvat",
    structure=f"{LABELMAP}, JPEGImages/, SegmentationClass/*.png and ImageSets/Segmentation/*.txt",
    sign=_sign,
    open=_open,
)

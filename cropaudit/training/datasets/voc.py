"""Pascal VOC, and what tools export in its folders; Oxford-IIIT Pet, which has lists as well.

* Pascal VOC: ``VOCdevkit/VOC2012`` with JPEGImages, SegmentationClass and ImageSets/Segmentation.
  Masks are palette PNG whose indices are the classes; 255, the outline of objects, is ignored.
  Lists name the splits, as in torchvision's ``VOCSegmentation``. Where there are several years in
  one devkit, the last is read.
* CVAT's "Segmentation mask": masks in the colours of ``labelmap.txt``, ``name:red,green,blue`` a
  line; what follows the colour, parts and actions, is left unread. A lone ``default.txt`` is split,
  its last quarter validates. The images are there only if they were saved with the annotations.
* labelme's export: an index is the line of its name in ``class_names.txt``, from 0
  (``_background_``); 255 is what was marked ``__ignore__``. Older versions write the PNG to
  SegmentationClassPNG and arrays to SegmentationClass. The last quarter validates.
* Oxford-IIIT Pet: a trimap marks the pet by 1, its surroundings by 2 and the outline by 3, which is
  ignored. ``trainval.txt`` is trained on and ``test.txt`` validates: there is no third list.
"""

import re
from functools import partial
from pathlib import Path

from cropaudit.accounting.geometry.image_sizes import SUFFIXES
from cropaudit.errors import InputError
from cropaudit.training.datasets.classes import ClassMap, is_class
from cropaudit.training.datasets.layout import (
    Layout,
    Listing,
    Pairs,
    by_list,
    by_name,
    entries,
    folder_under,
    inner,
    read_lines,
    split_tail,
)
from cropaudit.training.datasets.pictures import pack, read_known

__all__ = ["CVAT", "LABELMAP", "LABELME", "OXFORD_PET", "VOC", "colour_listing"]

_IMAGES = "JPEGImages"
_NAMES, _LABELME_MASKS = "class_names.txt", ("SegmentationClassPNG", "SegmentationClass")
_TRIMAPS = "annotations/trimaps"
LABELMAP = "labelmap.txt"
_LINE = re.compile(r"([^:]+):(\d{1,3}),\s*(\d{1,3}),\s*(\d{1,3})(?::.*)?")
_LISTS, _MASKS = "ImageSets/Segmentation", "SegmentationClass"
_TRAIN, _VALIDATION = ("train", "Train"), ("val", "Validation", "validation")


_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat"),
    *("chair", "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant"),
    *("sheep", "sofa", "train", "tvmonitor"),
)


def _open(root: Path) -> Listing:
    years = _years(root)
    if not years:
        raise InputError(f"voc folder {root} must hold VOCdevkit/VOC2012/JPEGImages/, got none")
    year = years[-1]
    masks, lists = folder_under(year, _MASKS, "voc"), year / _LISTS
    train, validation = (
        by_list(lists / f"{split}.txt", year / "JPEGImages", masks) for split in ("train", "val")
    )
    return Listing(year, train, validation, ClassMap.of(dict(enumerate(_CLASSES))))


def _years(root: Path) -> list[Path]:
    """Returns the folders of years, whether the root is one, holds some or holds the devkit."""
    tops = [top for top in (root / "VOCdevkit", root) if top.is_dir()]
    below = sorted((path for top in tops for path in entries(top)), key=lambda path: path.name)
    return [path for path in (root, *below) if (path / "JPEGImages").is_dir()]


VOC = Layout(
    kind="voc",
    structure="VOCdevkit/VOC2012/ with JPEGImages/*.jpg, SegmentationClass/*.png and "
    "ImageSets/Segmentation/{train,val}.txt",
    sign=lambda root: (root / "VOCdevkit").is_dir() or bool(_years(root)),
    open=_open,
)


def _open_cvat(root: Path) -> Listing:
    images = folder_under(root, "JPEGImages", "cvat (exported with its images saved)")
    lists = {path.stem: path for path in folder_under(root, _LISTS, "cvat").glob("*.txt")}
    train, held = (
        next((lists[name] for name in names if name in lists), None)
        for names in (_TRAIN, _VALIDATION)
    )
    if train is not None and held is not None:
        first, second = (by_list(path, images, root / _MASKS) for path in (train, held))
        return colour_listing(root, first, second)
    if len(lists) != 1:
        names = ", ".join(sorted(lists)) or "none"
        raise InputError(
            f"{root / _LISTS} must hold one list, or train.txt and val.txt, got {names}"
        )
    (lone,) = lists.values()
    return colour_listing(root, *split_tail(by_list(lone, images, root / _MASKS), lone))


def colour_listing(
    root: Path, train: Pairs, validation: Pairs, left_out: tuple[str, ...] = ()
) -> Listing:
    """Returns the listing of a folder whose ``labelmap.txt`` names the colours of its masks."""
    table = _labels(root / LABELMAP)
    classes = ClassMap.of({colour: name for colour, name in table.items() if is_class(name)})
    read = partial(read_known, known=frozenset(table))
    return Listing(root, train, validation, classes, read, left_out=left_out)


def _labels(path: Path) -> dict[int, str]:
    table: dict[int, str] = {}
    for line in read_lines(path):
        match = _LINE.fullmatch(line)
        if match is None or max(int(match[c]) for c in (2, 3, 4)) > 255:
            raise InputError(f'{path} must hold lines "name:red,green,blue", got {line[:60]!r}')
        colour = pack(int(match[2]), int(match[3]), int(match[4]))
        if colour in table:
            raise InputError(
                f"{path} must give each label a colour of its own, got #{colour:06x} for "
                f"{table[colour]} and {match[1]}"
            )
        table[colour] = match[1].strip()
    if len(table) < 2:
        raise InputError(f"{path} must name at least 2 labels, got {len(table)}")
    return table


CVAT = Layout(
    kind="cvat",
    structure=f"{LABELMAP}, JPEGImages/, {_MASKS}/*.png and {_LISTS}/*.txt",
    sign=lambda root: (root / LABELMAP).is_file() and (root / _MASKS).is_dir(),
    open=_open_cvat,
)


def _open_labelme(root: Path) -> Listing:
    masks = next((name for name in _LABELME_MASKS if list((root / name).glob("[!.]*.png"))), None)
    if masks is None:
        raise InputError(f"labelme folder {root} must hold SegmentationClass/*.png, got none")
    pairs = by_name(root, (_IMAGES, masks), "labelme", SUFFIXES)
    names = [name for name in read_lines(root / _NAMES) if name != "__ignore__"]
    classes = ClassMap.of(dict(enumerate(name.strip("_") for name in names)))
    return Listing(root, *split_tail(pairs, root / _IMAGES), classes)


LABELME = Layout(
    kind="labelme",
    structure=f"{_NAMES}, {_IMAGES}/ and SegmentationClass/*.png",
    sign=lambda root: (root / _NAMES).is_file() and (root / _IMAGES).is_dir(),
    open=_open_labelme,
)


def _open_pet(root: Path) -> Listing:
    top = inner(root, "oxford-iiit-pet")
    images, masks = (folder_under(top, part, "oxford-pet") for part in ("images", _TRIMAPS))
    train, validation = (
        by_list(top / f"annotations/{split}.txt", images, masks, lambda line: line.split()[0])
        for split in ("trainval", "test")
    )
    return Listing(top, train, validation, ClassMap.of({2: "background", 1: "pet"}))


OXFORD_PET = Layout(
    kind="oxford-pet",
    structure=f"images/*.jpg, {_TRIMAPS}/*.png and annotations/{{trainval,test}}.txt",
    sign=lambda root: (inner(root, "oxford-iiit-pet") / _TRIMAPS).is_dir(),
    open=_open_pet,
)

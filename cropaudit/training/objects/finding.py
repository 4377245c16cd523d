"""Finds the objects that an audit is to speak about, and counts those that a patch leaves out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from pathlib import Path

from cropaudit.accounting.geometry import Size
from cropaudit.accounting.objects import read_objects
from cropaudit.errors import require
from cropaudit.training.data import SegmentationData
from cropaudit.training.objects.annotated import annotated_objects
from cropaudit.training.objects.components import component_objects
from cropaudit.training.objects.names import match_names
from cropaudit.training.objects.patches import ObjectCount, ObjectPatch, Survey

__all__ = ["find_objects", "survey_objects"]


class _Fate(Enum):
    COVERED = auto()
    TOO_LARGE = auto()
    TOO_SMALL = auto()


def find_objects(
    data: SegmentationData,
    *,
    classes: Sequence[str],
    least: int = 1,
    most: Size | None = None,
    objects_file: Path | None = None,
    rim: int = 1,
) -> tuple[ObjectPatch, ...]:
    """Returns the objects that a claimed patch covers; see `survey_objects`."""
    found = survey_objects(
        data, classes=classes, least=least, most=most, objects_file=objects_file, rim=rim
    )
    return found.patches


def survey_objects(
    data: SegmentationData,
    *,
    classes: Sequence[str],
    least: int = 1,
    most: Size | None = None,
    objects_file: Path | None = None,
    rim: int = 1,
) -> Survey:
    """Finds objects and sorts them by whether a claimed patch covers them.

    Args:
        data: Images with masks.
        classes: Names wanted, in any case: of the file where one is given, else of the masks.
        least: Objects of fewer pixels are too small.
        most: The claimed patch, as a rectangle; objects whose box is larger are too large. None
            for no limit.
        objects_file: See `cropaudit.accounting.objects.read_objects`; without one the connected
            components of the masks are the objects.
        rim: Pixels around an object that lens, annotator or resizing have mixed with it.

    Raises:
        InputError: If a name is not known, or the file cannot be used.
    """
    require(least >= 1, "least area", "at least 1 pixel", least)
    require(rim >= 0, "rim", "at least 0 pixels", rim)
    boxes = () if objects_file is None else read_objects(objects_file)
    names = match_names(classes, data.classes if objects_file is None else (b.name for b in boxes))
    chosen = [box for box in boxes if box.name in names]
    everything = (
        component_objects(data, names, rim)
        if objects_file is None
        else annotated_objects(data, chosen, objects_file, rim)
    )
    patches = sorted(everything, key=lambda patch: (patch.record, patch.box))
    fates = [_fate(patch, least, most) for patch in patches]
    covered = [patch for patch, fate in zip(patches, fates, strict=True) if fate is _Fate.COVERED]
    tally = Counter((patch.name, fate) for patch, fate in zip(patches, fates, strict=True))
    return Survey(tuple(covered), tuple(_count(name, tally) for name in names))


def _fate(patch: ObjectPatch, least: int, most: Size | None) -> _Fate:
    if patch.area < least:
        return _Fate.TOO_SMALL
    if most is not None and (patch.size.height > most.height or patch.size.width > most.width):
        return _Fate.TOO_LARGE
    return _Fate.COVERED


def _count(name: str, tally: Mapping[tuple[str, _Fate], int]) -> ObjectCount:
    covered, large, small = (
        tally[name, fate] for fate in (_Fate.COVERED, _Fate.TOO_LARGE, _Fate.TOO_SMALL)
    )
    return ObjectCount(name, covered + large + small, covered, large, small)

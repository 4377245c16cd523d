"""Subjects and claim as JSON values and back: how they get into the process of the user's code."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from cropaudit.accounting.crop_laws import CropLaw, ResizedCrop, WholeImage
from cropaudit.accounting.geometry import Borders, Crop, Rectangle, Size
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.subjects import Subjects

__all__ = ["read_request", "written_request"]

_LAWS = {"Crop": Crop, "ResizedCrop": ResizedCrop, "WholeImage": WholeImage}


def written_request(subjects: Subjects, claimed: Claimed) -> str:
    """Returns the request as JSON."""
    asked = dataclasses.asdict(subjects)
    asked["data"] = None if subjects.data is None else str(subjects.data)
    said = dataclasses.asdict(claimed)
    if claimed.crop is not None:
        said["crop"]["law"] = type(claimed.crop).__name__
    return json.dumps({"subjects": asked, "claimed": said})


def read_request(request: dict[str, Any]) -> tuple[Subjects, Claimed]:
    """Returns what `written_request` was given."""
    asked, said = dict(request["subjects"]), dict(request["claimed"])
    asked["data"] = None if asked["data"] is None else Path(asked["data"])
    said["image"] = Size(**said["image"])
    said["patch"] = Rectangle(Size(**said["patch"]["size"]))
    said["crop"] = None if said["crop"] is None else _law(dict(said["crop"]))
    return Subjects(**asked), Claimed(**said)


def _law(values: dict[str, Any]) -> CropLaw:
    kind = _LAWS[values.pop("law")]
    for name in ("size", "output"):
        if name in values:
            values[name] = Size(**values[name])
    if isinstance(values.get("padding"), dict):
        values["padding"] = Borders(**values["padding"])
    for name in ("scale", "ratio"):
        if name in values:
            values[name] = tuple(values[name])
    found: CropLaw = kind(**values)
    return found

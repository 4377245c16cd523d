"""Subjects and claim as JSON values and back: how they get into the process of the user's code."""

import dataclasses
import json
from typing import Any

from pydantic import TypeAdapter

from cropaudit.accounting.geometry.crop_laws import CropLaw, ResizedCrop, WholeImage
from cropaudit.accounting.geometry.shapes import Crop
from cropaudit.conformance.pipeline_claim import PipelineClaim
from cropaudit.conformance.subjects import Subjects

__all__ = ["read_request", "written_request"]

_LAWS: dict[str, type[CropLaw]] = {law.__name__: law for law in (Crop, ResizedCrop, WholeImage)}


def written_request(subjects: Subjects, claimed: PipelineClaim) -> str:
    """Returns the request as JSON."""
    asked = {"subjects": dataclasses.asdict(subjects), "claimed": dataclasses.asdict(claimed)}
    return json.dumps({**asked, "law": type(claimed.crop).__name__}, default=str)


def read_request(request: dict[str, Any]) -> tuple[Subjects, PipelineClaim]:
    """Returns what `written_request` was given."""
    said = dict(request["claimed"])
    if said["crop"] is not None:  # the law is known by name: some say no more than others do
        said["crop"] = TypeAdapter(_LAWS[request["law"]]).validate_python(said["crop"])
    subjects = TypeAdapter(Subjects).validate_python(request["subjects"])
    return subjects, TypeAdapter(PipelineClaim).validate_python(said)

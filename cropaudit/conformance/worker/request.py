"""Subjects and claim as JSON and back: how they get into the process of the user's code."""

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from cropaudit.conformance.pipeline_claim import PipelineClaim
from cropaudit.conformance.subjects import Subjects

__all__ = ["read_request", "written_request"]


@dataclass(frozen=True)
class _Request:
    subjects: Subjects
    claimed: PipelineClaim


_REQUEST = TypeAdapter(_Request)


def written_request(subjects: Subjects, claimed: PipelineClaim) -> str:
    """Returns the request as JSON."""
    return _REQUEST.dump_json(_Request(subjects, claimed)).decode()


def read_request(request: dict[str, Any]) -> tuple[Subjects, PipelineClaim]:
    """Returns what `written_request` was given."""
    found = _REQUEST.validate_python(request)
    return found.subjects, found.claimed

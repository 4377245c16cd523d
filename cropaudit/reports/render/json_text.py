"""A finished run as JSON: the very bytes of its ``report.json`` or ``train.json``."""

from typing import ClassVar

from cropaudit.audit.results.result import AuditReport
from cropaudit.audit.results.train_result import TrainRecord
from cropaudit.reports.store import Finished, canonical_json

__all__ = ["JsonText"]


class JsonText:
    """As the run wrote it."""

    ending: ClassVar[str] = ".json"
    documents: ClassVar[tuple[type, ...]] = (AuditReport, TrainRecord)

    def render(self, run: Finished) -> bytes:
        """Returns the document."""
        if isinstance(run.document, TrainRecord):
            return (run.document.model_dump_json(indent=2) + "\n").encode()
        return canonical_json(run.document)

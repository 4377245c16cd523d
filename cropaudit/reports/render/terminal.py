"""A finished run as the terminal shows it."""

import io
from typing import TYPE_CHECKING, ClassVar

from cropaudit.audit.results.result import AuditReport
from cropaudit.audit.results.train_result import TrainRecord
from cropaudit.reports.store import Finished
from cropaudit.reports.summaries.audit import print_summary
from cropaudit.reports.summaries.train import training_lines
from cropaudit.reports.text.tables import print_lines

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Terminal", "print_run"]


def print_run(document: AuditReport | TrainRecord, console: "Console") -> None:
    """Prints a run as its own command does."""
    if isinstance(document, AuditReport):
        print_summary(document, console)
    else:
        print_lines(training_lines(document), console, soft_wrap=True)


class Terminal:
    """Plain text, 100 columns wide."""

    ending: ClassVar[str] = ".txt"
    documents: ClassVar[tuple[type, ...]] = (AuditReport, TrainRecord)

    def render(self, run: Finished) -> bytes:
        """Returns the text."""
        from rich.console import Console

        stream = io.StringIO()
        print_run(run.document, Console(file=stream, width=100, no_color=True))
        return stream.getvalue().encode()

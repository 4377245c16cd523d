"""What `cropaudit audit` does with its options: audits, writes the run folder, prints, draws."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from cropaudit.audit.config.audit_config import AuditConfig
from cropaudit.audit.runs.run import Outcome, run_audit
from cropaudit.cli.shell import draw_command
from cropaudit.reports.progress import progress_stages
from cropaudit.reports.render.formats import draw
from cropaudit.reports.store import (
    HTML_NAME,
    canonical_json,
    check_run_folder,
    open_run,
    prepare_run_folder,
    write_files,
    write_report,
)
from cropaudit.reports.summaries.audit import print_summary

__all__ = ["run_audit_command"]

_INTERRUPTED = 4


def run_audit_command(config: AuditConfig, given: Mapping[str, Any]) -> int:
    """Audits and returns the exit code.

    Args:
        config: What to audit.
        given: The options, by their names in Python.

    Raises:
        InputError: If the run folder or the data cannot be used.
    """
    out = given["out"] or Path("runs") / config.name
    check_run_folder(out, force=given["force"])
    outcome = _audited(config, out, force=given["force"])
    if given["as_json"]:
        typer.echo(canonical_json(outcome.report).decode())
    else:
        print_summary(outcome.report, Console())
    try:  # last, so that a fault of drawing loses nothing
        write_files(out, {HTML_NAME: draw("html", open_run(out))})
    except Exception:
        words = f"Drawing failed; the results are in {out}, and {draw_command(out)} draws them"
        typer.echo(words, err=True)
        raise
    if not given["as_json"]:
        typer.echo(f"Report: {out / HTML_NAME}")
    status = outcome.report.verdict.status
    return {"violation": 1, "consistent": 0, "inconclusive": 3 if given["strict"] else 0}[status]


def _audited(config: AuditConfig, out: Path, *, force: bool) -> Outcome:
    """Runs the audit; raw files are written as soon as all is played, then the report."""
    begun = False

    def keep(raw: Mapping[str, bytes]) -> None:
        nonlocal begun
        begun = True
        prepare_run_folder(out, force=force)  # only now: an earlier run stays until here
        write_files(out, {f"raw/{name}": data for name, data in raw.items()})

    try:
        with progress_stages(each=True) as stage:
            outcome = run_audit(config, shlex.join(["cropaudit", *sys.argv[1:]]), stage, keep)
            write_files(out, outcome.pictures)
            write_report(out, outcome.report)
            return outcome
    except KeyboardInterrupt:
        if not begun:
            raise
        words = f"cropaudit: interrupted; of {out} only raw/ was written"
        typer.secho(words, fg="red", err=True)
        raise typer.Exit(_INTERRUPTED) from None

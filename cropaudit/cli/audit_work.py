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
from cropaudit.reports.progress import progress_stages
from cropaudit.reports.render.html import render_html
from cropaudit.reports.render.summary import print_summary
from cropaudit.reports.store import (
    HTML_NAME,
    REPORT_NAME,
    canonical_json,
    check_run_folder,
    prepare_run_folder,
    write_drawings,
    write_raw,
    write_report,
)

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
        html = render_html(outcome.report, inclusion=outcome.inclusion, pictures=outcome.pictures)
        write_drawings(out, html, outcome.pictures)
    except Exception:
        typer.echo(f"Drawing failed; the results are in {out}: {REPORT_NAME} and raw/", err=True)
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
        write_raw(out, raw)

    try:
        with progress_stages(each=True) as stage:
            outcome = run_audit(config, shlex.join(["cropaudit", *sys.argv[1:]]), stage, keep)
            write_report(out, outcome.report)
            return outcome
    except KeyboardInterrupt:
        if not begun:
            raise
        words = f"cropaudit: interrupted; of {out} only raw/ was written"
        typer.secho(words, fg="red", err=True)
        raise typer.Exit(_INTERRUPTED) from None

"""What `--dry-run` does: looks at a configuration, prints its claim, plan and cost."""

import json

import typer
from rich.console import Console

from cropaudit.audit.config import AuditConfig
from cropaudit.audit.dry_run import dry_run
from cropaudit.reports.dry_run_summary import dry_run_document, print_dry_run
from cropaudit.reports.progress import progress_stages

__all__ = ["run_dry_run"]


def run_dry_run(config: AuditConfig, *, attacks: bool, measure: bool, as_json: bool) -> None:
    """Prints what a configuration would do.

    Args:
        config: What to look at.
        attacks: Whether attacks follow the training.
        measure: Whether to time the model on this machine.
        as_json: Whether to print JSON only.
    """
    with progress_stages() as stage:
        stage("Bounds, and steps of the model on random images", 0)
        found = dry_run(config, attacks=attacks, measure=measure)
    if as_json:
        typer.echo(json.dumps(dry_run_document(found), indent=2, allow_nan=False))
    else:
        print_dry_run(found, Console())

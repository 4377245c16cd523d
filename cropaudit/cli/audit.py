"""The command `cropaudit audit`: trains, attacks, writes, then draws. Heavy imports wait."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cropaudit.cli.app import fail
from cropaudit.cli.report import draw_command
from cropaudit.errors import InputError

__all__ = ["audit"]


def audit(
    config: Annotated[
        str, typer.Argument(help="A preset (quickstart, camvid-pspnet, ...) or a YAML file.")
    ],
    data: Annotated[Path | None, typer.Option(help="Folder of photographs with masks.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME unless given.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of all randomness.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, any number of times.")
    ] = None,
    claim: Annotated[
        str | None, typer.Option(help="Claim a short cut, as shortcut:add-remove.")
    ] = None,
    claim_epsilon: Annotated[float | None, typer.Option(help="Claimed epsilon.")] = None,
    claim_family: Annotated[
        Literal["mechanism", "none"] | None,
        typer.Option(help="Whether the claim is the mechanism's curve or a bare epsilon."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print claim, plan and cost; needs no data.")
    ] = False,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Time the model in a dry run.")
    ] = True,
    force: Annotated[bool, typer.Option(help="Replace an earlier run.")] = False,
    strict: Annotated[bool, typer.Option(help="Exit 3 if inconclusive.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """Train, attack and report: the claim beside what was measured, and a verdict."""
    from cropaudit.audit.config.audit_config import load_config
    from cropaudit.cli.assignments import assignments

    settings: dict[str, Any] = assignments(changes or [])
    given = {
        "data.folder": str(data) if data is not None else None,
        "seed": seed,
        "claim.epsilon": claim_epsilon,
        "claim.family": claim_family,
        "claim.shortcut": _shortcut(claim),
    }
    settings.update({key: value for key, value in given.items() if value is not None})
    configuration = load_config(config, settings)
    if dry_run:
        from cropaudit.cli.dry_run_work import run_dry_run

        run_dry_run(configuration, attacks=True, measure=measure, as_json=as_json)
        return
    folder = out or Path("runs") / configuration.name
    raise typer.Exit(_run(configuration, folder, force, strict, as_json))


def _run(configuration: Any, out: Path, force: bool, strict: bool, as_json: bool) -> int:
    from rich.console import Console

    from cropaudit.reports.progress import progress_stages
    from cropaudit.reports.render.summary import print_summary
    from cropaudit.reports.store import (
        HTML_NAME,
        canonical_json,
        check_run_folder,
        prepare_run_folder,
        write_files,
        write_report,
    )

    check_run_folder(out, force=force)
    from cropaudit.audit.experiment.declared import check_folder
    from cropaudit.audit.runs.run import run_audit

    check_folder(configuration)

    begun = False

    def keep(raw: Mapping[str, bytes]) -> None:
        nonlocal begun
        begun = True
        prepare_run_folder(out, force=force)  # only now: an earlier run stays until here
        write_files(out, {f"raw/{name}": data for name, data in raw.items()})

    command = shlex.join(["cropaudit", *sys.argv[1:]])
    try:
        with progress_stages(each=True) as stage:
            outcome = run_audit(configuration, command, stage, keep)
            write_files(out, outcome.pictures)
            write_report(out, outcome.report)
    except KeyboardInterrupt:
        if begun:
            fail(f"interrupted; of {out} only raw/ was written", 4)
        raise
    if as_json:
        typer.echo(canonical_json(outcome.report).decode())
    else:
        print_summary(outcome.report, Console())
    try:
        _draw(out)
    except Exception:
        words = f"Drawing failed; the results are in {out}, and {draw_command(out)} draws them"
        typer.echo(words, err=True)
        raise
    if not as_json:
        typer.echo(f"Report: {out / HTML_NAME}")
    status = outcome.report.verdict.status
    return {"violation": 1, "consistent": 0, "inconclusive": 3 if strict else 0}[status]


def _draw(out: Path) -> None:
    """Draws the report: last, so that a fault of drawing loses nothing."""
    from cropaudit.reports.render.formats import draw
    from cropaudit.reports.store import HTML_NAME, open_run, write_files

    write_files(out, {HTML_NAME: draw("html", open_run(out))})


def _shortcut(claim: str | None) -> str | None:
    if claim is None:
        return None
    kind, colon, name = claim.partition(":")
    if kind != "shortcut" or not colon or not name:
        raise InputError(f"claim must be shortcut:NAME, got {claim}")
    return name

"""The command line: parses, calls, prints. Heavy imports wait until a command needs them.

Exit codes: 0 consistent or done, 1 violation or failed check, 2 wrong usage or bad input,
3 inconclusive with ``--strict``, 4 interrupted, 70 a fault of cropaudit's own.
"""

import os
import shlex
import signal
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from typer.core import TyperGroup

from cropaudit import __version__
from cropaudit.attack_cli import attack
from cropaudit.bound_cli import bound
from cropaudit.certify_cli import certify
from cropaudit.conform_cli import conform
from cropaudit.errors import CropauditError, InputError
from cropaudit.estimate_cli import estimate
from cropaudit.selftest_cli import selftest
from cropaudit.train_cli import train

__all__ = ["app", "main"]

_INTERRUPTED = 4


class _Commands(TyperGroup):
    """Leaves with 4 if a command is interrupted: click would leave with 1, a violation's code."""

    def invoke(self, ctx: Any) -> Any:  # typer carries a click of its own, of no public type
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _fail("interrupted; nothing was written", _INTERRUPTED)
        except BrokenPipeError:  # whoever read our output has gone, as head does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(_INTERRUPTED)


app = typer.Typer(
    cls=_Commands,
    help="Audit, by experiment, the patch-level privacy of vision models trained on random crops.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON only.")]


def main() -> None:
    """Runs the command line and exits with its code."""
    # Threads that spin while they wait make torch ten times slower beside any other busy process.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _heed_signals()
    try:
        app(standalone_mode=True)
    except CropauditError as error:
        _fail(str(error), 1 if not isinstance(error, InputError) else 2)
    except Exception:  # a fault of ours must not leave with the exit code of a violation
        traceback.print_exc()
        sys.exit(70)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"cropaudit {__version__}")
        raise typer.Exit


app.command()(train)
app.command()(attack)
app.command()(bound)
app.command()(estimate)
app.command()(certify)
app.command()(conform)
app.command()(selftest)


@app.command()
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
    as_json: Json = False,
) -> None:
    """Train, attack and report: the claim beside what was measured, and a verdict."""
    from cropaudit.audit.config import load_config
    from cropaudit.reports.assignments import assignments

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
        from cropaudit.dry_run_command import run_dry_run

        run_dry_run(configuration, attacks=True, measure=measure, as_json=as_json)
        return
    folder = out or Path("runs") / configuration.name
    raise typer.Exit(_run(configuration, folder, force, strict, as_json))


@app.command()
def schema() -> None:
    """Print the JSON Schema of report.json."""
    from cropaudit.reports.store import schema_json

    typer.echo(schema_json())


def _run(configuration: Any, out: Path, force: bool, strict: bool, as_json: bool) -> int:
    from rich.console import Console

    from cropaudit.reports.progress import progress_stages
    from cropaudit.reports.store import (
        HTML_NAME,
        REPORT_NAME,
        canonical_json,
        check_run_folder,
        prepare_run_folder,
        write_raw,
        write_report,
    )
    from cropaudit.reports.summary import print_summary

    check_run_folder(out, force=force)
    from cropaudit.audit.declared import check_folder
    from cropaudit.audit.run import run_audit

    check_folder(configuration)

    begun = False

    def keep(raw: Mapping[str, bytes]) -> None:
        nonlocal begun
        begun = True
        prepare_run_folder(out, force=force)  # only now: an earlier run stays until here
        write_raw(out, raw)

    command = shlex.join(["cropaudit", *sys.argv[1:]])
    try:
        with progress_stages(each=True) as stage:
            outcome = run_audit(configuration, command, stage, keep)
            write_report(out, outcome.report)
    except KeyboardInterrupt:
        if begun:
            _fail(f"interrupted; of {out} only raw/ was written", 4)
        raise
    if as_json:
        typer.echo(canonical_json(outcome.report).decode())
    else:
        print_summary(outcome.report, Console())
    try:
        _draw(outcome, out)
    except Exception:
        typer.echo(f"Drawing failed; the results are in {out}: {REPORT_NAME} and raw/", err=True)
        raise
    if not as_json:
        typer.echo(f"Report: {out / HTML_NAME}")
    status = outcome.report.verdict.status
    return {"violation": 1, "consistent": 0, "inconclusive": 3 if strict else 0}[status]


def _draw(outcome: Any, out: Path) -> None:
    """Draws the report: last, so that a fault of drawing loses nothing."""
    from cropaudit.reports.html import render_html
    from cropaudit.reports.store import write_drawings

    html = render_html(outcome.report, inclusion=outcome.inclusion, pictures=outcome.pictures)
    write_drawings(out, html, outcome.pictures)


def _shortcut(claim: str | None) -> str | None:
    if claim is None:
        return None
    kind, colon, name = claim.partition(":")
    if kind != "shortcut" or not colon or not name:
        raise InputError(f"claim must be shortcut:NAME, got {claim}")
    return name


def _heed_signals() -> None:
    """Has the signals that end a job do what Ctrl-C does: tidy up, say so, leave with 4.

    A batch system or a container sends SIGTERM, a terminal that closes SIGHUP. What was told to be
    ignored, as by nohup, stays ignored.
    """
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def _fail(message: str, code: int) -> NoReturn:
    typer.secho(f"cropaudit: {' '.join(message.split())}", fg="red", err=True)
    sys.exit(code)

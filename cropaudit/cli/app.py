"""The command line: parses, calls, prints. Heavy imports wait until a command needs them.

Exit codes: 0 consistent or done, 1 violation or failed check, 2 wrong usage or bad input,
3 inconclusive with ``--strict``, 4 interrupted, 70 a fault of cropaudit's own.
"""

import os
import signal
import sys
import traceback
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from cropaudit import __version__
from cropaudit.cli.attack import attack
from cropaudit.cli.audit import audit
from cropaudit.cli.bound import bound
from cropaudit.cli.certify import certify
from cropaudit.cli.conform import conform
from cropaudit.cli.estimate import estimate
from cropaudit.cli.report import report
from cropaudit.cli.selftest import selftest
from cropaudit.cli.train import train
from cropaudit.errors import CropauditError, InputError

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


app.command()(audit)
app.command()(train)
app.command()(report)
app.command()(attack)
app.command()(bound)
app.command()(estimate)
app.command()(certify)
app.command()(conform)
app.command()(selftest)


@app.command()
def schema() -> None:
    """Print the JSON Schema of report.json."""
    from cropaudit.reports.store import schema_json

    typer.echo(schema_json())


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

"""The way in: tells what there is, or loads the one command that is asked for and runs it.

Exit codes: 0 consistent or done, 1 violation or failed check, 2 wrong usage or bad input,
3 inconclusive with ``--strict``, 4 interrupted, 70 a fault of cropaudit's own.
"""

import os
import signal
import sys
from typing import Any

from cropaudit.cli.shell import COMMANDS, fail, leaving, overview
from cropaudit.errors import CropauditError, InputError

__all__ = ["COMMANDS", "app", "main"]


app: Any


def __getattr__(name: str) -> Any:
    """Returns the whole command line, as tests and documentation need it."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cropaudit.cli.commands import group

    return globals().setdefault("app", group(COMMANDS))


def main() -> None:
    """Runs the command line and exits with its code."""
    # Threads that spin while they wait make torch ten times slower beside any other busy process.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _heed_signals()
    asked = sys.argv[1:]
    if asked in ([], ["--help"], ["-h"]):
        print(overview())
        sys.exit(0 if asked else 2)
    try:
        if asked[0] == "bound":  # reads its own options: typer takes as long to load as it takes
            from cropaudit.cli.bound import bound

            with leaving():
                bound(asked[1:])
            return
        from cropaudit.cli.commands import group

        commands = group([asked[0]] if asked[0] in COMMANDS else COMMANDS)
        sys.exit(commands(standalone_mode=False) or 0)  # which would print usage errors in a box
    except CropauditError as error:
        fail(str(error), 1 if not isinstance(error, InputError) else 2)
    except Exception as error:  # a fault of ours must not leave with the exit code of a violation
        usage = getattr(error, "format_message", None)  # typer's click has no public type
        if usage is not None:
            at = getattr(getattr(error, "ctx", None), "command_path", "cropaudit")
            fail(f"{usage().rstrip('.')}; see {at} --help", 2)
        import traceback

        traceback.print_exc()
        sys.exit(70)


def _heed_signals() -> None:
    """Has the signals that end a job do what Ctrl-C does: tidy up, say so, leave with 4.

    A batch system or a container sends SIGTERM, a terminal that closes SIGHUP. What was told to be
    ignored, as by nohup, stays ignored.
    """
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)

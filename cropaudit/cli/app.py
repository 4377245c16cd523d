"""The way in: tells what there is, or loads the one command that is asked for and runs it.

Exit codes: 0 consistent or done, 1 violation or failed check, 2 wrong usage or bad input,
3 inconclusive with ``--strict``, 4 interrupted, 70 a fault of cropaudit's own.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from cropaudit.errors import CropauditError, InputError

__all__ = ["COMMANDS", "app", "main"]

SUMMARY = "Audit, by experiment, the patch-level privacy of vision models trained on random crops."
COMMANDS = {
    "audit": "Train, attack and report: claim, measurement and verdict.",
    "train": "Train a model with DP-SGD on random crops, canaries planted.",
    "report": "Draw a finished run again, from its folder alone.",
    "attack": "Attack a trained run: can canaries be told, and what follows.",
    "bound": "Compute the amplified epsilon, or what a target epsilon allows.",
    "estimate": "Turn attack scores of any origin into bounds on epsilon.",
    "certify": "Certify noise and rates from a run's own logs.",
    "conform": "Stress-test crops, samplers, models and trainers.",
    "selftest": "Play games of known epsilon: do bounds exceed the truth?",
    "schema": "Print the JSON Schema of report.json.",
}
"""Every command by name, each a function in a module of `cropaudit.cli` called like it."""

_INTERRUPTED = 4

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

        group([asked[0]] if asked[0] in COMMANDS else COMMANDS)(standalone_mode=True)
    except CropauditError as error:
        fail(str(error), 1 if not isinstance(error, InputError) else 2)
    except Exception:  # a fault of ours must not leave with the exit code of a violation
        import traceback

        traceback.print_exc()
        sys.exit(70)


@contextmanager
def leaving() -> Iterator[None]:
    """Leaves with 4 if a command is interrupted: click would leave with 1, a violation's code."""
    try:
        yield
    except KeyboardInterrupt:
        fail("interrupted; nothing was written", _INTERRUPTED)
    except BrokenPipeError:  # whoever read our output has gone, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(_INTERRUPTED)


def overview() -> str:
    """Returns what ``--help`` prints, with nothing loaded for it."""
    options = {"--version": "Print the version.", "-h, --help": "Show this message and exit."}
    lines = [f"  {name:<12}{text}" for name, text in {**options, **COMMANDS}.items()]
    usage = f"Usage: cropaudit [OPTIONS] COMMAND [ARGS]...\n\n  {SUMMARY}\n\nOptions:\n"
    return usage + "\n".join([*lines[: len(options)], "\nCommands:", *lines[len(options) :]])


def fail(message: str, code: int) -> NoReturn:
    """Leaves with a code and one line on standard error."""
    text = f"cropaudit: {' '.join(message.split())}"
    coloured = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    print(f"\x1b[31m{text}\x1b[0m" if coloured else text, file=sys.stderr)
    sys.exit(code)


def _heed_signals() -> None:
    """Has the signals that end a job do what Ctrl-C does: tidy up, say so, leave with 4.

    A batch system or a container sends SIGTERM, a terminal that closes SIGHUP. What was told to be
    ignored, as by nohup, stays ignored.
    """
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)

"""What there is, and how to leave: shared by the way in and by the group of commands."""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

__all__ = ["COMMANDS", "SUMMARY", "draw_command", "fail", "leaving", "overview"]

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


def draw_command(folder: Path) -> str:
    """Returns the command that draws a run's page."""
    return shlex.join(["cropaudit", "report", str(folder), "--out", str(folder / "report.html")])

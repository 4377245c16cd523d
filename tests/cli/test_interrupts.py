"""Signals that end a job: every command tidies up, says so in a line and leaves with 4."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from cropaudit.cli import app

SCRIPT = Path(sys.executable).with_name("cropaudit")
COMMANDS = tuple(sorted(get_command(app).commands))  # type: ignore[attr-defined]


def _raise(kind: type[BaseException], *_: Any, **__: Any) -> None:
    raise kind


@pytest.mark.parametrize("name", COMMANDS)
def test_an_interrupt_is_no_verdict_in_any_command(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    group: Any = get_command(app)
    monkeypatch.setattr(group.commands[name], "invoke", partial(_raise, KeyboardInterrupt))
    monkeypatch.setattr(group.commands[name], "params", [])
    with pytest.raises(SystemExit) as left:
        group.main([name])
    assert left.value.code == 4
    assert capsys.readouterr().err == "cropaudit: interrupted; nothing was written\n"


def _follow(number: int, ignored: bool = False) -> subprocess.Popen[str]:
    """Starts a command that waits for games, its signal handled by default, or ignored."""
    # A test run in the background ignores some signals, and its children would inherit that.
    disposition = signal.SIG_IGN if ignored else signal.SIG_DFL
    pipe = subprocess.PIPE
    running = subprocess.Popen(
        [str(SCRIPT), "estimate", "-", "--follow", "--claim", "1"],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        preexec_fn=partial(signal.signal, number, disposition),
    )
    assert running.stdout is not None
    assert running.stdout.readline().startswith("Claim: ")
    return running


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_what_ends_a_job_is_heeded(name: str) -> None:
    number = getattr(signal, name)
    with _follow(number) as running:
        running.send_signal(number)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 4
    assert err == "cropaudit: interrupted; nothing was written\n"


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_what_is_ignored_stays_ignored() -> None:
    with _follow(signal.SIGHUP, ignored=True) as running:
        running.send_signal(signal.SIGHUP)
        _, err = running.communicate(timeout=60)  # closes standard input: the games are over
    assert "interrupted" not in err
    assert running.returncode != 4


@pytest.mark.skipif(os.name != "posix", reason="pipes")
def test_a_reader_that_left_is_no_violation() -> None:
    command = f"{SCRIPT} schema; echo $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"( {command} ) | head -c 1"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr.split() in (["0"], ["4"])  # 0 where the pipe took all before it closed


def test_help_still_leaves_with_0() -> None:
    assert CliRunner().invoke(app, ["--help"]).exit_code == 0

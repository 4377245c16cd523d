"""Runs the command line: in this process, or where it must be as users do, in one of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, chdir, contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from cropaudit.audit.experiment import own_pipeline
from cropaudit.cli.app import main

Run = Callable[..., CompletedProcess[str]]


@contextmanager
def _kept() -> Iterator[None]:
    """Keeps arguments, environment and what is done about signals."""
    argv, environment = sys.argv, dict(os.environ)
    heeded = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        sys.argv = argv
        os.environ.clear()
        os.environ.update(environment)
        for number, handler in heeded.items():
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def cropaudit() -> Run:
    """Returns a function that runs ``cropaudit ARGS`` in this process, through its entry point."""

    def run(*args: object, cwd: Path | None = None) -> CompletedProcess[str]:
        out, err = StringIO(), StringIO()
        with ExitStack() as stack:
            stack.enter_context(_kept())
            stack.enter_context(chdir(cwd or Path.cwd()))
            stack.enter_context(redirect_stdout(out))
            stack.enter_context(redirect_stderr(err))
            sys.argv = ["cropaudit", *map(str, args)]
            os.environ["COLUMNS"] = "200"  # a wide terminal keeps messages on one line
            try:
                main()
                code: object = 0
            except SystemExit as left:
                code = left.code
        return CompletedProcess(args, int(str(code or 0)), out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def cropaudit_process() -> Run:
    """Returns a function that runs ``cropaudit ARGS`` as users do: a process of its own."""
    script = Path(sys.executable).with_name("cropaudit")
    assert script.exists(), "the console script must be installed beside the interpreter"

    def run(*args: object) -> CompletedProcess[str]:
        return subprocess.run(
            [str(script), *map(str, args)],
            capture_output=True,
            text=True,
            env={**os.environ, "COLUMNS": "200", "PYTHONWARNINGS": "error::ResourceWarning"},
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture
def few_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at few windows, where an audit's own conformance is not the matter."""
    for constant, few in (("_WINDOWS", 300), ("_NEAR", 60), ("_REPLAYS", 10), ("_STEPS", 60)):
        monkeypatch.setattr(own_pipeline, constant, few)

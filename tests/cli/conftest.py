"""Runs the command line as users do: its own process, its real entry point."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def cropaudit() -> Run:
    """Returns a function that runs ``cropaudit ARGS`` and returns the finished process."""
    script = Path(sys.executable).with_name("cropaudit")
    assert script.exists(), "the console script must be installed beside the interpreter"

    def run(*args: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        # Warnings are errors here as in the tests; a wide terminal keeps messages on one line.
        environment = {**os.environ, "COLUMNS": "200", "PYTHONWARNINGS": "error::ResourceWarning"}
        return subprocess.run(
            [str(script), *map(str, args)],
            capture_output=True,
            text=True,
            cwd=cwd,
            env=environment,
            timeout=300,
            check=False,
        )

    return run

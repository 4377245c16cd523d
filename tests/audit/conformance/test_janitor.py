"""Whoever asks for a probe may be killed: the worker ends with it, and its folder goes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

_CODE = """
import os, time
from pathlib import Path
def crop(image, mask):
    Path({mark!r}).write_text(str(os.getpid()))
    while True:
        {body}
"""
_ASK = "import sys; from cropaudit.cli import main; sys.exit(main())"
_LONG = 300.0  # seconds after which a broken janitor is given up: no bound on a busy machine


def _until(holds) -> None:
    end = time.monotonic() + _LONG
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def _gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are seen in /proc")
@pytest.mark.parametrize(
    ("sent", "body"), [(signal.SIGKILL, "pass"), (signal.SIGTERM, "time.sleep(1)")]
)
def test_a_killed_command_leaves_no_worker_and_no_folder(sent, body: str, tmp_path: Path) -> None:
    mark, temporary = tmp_path / "worker", tmp_path / "temporary"
    temporary.mkdir()
    (tmp_path / "mine.py").write_text(_CODE.format(mark=str(mark), body=body))
    command = ["conform", "--transform", f"{tmp_path}/mine.py:crop", "--time-limit", "3600"]
    process = subprocess.Popen(
        [sys.executable, "-c", _ASK, *command],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _until(lambda: mark.exists() and mark.read_text())
        assert list(temporary.glob("cropaudit-*"))
        process.send_signal(sent)
        process.wait()
        _until(lambda: _gone(int(mark.read_text())))
        _until(lambda: not list(temporary.glob("cropaudit-*")))
    finally:
        process.kill()
        process.wait()

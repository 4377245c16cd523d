"""Ends a worker, and removes its folder, when the process that asked for it is gone.

Whoever asks holds the writing end of a pipe, and nobody else does: when it ends, in whatever way,
the system closes it. A small process waits for that, so that it works while the user's code holds
the worker up, and wherever there are pipes.
"""

import contextlib
import os
import shutil
import signal
from pathlib import Path
from typing import NamedTuple

__all__ = ["Pipe", "keep_watch"]


class Pipe(NamedTuple):
    """Both ends of a pipe."""

    reading: int
    writing: int


def keep_watch(reading: int, folder: Path) -> None:
    """Starts the process that waits; call it before there are threads.

    Args:
        reading: End of the pipe; it is closed in this process.
        folder: To be removed with all that is in it.
    """
    worker = os.getpid()
    watching = os.fork()
    if watching:
        os.close(reading)
        return
    try:
        os.setsid()  # so that it does not end with the worker's group
        _let_go(reading)
        while os.read(reading, 1):
            pass
        # A worker that has ended is no business of ours; its number may be another's by now.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(worker) == worker:
                os.killpg(worker, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os._exit(0)


def _let_go(kept: int) -> None:
    """Closes what was inherited, so that nobody waits for us to close it."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    limit = os.sysconf("SC_OPEN_MAX")
    os.closerange(3, kept)
    os.closerange(kept + 1, min(limit if limit > 0 else 4096, 65536))

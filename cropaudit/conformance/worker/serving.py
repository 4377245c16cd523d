"""What the process of the user's code does from its start to its end.

A timer runs while a call is under way. When it ends, faulthandler writes where the call stands to
``stacks.txt`` and the system ends the process, whatever the code is doing. A thread waits at a pipe
whose other end whoever asked for the probe holds: when that one is gone, so is this process, with
all that it started, and its folder.
"""

import faulthandler
import os
import shutil
import signal
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cropaudit.conformance.pipeline_claim import PipelineClaim
    from cropaudit.conformance.subjects import Subjects

__all__ = ["Watch", "serve"]

_OURS = 60.0  # seconds that our own work between two calls may take on a busy machine


def serve(
    folder: Path,
    reading: int,
    subjects: "Subjects",
    claimed: "PipelineClaim",
    given: Mapping[str, Any],
) -> None:
    """Probes, and says at the end that nothing is missing."""
    threading.Thread(target=_end_with, args=(reading, folder), daemon=True).start()
    watch = Watch(folder / "stacks.txt", subjects.call_limit)
    warnings.simplefilter("ignore")  # what libraries warn of is not what the user's code prints
    import torch

    from cropaudit.conformance.probes.state import seed_all
    from cropaudit.conformance.worker.probing import Prober

    seed_all(subjects.seed)
    torch.set_num_threads(1)
    Prober(subjects, claimed, folder, watch, watch.rest).run(given)
    (folder / "done").touch()
    signal.setitimer(signal.ITIMER_REAL, 0)


class Watch:
    """Ends this process where a call does not return in time, and leaves its stack."""

    def __init__(self, path: Path, limit: float) -> None:
        """Begins with work of ours."""
        self._limit, self._file = limit, path.open("w")
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        faulthandler.register(signal.SIGALRM, file=self._file, all_threads=False, chain=True)
        self.rest()

    def __call__(self) -> None:
        """Says that a call begins."""
        signal.setitimer(signal.ITIMER_REAL, self._limit)

    def rest(self) -> None:
        """Says that our own work goes on."""
        signal.setitimer(signal.ITIMER_REAL, self._limit + _OURS)


def _end_with(reading: int, folder: Path) -> None:
    """Waits for the end of whoever asked, and ends our group and the folder."""
    while os.read(reading, 1):
        pass
    group = os.getpgid(0)
    if os.fork() == 0:  # by a process outside the group: nothing is written there any more
        os.setsid()
        os.killpg(group, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)

"""What the process of the user's code does from its start to its end.

The file ``beat`` is dated when a call of the user's code begins, and ahead when it has ended; on
SIGUSR1 the stacks of the main thread go to ``stacks.txt``, so that a hang can be told by its line.
"""

import faulthandler
import os
import signal
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cropaudit.audit.conformance.claimed import Claimed
    from cropaudit.audit.conformance.subjects import Subjects

__all__ = ["Beat", "listen", "serve"]

_AHEAD = 60.0  # seconds that our own work between two calls may take on a busy machine


def listen(folder: Path) -> "Beat":
    """Lets the watching process ask where this one stands, and catches what is printed."""
    stacks = (folder / "stacks.txt").open("w")
    warnings.simplefilter("ignore")  # what libraries warn of is not what the user's code prints
    faulthandler.register(signal.SIGUSR1, file=stacks, all_threads=False)
    # What the user's code prints below Python, and what libraries print, goes here as well.
    log = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    return Beat(folder / "beat")


def serve(
    folder: Path,
    beat: "Beat",
    subjects: "Subjects",
    claimed: "Claimed",
    given: Mapping[str, Any],
) -> None:
    """Probes, and says at the end that nothing is missing.

    Args:
        folder: Where observations go.
        beat: From `listen`.
        subjects: Whose code.
        claimed: What it is said to do.
        given: Objects of some subjects, in the place of their names.
    """
    import torch

    from cropaudit.audit.conformance.worker.probing import Prober
    from cropaudit.audit.conformance.worker.seeding import seed_all

    seed_all(subjects.seed)
    torch.set_num_threads(1)
    Prober(subjects, claimed, folder, beat, beat.rest).run(given)
    (folder / "done").touch()


class Beat:
    """Dates a file: now in a call, ahead where none is under way."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()
        self.rest()

    def __call__(self) -> None:
        """Says that a call begins."""
        os.utime(self._path)

    def rest(self) -> None:
        """Says that our own work goes on."""
        ahead = time.time() + _AHEAD
        os.utime(self._path, (ahead, ahead))

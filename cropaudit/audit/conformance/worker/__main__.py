"""The process of the user's code: ``python -m cropaudit.audit.conformance.worker FOLDER``.

Reads ``request.json`` in the folder, and leaves ``contract.json`` and the observations there. The
file ``beat`` is touched before each call of the user's code, and dated ahead after it; on SIGUSR1
the stack goes to ``stacks.txt``, so that a hang can be told by its line.
"""

import faulthandler
import json
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path

_AHEAD = 60.0  # seconds that our own work between two calls may take on a busy machine


def main(folder: Path) -> None:
    """Serves one request."""
    request = json.loads((folder / "request.json").read_text("utf-8"))
    stacks = (folder / "stacks.txt").open("w")
    warnings.simplefilter("ignore")  # what libraries warn of is not what the user's code prints
    faulthandler.register(signal.SIGUSR1, file=stacks, all_threads=False)
    # What the user's code prints below Python, and what libraries print, goes here as well.
    log = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    beat = _Beat(folder / "beat")
    from cropaudit.audit.conformance.worker.probing import Prober
    from cropaudit.audit.conformance.worker.request import read_request

    subjects, claimed = read_request(request)
    _seed_all(subjects.seed)
    Prober(subjects, claimed, folder, beat, beat.rest).run()
    (folder / "done").touch()


class _Beat:
    """Dates a file: now in a call, ahead where none is under way."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()
        self.rest()

    def __call__(self) -> None:
        os.utime(self._path)

    def rest(self) -> None:
        """Says that our own work goes on."""
        ahead = time.time() + _AHEAD
        os.utime(self._path, (ahead, ahead))


def _seed_all(seed: int) -> None:
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the user's code may draw from it
    torch.manual_seed(seed)
    torch.set_num_threads(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

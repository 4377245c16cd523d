"""A copy of this process that probes objects which it already holds, and then ends.

For a user's own test suite: the objects are there and need not be found, nor pickled. Threads do
not survive a fork, so that the copy works with one.
"""

import os
import sys
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.subjects import Subjects
from cropaudit.audit.conformance.worker.janitor import Pipe, keep_watch
from cropaudit.audit.conformance.worker.serving import listen, serve

__all__ = ["Copy", "start_copy"]


class Copy:
    """The copy, as seen from here.

    Attributes:
        pid: Its number, and that of its group.
        returncode: How it ended; none while it runs.
    """

    def __init__(self, pid: int) -> None:
        """Watches the process of this number, a child of ours."""
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Returns how it ended, or none."""
        return self._ended(os.WNOHANG)

    def wait(self) -> int:
        """Waits for its end and returns how it ended."""
        return self._ended(0) or 0

    def _ended(self, how: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, how)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def start_copy(
    folder: Path, pipe: Pipe, given: Mapping[str, Any], subjects: Subjects, claimed: Claimed
) -> Copy:
    """Starts a copy of this process that probes what is given.

    Args:
        folder: Where observations go.
        pipe: Its writing end stays with this process alone; see janitor.
        given: The objects, by subject.
        subjects: Their names, and how to probe.
        claimed: What they are said to do.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        # Newer Pythons warn of forks beside threads; the copy uses none of them.
        warnings.simplefilter("ignore")
        pid = os.fork()
    if pid:
        return Copy(pid)
    code = 1  # never returns: whatever happens, the copy ends here
    try:
        os.setsid()
        os.close(pipe.writing)
        keep_watch(pipe.reading, folder)
        serve(folder, listen(folder), subjects, claimed, given)
        code = 0
    except BaseException:
        (folder / "errors.txt").write_text(traceback.format_exc(), "utf-8")
    finally:
        os._exit(code)

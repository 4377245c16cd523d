"""Starts the process in which the user's code runs, waits for its end, and reads what it left.

It is a new one, in which the code is found by name, or a copy of this one, for a user's own test
suite, which holds the objects. Nothing of the user's is imported here, and nothing of theirs is
unpickled: observations are plain arrays. A call that takes too long ends the process, which leaves
its stack: see `worker.serving`.
"""

import json
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from cropaudit.conformance.observations.batches import Batches
from cropaudit.conformance.observations.contract import Contract, Trouble
from cropaudit.conformance.observations.draws import Draws
from cropaudit.conformance.observations.gradients import Gradients
from cropaudit.conformance.observations.replays import Pairs
from cropaudit.conformance.observations.store import load
from cropaudit.conformance.observations.training import Replayed, Training
from cropaudit.conformance.observations.updates import Updates
from cropaudit.conformance.observed import Observations
from cropaudit.conformance.pipeline_claim import PipelineClaim
from cropaudit.conformance.probes.guard import is_user
from cropaudit.conformance.subjects import Subjects
from cropaudit.conformance.worker.request import written_request

__all__ = ["observe", "observe_objects"]

_KINDS: dict[str, type[Any]] = {
    "draws": Draws,
    "near_draws": Draws,
    "pairs": Pairs,
    "loader_draws": Draws,
    "batches": Batches,
    "gradients": Gradients,
    "updates": Updates,
    "training": Training,
    "replayed": Replayed,
    "trained_batches": Batches,
    "trained_draws": Draws,
}
_WORKER = "cropaudit.conformance.worker"
_POLL = 0.05
_LAST_WORDS = 1.0  # seconds that the stacks of what the process had started may take
_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "NO_ALBUMENTATIONS_UPDATE": "1"}

Work = Callable[[Path, int], None]


def observe(
    subjects: Subjects, claimed: PipelineClaim, tick: Callable[[], None] | None = None
) -> Observations:
    """Probes the user's code in a process of its own and returns what was seen.

    Args:
        subjects: Whose code.
        claimed: What it is said to do.
        tick: Called while waiting, about every twentieth of a second.
    """

    def work(folder: Path, reading: int) -> None:
        (folder / "request.json").write_text(written_request(subjects, claimed), "utf-8")
        os.set_inheritable(reading, True)
        command = [sys.executable, "-m", _WORKER, str(folder), str(reading)]
        os.execve(sys.executable, command, {**os.environ, **_ENVIRONMENT})

    return _observed(work, subjects, tick or _nothing)


def observe_objects(
    given: Mapping[str, Any], subjects: Subjects, claimed: PipelineClaim
) -> Observations:
    """Probes objects in a copy of this process: those that a user's own test suite holds.

    Args:
        given: transform, loader, model, trainer or pipeline, and the object.
        subjects: Their names, for messages, and how to probe.
        claimed: What they are said to do.
    """
    from cropaudit.conformance.worker.serving import serve

    return _observed(
        lambda folder, reading: serve(folder, reading, subjects, claimed, given), subjects, _nothing
    )


def _observed(work: Work, subjects: Subjects, tick: Callable[[], None]) -> Observations:
    pipe = os.pipe()  # its writing end closes when this process ends, in whatever way
    try:
        with tempfile.TemporaryDirectory(prefix="cropaudit-") as name:
            folder = Path(name)
            process = _started(work, folder, *pipe)
            ended = _watched(process, folder, subjects.call_limit, tick)
            return _gather(folder, ended, subjects)
    finally:
        for end in pipe:
            os.close(end)


def _nothing() -> None:
    pass


def _started(work: Work, folder: Path, reading: int, writing: int) -> int:
    """Starts a process that does ``work`` in a group of its own, and returns its number."""
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        # Newer Pythons warn of forks beside threads; the copy uses none of ours.
        warnings.simplefilter("ignore")
        process = os.fork()
    if process:
        return process
    try:  # never returns: whatever happens, the process ends here
        os.setsid()  # so that what it starts ends with it
        os.close(writing)
        # What is printed below Python, and by libraries, goes to the log as well.
        log = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number, stream in enumerate((os.open(os.devnull, os.O_RDONLY), log, log)):
            os.dup2(stream, number)
        work(folder, reading)
        os._exit(0)
    except BaseException:
        with (folder / "output.txt").open("a", encoding="utf-8") as output:
            output.write(traceback.format_exc())
    finally:
        os._exit(1)


def _watched(process: int, folder: Path, limit: float, tick: Callable[[], None]) -> Trouble | None:
    """Waits for the end of a process, and returns the trouble if it came early."""
    found, status = 0, 0
    try:
        while not found:
            tick()
            time.sleep(_POLL)
            found, status = _ended(process, os.WNOHANG)
        if os.waitstatus_to_exitcode(status) == -signal.SIGALRM:
            return _hung(process, folder, limit)
    finally:
        _signalled(process, signal.SIGKILL)
        if not found:
            _ended(process, 0)
    if (folder / "done").exists():
        return None
    words = (folder / "output.txt").read_text("utf-8", "replace").strip().splitlines()
    code = os.waitstatus_to_exitcode(status)
    last = words[-1][:300] if words else f"ended with code {code}"
    return Trouble("raised", f"the process died: {last}")


def _ended(process: int, how: int) -> tuple[int, int]:
    try:
        return os.waitpid(process, how)
    except ChildProcessError:  # whoever reaps every child here has taken its status
        return process, 0


def _hung(process: int, folder: Path, limit: float) -> Trouble:
    """Reads the stack that a process left, and those of all that it had started."""
    if _signalled(process, signal.SIGALRM):
        time.sleep(_LAST_WORDS)
    where = _line(folder / "stacks.txt")
    return Trouble("hung", f"did not return within {limit:g} seconds", where)


def _signalled(process: int, number: int) -> bool:
    """Signals the group of a process; returns whether anybody is left in it."""
    try:
        os.killpg(process, number)
    except ProcessLookupError:
        return False
    return True


def _line(stacks: Path) -> str:
    """Returns the innermost line of a stack that is in none of the libraries."""
    for text in stacks.read_text("utf-8", "replace").splitlines():
        name, _, rest = text.strip().removeprefix('File "').partition('", line ')
        if rest and is_user(name, None):
            return f"{name}:{rest.split()[0]}"
    return ""


def _gather(folder: Path, ended: Trouble | None, subjects: Subjects) -> Observations:
    parts: dict[str, Any] = {
        name: _nearby(load(kind, folder / f"{name}.npz"))
        for name, kind in _KINDS.items()
        if (folder / f"{name}.npz").exists()
    }
    return Observations(contract=_contract(folder, ended, subjects), **parts)


def _contract(folder: Path, ended: Trouble | None, subjects: Subjects) -> Contract:
    try:
        found = json.loads((folder / "contract.json").read_text("utf-8"))
    except FileNotFoundError:
        found = {}
    subject = found.pop("subject", "")
    known = {item.name for item in fields(Contract)}
    troubles = tuple(Trouble(**item) for item in found.pop("troubles", ()))
    if ended is not None:
        # Where it stood is not known of a process that died; its file is.
        file = getattr(subjects, subject, "").rpartition(":")[0] if subject else ""
        troubles += (replace(ended, subject=subject, where=ended.where or file),)
    troubles = tuple(_nearby(replace(item, words=_printable(item.words))) for item in troubles)
    rest = {key: value for key, value in found.items() if key in known}
    rest["notes"] = tuple(rest.get("notes", ()))
    return Contract(troubles=troubles, **rest)


def _nearby(found: Any) -> Any:
    """Returns what was found, its place named from the working directory where it lies in it."""
    return replace(found, where=found.where.removeprefix(f"{Path.cwd()}{os.sep}"))


def _printable(text: str) -> str:
    """Returns the text without what no terminal and no XML can hold."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)

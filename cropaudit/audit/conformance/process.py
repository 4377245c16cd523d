"""Starts the process in which the user's code runs, watches it, and reads what it left.

Nothing of the user's is imported here, and nothing of theirs is unpickled: observations are plain
arrays. When a call takes longer than the limit the process is asked where it stands, and ended.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Protocol

from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.copy_process import start_copy
from cropaudit.audit.conformance.observe.batches import Batches
from cropaudit.audit.conformance.observe.contract import Contract, Trouble
from cropaudit.audit.conformance.observe.draws import Draws
from cropaudit.audit.conformance.observe.gradients import Gradients
from cropaudit.audit.conformance.observe.pairs import Pairs
from cropaudit.audit.conformance.observe.store import load
from cropaudit.audit.conformance.observe.training import Replayed, Training
from cropaudit.audit.conformance.observe.updates import Updates
from cropaudit.audit.conformance.seen import Seen
from cropaudit.audit.conformance.subjects import Subjects
from cropaudit.audit.conformance.worker.janitor import Pipe
from cropaudit.audit.conformance.worker.request import written_request

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
_WORKER = "cropaudit.audit.conformance.worker"
_POLL = 0.05
_LOOKS = 20  # in a row that find it late: not one alone, for all may have been suspended
_START = 60.0  # seconds that importing torch may take on a busy machine
_LAST_WORDS = 2.0


def observe(subjects: Subjects, claimed: Claimed, tick: Callable[[], None] | None = None) -> Seen:
    """Probes the user's code in a process of its own and returns what was seen.

    Args:
        subjects: Whose code.
        claimed: What it is said to do.
        tick: Called while waiting, about every twentieth of a second.
    """
    with _workplace() as (folder, pipe):
        (folder / "request.json").write_text(written_request(subjects, claimed), "utf-8")
        ended = _run(folder, pipe, subjects.call_limit, tick or _nothing)
        return _gather(folder, ended, subjects)


@contextmanager
def _workplace() -> Iterator[tuple[Path, Pipe]]:
    """Yields a folder, and a pipe whose writing end closes when this process ends: see janitor."""
    pipe = Pipe(*os.pipe())
    try:
        with tempfile.TemporaryDirectory(prefix="cropaudit-") as name:
            yield Path(name), pipe
    finally:
        os.close(pipe.reading)
        os.close(pipe.writing)


def _nothing() -> None:
    pass


def observe_objects(given: Mapping[str, Any], subjects: Subjects, claimed: Claimed) -> Seen:
    """Probes objects in a copy of this process: those that a user's own test suite holds.

    Args:
        given: transform, loader, model, trainer or pipeline, and the object.
        subjects: Their names, for messages, and how to probe.
        claimed: What they are said to do.
    """
    with _workplace() as (folder, pipe):
        (folder / "errors.txt").touch()
        copy = start_copy(folder, pipe, given, subjects, claimed)
        ended = _watched(copy, folder, subjects.call_limit, _nothing)
        return _gather(folder, ended, subjects)


class _Process(Protocol):
    """What is asked of a process."""

    pid: int
    returncode: Any

    def poll(self) -> int | None: ...
    def wait(self) -> int: ...


def _run(folder: Path, pipe: Pipe, limit: float, tick: Callable[[], None]) -> Trouble | None:
    with (folder / "errors.txt").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", _WORKER, str(folder), str(pipe.reading)],
            pass_fds=(pipe.reading,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "NO_ALBUMENTATIONS_UPDATE": "1"},
            start_new_session=True,  # so that its copies and workers end with it
        )
    return _watched(process, folder, limit, tick)


def _watched(
    process: _Process, folder: Path, limit: float, tick: Callable[[], None]
) -> Trouble | None:
    """Waits for the end of a process, and returns the trouble if it came early."""
    started = time.time()
    late = 0
    try:
        while process.poll() is None:
            tick()
            time.sleep(_POLL)
            overdue = time.time() - _heard(folder / "beat", started) > limit
            late = late + 1 if overdue else 0
            if late == _LOOKS:
                return _hung(process, folder, limit)
    finally:
        _end(process)
    if (folder / "done").exists():
        return None
    words = (folder / "errors.txt").read_text("utf-8", "replace").strip().splitlines()
    output = folder / "output.txt"
    if output.exists():
        words += output.read_text("utf-8", "replace").strip().splitlines()
    last = words[-1][:300] if words else f"ended with code {process.returncode}"
    return Trouble("raised", f"the process died: {last}")


def _heard(beat: Path, started: float) -> float:
    try:
        return beat.stat().st_mtime
    except FileNotFoundError:
        return started + _START


def _hung(process: _Process, folder: Path, limit: float) -> Trouble:
    """Asks every process of the group for its stack, and names the user's line in it."""
    stacks = folder / "stacks.txt"
    if not stacks.exists():  # it never got as far as to listen
        return Trouble("hung", f"did not begin within {_START + limit:g} seconds")
    os.killpg(process.pid, signal.SIGUSR1)
    end = time.time() + _LAST_WORDS
    while time.time() < end and not stacks.stat().st_size:
        time.sleep(_POLL)
    time.sleep(_POLL)
    return Trouble("hung", f"did not return within {limit:g} seconds", _line(stacks))


def _line(stacks: Path) -> str:
    """Returns the innermost line of a stack that is in none of the libraries."""
    for text in stacks.read_text("utf-8", "replace").splitlines():
        name, _, rest = text.strip().removeprefix('File "').partition('", line ')
        ours = str(Path(__file__).resolve().parents[2])
        library = "site-packages" in name or name.startswith(
            (ours, os.path.realpath(sys.base_prefix))
        )
        if rest and not library and not name.startswith("<"):
            return f"{name}:{rest.split()[0]}"
    return ""


def _end(process: _Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _gather(folder: Path, ended: Trouble | None, subjects: Subjects) -> Seen:
    parts: dict[str, Any] = {
        name: _nearby(load(kind, folder / f"{name}.npz"))
        for name, kind in _KINDS.items()
        if (folder / f"{name}.npz").exists()
    }
    return Seen(contract=_contract(folder, ended, subjects), **parts)


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

"""Runs a call in a copy of this process: the same random state, wherever it is kept.

A forked process holds every generator there is, those inside objects and inside libraries in C as
well, just as they stood; so a call there and the same call here draw the same numbers. Python's own
`random` is the one that reseeds itself in a fork, and is put back. What reads the clock or the
system's entropy in the call cannot be replayed by anyone; it is found by replaying equal inputs.
"""

import io
import json
import os
import random
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropaudit.audit.conformance.observe.contract import Trouble
from cropaudit.audit.conformance.worker.guard import Guard, UserError

__all__ = ["Arrays", "Replay", "forked"]

Arrays = dict[str, NDArray[Any]]
_Named = Mapping[str, NDArray[Any] | None]
Replay = Callable[[Callable[[], _Named], Guard], Mapping[str, NDArray[Any]]]


def forked(function: Callable[[], _Named], guard: Guard) -> Arrays:
    """Returns what ``function`` returns in a copy of this process; nothing here changes.

    Args:
        function: Returns named arrays of numbers; those that are none are left out.
        guard: Troubles of the copy that do not end it are noted here too.

    Raises:
        UserError: If the user's code raised there, or the copy died.
    """
    reading, writing = os.pipe()
    state = random.getstate()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:  # never returns: whatever happens, this copy ends here
        try:
            os.close(reading)
            random.setstate(state)
            _answer(function, guard, writing)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    if not data:
        raise guard.fail("raised", "the process that ran it died without a word")
    return _read(data, guard)


def _answer(function: Callable[[], _Named], guard: Guard, pipe: int) -> None:
    known = len(guard.troubles)
    arrays: _Named = {}
    fatal = None
    try:
        arrays = function()
    except UserError as error:
        fatal = vars(error.trouble)
    noted = [vars(item) for item in guard.troubles[known:]]
    words = json.dumps({"fatal": fatal, "noted": noted})
    stream = io.BytesIO()
    kept = {name: array for name, array in arrays.items() if array is not None}
    np.savez(stream, __words__=np.asarray(words), **kept)  # type: ignore[arg-type]
    with os.fdopen(pipe, "wb") as file:
        file.write(stream.getvalue())


def _read(data: bytes, guard: Guard) -> Arrays:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    words = json.loads(str(arrays.pop("__words__")))
    for item in words["noted"]:
        trouble = Trouble(**item)
        guard.note(trouble.kind, trouble.words, trouble.where)
    if words["fatal"] is not None:
        raise UserError(Trouble(**words["fatal"]))
    return arrays

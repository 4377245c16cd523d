"""Runs a call in a copy of this process: the same random state, wherever it is kept.

A forked process holds every generator there is, those inside objects and inside libraries in C as
well, just as they stood; so a call there and the same call here draw the same numbers. Python's own
`random` is the one that reseeds itself in a fork, and is put back. What reads the clock or the
system's entropy in the call cannot be replayed by anyone; it is found by replaying equal inputs.

A copy of a process may take a tenth of a second. Most transforms draw from generators that can be
found and put back, which is a thousand times cheaper; whether that suffices for one is put to the
test against copies.
"""

import gc
import io
import json
import os
import random
import sys
from collections import deque
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cropaudit.audit.conformance.observe.contract import Trouble
from cropaudit.audit.conformance.worker.guard import Guard, UserError

__all__ = ["Arrays", "Replay", "forked", "replay_of", "restoring"]

Arrays = dict[str, NDArray[Any]]
_Named = Mapping[str, NDArray[Any] | None]
Replay = Callable[[Callable[[], _Named], Guard], Mapping[str, NDArray[Any]]]
_TRIED = 6  # states in which a cheap replay must tell what copies tell
_MOST = 20_000  # objects among which generators are looked for
_GENERATORS = (random.Random, np.random.Generator, np.random.RandomState, torch.Generator)


def replay_of(found: Any, run: Callable[[], _Named], guard: Guard) -> Replay:
    """Returns the cheaper replay, if it tells what copies of the process tell; else these.

    Args:
        found: The user's object or function.
        run: Calls it.
        guard: That does.
    """
    cheap = restoring(found)
    for _ in range(_TRIED):
        copies = forked(run, guard)
        if any(not _alike(copies, cheap(run, guard)) for _ in range(2)):
            return forked
        run()  # on to the next state
    return cheap


def _alike(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].tobytes() == other[name].tobytes() for name in one
    )


def restoring(found: Any) -> Replay:
    """Returns a replay in this process that puts back every generator that ``found`` leads to.

    What else a call changes (a counter, a kept window) stays changed, so that it is to be believed
    only where copies of the process tell the same.

    Args:
        found: The user's object or function.
    """
    held = _generators(found)

    def replay(function: Callable[[], _Named], guard: Guard) -> Arrays:
        states = [_state(item) for item in held]
        everywhere = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
        try:
            found = function()
        finally:
            random.setstate(everywhere[0])
            np.random.set_state(everywhere[1])  # noqa: NPY002
            torch.set_rng_state(everywhere[2])
            for item, state in zip(held, states, strict=True):
                _put_back(item, state)
        return {name: array for name, array in found.items() if array is not None}

    return replay


def _generators(found: Any) -> list[Any]:
    """Returns the generators among what an object refers to, however far away, up to a limit."""
    module = sys.modules.get(getattr(type(found), "__module__", ""))
    waiting, held = deque([found, *vars(module or random).values()]), []
    seen = {id(item) for item in waiting}
    while waiting and len(seen) < _MOST:
        item = waiting.popleft()
        # Of its type, not by isinstance: an object may answer that with a warning.
        kind = type(item)
        if issubclass(kind, _GENERATORS) and not issubclass(kind, random.SystemRandom):
            held.append(item)
            continue
        for other in gc.get_referents(item):
            # Classes and modules lead to all of every library.
            if id(other) not in seen and not issubclass(type(other), type | ModuleType):
                seen.add(id(other))
                waiting.append(other)
    return held


def _state(item: Any) -> Any:
    match item:
        case random.Random():
            return item.getstate()
        case np.random.Generator():
            return item.bit_generator.state
        case _:
            return item.get_state()


def _put_back(item: Any, state: Any) -> None:
    match item:
        case random.Random():
            item.setstate(state)
        case np.random.Generator():
            item.bit_generator.state = state
        case _:
            item.set_state(state)


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

"""Calls the user's code: exceptions, hangs, prints and changed inputs become troubles with a line.

A call beats the heart before it begins and lets it rest when it is over; the process that watches
ends us when the heart has been still for too long in a call, and reads from the dump of the stack
where that was.
"""

import io
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from cropaudit.audit.conformance.observe.contract import Kind, Trouble

__all__ = ["Guard", "UserError", "line_of"]

T = TypeVar("T")
_OURS = str(Path(__file__).resolve().parents[3])
_PRINTS = 3


class UserError(Exception):
    """The user's code did what ends its probe."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.words)
        self.trouble = trouble


class Guard:
    """Watches the calls of one subject.

    Attributes:
        subject: transform, loader, model, trainer or pipeline.
        troubles: What was noted so far.
        calls: Calls that came back.
    """

    def __init__(
        self,
        subject: str,
        file: Path | None,
        beat: Callable[[], None],
        rest: Callable[[], None] | None = None,
    ) -> None:
        """Starts with nothing noted.

        Args:
            subject: What is probed.
            file: The user's file; its frames are the ones that are named. Any file outside the
                libraries if none.
            beat: Called before each call.
            rest: Called after each call.
        """
        self.subject = subject
        self.file = file
        self.troubles: list[Trouble] = []
        self.calls = 0
        self._beat = beat
        self._rest = rest or _nothing

    def call(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Returns what ``function`` does.

        Raises:
            UserError: If it raises anything, exits included.
        """
        self._beat()
        try:
            with self._prints_noted():
                found = function(*arguments, **named)
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            words = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".rstrip(": ")
            where = line_of(error, self.file)
            raise UserError(Trouble("raised", words, where, self.subject)) from error
        finally:
            self._rest()
        self.calls += 1
        return found

    def fail(self, kind: Kind, words: str, where: str = "") -> UserError:
        """Returns the error that ends the probe, to be raised."""
        return UserError(Trouble(kind, words, where, self.subject))

    def note(self, kind: Kind, words: str, where: str = "") -> None:
        """Notes a trouble that does not end the probe, once for each kind and place."""
        trouble = Trouble(kind, words, where, self.subject)
        if all((item.kind, item.where) != (kind, where) for item in self.troubles):
            self.troubles.append(trouble)

    @contextmanager
    def _prints_noted(self) -> Iterator[None]:
        kept = sys.stdout, sys.stderr
        listener = _Listener(self)
        sys.stdout = sys.stderr = listener
        try:
            yield
        finally:
            sys.stdout, sys.stderr = kept


class _Listener(io.TextIOBase):
    """Takes what is printed, and notes the line that printed it."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if text.strip() and sum(t.kind == "printed" for t in self._guard.troubles) < _PRINTS:
            where = _user_line(sys._getframe(1), self._guard.file)
            self._guard.note("printed", f"printed {text.strip()[:80]!r}", where)
        return len(text)


def _nothing() -> None:
    pass


def line_of(error: BaseException, file: Path | None) -> str:
    """Returns ``file:line`` of the innermost frame of the user's code in a traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    named = [f"{item.filename}:{item.lineno}" for item in frames if _is_user(item.filename, file)]
    if isinstance(error, SyntaxError) and error.filename and not named:
        return f"{error.filename}:{error.lineno}"
    return named[-1] if named else ""


def _user_line(frame: FrameType | None, file: Path | None) -> str:
    while frame is not None:
        if _is_user(frame.f_code.co_filename, file):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def _is_user(name: str, file: Path | None) -> bool:
    if file is not None and os.path.realpath(name) == str(file):
        return True
    path = os.path.realpath(name)
    library = any(part in ("site-packages", "dist-packages") for part in Path(path).parts)
    standard = path.startswith(os.path.realpath(sys.base_prefix))
    return not (library or standard or path.startswith(_OURS) or name.startswith("<"))

"""Progress on standard error: a bar on a terminal, lines in a log.

What a batch system keeps of a run must tell what it was at. A log of a long command gets a line
when a stage begins; any command says every half a minute how far it is. Such lines begin with the
time in brackets, errors never do.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from cropaudit.reports.numbers import format_duration

__all__ = ["progress_stages"]

Advance = Callable[[int], None]

_EVERY = 30.0  # seconds between two lines of one stage


@contextmanager
def progress_stages(*, each: bool = False) -> Iterator[Callable[[str, int], Advance]]:
    """Yields a function that begins a stage and returns the callback for the amount done.

    A total of 0 means that the stage has no known length.

    Args:
        each: Whether a log names each stage as it begins, however short it is.
    """
    if not sys.stderr.isatty():
        log = _Log(each)
        try:
            yield log.begin
        finally:
            log.end()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def begin(title: str, total: int) -> Advance:
            for task in progress.tasks:
                progress.update(task.id, total=task.total or 1, completed=task.total or 1)
            current = progress.add_task(title, total=total or None)
            return lambda done: progress.update(current, completed=done)

        yield begin


class _Log:
    """Lines on standard error, also of stages that never say how far they are."""

    def __init__(self, each: bool) -> None:
        self._each = each
        self._start = time.monotonic()
        self._stage, self._done, self._total = "", 0, 0
        self._over = Event()
        self._ticker = Thread(target=self._tick, daemon=True)
        self._ticker.start()

    def begin(self, title: str, total: int) -> Advance:
        self._stage, self._done, self._total = title, 0, total
        if self._each:
            self._say()

        def advance(done: int) -> None:
            if self._stage == title:
                self._done = done

        return advance

    def end(self) -> None:
        self._over.set()
        self._ticker.join()

    def _tick(self) -> None:
        while not self._over.wait(_EVERY):
            self._say()

    def _say(self) -> None:
        if not self._stage:
            return
        far = f", {self._done:,} of {self._total:,}" if self._total and self._done else ""
        took = format_duration(time.monotonic() - self._start)
        print(f"[{took}] {self._stage}{far}", file=sys.stderr, flush=True)

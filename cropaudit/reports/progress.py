"""Progress on standard error while an audit runs; silent where that is no terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress_stages"]

Advance = Callable[[int], None]


@contextmanager
def progress_stages() -> Iterator[Callable[[str, int], Advance]]:
    """Yields a function that begins a stage and returns the callback for the amount done.

    A total of 0 means that the stage has no known length.
    """
    if not sys.stderr.isatty():
        yield lambda title, total: _ignore
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


def _ignore(done: int) -> None:
    """Takes the amount done and tells nobody."""

"""How long work tells what it is at: a title and a total, then the amount done."""

from collections.abc import Callable

__all__ = ["Advance", "Stage", "silent"]

Advance = Callable[[int], None]
Stage = Callable[[str, int], Advance]


def silent(title: str, total: int) -> Advance:
    """Begins a stage that tells nobody."""
    return lambda done: None

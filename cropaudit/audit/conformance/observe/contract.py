"""What went wrong, or was odd, while the user's code was called."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Contract", "Trouble"]

Kind = Literal["raised", "hung", "type", "mutated", "printed", "unreadable"]


@dataclass(frozen=True)
class Trouble:
    """One thing.

    Attributes:
        kind: ``raised`` an exception, ``hung`` beyond the time limit, returned a wrong ``type``,
            ``mutated`` its input, ``printed`` (told, not a failure), or was ``unreadable`` (no
            such file or name).
        words: What happened.
        where: File and line, if known.
        subject: transform, loader, model, trainer or pipeline.
    """

    kind: Kind
    words: str
    where: str = ""
    subject: str = ""


@dataclass(frozen=True)
class Contract:
    """All of it.

    Attributes:
        troubles: In the order in which they occurred.
        calls: Calls of the user's code that came back.
        style: How a transform was called.
        notes: What a reader should know, as that a style was found by trial.
    """

    troubles: tuple[Trouble, ...] = ()
    calls: int = 0
    style: str = ""
    notes: tuple[str, ...] = ()

"""The formats of a finished run: one interface, one file for each, one line here to register it."""

from pathlib import Path
from typing import Protocol

from cropaudit.errors import InputError, require
from cropaudit.reports.junit import JUnit
from cropaudit.reports.render.html import Html
from cropaudit.reports.render.json_text import JsonText
from cropaudit.reports.render.terminal import Terminal
from cropaudit.reports.store import Finished

__all__ = ["FORMATS", "Format", "draw", "find_format"]


class Format(Protocol):
    """What takes a finished run and returns the bytes of one file, equal for equal runs."""

    @property
    def ending(self) -> str:
        """Of its files, with the dot."""

    @property
    def documents(self) -> tuple[type, ...]:
        """Which documents it draws."""

    def render(self, run: Finished) -> bytes:
        """Returns the file."""


FORMATS: dict[str, Format] = {
    "terminal": Terminal(),
    "json": JsonText(),
    "html": Html(),
    "junit": JUnit(),
}


def find_format(name: str | None, out: Path | None = None) -> str:
    """Returns the name of a format: as given, else by a file's ending, else the terminal's.

    Raises:
        InputError: If none has this name or ending.
    """
    if name is not None:
        require(name in FORMATS, "format", f"one of {', '.join(FORMATS)}", name)
        return name
    if out is None or out.is_dir():
        return "terminal"
    endings = {item.ending: key for key, item in FORMATS.items()}
    legal = f"a file that ends in one of {', '.join(endings)}, or give --format"
    require(out.suffix in endings, "out", legal, out)
    return endings[out.suffix]


def draw(name: str, run: Finished) -> bytes:
    """Draws a run.

    Args:
        name: Of the format.
        run: From `open_run`, or as it is in memory.

    Raises:
        InputError: If the format has no picture of such a run.
    """
    if not isinstance(run.document, FORMATS[name].documents):
        able = [key for key, item in FORMATS.items() if isinstance(run.document, item.documents)]
        raise InputError(f"format must be one of {', '.join(able)} for such a run, got {name}")
    return FORMATS[name].render(run)

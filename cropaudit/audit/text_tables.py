"""Tables in text as other tools write them: commas, semicolons or tabs; plain or gzipped.

Names of columns are read in any case, with spaces, dots and hyphens as underscores. What a table
may hold is limited, and what is beyond is said before it is read.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from cropaudit.audit.number_files import LARGEST
from cropaudit.errors import InputError, require

__all__ = ["Bits", "Row", "TextTable", "column_name", "listed", "read_text_table", "separator"]

MOST_COLUMNS = 1000
_SEPARATORS = (",", ";", "\t")
_TRUE = {"1", "true", "t", "yes", "y", "in", "member"}
_FALSE = {"0", "false", "f", "no", "n", "out", "nonmember", "non-member", "non_member"}

Row = tuple[int, dict[str, str]]
"""The line of a row, and its values by column."""


@dataclass(frozen=True)
class TextTable:
    """A table.

    Attributes:
        what: What it holds, for messages.
        columns: Their names as `column_name` makes them.
        rows: In the order of the file.
    """

    what: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def require_once(self, names: Iterable[str]) -> None:
        """Raises if a column of these names is there twice.

        Raises:
            InputError: If one is.
        """
        for name in names:
            legal = f"{self.what} must have each column once, got {name[:40]} again"
            if self.columns.count(name) > 1:
                raise InputError(legal)


def column_name(text: str) -> str:
    """Returns how a column is known here, whatever its case.

    The names of attacks stay as they are.

    >>> column_name(" Is-Member "), column_name("Score_Loss 2")
    ('is_member', 'score_Loss 2')
    """
    name = text.strip()
    if name.lower().startswith("score_"):
        return f"score_{name[6:]}"
    return "_".join(name.lower().replace("-", " ").split())


def listed(names: Iterable[str]) -> str:
    """Returns names for a message, the first of many."""
    found = [str(name)[:40] for name in names]
    more = f" and {len(found) - 12} more" if len(found) > 12 else ""
    return (", ".join(found[:12]) or "none") + more


def read_text_table(source: Path | TextIO, what: str) -> TextTable:
    """Reads a table whose first line names its columns.

    Args:
        source: A file, gzipped or not, or an open one.
        what: What it holds, for messages.

    Raises:
        InputError: If it cannot be read, is too large, or a row is longer than the first.
    """
    try:
        text = _unpacked(source, what).removeprefix("\ufeff")
        heading = next((line for line in io.StringIO(text) if line.strip()), "")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator(heading))
        names: list[str] = []
        rows: list[Row] = []
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not names:
                names = _columns(cells, what)
                continue
            spare = len(cells) <= len(names)
            line = reader.line_num
            if not spare:  # a decimal comma?
                raise InputError(f"{what} line {line} must have no more values than columns")
            rows.append((line, dict(zip(names, cells, strict=False))))
        return TextTable(what, tuple(names), tuple(rows))
    except FileNotFoundError:
        raise InputError(f"{what} must be an existing CSV file") from None
    except (OSError, UnicodeDecodeError, csv.Error, EOFError, zlib.error) as error:
        words = " ".join(str(error).split())
        raise InputError(f"{what} must be a readable CSV file in UTF-8: {words}") from None


def _unpacked(source: Path | TextIO, what: str) -> str:
    """Returns the text, of at most `LARGEST` bytes."""
    if not isinstance(source, Path):
        text = source.read(LARGEST + 1)
        require(len(text) <= LARGEST, what, f"at most {LARGEST} bytes", "more")
        return text
    with source.open("rb") as file:
        packed = source.suffix.lower() == ".gz"
        data = (gzip.GzipFile(fileobj=file) if packed else file).read(LARGEST + 1)
    require(len(data) <= LARGEST, what, f"at most {LARGEST} bytes unpacked", "more")
    return data.decode("utf-8")


def separator(heading: str) -> str:
    """Returns what parts the columns: what the heading has most of; a comma unless others do."""
    return max(_SEPARATORS, key=lambda mark: (heading.count(mark), -_SEPARATORS.index(mark)))


def _columns(cells: Sequence[str], what: str) -> list[str]:
    require(len(cells) <= MOST_COLUMNS, what, f"of at most {MOST_COLUMNS} columns", len(cells))
    return [column_name(cell) for cell in cells]


class Bits:
    """Reads yes or no as tools write it: 1 and 0, 1 and -1, true, yes, in and their opposites.

    A table writes it in one way: 0 and -1 together have no meaning, and are refused.
    """

    LEGAL = "0 or 1 (or -1 and 1, true, yes, in and their opposites)"

    def __init__(self) -> None:
        """Starts with nothing read."""
        self._negatives: set[str] = set()

    def read(self, text: str | None) -> bool:
        """Returns whether the text says yes.

        Raises:
            ValueError: If it says neither, or the table says no in two ways.
        """
        word = (text or "").strip().lower()
        if word in _TRUE:
            return True
        if word not in _FALSE:
            number = float(word)
            if number not in (1, 0, -1):
                raise ValueError("neither yes nor no")
            if number == 1:
                return True
            word = f"{number:.0f}".replace("-0", "0")
        self._negatives.add(word)
        if {"0", "-1"} <= self._negatives:
            raise ValueError("0 and -1 in one table")
        return False

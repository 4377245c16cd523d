"""Games that arrive line by line, as ``SCORE,MEMBER`` or under a heading that names both."""

import io
import math
from collections.abc import Iterator

from cropaudit.audit.score_tables import MEMBERS, SCORES
from cropaudit.audit.text_tables import Bits, column_name, separator
from cropaudit.errors import InputError, require

__all__ = ["read_games"]

_LONGEST = 10_000  # characters of a line


def read_games(source: io.TextIOBase) -> Iterator[tuple[float, int]]:
    """Yields score and bit of each line, by the columns of a heading if there is one.

    Raises:
        InputError: If a line is no game, or not in UTF-8.
    """
    columns, mark, reader = ["score", "member"], ",", Bits()
    for number, line in enumerate(_lines(source), start=1):
        mark = separator(line) if number == 1 else mark
        cells = [cell.strip() for cell in line.split(mark)]
        if cells == [""]:
            continue
        if number == 1 and (names := _heading(cells)):
            columns = names
            continue
        named = dict(zip(columns, cells, strict=False))
        try:
            score, bit = float(named["score"]), int(reader.read(named["member"]))
        except (KeyError, ValueError):
            score, bit = math.nan, 0
        legal = len(cells) == len(columns) and not math.isnan(score)
        require(legal, f"line {number}", "SCORE,MEMBER: a number and 0 or 1", line.strip()[:60])
        yield score, bit


def _lines(source: io.TextIOBase) -> Iterator[str]:
    number = 0
    while True:
        number += 1
        try:
            line = source.readline(_LONGEST)
        except UnicodeDecodeError as error:
            words = f"line {number} or soon after it must be in UTF-8: {error.reason}"
            raise InputError(words) from None
        if not line:
            return
        require(len(line) < _LONGEST, f"line {number}", f"below {_LONGEST} characters", line[:20])
        yield line.removeprefix("\ufeff") if number == 1 else line


def _heading(cells: list[str]) -> list[str] | None:
    """Returns the columns that a heading names, as score and member; none if it is none."""
    names = [column_name(cell) for cell in cells]
    known = ["score" if n in SCORES else "member" if n in MEMBERS else n for n in names]
    return known if sorted(known) == ["member", "score"] else None

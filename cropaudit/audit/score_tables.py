"""Scores that a user brings: two arrays, or a CSV of one or more attacks, with or without places.

Nothing is unpickled: arrays are read with ``allow_pickle=False``.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.number_files import read_numbers
from cropaudit.errors import InputError

__all__ = ["ScoreTable", "read_arrays", "read_table"]

Array = NDArray[np.float64]
_Row = tuple[int, dict[str, str]]  # its line, and its values by column
_MEMBER = {"1": True, "0": False, "true": True, "false": False, "1.0": True, "0.0": False}
_LEGAL = (
    "score and member (and, if wanted, attack and position), or member and one column score_NAME "
    "for each attack"
)


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores of one attack.

    Attributes:
        attack: Its name; empty where only one was given, without a name.
        values: Scores in the order of the file, shape (n,).
        member: Whether each was drawn in world A, shape (n,).
        positions: Where the patch stood, one label each; empty if not known.
    """

    attack: str
    values: Array
    member: NDArray[np.bool_]
    positions: tuple[str, ...] = ()

    @property
    def scores(self) -> Scores:
        """The scores by world, each in the order of the file.

        Raises:
            InputError: If a world has no score.
        """
        return Scores.labelled(self.values, self.member)

    def places(self) -> Mapping[str, Scores]:
        """Returns the scores of each position.

        Raises:
            InputError: If a position has scores of one world only.
        """
        labels = np.asarray(self.positions)
        found = {}
        for label in dict.fromkeys(self.positions):
            at = labels == label
            try:
                found[label] = Scores.labelled(self.values[at], self.member[at])
            except InputError:
                raise InputError(f"position {label} must have scores of both worlds") from None
        return found


def read_table(source: Path | TextIO) -> tuple[ScoreTable, ...]:
    """Reads a CSV, one table for each attack.

    The columns are ``score`` and ``member`` (1 or 0), and if wanted ``attack`` and ``position``;
    or, for several attacks on the same trials, ``member`` and one column ``score_NAME`` each.

    Raises:
        InputError: If the file cannot be used; the message names the line.
    """
    name = str(source) if isinstance(source, Path) else "from standard input"
    rows, columns = _rows(source, name)
    wide = [column for column in columns if column.startswith("score_") and len(column) > 6]
    if not rows or "member" not in columns or ("score" in columns) == bool(wide):
        raise InputError(f"scores {name} must have the columns {_LEGAL}, and rows")
    twice = [column for column in dict.fromkeys(columns) if columns.count(column) > 1]
    if twice:
        raise InputError(f"scores {name} must have each column once, got {twice[0]} again")
    if wide:
        return tuple(_table(rows, column, column[6:], name) for column in wide)
    attacks: dict[str, list[_Row]] = {}
    for line, row in rows:
        attacks.setdefault((row.get("attack") or "").strip(), []).append((line, row))
    return tuple(_table(own, "score", attack, name) for attack, own in attacks.items())


def read_arrays(member: Path, nonmember: Path) -> tuple[ScoreTable, ...]:
    """Reads two ``.npy`` files of scores.

    Raises:
        InputError: If a file cannot be used.
    """
    one, other = read_numbers(member, "scores", "fiub"), read_numbers(nonmember, "scores", "fiub")
    Scores.of(one, other)  # the message about an empty list or a NaN names the world
    bits = np.concatenate([np.ones(len(one), bool), np.zeros(len(other), bool)])
    return (ScoreTable("", np.concatenate([one, other]), bits),)


def _rows(source: Path | TextIO, name: str) -> tuple[list[_Row], list[str]]:
    try:
        text = source.read_text(encoding="utf-8-sig") if isinstance(source, Path) else source.read()
        reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
        columns = [column.strip() for column in reader.fieldnames or []]
        reader.fieldnames = columns
        return [(reader.line_num, row) for row in reader], columns
    except FileNotFoundError:
        raise InputError(f"scores {name} must be an existing CSV file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"scores {name} must be a readable CSV file: {error}") from None


def _table(rows: Sequence[_Row], column: str, attack: str, name: str) -> ScoreTable:
    values, bits, places = [], [], []
    for line, row in rows:
        if None in row:  # where the reader leaves what is beyond the last column: a decimal comma?
            raise InputError(f"scores {name} line {line} must have no more values than columns")
        try:
            values.append(float(row[column]))
            bits.append(_MEMBER[str(row["member"]).strip().lower()])
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"scores {name} line {line} must be a number and 0 or 1, "
                f"got {row.get(column)} and {row.get('member')}"
            ) from None
        if math.isnan(values[-1]):
            raise InputError(f"scores {name} line {line} must be free of NaN, got {row[column]}")
        places.append((row.get("position") or "").strip())
    known = any(places)
    if known and not all(places):
        line = rows[places.index("")][0]
        raise InputError(
            f"scores {name} must have a position in every row, or in none, got none in line {line}"
        )
    return ScoreTable(
        attack,
        np.asarray(values, dtype=np.float64),
        np.asarray(bits, dtype=bool),
        tuple(places) if known else (),
    )

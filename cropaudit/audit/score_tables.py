"""Scores that a user brings: two arrays, or a table of one or more attacks, with or without places.

Tables are CSV as many tools write them, arrays in one ``.npz``, or the JSON that LeakPro keeps of
an attack (``signal_values``, ``true_labels``). Nothing is unpickled, and nothing is guessed: a
table with two columns that may be the score is refused until one is named.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.number_files import LARGEST, read_archive, read_numbers
from cropaudit.audit.text_tables import Bits, Row, column_name, listed, read_text_table
from cropaudit.errors import InputError, require

__all__ = ["MEMBERS", "SCORES", "Named", "ScoreTable", "read_arrays", "read_table"]

Array = NDArray[np.float64]
# Names under which tools write a score that is higher for members, and who was one. A loss is
# none, for its sign is not known, nor is a label, which may be that of a class.
SCORES: tuple[str, ...] = (
    *("score", "scores", "attack_score", "membership_score", "mia_score"),
    *("signal_values", "signal_value"),
)
MEMBERS: tuple[str, ...] = (
    *("member", "members", "is_member", "membership", "true_membership", "true_labels"),
    *("keep", "in_train", "is_train"),
)
_OTHERS = ("nonmember", "nonmembers", "non_member", "non_members")
_LEGAL = (
    "score and member (and, if wanted, attack and position), or member and one column score_NAME "
    "for each attack; or name them by --score-column and --member-column"
)
_MOST_ATTACKS, _MOST_POSITIONS, _LONGEST = 200, 2000, 200


@dataclass(frozen=True)
class Named:
    """Columns that a user names, where they are not called as expected.

    Attributes:
        score: Higher for members.
        member: The bit.
    """

    score: str | None = None
    member: str | None = None


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


def read_table(source: Path | TextIO, named: Named | None = None) -> tuple[ScoreTable, ...]:
    """Reads scores, one table for each attack.

    The columns of a CSV are ``score`` and ``member``, and if wanted ``attack`` and ``position``;
    or, for several attacks on the same trials, ``member`` and one column ``score_NAME`` each.
    Common other names are known, in any case. A ``.npz`` holds arrays by such names, or ``member``
    and ``nonmember`` with the scores of each; a ``.json`` likewise.

    Args:
        source: A file, or an open CSV.
        named: Columns by other names.

    Raises:
        InputError: If the file cannot be used; the message names the line.
    """
    named = named or Named()
    name = str(source) if isinstance(source, Path) else "from standard input"
    if isinstance(source, Path) and source.suffix.lower() == ".npz":
        return _from_arrays(read_archive(source, "scores", "fiub"), named, name)
    if isinstance(source, Path) and source.suffix.lower() == ".json":
        return _from_arrays(_json_arrays(source), named, name)
    legal = "a CSV, .npz or .json file (two .npy files are given as --member and --nonmember)"
    plain = not isinstance(source, Path) or source.suffix.lower() != ".npy"
    require(plain, "scores", legal, name)
    table = read_text_table(source, f"scores {name}")
    member = _chosen(table.columns, MEMBERS, named.member, name)
    score = _chosen(table.columns, SCORES, named.score, name)
    wide = [column for column in table.columns if column.startswith("score_") and len(column) > 6]
    wide = [column for column in wide if column != member] if named.score is None else []
    if not table.rows or member is None or (score is not None) == bool(wide):
        found = listed(column for column in table.columns if column)
        rows = "" if table.rows else " and no rows"
        raise InputError(
            f"scores {name} must have the columns {_LEGAL}, and rows; got {found}{rows}"
        )
    table.require_once([member, *wide, *([score] if score else []), "attack", "position"])
    legal = f"of at most {_MOST_ATTACKS} attacks"
    if score is None:
        require(len(wide) <= _MOST_ATTACKS, f"scores {name}", legal, len(wide))
        tables = [_table(table.rows, (column, member), column[6:], name) for column in wide]
        return _limited(tables, name)
    attacks: dict[str, list[Row]] = {}
    for line, row in table.rows:
        attacks.setdefault((row.get("attack") or "").strip(), []).append((line, row))
    require(len(attacks) <= _MOST_ATTACKS, f"scores {name}", legal, len(attacks))
    tables = [_table(own, (score, member), attack, name) for attack, own in attacks.items()]
    return _limited(tables, name)


def read_arrays(member: Path, nonmember: Path) -> tuple[ScoreTable, ...]:
    """Reads two ``.npy`` files of scores, of shape (n,) or (n, 1).

    Raises:
        InputError: If a file cannot be used.
    """
    return _parted(*(read_numbers(path, "scores", "fiub") for path in (member, nonmember)))


def _parted(member: Array, nonmember: Array) -> tuple[ScoreTable, ...]:
    one, other = _flat(member), _flat(nonmember)
    Scores.of(one, other)  # the message about an empty list or a NaN names the world
    bits = np.concatenate([np.ones(len(one), bool), np.zeros(len(other), bool)])
    return (ScoreTable("", np.concatenate([one, other]), bits),)


def _flat(values: Array) -> Array:
    """Returns a column as a list; what else is no list stays as it is, to be refused."""
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _chosen(
    columns: Sequence[str], names: Sequence[str], named: str | None, file: str
) -> str | None:
    """Returns the one column of these names; none if there is none.

    Raises:
        InputError: If the named one is missing, or there are several.
    """
    if named is not None:
        require(column_name(named) in columns, "column", f"one of {listed(columns)}", named)
        return column_name(named)
    found = [name for name in names if name in columns]
    if len(found) > 1:
        kind = names[0]
        raise InputError(
            f"scores {file} must have one {kind}, got {listed(found)}; name it by --{kind}-column"
        )
    return found[0] if found else None


def _from_arrays(arrays: Mapping[str, Array], named: Named, file: str) -> tuple[ScoreTable, ...]:
    """Returns the table that arrays by name make."""
    known = {column_name(name): values for name, values in arrays.items()}
    other = _chosen(tuple(known), _OTHERS, None, file)
    member = _chosen(tuple(known), MEMBERS, named.member, file)
    score = _chosen(tuple(known), SCORES, named.score, file)
    if member is None or (score is None) == (other is None):
        legal = "score and member, or member and nonmember with the scores of each"
        raise InputError(f"scores {file} must hold the arrays {legal}; got {listed(arrays)}")
    if score is None and other is not None:
        return _parted(known[member], known[other])
    values, bits = _flat(known[str(score)]), _flat(known[member])
    if (bits == -1).any() and not (bits == 0).any():
        bits = (bits == 1).astype(np.float64) if np.isin(bits, (-1, 1)).all() else bits
    Scores.labelled(values, bits)  # its messages name what is wrong
    return (ScoreTable("", values, bits == 1),)


def _json_arrays(path: Path) -> dict[str, Array]:
    """Reads the lists of numbers that a JSON object holds by name; what else it holds is left."""
    try:
        require(
            path.stat().st_size <= LARGEST, f"scores {path}", f"at most {LARGEST} bytes", "more"
        )
        found: Any = json.loads(path.read_bytes())
        lists = {k: v for k, v in found.items() if isinstance(v, list) and _numbers(v)}
        return {name: np.asarray(values, dtype=np.float64) for name, values in lists.items()}
    except FileNotFoundError:
        raise InputError(f"scores {path} must be an existing JSON file") from None
    except InputError:
        raise
    except (OSError, ValueError, RecursionError, AttributeError, OverflowError) as error:
        words = " ".join(str(error).split())[:100]
        raise InputError(f"scores {path} must be a JSON object with lists: {words}") from None


def _numbers(values: Sequence[object]) -> bool:
    return all(isinstance(item, bool | int | float) for item in values)


def _table(rows: Sequence[Row], columns: tuple[str, str], attack: str, name: str) -> ScoreTable:
    values, bits, places, reader = [], [], [], Bits()
    column, member = columns
    _check_label("attack", attack, name, rows[0][0])
    for line, row in rows:
        try:
            values.append(float(row[column]))
            bits.append(reader.read(row[member]))
        except (KeyError, TypeError, ValueError):
            got = f"{row.get(column)!s:.60} and {row.get(member)!s:.60}"
            raise InputError(
                f"scores {name} line {line} must be a number and {Bits.LEGAL}, got {got}"
            ) from None
        if math.isnan(values[-1]):
            raise InputError(f"scores {name} line {line} must be free of NaN, got {row[column]}")
        places.append((row.get("position") or "").strip())
        _check_label("position", places[-1], name, line)
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


def _limited(tables: Sequence[ScoreTable], name: str) -> tuple[ScoreTable, ...]:
    """Refuses more positions than are answered in minutes; each is a game of its own."""
    count = sum(len(set(table.positions)) for table in tables)
    legal = f"of at most {_MOST_POSITIONS} positions over all attacks"
    require(count <= _MOST_POSITIONS, f"scores {name}", legal, count)
    return tuple(tables)


def _check_label(kind: str, label: str, name: str, line: int) -> None:
    """Refuses names that no table or terminal can show."""
    legal = f"{kind} of at most {_LONGEST} printable characters"
    fine = len(label) <= _LONGEST and label.isprintable()
    require(fine, f"scores {name} line {line}", legal, ascii(label[:40]))

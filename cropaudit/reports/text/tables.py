"""Tables and lines as data, and the one printer of them: for a terminal or a log file.

Every text is printed as it is: a name with brackets is no markup. Rich is loaded once something is
printed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = ["Cell", "Styled", "Table", "print_lines", "print_table", "print_text"]


@dataclass(frozen=True)
class Styled:
    """Pieces of text, each with its style in rich's words."""

    pieces: tuple[tuple[str, str], ...]


Cell = str | Styled


@dataclass(frozen=True)
class Table:
    """What a table holds.

    Attributes:
        columns: Their titles; empty for a table without a head.
        rows: Cells, one for each column.
        right: Titles of columns that are set to the right.
        fold: Titles of columns that may take several lines (by number in a table without a head).
        caption: Below the table; empty for none.
        indent: Columns of space before it.
    """

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]
    right: tuple[str, ...] = ()
    fold: tuple[str | int, ...] = ()
    caption: str = ""
    indent: int = 0


def print_table(table: Table, console: "Console") -> None:
    """Prints a table."""
    from rich import box
    from rich.padding import Padding
    from rich.table import Table as RichTable

    head = bool(table.columns)
    drawn = RichTable(
        box=box.SIMPLE_HEAD if head else None,
        show_header=head,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1 if head else 2, 0, 0),
        caption=table.caption or None,
        caption_justify="left",
    )
    titles: Sequence[str | int] = table.columns or range(len(table.rows[0]) if table.rows else 0)
    for title in titles:
        fold = title in table.fold
        drawn.add_column(
            str(title) if head else "",
            justify="right" if title in table.right else "left",
            no_wrap=not fold,
            overflow="fold" if fold else "ellipsis",
        )
    for row in table.rows:
        drawn.add_row(*(_text(cell) for cell in row))
    console.print(Padding(drawn, (0, 0, 0, table.indent)) if table.indent else drawn)


def print_lines(
    lines: Iterable[tuple[str, str]],
    console: "Console",
    styles: Mapping[str, str] | None = None,
    *,
    soft_wrap: bool = False,
) -> None:
    """Prints names, bold, each with its words; ``styles`` are of the words, by name."""
    for name, rest in lines:
        styled = Styled(((f"{name}: ", "bold"), (rest, (styles or {}).get(name, ""))))
        console.print(_text(styled), highlight=False, soft_wrap=soft_wrap)


def print_text(text: str, console: "Console", style: str = "") -> None:
    """Prints one text as it is."""
    console.print(_text(Styled(((text, style),))), highlight=False)


def _text(cell: Cell) -> "Text":
    from rich.text import Text

    return Text(cell) if isinstance(cell, str) else Text.assemble(*cell.pieces)

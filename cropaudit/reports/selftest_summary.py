"""The self-test for a terminal, and as a mapping for JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from cropaudit.audit.selftest import CHANCE, Coverage
from cropaudit.reports.numbers import format_percent, format_value

__all__ = ["print_selftest", "selftest_document"]


def selftest_document(found: Sequence[Coverage]) -> dict[str, Any]:
    """Returns the outcome as JSON values."""
    rows = [
        {**asdict(item), "interval": list(item.interval), "holds": item.holds} for item in found
    ]
    return {"chance": CHANCE, "holds": all(item.holds for item in found), "rows": rows}


def print_selftest(found: Sequence[Coverage], console: Console | None = None) -> None:
    """Prints observed against nominal shares, a table for each game, and what they mean."""
    console = console or Console()
    for (game, trials, truth), rows in groupby(found, lambda c: (c.game, c.trials, c.truth)):
        where = "canaries of one run" if trials == "one-run" else "independent trials"
        console.print(
            f"{game}, {where}: true epsilon {format_value(truth, 3)}", style="bold", highlight=False
        )
        console.print(_table(list(rows)))
    broken = [item for item in found if not item.holds]
    console.print(
        "Every estimator keeps its promise."
        if not broken
        else f"{len(broken)} rows are above their level: do not trust these estimators here.",
        style="green" if not broken else "bold red",
    )
    console.print(
        f"A sound estimator is called ABOVE with a chance below {CHANCE:g} a row; 'no promise': a "
        "credible or asymptotic class, or a model that this game does not follow.",
        highlight=False,
    )


def _table(rows: Sequence[Coverage]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("estimator", no_wrap=True)
    for title in ("median", "above truth", "95% interval", "nominal", ""):
        table.add_column(title, justify="right", no_wrap=True)
    for item in rows:
        table.add_row(*_row(item))
    return table


def _row(item: Coverage) -> tuple[str, ...]:
    low, high = item.interval
    verdict = "holds" if item.judged else "no promise"
    return (
        item.estimator,
        format_value(item.median, 3),
        f"{item.above} of {item.games}",
        f"{100 * low:.1f}% to {100 * high:.1f}%",
        format_percent(item.level),
        verdict if item.holds else "ABOVE",
    )

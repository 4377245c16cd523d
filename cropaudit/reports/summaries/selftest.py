"""The self-test for a terminal, and as a mapping for JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

from cropaudit.audit.games.selftest import CHANCE, Coverage
from cropaudit.reports.text.numbers import format_percent, format_value
from cropaudit.reports.text.tables import Table, print_table, print_text

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_selftest", "selftest_document"]


def selftest_document(found: Sequence[Coverage]) -> dict[str, Any]:
    """Returns the outcome as JSON values."""
    rows = [
        {**asdict(item), "interval": list(item.interval), "holds": item.holds} for item in found
    ]
    return {"chance": CHANCE, "holds": all(item.holds for item in found), "rows": rows}


def print_selftest(found: Sequence[Coverage], console: "Console") -> None:
    """Prints observed against nominal shares, a table for each game, and what they mean."""
    titles = ("median", "above truth", "95% interval", "nominal", "")
    for (game, trials, truth), rows in groupby(found, lambda c: (c.game, c.trials, c.truth)):
        where = "canaries of one run" if trials == "one-run" else "independent trials"
        print_text(f"{game}, {where}: true epsilon {format_value(truth, 3)}", console, "bold")
        print_table(Table(("estimator", *titles), [_row(item) for item in rows], titles), console)
    broken = sum(not item.holds for item in found)
    if broken:
        words = f"{broken} rows are above their level: do not trust these estimators here."
        print_text(words, console, "bold red")
    else:
        print_text("Every estimator keeps its promise.", console, "green")
    print_text(
        f"A sound estimator is called ABOVE with a chance below {CHANCE:g} a row; 'no promise': a "
        "credible or asymptotic class, or a model that this game does not follow.",
        console,
    )


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

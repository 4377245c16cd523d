"""The report in the terminal: a short table, which also reads well in a log file."""

from typing import TYPE_CHECKING

from cropaudit.audit.result import Attack, AuditReport, Bound, Utility
from cropaudit.reports.numbers import (
    format_confidence,
    format_lower,
    format_percent,
    format_upper,
    format_value,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["print_summary", "summary_lines"]

_STYLES = {"violation": "bold red", "consistent": "bold green", "inconclusive": "bold yellow"}


def print_summary(report: AuditReport, console: "Console") -> None:
    """Prints the attacks, then the claim, the headline and the verdict.

    Args:
        report: The audit's result.
        console: Where to; colours appear only if it is a terminal.
    """
    # Imported here because rich takes a while and most callers of this module need only the lines.
    from rich.text import Text

    console.print(_table(report))
    console.print()
    for line in summary_lines(report):
        name, _, rest = line.partition(": ")
        text = Text(f"{name}: ", style="bold")
        text.append(rest, style=_STYLES[report.verdict.status] if name == "Verdict" else "")
        console.print(text)


def summary_lines(report: AuditReport) -> list[str]:
    """Returns the claim, the headline, the detectable epsilon, the verdict and the utility."""
    claim, headline, verdict = report.claim, report.headline, report.verdict
    detectable = verdict.detectable_epsilon
    power = format_percent(verdict.power)
    return [
        f"Claim: epsilon <= {format_upper(claim.epsilon)} at delta {format_value(claim.delta)}; "
        f"{format_upper(claim.epsilon_amplified)} accounted with crops, "
        f"{format_upper(claim.epsilon_without_crop)} without",
        f"Headline: epsilon >= {_lower(headline.epsilon_lower)} with "
        f"{format_confidence(headline.confidence)} confidence "
        f"({headline.attack}, {headline.estimator}, {headline.validity})",
        _conformance(report),
        "Detectable: "
        + (
            f"no true epsilon with {power} power"
            if detectable is None
            else f"a true epsilon from {format_upper(detectable)} on, with {power} power"
        ),
        _utility(report.utility),
        f"Verdict: {verdict.status.upper()}: {verdict.detail}",
        "Note: a lower bound never certifies epsilon",
    ]


def _utility(utility: Utility) -> str:
    """Returns the mIoU of the model and of its twins."""
    twins = (
        ("without noise", utility.miou_without_noise),
        ("without credit for the crop", utility.miou_without_crop_credit),
    )
    beside = "".join(f", {words} {value:.3f}" for words, value in twins if value is not None)
    return f"Utility: mIoU {utility.miou:.3f}{beside} ({utility.images} images)"


def _conformance(report: AuditReport) -> str:
    """Returns how many checks passed, and the delivered epsilon where it was measured."""
    found = report.conformance
    failed = [check.name for check in found.checks if check.status == "fail"]
    passed = sum(check.status == "pass" for check in found.checks)
    words = f"Conformance: {passed} of {len(found.checks)} checks pass"
    if failed:
        words += f", FAILED: {', '.join(failed)}"
    if found.delivered is not None:
        high = found.delivered.epsilon_high
        top = "infinity" if high is None else format_upper(high)
        words += f"; delivered epsilon {_lower(found.delivered.epsilon_low)} to {top}"
    return words


def _table(report: AuditReport) -> "Table":
    """Returns one row for every attack."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("Attack", overflow="fold")
    for title in ("Games", "AUC", "epsilon >="):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("Estimator", overflow="fold")
    for attack in report.attacks:
        # Text, not str: a title with brackets is no markup.
        table.add_row(*(Text(cell) for cell in _row(attack)))
    return table


def _row(attack: Attack) -> tuple[str, str, str, str, str]:
    """Returns one attack's cells."""
    best = _best(attack)
    games = f"{attack.members:,} + {attack.nonmembers:,}"
    if best is None:
        return attack.title, games, f"{attack.auc:.3f}", "-", "no bound"
    estimator = f"{best.estimator}, {best.validity}"
    return attack.title, games, f"{attack.auc:.3f}", _lower(best.epsilon), estimator


def _best(attack: Attack) -> Bound | None:
    """Returns the largest bound, or none."""
    return max(attack.bounds, key=lambda bound: bound.epsilon, default=None)


def _lower(epsilon: float) -> str:
    """Returns a lower bound as text; below zero it says nothing."""
    return format_lower(max(epsilon, 0.0))

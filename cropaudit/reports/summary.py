"""The report in the terminal: a short table, which also reads well in a log file."""

from typing import TYPE_CHECKING

from cropaudit.audit.result import Attack, AuditReport, Bound, Utility
from cropaudit.reports import words
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

_PROBED = " with worst-case gradients, not the real model"
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
    """Returns the claim and its worth, what was shown of it, the verdict and the utility."""
    claim, headline, verdict = report.claim, report.headline, report.verdict
    detectable = verdict.detectable_epsilon
    power = format_percent(verdict.power)
    images = claim.records - claim.canary_records
    alone = words.alone(images, claim.epsilon_without_canaries, claim.canary_records)
    nothing = words.learning(report.utility)
    return [
        f"Claim: epsilon <= {format_upper(claim.epsilon)} at delta {format_value(claim.delta)}; "
        + words.beside_crops(claim.epsilon_amplified, claim.epsilon_without_crop),
        "Records: "
        + words.records(claim.records, claim.canary_records, claim.canaries)
        + ("" if alone is None else f"; {alone}"),
        f"Worth: {words.worth(claim)}",
        *(f"Attacked: {title}: {rest}" for title, rest in words.attacked(report)),
        f"Headline: epsilon >= {_lower(headline.epsilon_lower)} with "
        f"{format_confidence(headline.confidence)} confidence "
        f"({headline.attack}{_PROBED if headline.attack == 'probe' else ''}, "
        f"{headline.estimator}, {headline.validity})",
        _conformance(report),
        "Detectable: "
        + (
            f"no true epsilon with {power} power"
            if detectable is None
            else f"a true epsilon from {format_upper(detectable)} on, with {power} power, if only "
            "the noise is less"
        ),
        f"Not probed: {'; '.join(verdict.not_probed)}",
        _utility(report.utility),
        *([] if nothing is None else [f"Warning: {nothing}"]),
        f"Verdict: {verdict.status.upper()}: {verdict.detail}",
        "Note: a lower bound never certifies epsilon",
    ]


def _utility(utility: Utility) -> str:
    """Returns the mIoU of the model and of its twins."""
    twins = (
        ("without noise", utility.miou_without_noise),
        ("without credit for the crop", utility.miou_without_crop_credit),
    )
    beside = "".join(f", {name} {value:.3f}" for name, value in twins if value is not None)
    constant = f"{utility.miou_constant:.3f} of the commonest class everywhere"
    return f"Utility: mIoU {utility.miou:.3f}{beside}, {constant} ({utility.images} images)"


def _conformance(report: AuditReport) -> str:
    """Returns how many checks passed, and the delivered epsilon where it was measured."""
    found = report.conformance
    failed = [check.name for check in found.checks if check.status == "fail"]
    passed = sum(check.status == "pass" for check in found.checks)
    shown = f"Conformance: {passed} of {len(found.checks)} checks pass"
    if failed:
        shown += f", FAILED: {', '.join(failed)}"
    if found.delivered is not None:
        low, high = found.delivered.epsilon_low, found.delivered.epsilon_high
        least = "infinity" if low is None else _lower(low)
        most = "infinity" if high is None else format_upper(high)
        shown += f"; delivered epsilon {least}" + ("" if low is None else f" to {most}")
    return shown


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

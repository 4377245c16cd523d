"""The report in the terminal: a short table, which also reads well in a log file."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cropaudit.audit.results.result import Attack, AuditReport
from cropaudit.reports.text import words
from cropaudit.reports.text.bounds import lower
from cropaudit.reports.text.numbers import (
    format_confidence,
    format_percent,
    format_upper,
    format_value,
)
from cropaudit.reports.text.tables import Table, print_lines, print_table

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_summary", "summary_lines"]

_PROBED = " with worst-case gradients, not the real model"
_STYLES = {"violation": "bold red", "consistent": "bold green", "inconclusive": "bold yellow"}


def print_summary(report: AuditReport, console: "Console") -> None:
    """Prints the attacks, then the claim, the headline and the verdict.

    Args:
        report: The audit's result.
        console: Where to; colours appear only if it is a terminal.
    """
    print_table(_table(report), console)
    console.print()
    print_lines(summary_lines(report), console, {"Verdict": _STYLES[report.verdict.status]})


def summary_lines(report: AuditReport) -> Iterator[tuple[str, str]]:
    """Yields names and words: the claim, what was shown of it, the verdict and the utility."""
    claim, headline, verdict = report.claim, report.headline, report.verdict
    power = format_percent(verdict.power)
    accounted = words.beside_crops(claim.epsilon_amplified, claim.epsilon_without_crop)
    stated = f"epsilon <= {format_upper(claim.epsilon)} at delta {format_value(claim.delta)}"
    yield "Claim", f"{stated}; {accounted}"
    images = claim.records - claim.canary_records
    alone = words.alone(images, claim.epsilon_without_canaries, claim.canary_records)
    told = words.records(claim.records, claim.canary_records, claim.canaries)
    yield "Records", told if alone is None else f"{told}; {alone}"
    yield "Worth", words.worth(claim)
    yield from (("Attacked", f"{title}: {rest}") for title, rest in words.attacked(report))
    yield (
        "Headline",
        f"epsilon >= {lower(headline.epsilon_lower)} with "
        f"{format_confidence(headline.confidence)} confidence "
        f"({headline.attack}{_PROBED if headline.attack == 'probe' else ''}, "
        f"{headline.estimator}, {headline.validity})",
    )
    yield "Conformance", _conformance(report)
    if verdict.detectable_epsilon is None:
        yield "Detectable", f"no true epsilon with {power} power"
    else:
        least = format_upper(verdict.detectable_epsilon)
        on = f"on, with {power} power, if only the noise is less"
        yield "Detectable", f"a true epsilon from {least} {on}"
    yield "Not probed", "; ".join(verdict.not_probed)
    yield "Utility", words.utility(report.utility)
    nothing = words.learning(report.utility)
    if nothing is not None:
        yield "Warning", nothing
    yield "Verdict", f"{verdict.status.upper()}: {verdict.detail}"
    yield "Note", words.NOTE


def _conformance(report: AuditReport) -> str:
    """Returns how many checks passed, and the delivered epsilon where it was measured."""
    found = report.conformance
    failed = [check.name for check in found.checks if check.status == "fail"]
    passed = sum(check.status == "pass" for check in found.checks)
    shown = f"{passed} of {len(found.checks)} checks pass"
    if failed:
        shown += f", FAILED: {', '.join(failed)}"
    if found.delivered is not None:
        ends = words.delivered_ends(found.delivered.epsilon_low, found.delivered.epsilon_high)
        shown += f"; delivered epsilon {ends}"
    return shown


def _table(report: AuditReport) -> Table:
    """Returns one row for every attack."""
    columns = ("Attack", "Games", "AUC", "epsilon >=", "Estimator")
    rows = [_row(attack) for attack in report.attacks]
    return Table(columns, rows, right=columns[1:4], fold=("Attack", "Estimator"))


def _row(attack: Attack) -> tuple[str, ...]:
    best = next(iter(attack.bounds), None)  # the one that decides
    games = f"{attack.members:,} + {attack.nonmembers:,}"
    if best is None:
        return attack.title, games, f"{attack.auc:.3f}", "-", "no bound"
    estimator = f"{best.estimator}, {best.validity}"
    return attack.title, games, f"{attack.auc:.3f}", lower(best.epsilon), estimator

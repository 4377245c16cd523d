"""Attacks on one trained run for a terminal: who attacked, and what the scores show."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cropaudit.attacks.registry import OneRun
from cropaudit.audit.results.result import Attack
from cropaudit.audit.runs.attack_verdict import Judged
from cropaudit.reports.text import words
from cropaudit.reports.text.bounds import headline_words, lower, result_words
from cropaudit.reports.text.intervals import auc_interval
from cropaudit.reports.text.numbers import format_confidence, format_upper, format_value
from cropaudit.reports.text.tables import Table, print_lines, print_table

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_attacks", "print_known", "summary_lines"]


def print_attacks(found: Judged, attacks: Sequence[OneRun], console: "Console") -> None:
    """Prints one row for each attack, then the headline beside the claim and what it means.

    Args:
        found: What the scores show.
        attacks: What was played.
        console: Where to.
    """
    print_known(attacks, console)
    console.print()
    print_table(_table(found), console)
    console.print()
    style = "bold red" if found.found.contradicted else "bold green"
    print_lines(summary_lines(found), console, {"Result": style})


def summary_lines(found: Judged) -> Iterator[tuple[str, str]]:
    """Yields names and words: the headline, the claim, the result."""
    claim = found.claim
    yield "Headline", headline_words(found.found)
    stated = f"epsilon <= {format_upper(claim.epsilon)} at delta {format_value(claim.delta)}"
    yield "Claim", f"{stated}, as {claim.kind}"
    yield "Result", result_words(found.found, found.detail)
    yield "Note", words.NOTE


def print_known(attacks: Sequence[OneRun], console: "Console") -> None:
    """Prints attacks by what their adversaries see and know."""
    lines = []
    for adversary in dict.fromkeys(item.adversary for item in attacks):
        lines.append(("Adversary", adversary))
        for item in attacks:
            source = f" (after {item.source})" if item.source else ""
            if item.adversary == adversary:
                lines.append((f"  {item.name}", f"{item.beside}{source}"))
    print_lines(lines, console)


def _table(found: Judged) -> Table:
    confidence = format_confidence(found.found.confidence)
    columns = ("Attack", "Canaries", "AUC", "epsilon >=", "at most", "exact >=", "at most ")
    return Table(
        columns,
        [_row(attack, found.found.confidence) for attack in found.attacks],
        right=columns[1:],
        caption=f"Each bound alone at {confidence}: epsilon by one-run-f-dp, given the claimed "
        "family of mechanisms; exact by one-run, which assumes nothing about them. At most: what "
        "so many canaries can show, however good the attack. AUC with Hoeffding's interval.",
    )


def _row(attack: Attack, confidence: float) -> tuple[str, ...]:
    low, high = auc_interval(attack.auc, attack.members, attack.nonmembers, confidence)
    exact = next(bound for bound in attack.bounds if bound.validity == "exact")
    cells = [
        (lower(bound.epsilon), "none" if bound.cap is None else format_upper(bound.cap))
        for bound in (attack.bounds[0], exact)
    ]
    return (
        attack.name,
        f"{attack.members} + {attack.nonmembers}",
        f"{attack.auc:.3f} ({low:.2f} to {high:.2f})",
        *cells[0],
        *cells[1],
    )

"""Attacks on one trained run for a terminal: who attacked, and what the scores show."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cropaudit.audit.attack_names import KnownAttack
from cropaudit.audit.attack_verdict import Judged
from cropaudit.audit.result import Attack, Bound
from cropaudit.reports.intervals import auc_interval
from cropaudit.reports.numbers import format_confidence, format_lower, format_upper, format_value

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["print_attacks", "print_known", "summary_lines"]


def print_attacks(found: Judged, attacks: Sequence[KnownAttack], console: "Console") -> None:
    """Prints one row for each attack, then the headline beside the claim and what it means.

    Args:
        found: What the scores show.
        attacks: What was played.
        console: Where to.
    """
    print_known(attacks, console)
    console.print()
    console.print(_table(found))
    console.print()
    style = "bold red" if found.contradicted else "bold green"
    for name, words in summary_lines(found):
        _print(name, words, style if name == "Result" else "", console)


def summary_lines(found: Judged) -> Iterator[tuple[str, str]]:
    """Yields names and words: the headline, the claim, the result."""
    best, claim = found.headline, found.claim
    shown = format_lower(max(best.epsilon_lower, 0.0))
    yield (
        "Headline",
        f"epsilon >= {shown} at delta {format_value(best.delta)} with "
        f"{format_confidence(best.confidence)} confidence ({best.attack}, {best.estimator}, "
        f"{best.validity}; {best.correction})",
    )
    stated = f"epsilon <= {format_upper(claim.epsilon)} at delta {format_value(claim.delta)}"
    yield "Claim", f"{stated}, as {claim.kind}"
    if found.contradicted:
        yield "Result", f"CLAIM CONTRADICTED: {found.detail}"
    elif not found.could_contradict:
        yield "Result", f"claim not contradicted, and it could not have been: {_deaf(found)}"
    elif best.epsilon_lower > 0:
        more = "a better attack or more canaries may show more"
        yield "Result", f"claim not contradicted; the scores show {shown} of it, and {more}"
    else:
        weak = "which may be the attack's weakness or too few canaries"
        yield "Result", f"claim not contradicted; the scores show nothing, {weak}{_at_most(found)}"
    yield "Note", "a lower bound never certifies epsilon"


def _deaf(found: Judged) -> str:
    """Says that no scores could have contradicted the claim, and how many canaries could."""
    canaries = max(attack.members + attack.nonmembers for attack in found.attacks)
    needed = found.canaries_needed
    more = "no number up to 65,536 would" if needed is None else f"{needed:,} would"
    return (
        f"{canaries:,} canaries could not contradict {format_upper(found.claim.epsilon)} by this "
        f"test even without an error; {more}"
    )


def _at_most(found: Judged) -> str:
    """Returns what the deciding estimator could have shown at most, if that is limited."""
    caps = [attack.bounds[0].cap for attack in found.attacks]
    known = [cap for cap in caps if cap is not None]
    if len(known) < len(caps):
        return ""
    return f"; so many canaries could have shown {format_upper(max(known))} at most"


def print_known(attacks: Sequence[KnownAttack], console: "Console") -> None:
    """Prints attacks by what their adversaries see and know."""
    for words in dict.fromkeys(item.adversary for item in attacks):
        _print("Adversary", words, "", console)
        for item in attacks:
            if item.adversary == words:
                source = f" (after {item.source})" if item.source else ""
                _print(f"  {item.name}", f"{item.beside}{source}", "", console)


def _table(found: Judged) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("Attack", no_wrap=True)
    for title in ("Canaries", "AUC", "epsilon >=", "at most", "exact >=", "at most"):
        table.add_column(title, justify="right", no_wrap=True)
    for attack in found.attacks:
        table.add_row(*(Text(cell) for cell in _row(attack, found.headline.confidence)))
    confidence = format_confidence(found.headline.confidence)
    table.caption = (
        f"Each bound alone at {confidence}: epsilon by one-run-f-dp, given the claimed family of "
        "mechanisms; exact by one-run, which assumes nothing about them. At most: what so many "
        "canaries can show, however good the attack. AUC with Hoeffding's interval."
    )
    table.caption_justify = "left"
    return table


def _row(attack: Attack, confidence: float) -> tuple[str, ...]:
    low, high = auc_interval(attack.auc, attack.members, attack.nonmembers, confidence)
    family, exact = attack.bounds
    return (
        attack.name,
        f"{attack.members} + {attack.nonmembers}",
        f"{attack.auc:.3f} ({low:.2f} to {high:.2f})",
        format_lower(max(family.epsilon, 0.0)),
        _cap(family),
        format_lower(max(exact.epsilon, 0.0)),
        _cap(exact),
    )


def _cap(bound: Bound) -> str:
    return "none" if bound.cap is None else format_upper(bound.cap)


def _print(name: str, rest: str, style: str, console: "Console") -> None:
    from rich.text import Text

    text = Text(f"{name}: ", style="bold")
    text.append(rest, style=style)
    console.print(text, highlight=False)

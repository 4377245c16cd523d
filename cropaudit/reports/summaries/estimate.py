"""What scores show, for a terminal or a log file: of any origin, or of attacks on one run.

Lower bounds are rounded down, claims, caps and p-values up; nothing printed says more than what was
computed.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cropaudit.audit.results.estimate_result import AttackEstimate, Estimate
from cropaudit.audit.results.result import Bound
from cropaudit.reports.text import words
from cropaudit.reports.text.bounds import (
    bound_note,
    headline_words,
    limit_words,
    lower,
    p_value_words,
    result_words,
)
from cropaudit.reports.text.intervals import auc_interval
from cropaudit.reports.text.numbers import format_confidence, format_upper, format_value
from cropaudit.reports.text.tables import Styled, Table, print_lines, print_table, print_text

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_estimate", "summary_lines"]

_MEANINGS = {
    "exact": "the confidence holds at every number of trials, whatever the mechanism",
    "model-based": "the number holds only if what ran is what the estimator models",
}
_PLACES = 20  # positions shown
_REVERSED = (
    "members score lower here than nonmembers; if low was to mean member, negate the scores of "
    "fresh trials: a sign chosen on these voids the confidence"
)


def print_estimate(found: Estimate, console: "Console") -> None:
    """Prints every attack's estimates, then the headline beside the claim and what it means."""
    for attack in found.attacks:
        _print_attack(attack, found, console)
    style = "bold red" if found.contradicted else "bold green"
    styles = {} if found.claim is None else {"Result": style}
    print_lines(summary_lines(found), console, styles)


def summary_lines(found: Estimate) -> Iterator[tuple[str, str]]:
    """Yields names and words: the headline, the claim, the result, and what must hold for them."""
    yield "Headline", headline_words(found)
    yield "Claim", _claim(found)
    if found.mechanism is not None:
        yield "Mechanism", found.mechanism
    yield "Result", result_words(found)
    bounds = [bound for attack in found.attacks for bound in attack.bounds]
    validities = {bound.validity for bound in bounds}
    yield from ((name, meaning) for name, meaning in _MEANINGS.items() if name in validities)
    yield f"{bounds[0].estimator} assumes", bounds[0].assumes
    if any(bound.detectable is not None for bound in bounds):
        unprobed = "; ".join(found.not_probed)
        yield "Finds from", f"found with 90% power {found.power_holds}; not probed: {unprobed}"
    yield "Note", words.NOTE


def _claim(found: Estimate) -> str:
    if found.claim is None:
        return "none; no epsilon and no mechanism was stated"
    told = "as stated"
    if not found.claim_stated and found.game_epsilon is not None:
        shown = format_value(found.game_epsilon)
        told = f"of the stated mechanism by the accountant; its game can show {shown}"
    return f"epsilon <= {format_upper(found.claim)}, {told}"


def _print_attack(attack: AttackEstimate, found: Estimate, console: "Console") -> None:
    low, high = auc_interval(attack.auc, attack.members, attack.nonmembers)
    trials = f"{attack.members:,} members + {attack.nonmembers:,} nonmembers"
    auc = f"AUC {attack.auc:.3f} ({low:.3f} to {high:.3f})"
    print_lines([(attack.attack or "Scores", f"{trials}, {auc}")], console)
    print_table(_bounds_table(attack.bounds), console)
    print_text("* decides: chosen before the scores were seen", console, "dim")
    for item in attack.limits:
        print_text(f"- {limit_words(item)}", console)
    if attack.limits:
        print_text("  each if all else is as claimed", console, "dim")
    if attack.positions:
        _print_positions(attack, console)
    lines = [] if attack.p_value is None else [("p-value of the claim", _p_values(attack, found))]
    if high < 0.5 and attack.bounds[0].epsilon == 0:
        lines.append(("Note", _REVERSED))
    lines += [("Skipped", f"{item.estimator}: {item.needs}") for item in attack.skipped]
    print_lines(lines, console)
    console.print()


def _bounds_table(bounds: Sequence[Bound]) -> Table:
    columns = ("Estimator", "epsilon >=", "Conf.", "Cap", "Finds from", "Validity", "Note")
    first, *others = (_bound_row(bound, deciding=at == 0) for at, bound in enumerate(bounds))
    strong = tuple(Styled(((cell, "bold"),)) for cell in first)
    fold = ("Estimator", "Finds from", "Note")
    return Table(columns, [strong, *others], right=columns[1:5], fold=fold)


def _bound_row(bound: Bound, *, deciding: bool) -> tuple[str, ...]:
    return (
        bound.estimator + (" *" if deciding else ""),
        lower(bound.epsilon),
        format_confidence(bound.confidence),
        "none" if bound.cap is None else format_upper(bound.cap),
        "-" if bound.detectable is None else format_upper(bound.detectable, 2),
        bound.validity,
        bound_note(bound),
    )


def _p_values(attack: AttackEstimate, found: Estimate) -> str:
    alone = p_value_words(attack.p_value)
    if attack.corrected_p_value is None or len(found.attacks) == 1:
        return alone
    together = p_value_words(attack.corrected_p_value)
    many = f"{len(found.attacks)} attacks (Holm)"
    return f"{alone} for this attack alone, {together} corrected for {many}"


def _print_positions(attack: AttackEstimate, console: "Console") -> None:
    loud = sorted(attack.positions, key=lambda item: (-item.simultaneous, -item.epsilon))
    rows = [
        (
            item.position,
            f"{item.members:,} + {item.nonmembers:,}",
            lower(item.epsilon),
            lower(item.simultaneous),
            p_value_words(item.p_value),
        )
        for item in loud[:_PLACES]
    ]
    columns = ("Position", "Trials", "epsilon >=, alone", "jointly", "p, corrected")
    print_table(Table(columns, rows, right=columns[1:], fold=("Position",)), console)
    if len(loud) > _PLACES:
        print_text(f"{len(loud) - _PLACES} quieter positions in --json", console)

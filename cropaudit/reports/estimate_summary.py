"""What scores show, for a terminal or a log file.

Lower bounds are rounded down, claims, caps and p-values up; nothing printed says more than what was
computed.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cropaudit.audit.estimate_result import AttackEstimate, Estimate, Inversion
from cropaudit.audit.result import Bound
from cropaudit.reports.intervals import auc_interval
from cropaudit.reports.numbers import (
    format_confidence,
    format_lower,
    format_upper,
    format_value,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["print_estimate", "short_note", "summary_lines"]

MEANINGS = {
    "exact": "the confidence holds at every number of trials, whatever the mechanism",
    "model-based": "the number holds only if what ran is what the estimator models",
    "credible": "a posterior probability under a prior, which may overclaim more often",
    "asymptotic": "the confidence is approximate, and overclaims at small counts",
}
_PLACES = 20  # positions shown
_REWORDED = (
    (r"fixed rank at rates ([^,;]+), side (\w+)(, corrected for)?", r"rank at rate \1, \2"),
    (
        r"fixed rank at rates ([^,;]+),(?:[^;]*,)? ([^,;]+), side (\w+)(, corrected for)?",
        r"ranks at rates \1 .. \2, \3",
    ),
    (r"given: (\S+), both sides", r"threshold \1, both"),
    (r"given: (\S+)", r"threshold \1"),
    (r"learned on (\S+) of the scores, tested on the rest", r"threshold learned on \1"),
    (r"hits above (\d+) fixed ranks, weighted", r"\1 ranks, weighted"),
)


def print_estimate(found: Estimate, console: "Console") -> None:
    """Prints every attack's estimates, then the headline beside the claim and what it means.

    Args:
        found: What the scores show.
        console: Where to; colours appear only if it is a terminal.
    """
    for attack in found.attacks:
        _print_attack(attack, found, console)
    style = ""
    if found.claim is not None:
        style = "bold red" if found.contradicted else "bold green"
    for line in summary_lines(found):
        name, _, rest = line.partition(": ")
        _print(f"{name}: ", rest, style if name == "Result" else "", console)


def summary_lines(found: Estimate) -> list[str]:
    """Returns the headline, the claim, the result, and what must hold for them."""
    lines = [_headline(found), _claim(found)]
    if found.mechanism is not None:
        lines.append(f"Mechanism: {found.mechanism}")
    lines.append(_result(found))
    validities = {bound.validity for attack in found.attacks for bound in attack.bounds}
    lines += [f"{name}: {words}" for name, words in MEANINGS.items() if name in validities]
    deciding = found.attacks[0].bounds[0]
    lines.append(f"{deciding.estimator} assumes: {deciding.assumes}")
    if any(bound.detectable is not None for attack in found.attacks for bound in attack.bounds):
        lines.append(
            f"Finds from: found with 90% power {found.power_holds}; not probed: "
            f"{'; '.join(found.not_probed)}"
        )
    lines.append("Note: a lower bound never certifies epsilon")
    return lines


def _headline(found: Estimate) -> str:
    summit = found.summit
    where = [summit.attack] if summit.attack else []
    where += [f"position {summit.position}"] if summit.position is not None else []
    ways = ", ".join([*where, summit.estimator, summit.validity])
    return (
        f"Headline: epsilon >= {format_lower(summit.epsilon)} at delta "
        f"{format_value(found.delta)} with {format_confidence(found.confidence)} confidence "
        f"({ways}; {summit.correction})"
    )


def _claim(found: Estimate) -> str:
    if found.claim is None:
        return f"Claim: none; {found.claim_words}"
    return f"Claim: epsilon <= {format_upper(found.claim)}, {found.claim_words}"


def _result(found: Estimate) -> str:
    shown = format_lower(found.summit.epsilon)
    if found.claim is None:
        nothing = f"they show nothing{_at_most(found)}"
        what = nothing if found.summit.epsilon == 0 else f"they show at least {shown}"
        return f"Result: nothing was claimed for the scores to contradict; {what}"
    if found.contradicted:
        return f"Result: CLAIM CONTRADICTED: {_ground(found)}"
    if found.summit.epsilon > found.claim:
        return (
            f"Result: claim not contradicted by its own test, though the bound of {shown} is above "
            "it: what the bound assumes of the mechanism may not hold"
        )
    if all(item.could_contradict is False for item in found.attacks):
        return f"Result: claim not contradicted, and it could not have been: {_deaf(found)}"
    if found.summit.epsilon == 0:
        return (
            "Result: claim not contradicted; the scores show nothing, which may be the attack's "
            f"weakness{_at_most(found)}"
        )
    return (
        f"Result: claim not contradicted; the scores show {shown} of it, and a better attack or "
        "more trials may show more"
    )


def _deaf(found: Estimate) -> str:
    """Says that no scores could have contradicted the claim, and how many trials could."""
    best = max(found.attacks, key=lambda item: item.members + item.nonmembers)
    words = "canaries" if found.trials == "one-run" else "trials"
    held = "the claim" if found.claim is None else format_upper(found.claim)
    needed = best.trials_needed
    more = "no number up to 131,072 would" if needed is None else f"{needed:,} would"
    return (
        f"{best.members + best.nonmembers:,} {words} could not contradict {held} by this test "
        f"even without an error; {more}"
    )


def _at_most(found: Estimate) -> str:
    """Returns what the deciding estimator could have shown at most, if that is limited."""
    caps = [item.bounds[0].cap for item in found.attacks]
    known = [cap for cap in caps if cap is not None]
    if len(known) < len(caps):
        return ""
    return f"; so many trials could have shown {format_upper(max(known))} at most"


def _ground(found: Estimate) -> str:
    """Returns how sure the contradiction is, and what it assumes."""
    chance = format_value(1 - found.confidence)
    words = f"were it true, scores that tell so much would come at most {chance} of the time"
    assumed = "nothing about what ran"
    if found.ground != "assumption-free" and found.claim_words == "as stated":
        assumed = "that the stated mechanism ran, at whatever noise"
    elif found.ground != "assumption-free":
        assumed = "that the mechanism's own pair of worlds was played, in one order throughout"
    words = f"{words}; this assumes {assumed}"
    if found.claim is not None and found.summit.epsilon <= found.claim:
        words += ". What is rejected is the claim's whole curve, which the headline cannot tell"
    return words


def _print_attack(attack: AttackEstimate, found: Estimate, console: "Console") -> None:
    low, high = auc_interval(attack.auc, attack.members, attack.nonmembers)
    _print(
        f"{attack.attack or 'Scores'}: ",
        f"{attack.members:,} members + {attack.nonmembers:,} nonmembers, AUC {attack.auc:.3f} "
        f"({low:.3f} to {high:.3f})",
        "",
        console,
    )
    console.print(_bounds_table(attack.bounds))
    console.print("* decides: chosen before the scores were seen", highlight=False, style="dim")
    for item in attack.inversions:
        console.print(f"- {_inversion(item)}", highlight=False, markup=False)
    if attack.inversions:
        console.print("  each if all else is as claimed", highlight=False, style="dim")
    if attack.positions:
        _print_positions(attack, console)
    if attack.p_value is not None:
        _print("p-value of the claim: ", _p_values(attack, found), "", console)
    if high < 0.5 and attack.bounds[0].epsilon == 0:
        words = (
            "members score lower here than nonmembers; if low was to mean member, negate the "
            "scores of fresh trials: a sign chosen on these voids the confidence"
        )
        _print("Note: ", words, "", console)
    for text in attack.skipped:
        _print("Skipped: ", text, "", console)
    console.print()


def _print(name: str, rest: str, style: str, console: "Console") -> None:
    from rich.text import Text

    # Text, not str: a name with brackets is no markup.
    text = Text(name, style="bold")
    text.append(rest, style=style)
    console.print(text, highlight=False)


def _bounds_table(bounds: Sequence[Bound]) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    # Narrow gaps leave the notes more room.
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("Estimator", overflow="fold")
    for title in ("epsilon >=", "Conf.", "Cap"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("Finds from", justify="right", min_width=5, max_width=6)
    table.add_column("Validity", no_wrap=True)
    table.add_column("Note", overflow="fold", ratio=1)
    for index, bound in enumerate(bounds):
        style = "bold" if index == 0 else ""
        cells = _bound_row(bound, deciding=index == 0)
        table.add_row(*(Text(cell) for cell in cells), style=style)
    return table


def _bound_row(bound: Bound, *, deciding: bool) -> tuple[str, ...]:
    return (
        bound.estimator + (" *" if deciding else ""),
        format_lower(bound.epsilon),
        format_confidence(bound.confidence),
        "none" if bound.cap is None else format_upper(bound.cap),
        "-" if bound.detectable is None else format_upper(bound.detectable, 2),
        bound.validity,
        short_note(bound.note),
    )


def short_note(note: str) -> str:
    """Returns a bound's note in fewer words; what is not known here stays as it is.

    >>> short_note("fixed rank at rates 0.3, 0.1, 0.01, side high, corrected for")
    'ranks at rates 0.3 .. 0.01, high'
    """
    for pattern, words in _REWORDED:
        note = re.sub(pattern, words, note)
    return note


def _inversion(item: Inversion) -> str:
    if item.limit is None:
        return item.words
    limit = (format_upper if item.side == "at most" else format_lower)(item.limit, 4)
    words = f"the {item.axis} is {item.side} {limit}; the claim says {format_value(item.claimed)}"
    return f"{words}: contradicted" if item.contradicts else words


def _p_values(attack: AttackEstimate, found: Estimate) -> str:
    alone = _p_value(attack.p_value)
    if attack.corrected_p_value is None or len(found.attacks) == 1:
        return alone
    return (
        f"{alone} for this attack alone, {_p_value(attack.corrected_p_value)} corrected for "
        f"{len(found.attacks)} attacks (Holm)"
    )


def _p_value(value: float | None) -> str:
    if value is None:
        return "-"
    return format_value(1.0) if value >= 1 else format_upper(value, 2)


def _print_positions(attack: AttackEstimate, console: "Console") -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("Position", overflow="fold")
    for title in ("Trials", "epsilon >=, alone", "jointly", "p, corrected"):
        table.add_column(title, justify="right", no_wrap=True)
    loud = sorted(attack.positions, key=lambda item: (-item.simultaneous, -item.epsilon))
    for item in loud[:_PLACES]:
        cells = (
            item.position,
            f"{item.members:,} + {item.nonmembers:,}",
            format_lower(item.epsilon),
            format_lower(item.simultaneous),
            _p_value(item.p_value),
        )
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)
    if len(loud) > _PLACES:
        console.print(f"{len(loud) - _PLACES} quieter positions in --json", highlight=False)

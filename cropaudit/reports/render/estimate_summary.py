"""What scores show, for a terminal or a log file.

Lower bounds are rounded down, claims, caps and p-values up; nothing printed says more than what was
computed.
"""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cropaudit.audit.results.estimate_result import AttackEstimate, Estimate, Inversion
from cropaudit.audit.results.result import Bound
from cropaudit.reports.render.tables import Styled, Table, print_lines, print_table, print_text
from cropaudit.reports.text import words
from cropaudit.reports.text.intervals import auc_interval
from cropaudit.reports.text.numbers import (
    format_confidence,
    format_lower,
    format_upper,
    format_value,
)

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_estimate", "short_note", "summary_lines"]

MEANINGS = {
    "exact": "the confidence holds at every number of trials, whatever the mechanism",
    "model-based": "the number holds only if what ran is what the estimator models",
    "credible": "a posterior probability under a prior, which may overclaim more often",
    "asymptotic": "the confidence is approximate, and overclaims at small counts",
}
_PLACES = 20  # positions shown
_TRIALS = {"one-run": "canaries"}
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
    styles = {}
    if found.claim is not None:
        styles["Result"] = "bold red" if found.contradicted else "bold green"
    print_lines(summary_lines(found), console, styles)


def summary_lines(found: Estimate) -> Iterator[tuple[str, str]]:
    """Yields names and words: the headline, the claim, the result, and what must hold for them."""
    yield "Headline", _headline(found)
    claimed = "none" if found.claim is None else f"epsilon <= {format_upper(found.claim)}"
    yield "Claim", f"{claimed}{'; ' if found.claim is None else ', '}{found.claim_words}"
    if found.mechanism is not None:
        yield "Mechanism", found.mechanism
    yield "Result", _result(found)
    bounds = [bound for attack in found.attacks for bound in attack.bounds]
    validities = {bound.validity for bound in bounds}
    yield from ((name, meaning) for name, meaning in MEANINGS.items() if name in validities)
    yield f"{bounds[0].estimator} assumes", bounds[0].assumes
    if any(bound.detectable is not None for bound in bounds):
        unprobed = "; ".join(found.not_probed)
        yield "Finds from", f"found with 90% power {found.power_holds}; not probed: {unprobed}"
    yield "Note", words.NOTE


def _headline(found: Estimate) -> str:
    summit = found.summit
    where = [summit.attack] if summit.attack else []
    where += [f"position {summit.position}"] if summit.position is not None else []
    ways = ", ".join([*where, summit.estimator, summit.validity])
    return (
        f"epsilon >= {format_lower(summit.epsilon)} at delta "
        f"{format_value(found.delta)} with {format_confidence(found.confidence)} confidence "
        f"({ways}; {summit.correction})"
    )


def _result(found: Estimate) -> str:
    shown = format_lower(found.summit.epsilon)
    most = words.at_most([attack.bounds[0] for attack in found.attacks], "trials")
    if found.claim is None:
        what = f"nothing{most}" if found.summit.epsilon == 0 else f"at least {shown}"
        return f"nothing was claimed for the scores to contradict; they show {what}"
    if found.contradicted:
        return f"CLAIM CONTRADICTED: {_ground(found)}"
    if found.summit.epsilon > found.claim:
        return (
            f"claim not contradicted by its own test, though the bound of {shown} is above it: "
            "what the bound assumes of the mechanism may not hold"
        )
    if all(item.could_contradict is False for item in found.attacks):
        best = max(found.attacks, key=lambda item: item.members + item.nonmembers)
        count, of = best.members + best.nonmembers, _TRIALS.get(found.trials, "trials")
        why = words.could_not(count, of, found.claim, best.trials_needed, 131_072)
        return f"claim not contradicted, and it could not have been: {why}"
    if found.summit.epsilon == 0:
        weak = "which may be the attack's weakness"
        return f"claim not contradicted; the scores show nothing, {weak}{most}"
    return (
        f"claim not contradicted; the scores show {shown} of it, and a better attack or more "
        "trials may show more"
    )


def _ground(found: Estimate) -> str:
    """Returns how sure the contradiction is, and what it assumes."""
    chance = format_value(1 - found.confidence)
    told = f"were it true, scores that tell so much would come at most {chance} of the time"
    assumed = "nothing about what ran"
    if found.ground != "assumption-free" and found.claim_words == "as stated":
        assumed = "that the stated mechanism ran, at whatever noise"
    elif found.ground != "assumption-free":
        assumed = "that the mechanism's own pair of worlds was played, in one order throughout"
    told += f"; this assumes {assumed}"
    if found.claim is not None and found.summit.epsilon <= found.claim:
        told += ". What is rejected is the claim's whole curve, which the headline cannot tell"
    return told


def _print_attack(attack: AttackEstimate, found: Estimate, console: "Console") -> None:
    low, high = auc_interval(attack.auc, attack.members, attack.nonmembers)
    trials = f"{attack.members:,} members + {attack.nonmembers:,} nonmembers"
    auc = f"AUC {attack.auc:.3f} ({low:.3f} to {high:.3f})"
    print_lines([(attack.attack or "Scores", f"{trials}, {auc}")], console)
    print_table(_bounds_table(attack.bounds), console)
    print_text("* decides: chosen before the scores were seen", console, "dim")
    for item in attack.inversions:
        print_text(f"- {_inversion(item)}", console)
    if attack.inversions:
        print_text("  each if all else is as claimed", console, "dim")
    if attack.positions:
        _print_positions(attack, console)
    lines = []
    if attack.p_value is not None:
        lines.append(("p-value of the claim", _p_values(attack, found)))
    if high < 0.5 and attack.bounds[0].epsilon == 0:
        reversed_words = (
            "members score lower here than nonmembers; if low was to mean member, negate the "
            "scores of fresh trials: a sign chosen on these voids the confidence"
        )
        lines.append(("Note", reversed_words))
    print_lines([*lines, *(("Skipped", text) for text in attack.skipped)], console)
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
    told = f"the {item.axis} is {item.side} {limit}; the claim says {format_value(item.claimed)}"
    return f"{told}: contradicted" if item.contradicts else told


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
    loud = sorted(attack.positions, key=lambda item: (-item.simultaneous, -item.epsilon))
    rows = [
        (
            item.position,
            f"{item.members:,} + {item.nonmembers:,}",
            format_lower(item.epsilon),
            format_lower(item.simultaneous),
            _p_value(item.p_value),
        )
        for item in loud[:_PLACES]
    ]
    columns = ("Position", "Trials", "epsilon >=, alone", "jointly", "p, corrected")
    print_table(Table(columns, rows, right=columns[1:], fold=("Position",)), console)
    if len(loud) > _PLACES:
        print_text(f"{len(loud) - _PLACES} quieter positions in --json", console)

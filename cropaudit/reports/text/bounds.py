"""Lower bounds and what they show of a claim, in words: how each came about, and the result."""

from collections.abc import Iterator, Sequence

from cropaudit.audit.results.estimate_result import Estimate, ParameterLimit
from cropaudit.estimators.bound import Bound, Cut
from cropaudit.reports.text.numbers import (
    format_confidence,
    format_lower,
    format_upper,
    format_value,
)

__all__ = ["bound_note", "headline_words", "limit_words", "lower", "p_value_words", "result_words"]

_MOST = 131_072  # trials that were tried


def lower(epsilon: float) -> str:
    """Returns a lower bound as text; below zero it says nothing."""
    return format_lower(max(epsilon, 0.0))


def p_value_words(value: float | None) -> str:
    """Returns a p-value, rounded up."""
    if value is None:
        return "-"
    return format_value(1.0) if value >= 1 else format_upper(value, 2)


def bound_note(bound: Bound) -> str:
    """Returns how a bound came about, in few words."""
    return "; ".join(_notes(bound))


def _notes(bound: Bound) -> Iterator[str]:
    if bound.few_values == 1:
        yield "all scores are alike"
    elif bound.few_values is not None:
        yield f"scores of {bound.few_values} values: a threshold given beforehand may tell more"
    if bound.outside:
        yield "no member of the family explains it; the bound is that of no family"
    elif bound.axis is not None and bound.limit is None:
        yield "no member is rejected"
    elif bound.axis is not None and bound.limit is not None:
        side = "at most" if bound.axis == "noise multiplier" else "at least"
        yield f"{bound.axis} {side} {format_value(bound.limit)}"
    if bound.cut is not None:
        yield _cut_words(bound.cut)


def _cut_words(cut: Cut) -> str:
    match cut.kind:
        case "given":
            return f"threshold {cut.threshold:.6g}" + (", both sides" if cut.two_sided else "")
        case "split":
            return f"threshold learned on {cut.share:.0%}"
        case "roc":
            return f"{cut.ranks} ranks, weighted"
        case "pairs":
            return f"{cut.pairs} pairs, in an order drawn from seed {cut.seed}"
        case "guesses":
            shares = ", ".join(f"{100 * rate:.3g}%" for rate in cut.rates)
            return f"{cut.right} of {cut.guesses} right; guessed at both ends, {shares}"
        case "ranks":
            ends = [f"{rate:.3g}" for rate in (*cut.rates[:1], *cut.rates[1:][-1:])]
            name = "rank at rate" if len(cut.rates) == 1 else "ranks at rates"
            sign = ", either sign" if cut.two_sided else ""
            return f"{name} {' .. '.join(ends)}, {cut.side}{sign}"


def limit_words(item: ParameterLimit) -> str:
    """Returns what a test says of one number of the mechanism."""
    claimed = f"the claim says {format_value(item.claimed)}"
    if item.outside:
        return f"no {item.axis} explains the scores; {claimed}"
    if item.limit is None:
        return f"nothing is shown about the {item.axis}; {claimed}"
    limit = (format_upper if item.side == "at most" else format_lower)(item.limit, 4)
    words = f"the {item.axis} is {item.side} {limit}; {claimed}"
    return f"{words}: contradicted" if item.contradicts else words


def headline_words(found: Estimate) -> str:
    """Returns the headline with all that it takes to read it."""
    best = found.headline
    where = [best.attack] if best.attack else []
    where += [f"position {best.position}"] if best.position is not None else []
    ways = ", ".join([*where, best.estimator, best.validity])
    return (
        f"epsilon >= {lower(best.epsilon_lower)} at delta {format_value(found.delta)} with "
        f"{format_confidence(found.confidence)} confidence ({ways}; {best.correction})"
    )


def result_words(found: Estimate, contradiction: str = "") -> str:
    """Returns what scores mean for the claim.

    Args:
        found: What they show.
        contradiction: Why they contradict it, if they do and that is known better.
    """
    of, shown = _trials(found), lower(found.headline.epsilon_lower)
    nothing = found.headline.epsilon_lower <= 0
    most = _at_most([attack.bounds[0] for attack in found.attacks], of)
    if found.claim is None:
        what = f"nothing{most}" if nothing else f"at least {shown}"
        return f"nothing was claimed for the scores to contradict; they show {what}"
    if found.contradicted:
        return f"CLAIM CONTRADICTED: {contradiction or _ground(found)}"
    if found.headline.epsilon_lower > found.claim:
        return (
            f"claim not contradicted by its own test, though the bound of {shown} is above it: "
            "what the bound assumes of the mechanism may not hold"
        )
    if all(item.could_contradict is False for item in found.attacks):
        return f"claim not contradicted, and it could not have been: {_could_not(found)}"
    if nothing:
        weak = f"which may be the attack's weakness or too few {of}"
        return f"claim not contradicted; the scores show nothing, {weak}{most}"
    more = f"a better attack or more {of} may show more"
    return f"claim not contradicted; the scores show {shown} of it, and {more}"


def _trials(found: Estimate) -> str:
    return "canaries" if found.trials == "one-run" else "trials"


def _could_not(found: Estimate) -> str:
    """Says that no scores could have contradicted the claim, and how many trials could."""
    best = max(found.attacks, key=lambda item: item.members + item.nonmembers)
    held = "the claim" if found.claim is None else format_upper(found.claim)
    needed = best.trials_needed
    more = f"no number up to {_MOST:,} would" if needed is None else f"{needed:,} would"
    count = f"{best.members + best.nonmembers:,} {_trials(found)}"
    return f"{count} could not contradict {held} by this test even without an error; {more}"


def _at_most(deciding: Sequence[Bound], of: str) -> str:
    """Returns what the deciding bounds could have shown at most, if that is limited."""
    caps = [bound.cap for bound in deciding if bound.cap is not None]
    if len(caps) < len(deciding):
        return ""
    return f"; so many {of} could have shown {format_upper(max(caps))} at most"


def _ground(found: Estimate) -> str:
    """Returns how sure the contradiction is, and what it assumes."""
    chance = format_value(1 - found.confidence)
    words = f"were it true, scores that tell so much would come at most {chance} of the time"
    assumed = "nothing about what ran"
    if found.ground != "assumption-free" and found.claim_stated:
        assumed = "that the stated mechanism ran, at whatever noise"
    elif found.ground != "assumption-free":
        assumed = "that the mechanism's own pair of worlds was played, in one order throughout"
    words += f"; this assumes {assumed}"
    if found.claim is not None and found.headline.epsilon_lower <= found.claim:
        words += ". What is rejected is the claim's whole curve, which the headline cannot tell"
    return words

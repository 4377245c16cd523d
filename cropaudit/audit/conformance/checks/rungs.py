"""The ladder: what an image adds whose gradient has a norm about C, and which rule that shows."""

import math
from dataclasses import dataclass

import numpy as np

from cropaudit.audit.conformance.checks.contributions import Contribution, Steps, times
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.updates import slope_of

__all__ = ["Rung", "ladder_words", "rungs"]

_SURE = 6.0


@dataclass(frozen=True)
class Rung:
    """One size of images.

    Attributes:
        norm: Of the gradient, in units of C, if small gradients are kept as they are; the size
            itself where that is not known.
        unit: In words.
        added: What one image adds.
    """

    norm: float
    unit: str
    added: Contribution


def rungs(steps: Steps, claimed: Claimed) -> list[Rung]:
    """Returns the ladder, smallest norms first."""
    seen = steps.seen
    chosen = steps.chosen("both", "ladder")
    bound = _bound(steps, claimed)
    sizes = np.unique(seen.pull_size[chosen])
    added = [steps.contribution("both", "ladder", size=float(size)) for size in sizes]
    if not added:
        return []
    error = steps.noise / np.sqrt([one.weight for one in added])
    slope = slope_of(sizes, np.array([one.value for one in added]), error)
    known = slope > 0 and bound > 0
    scale, unit = (slope / bound, "C") if known else (1.0, "(its size)")
    return [Rung(float(size * scale), unit, one) for size, one in zip(sizes, added, strict=True)]


def ladder_words(steps: Steps, claimed: Claimed, ladder: list[Rung]) -> str:
    """Returns how much an image adds at most, over which norms, and by which rule."""
    most = max(
        (
            steps.contribution("both", "stack"),
            steps.contribution("one", "stack in one layer"),
            steps.contribution("all", "everywhere"),
            # A single rung is known to a few per cent: the largest of many is not the truth.
            *(rung.added for rung in ladder if rung.added.weight > _rich(ladder)),
        ),
        key=lambda one: one.value,
    ).value
    if steps.unit is not None and claimed.max_grad_norm is not None:
        words = f"one image adds {most * steps.unit / claimed.max_grad_norm:.4f} C at most"
    else:
        words = (
            "one image adds the same whether its gradient is huge or a hundred times that "
            "(learning rate, batch or C are not claimed, so not compared with C)"
        )
    if not ladder:
        return words
    low, high = ladder[0].norm, ladder[-1].norm
    words += f", at {len(ladder)} sizes of its gradient from {times(low)} to {times(high)}"
    if ladder[0].unit == "C":
        words += " times the one from which on it is cut (12 % apart from 0.5 to 4, 50 % to 100)"
    return f"{words}; {_rule(steps, claimed, ladder)}"


def _rich(ladder: list[Rung]) -> float:
    return 4 * float(np.median([rung.added.weight for rung in ladder]))


def _rule(steps: Steps, claimed: Claimed, ladder: list[Rung]) -> str:
    """Names the rule: clipped, dropped, normalised, or another one."""
    bound = _bound(steps, claimed)
    norms = np.array([rung.norm for rung in ladder])
    added = np.array([rung.added.value for rung in ladder]) / (bound or 1.0)
    error = steps.noise / (bound or 1.0) / np.sqrt([rung.added.weight for rung in ladder])
    far = norms > 2
    if ladder[0].unit != "C":
        if np.all(np.abs(added - added.mean()) <= _SURE * error + 0.05):
            return "every gradient is scaled to one norm, small ones too"
        return "the norms could not be put in units of C"
    if np.all(np.abs(added[far]) <= _SURE * error[far]) and added.max() > 0.2:
        return (
            "gradients above C are left out, not clipped: bounded by C, so sound, but not DP-SGD "
            "as published"
        )
    apart = np.abs(added - np.minimum(norms, 1)) > _SURE * error + 0.05
    if not np.any(apart):
        return "smaller ones grow with their size, larger ones are clipped"
    return "another rule than min(1, C / norm): sound where it is bounded by C"


def _bound(steps: Steps, claimed: Claimed) -> float:
    """Returns C in units of the reading: claimed, else what the largest images add."""
    if steps.unit is not None and claimed.max_grad_norm is not None:
        return claimed.max_grad_norm / steps.unit
    stack = steps.contribution("both", "stack").value
    return stack if math.isfinite(stack) else 0.0

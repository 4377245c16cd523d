"""Do gradients and weights stay finite, whatever the images?

A NaN passes a clamp of C / norm, and its sum with any noise is NaN: whoever sees the weights knows
for sure that such an image was in a batch. Exact: no number that is not finite may occur.
"""

import numpy as np

from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.gradients import Gradients
from cropaudit.audit.conformance.observe.updates import Updates
from cropaudit.audit.conformance.outcome import Outcome, Tested
from cropaudit.audit.conformance.seen import Seen

__all__ = ["check"]

NAME = "finite updates"
_CURE = (
    "leave such an image out (torch.where(isfinite, gradient, 0)) before it is clipped, or mend "
    "the loss: divide by max(labelled pixels, 1), no square root or logarithm of 0"
)
_BATCHES = {
    "single": "one image",
    "unlabelled": "an image without a labelled pixel",
    "hard": "images whose loss is high",
    "easy": "images whose loss is next to nothing",
    "empty": "no image",
}


def check(seen: Seen, claimed: Claimed) -> Outcome:
    """Tests the weights after a trainer's steps, and a model's gradients."""
    model, updates = seen.gradients, seen.updates
    if model is None and updates is None:
        return Outcome(NAME, skipped="neither a model nor a trainer was given")
    tests, words = [], []
    if updates is not None:
        tests.append(_step_test(updates))
        words.append(f"{len(updates)} steps left finite weights")
        words.append(
            "images without a labelled pixel were among the batches"
            if updates.void
            else "the loss takes no ignored label (255), so images without labels were not tried"
        )
    if model is not None and not model.refused:
        tests.append(_model_test(model))
        words.append("gradients of the model are finite")
    return Outcome(
        NAME,
        tuple(tests),
        evidence="; ".join(words),
        undecided="" if tests else "the model gave no per-sample gradients",
        power="for the batches tried, found for sure; not seen: pixels that are NaN or infinite "
        "themselves, half precision on another device, and what only trained weights bring about",
        where=updates.where if updates is not None else model.where if model is not None else "",
    )


def _step_test(updates: Updates) -> Tested:
    broken = [str(name) for name in updates.broken]
    named = ", ".join(_BATCHES.get(name, f"usual images ({name})") for name in broken)
    return Tested(
        "every step leaves finite weights",
        float(not broken),
        f"a step on a batch with {named} leaves weights that are NaN or infinite: a gradient that "
        f"is not finite slips through the clipping, and shows for sure; {_CURE}",
    )


def _model_test(model: Gradients) -> Tested:
    wrong = ~np.isfinite(model.error)
    names = ", ".join(str(name) for name in model.parameters[wrong][:3])
    return Tested(
        "every image's gradient is finite",
        float(not wrong.any()),
        f"per-sample gradients are not finite for {int(wrong.sum())} of {len(wrong)} parameters "
        f"({names}): clipping does not bound them; {_CURE}",
    )

"""Does the gradient of one image move when another one of the batch changes?

Exact: image 0 stays bit for bit the same, the others change, and the model's output for it, the
loss's pull on that output and Opacus' gradient of it are compared. Nothing may move but rounding.
"""

import math
from dataclasses import dataclass

from cropaudit.audit.conformance.checks.per_sample_gradients import tolerance
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.gradients import Gradients
from cropaudit.audit.conformance.outcome import Outcome, Tested
from cropaudit.audit.conformance.seen import Seen

__all__ = ["check"]

NAME = "isolation"
_CURE = "use GroupNorm, or keep it in eval() after every train()"


def check(seen: Seen, claimed: Claimed) -> Outcome:
    """Tests outputs as delivered and after ``.train()``, the loss, and Opacus' gradients."""
    found = seen.gradients
    if found is None:
        return Outcome(NAME, skipped="no model was given")
    if not found.repeatable:
        words = "the model gives two outputs for one batch from one state and one seed"
        return Outcome(NAME, undecided=words, where=found.where)
    allowed = tolerance(found)
    moves = _moves(found)
    known = [move for move in moves if not math.isnan(move.shift)]
    tests = tuple(Tested(m.null, float(m.shift <= allowed), m.words) for m in known)
    largest = max((move.shift for move in known), default=0.0)
    return Outcome(
        NAME,
        tests,
        evidence=f"changing the other images moves nothing of an image by more than {largest:.0e}, "
        f"as delivered and after .train() (loss: {_REDUCTIONS[found.reduction]})",
        power=f"any shift above {allowed:.0e}, relative, on this batch is found for sure",
        where=found.where,
        figures={move.name: move.shift for move in known},
    )


@dataclass(frozen=True)
class _Move:
    """One thing that must not move, and by how much it did."""

    name: str
    shift: float
    null: str
    words: str


_REDUCTIONS = {
    "each": "one for each image",
    "mean": "a mean over images",
    "sum": "a sum over images",
    "crossing": "neither a mean nor a sum over images",
}


def _moves(found: Gradients) -> tuple[_Move, ...]:
    delivered, training = found.shift_delivered, found.shift_training
    loss = found.loss_shift
    if found.reduction == "crossing":
        loss = max(loss, 1.0)
    return (
        _Move(
            "output shift as delivered",
            delivered,
            "the output for an image does not depend on the others, in the model as delivered",
            f"{_mixer(found.mixer_delivered)} mixes the images of a batch: changing the others "
            f"moves the output for an image by {delivered:.2g}; {_CURE}",
        ),
        _Move(
            "output shift in training",
            training,
            "the output for an image does not depend on the others after .train()",
            _training_words(found),
        ),
        _Move(
            "loss shift",
            loss,
            "the loss pulls on an image's output whatever the others are",
            f"the loss crosses images: changing the others moves its pull on an image by "
            f"{found.loss_shift:.2g} ({_REDUCTIONS[found.reduction]}); divide by constants or by "
            "the image's own labelled pixels, not by the batch's",
        ),
        _Move(
            "gradient shift",
            # Opacus' two passes share neither state nor seed.
            found.gradient_shift if found.steady else math.nan,
            "Opacus' gradient of an image does not depend on the others",
            f"changing the others moves the per-sample gradient of an image by "
            f"{found.gradient_shift:.2g}",
        ),
    )


def _training_words(found: Gradients) -> str:
    mixer = _mixer(found.mixer_training)
    how = f"moves the output for an image by {found.shift_training:.2g}"
    if found.revived:
        return (
            f"{mixer} was delivered frozen by eval(), and .train(), which trainers call and Opacus "
            f"demands, revives it: it then mixes the images of a batch and {how}; override its "
            "train() to stay in evaluation mode, or use GroupNorm"
        )
    return f"after .train(), {mixer} mixes the images of a batch and {how}; {_CURE}"


def _mixer(named: str) -> str:
    return named or "a computation outside the model's layers"

"""Does anything but the noisy weights keep something of the images?

Exact: the same weights, the same random state, images that differ: buffers, and all else that the
state holds, must be the same afterwards. Of a trainer the images differ where no gradient looks, so
that the noisy weights are the same as well. Of a model its forward and backward pass may move
nothing at all, and its later outputs may not depend on what it was shown before.
"""

from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.outcome import Outcome, Tested
from cropaudit.audit.conformance.seen import Seen

__all__ = ["check"]

NAME = "kept state"
_CURE = (
    "whoever gets the model or its checkpoint gets it, without noise; do not keep it, or make it "
    "of noisy values"
)
_NAMED = 5


def check(seen: Seen, claimed: Claimed) -> Outcome:
    """Tests what a trainer and a model keep."""
    model, updates = seen.gradients, seen.updates
    if model is None and updates is None:
        return Outcome(NAME, skipped="neither a model nor a trainer was given")
    tests, words, unknown = [], [], []
    if updates is not None:
        tests.append(
            _test("the trainer's step", list(updates.kept), "steps keep nothing but noisy weights")
        )
        held = ", ".join(updates.state) or "nothing beside the weights"
        words.append(f"after steps the model's state holds {held}, none of it moved by the images")
        if not updates.state_known:
            unknown.append(
                "two runs of the trainer from one seed differ (its noise comes from a generator of "
                "its own), so what its state keeps could not be told from noise"
            )
    if model is not None:
        tests.append(
            _test("the model", list(model.kept), "a pass through the model keeps nothing of images")
        )
        tests.append(
            Tested(
                "what the model was shown before does not move what it says now",
                float(model.recalls == 0),
                f"the model's output for a batch moves by {model.recalls:.2g} with what it was "
                "shown before: one image is in the gradients of later ones, which no clipping "
                f"bounds; {_CURE}",
            )
        )
        words.append("a pass through the model keeps nothing, and later outputs do not recall it")
        if not model.repeatable:
            unknown.append(
                "the model gives two outputs for one batch from one state and one seed (a "
                "generator of its own?), so what it keeps could not be told from chance"
            )
    return Outcome(
        NAME,
        tuple(tests),
        evidence="; ".join(words),
        undecided="; ".join(unknown),
        power="any trace of the images in buffers or state_dict, and of a model in what it says "
        "next, is found for sure on these batches; not seen: files, attributes of other objects, "
        "and what a trainer keeps only of features of its own model",
        where=updates.where if updates is not None else model.where if model is not None else "",
    )


def _test(who: str, kept: list[str], null: str) -> Tested:
    more = f" and {len(kept) - _NAMED} more" if len(kept) > _NAMED else ""
    return Tested(
        null,
        float(not kept),
        f"{who} keeps what images show in {', '.join(kept[:_NAMED])}{more}: {_CURE}",
    )

"""Does anything but the noisy weights keep something of the images?

Exact: the same weights, the same random state, images that differ: buffers, and all else that the
state holds, must be the same afterwards. Of a trainer the images differ where no gradient looks, so
that the noisy weights are the same as well. Of a model its forward and backward pass may move
nothing at all, and its later outputs may not depend on what it was shown before.
"""

from collections.abc import Iterable

from cropaudit.conformance.check import Check, Observations, Outcome, PipelineClaim, Words
from cropaudit.conformance.observations.gradients import Gradients
from cropaudit.conformance.observations.updates import Updates

__all__ = ["check"]

_NAMED = 5

say = Words("""
asks: nothing but the weights keeps anything of the images: no buffer, nothing in state_dict
catches: features in a memory bank, running statistics, prototypes averaged without noise
steps?: steps keep nothing but noisy weights
steps: the trainer's step keeps what images show in {kept}: {cure}
pass?: a pass through the model keeps nothing of images
pass: the model keeps what images show in {kept}: {cure}
recalls?: what the model was shown before does not move what it says now
recalls: the model's output for a batch moves by {recalls:.2g} with what it was shown before: one
  image is in the gradients of later ones, which no clipping bounds; {cure}
cure: whoever gets the model or its checkpoint gets it, without noise; do not keep it, or make it of
  noisy values
steps.seen: after steps the model's state holds {held}, none of it moved by the images
steps.chance: two runs of the trainer from one seed differ (its noise comes from a generator of its
  own), so what its state keeps could not be told from noise
model.seen: a pass through the model keeps nothing, and later outputs do not recall it
model.chance: the model gives two outputs for one batch from one state and one seed (a generator of
  its own?), so what it keeps could not be told from chance
power: any trace of the images in buffers or state_dict, and of a model in what it says next, is
  found for sure on these batches; not seen: files, attributes of other objects, and what a trainer
  keeps only of features of its own model
""")


def _of_steps(updates: Updates, claimed: PipelineClaim, seen: Observations) -> Outcome:
    sound, kept = not updates.kept.size, _names(updates.kept)
    return Outcome(
        tests=(say.test("steps", float(sound), kept=kept, cure=say("cure")),),
        evidence=say("steps.seen", held=", ".join(updates.state) or "nothing beside the weights"),
        undecided="" if updates.state_known else say("steps.chance"),
        power=say("power"),
    )


def _of_model(model: Gradients, claimed: PipelineClaim, seen: Observations) -> Outcome:
    sound, kept, cure = not model.kept.size, _names(model.kept), say("cure")
    return Outcome(
        tests=(
            say.test("pass", float(sound), kept=kept, cure=cure),
            say.test("recalls", float(model.recalls == 0), recalls=model.recalls, cure=cure),
        ),
        evidence=say("model.seen"),
        undecided="" if model.repeatable else say("model.chance"),
        power=say("power"),
    )


def _names(kept: Iterable[str]) -> str:
    names = [str(name) for name in kept]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


check = Check("kept state", say, {"updates": _of_steps, "gradients": _of_model})

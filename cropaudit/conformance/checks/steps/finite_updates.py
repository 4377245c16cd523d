"""Do gradients and weights stay finite, whatever the images?

A NaN passes a clamp of C / norm, and its sum with any noise is NaN: whoever sees the weights knows
for sure that such an image was in a batch. Exact: no number that is not finite may occur.
"""

from typing import Any

import numpy as np

from cropaudit.conformance.check import Check, Observations, Outcome, PipelineClaim, Words
from cropaudit.conformance.observations.gradients import Gradients
from cropaudit.conformance.observations.updates import Updates
from cropaudit.conformance.words import joined

__all__ = ["check"]

say = Words("""
asks: no image, however odd, leaves weights that are not finite
catches: losses that are NaN, as of images without a label; overflow; NaN past a clamp of C / norm
weights?: every step leaves finite weights
weights: a step on a batch with {named} leaves weights that are NaN or infinite: a gradient that is
  not finite slips through the clipping, and shows for sure; {cure}
gradients?: every image's gradient is finite
gradients: per-sample gradients are not finite for {wrong} of {count} parameters ({names}): clipping
  does not bound them; {cure}
cure: leave such an image out (torch.where(isfinite, gradient, 0)) before it is clipped, or mend the
  loss: divide by max(labelled pixels, 1), no square root or logarithm of 0
single: one image
unlabelled: an image without a labelled pixel
hard: images whose loss is high
easy: images whose loss is next to nothing
empty: no image
usual: usual images ({name})
steps.seen: {steps} steps left finite weights
void: images without a labelled pixel were among the batches
no void: the loss takes no ignored label (255), so images without labels were not tried
model.seen: gradients of the model are finite
refused: the model gave no per-sample gradients
power: for the batches tried, found for sure; not seen: pixels that are NaN or infinite themselves,
  half precision on another device, and what only trained weights bring about
""")


def _of_steps(updates: Updates, claimed: PipelineClaim, seen: Observations) -> Outcome:
    broken = [str(name) for name in updates.broken]
    known = say.templates.keys()
    named = ", ".join(say(n) if n in known else say("usual", name=n) for n in broken)
    tried = say("void" if updates.void else "no void")
    return Outcome(
        tests=(say.test("weights", float(not broken), named=named, cure=say("cure")),),
        evidence=joined([say("steps.seen", steps=len(updates)), tried]),
        power=say("power"),
    )


def _of_model(model: Gradients, claimed: PipelineClaim, seen: Observations) -> Outcome:
    if model.refused:
        return Outcome(undecided=say("refused"))
    wrong = ~np.isfinite(model.error)
    names = ", ".join(str(name) for name in model.parameters[wrong][:3])
    counts: dict[str, Any] = {"wrong": int(wrong.sum()), "count": len(wrong)}
    cure = say("cure")
    return Outcome(
        tests=(say.test("gradients", float(not wrong.any()), names=names, cure=cure, **counts),),
        evidence=say("model.seen"),
        power=say("power"),
    )


check = Check("finite updates", say, {"updates": _of_steps, "gradients": _of_model})

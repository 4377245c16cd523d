"""Does the gradient of one image move when another one of the batch changes?

Exact. Of a model image 0 stays bit for bit the same, the others change, and its output, the loss's
pull on that and Opacus' gradient of it are compared: nothing may move but rounding. Of a whole
training the loss's pull is compared with that in another world, where other patches are shown.
"""

import math

from cropaudit.conformance.check import Check, Observations, Outcome, PipelineClaim, Words
from cropaudit.conformance.checks.models.per_sample_gradients import tolerance
from cropaudit.conformance.checks.windows.non_interference import blind_replay
from cropaudit.conformance.observations.gradients import Gradients
from cropaudit.conformance.observations.training import Replayed

__all__ = ["check"]

_FIGURES = {"delivered": "output shift as delivered", "training": "output shift in training"}

say = Words("""
asks: the gradient of a sample does not move when another one changes
catches: BatchNorm in training mode, revived BatchNorm, losses across the batch
delivered?: the output for an image does not depend on the others, in the model as delivered
delivered: {mixer} mixes the images of a batch: changing the others moves the output for an image by
  {shift:.2g}; {cure}
training?: the output for an image does not depend on the others after .train()
training: after .train(), {mixer} mixes the images of a batch and moves the output for an image by
  {shift:.2g}; {cure}
revived: {mixer} was delivered frozen by eval(), and .train(), which trainers call and Opacus
  demands, revives it: it then mixes the images of a batch and moves the output for an image by
  {shift:.2g}; override its train() to stay in evaluation mode, or use GroupNorm
cure: use GroupNorm, or keep it in eval() after every train()
loss?: the loss pulls on an image's output whatever the others are
loss: the loss crosses images: changing the others moves its pull on an image by {seen:.2g}
  ({reduction}); divide by constants or by the image's own labelled pixels, not by the batch's
gradient?: Opacus' gradient of an image does not depend on the others
gradient: changing the others moves the per-sample gradient of an image by {shift:.2g}
each: one for each image
mean: a mean over images
sum: a sum over images
crossing: neither a mean nor a sum over images
outside: a computation outside the model's layers
seen: changing the other images moves nothing of an image by more than {most:.0e}, as delivered and
  after .train() (loss: {reduction})
power: any shift above {allowed:.0e}, relative, on this batch is found for sure
chance: the model gives two outputs for one batch from one state and one seed
worlds?: the loss of an image does not depend on the others in its batch
worlds: the loss crosses images: at the outputs of {pulled} of {losses} images that are the same in
  both worlds it pulls otherwise when other images of the batch change, as a mean over all valid
  pixels of a batch does; take the mean of each image by itself
worlds.seen: the loss pulls alike at the outputs of {losses} images, whatever the patches of others
  show; your own model was not looked at
worlds.power: a loss whose weights or divisor depend on the batch is found for sure where the labels
  of a patch change them
worlds.blind: the loss's gradient at the outputs was not seen for images that are the same in both
  worlds
worlds.few: no image showed the patch, so that none could change the others
""")


def _of_model(found: Gradients, claimed: PipelineClaim, seen: Observations) -> Outcome:
    """Tests outputs as delivered and after ``.train()``, the loss, and Opacus' gradients."""
    if not found.repeatable:
        return Outcome(undecided=say("chance"))
    allowed, reduction = tolerance(found), say(found.reduction)
    loss = max(found.loss_shift, 1.0) if found.reduction == "crossing" else found.loss_shift
    shifts = {  # Opacus' two passes share neither state nor seed.
        "delivered": found.shift_delivered,
        "training": found.shift_training,
        "loss": loss,
        "gradient": found.gradient_shift if found.steady else math.nan,
    }
    known = {name: shift for name, shift in shifts.items() if not math.isnan(shift)}
    mixers = {"delivered": found.mixer_delivered, "training": found.mixer_training}
    tests = [
        say.test(
            name,
            float(shift <= allowed),
            "revived" if name == "training" and found.revived else "",
            shift=shift,
            mixer=mixers.get(name) or say("outside"),
            cure=say("cure"),
            seen=found.loss_shift,
            reduction=reduction,
        )
        for name, shift in known.items()
    ]
    return Outcome(
        tests=tuple(tests),
        evidence=say("seen", most=max(known.values(), default=0.0), reduction=reduction),
        power=say("power", allowed=allowed),
        figures={_FIGURES.get(name, f"{name} shift"): shift for name, shift in known.items()},
    )


def _of_worlds(found: Replayed, claimed: PipelineClaim, seen: Observations) -> Outcome:
    """Tests that the loss pulls at an image's outputs alike, whatever the others show."""
    blind = blind_replay(found) or ("" if found.losses else say("worlds.blind"))
    if blind:
        return Outcome(unmeasured=blind)
    p_value = 0.0 if found.pulled else 1.0
    return Outcome(
        tests=(say.test("worlds", p_value, pulled=found.pulled, losses=found.losses),),
        evidence=say("worlds.seen", losses=found.losses),
        power=say("worlds.power"),
        undecided="" if found.hit else say("worlds.few"),
        figures={"images compared": float(found.losses)},
    )


check = Check("isolation", say, {"gradients": _of_model, "replayed": _of_worlds})

"""Is each sample's gradient the one that autograd gives for the image alone?

Exact: both are taken in float64 on the same copy, where rounding stays near 1e-13. A distance above
the tolerance cannot occur in a sound pipeline, so its p-value is 0.
"""

import numpy as np

from cropaudit.conformance.check import Check, Observations, Outcome, PipelineClaim, Words
from cropaudit.conformance.observations.gradients import Gradients

__all__ = ["check", "tolerance"]

_TOLERANCE = 1e-8
_TOLERANCE_SINGLE = 1e-3

say = Words("""
asks: each sample's gradient is what autograd gives for it alone
catches: wrong convolution gradients for channels_last input, errors of ghost norms
exact?: each image's gradient of every parameter is the one that autograd gives for it alone
exact: Opacus (mode {mode}) is off by {error:.2g} of the gradient's norm for {name} ({kind}), and
  for {wrong} of {count} parameters in all{cause}
any: : clip with another grad-sample mode, or with a loop over images
layout: ; {fed}, and Opacus' unfold2d reads such memory wrongly: make the input of each Conv2d
  contiguous (x.contiguous() in a forward pre-hook) or use grad_sample_mode='ew'
fed.images: the images are channels_last
fed.layer: a layer before it transposes
seen: per-sample {what} of {count} parameters within {error:.0e} of autograd's, relative (Opacus'
  mode {mode}{stilled})
stilled: ; {layers} turned off
power: any error above {allowed:.0e} of a gradient's norm on this batch is found for sure
mixes: the model mixes images (see isolation): no image has a gradient of its own
recalls: the model recalls{kept} what it was shown before (see kept state): nothing compares
chance: the model gives two outputs for one batch: turn its random layers off to compare
refused: no per-sample gradients were had (mode {mode}): {why}; {cure}
cure.batchnorm: replace BatchNorm by GroupNorm (opacus.validators.ModuleValidator.fix)
cure.inplace: turn in-place operations off (inplace=False; out = out + x for out += x)
cure.mode: another grad-sample mode, such as 'ew', may take it
""")


def tolerance(found: Gradients) -> float:
    """Returns what rounding may do: little in float64, more where only float32 could be run."""
    return _TOLERANCE_SINGLE if found.single else _TOLERANCE


def _read(found: Gradients, claimed: PipelineClaim, seen: Observations) -> Outcome:
    """Compares the gradients, parameter by parameter, and names the worst."""
    allowed = tolerance(found)
    blind = _blind(found, allowed)
    if blind:
        return Outcome(undecided=blind)
    worst = int(np.argmax(np.where(np.isfinite(found.error), found.error, np.inf)))
    error = float(found.error[worst])
    wrong = ~(found.error <= allowed)  # so that a NaN fails
    tested = say.test(
        "exact",
        0.0 if wrong[worst] else 1.0,
        mode=found.mode,
        error=error,
        name=found.parameters[worst],
        kind=found.kinds[worst],
        wrong=int(wrong.sum()),
        count=len(wrong),
        cause=_cause(found, wrong),
    )
    return Outcome(
        tests=(tested,),
        evidence=say(
            "seen",
            what="norms" if found.mode == "ghost" else "gradients",
            count=len(found.error),
            error=error,
            mode=found.mode,
            stilled=say("stilled", layers=found.stilled) if found.stilled else "",
        ),
        power=say("power", allowed=allowed),
        figures={"largest gradient error": error},
    )


def _blind(found: Gradients, allowed: float) -> str:
    """Says why nothing can be compared."""
    if found.refused:
        cure = "cure.mode"
        if "BatchNorm" in found.refused:
            cure = "cure.batchnorm"
        elif "inplace" in found.refused or "view" in found.refused:
            cure = "cure.inplace"
        return say("refused", mode=found.mode, why=found.refused, cure=say(cure))
    if not found.steady and found.recalls > 0:
        return say("recalls", kept=f" in {', '.join(found.kept)}" if found.kept.size else "")
    if not found.steady:
        return say("chance")
    return say("mixes") if found.shift_training > allowed else ""


def _cause(found: Gradients, wrong: np.ndarray) -> str:
    crossed = wrong & found.crossed & np.char.startswith(found.kinds, "Conv")
    if not crossed.any():
        return say("any")
    return say("layout", fed=say("fed.images" if found.channels_last else "fed.layer"))


check = Check("per-sample gradients", say, {"gradients": _read})

"""Is each sample's gradient the one that autograd gives for the image alone?

Exact: both are taken in float64 on the same copy, where rounding stays near 1e-13. A distance above
the tolerance cannot occur in a sound pipeline, so its p-value is 0.
"""

import numpy as np

from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.gradients import Gradients
from cropaudit.audit.conformance.outcome import Outcome, Tested
from cropaudit.audit.conformance.seen import Seen

__all__ = ["check", "tolerance", "unsteady_words"]

NAME = "per-sample gradients"
_TOLERANCE = 1e-8
_TOLERANCE_SINGLE = 1e-3
_NULL = "each image's gradient of every parameter is the one that autograd gives for it alone"


def check(seen: Seen, claimed: Claimed) -> Outcome:
    """Compares the gradients, parameter by parameter, and names the worst."""
    found = seen.gradients
    if found is None:
        return Outcome(NAME, skipped="no model was given")
    if found.refused:
        return Outcome(NAME, undecided=_refusal(found), where=found.where)
    if not found.steady:
        return Outcome(NAME, undecided=unsteady_words(found), where=found.where)
    allowed = tolerance(found)
    if found.shift_training > allowed:
        words = "the model mixes images (see isolation): no image has a gradient of its own"
        return Outcome(NAME, undecided=words, where=found.where)
    worst = int(np.argmax(np.where(np.isfinite(found.error), found.error, np.inf)))
    error = float(found.error[worst])
    # Written so that a NaN fails.
    sound = error <= allowed
    tested = Tested(_NULL, 1.0 if sound else 0.0, _words(found, worst, allowed))
    measured = "norms" if found.mode == "ghost" else "gradients"
    return Outcome(
        NAME,
        (tested,),
        evidence=f"per-sample {measured} of {len(found.error)} parameters within {error:.0e} of "
        f"autograd's, relative (Opacus' mode {found.mode}{_stilled(found)})",
        power=f"any error above {allowed:.0e} of a gradient's norm on this batch is found for sure",
        where=found.where,
        figures={"largest gradient error": error},
    )


def tolerance(found: Gradients) -> float:
    """Returns what rounding may do: little in float64, more where only float32 could be run."""
    return _TOLERANCE_SINGLE if found.single else _TOLERANCE


def unsteady_words(found: Gradients) -> str:
    """Says why the model gives two outputs for one batch: by memory, or by chance."""
    if found.recalls > 0:
        kept = f" in {', '.join(found.kept)}" if found.kept.size else ""
        return (
            f"the model recalls{kept} what it was shown before (see kept state): nothing compares"
        )
    return "the model gives two outputs for one batch: turn its random layers off to compare"


def _words(found: Gradients, worst: int, allowed: float) -> str:
    wrong = ~(found.error <= allowed)
    name, kind = found.parameters[worst], found.kinds[worst]
    said = (
        f"Opacus (mode {found.mode}) is off by {found.error[worst]:.2g} of the gradient's norm for "
        f"{name} ({kind}), and for {int(wrong.sum())} of {len(wrong)} parameters in all"
    )
    crossed = wrong & found.crossed & np.char.startswith(found.kinds, "Conv")
    if not crossed.any():
        return f"{said}: clip with another grad-sample mode, or with a loop over images"
    fed = "the images are channels_last" if found.channels_last else "a layer before it transposes"
    return (
        f"{said}; {fed}, and Opacus' unfold2d reads such memory wrongly: make the input of each "
        "Conv2d contiguous (x.contiguous() in a forward pre-hook) or use grad_sample_mode='ew'"
    )


def _refusal(found: Gradients) -> str:
    cure = "another grad-sample mode, such as 'ew', may take it"
    if "BatchNorm" in found.refused:
        cure = "replace BatchNorm by GroupNorm (opacus.validators.ModuleValidator.fix)"
    elif "inplace" in found.refused or "view" in found.refused:
        cure = "turn in-place operations off (inplace=False; out = out + x for out += x)"
    return f"no per-sample gradients were had (mode {found.mode}): {found.refused}; {cure}"


def _stilled(found: Gradients) -> str:
    return f"; {found.stilled} turned off" if found.stilled else ""

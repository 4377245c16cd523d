"""Estimator 8: the loudest member of the mechanism's own family that the measured box contradicts.

The game plays the mechanism's worst pair. The box of error rates is held against the composed
trade-off curve of that pair at other noise multipliers; the bound is the epsilon of the pair at the
smallest noise multiplier rejected. It assumes that the delivered mechanism is in the family: the
configured sampler, crop and steps at some noise multiplier. (Rejecting a *stated* curve assumes
nothing about the mechanism; the verdict does that.)
"""

import math
from collections.abc import Callable

from cropaudit.accounting.accountant import pair_curve
from cropaudit.accounting.curves import PrivacyCurve
from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.audit.estimators.limits import Box, round_down
from cropaudit.audit.result import Bound

__all__ = ["NAME", "family_bound", "mechanism_fdp"]

NAME = "mechanism-f-dp"
ASSUMES = (
    "independent trials, threshold fixed without these scores; and, for the value of epsilon, that "
    "the delivered mechanism is the configured one at some noise multiplier"
)
_SPAN = 100.0  # noise multipliers searched: the mechanism's own, divided and multiplied by this
_GAP = 1e-3  # the accountant's epsilon may be this much too high; a lower bound gives it back


def family_bound(
    fpr_upper: float, fnr_upper: float, mechanism: PatchMechanism, delta: float
) -> tuple[float, float | None]:
    """Returns (epsilon, noise multiplier) of the loudest rejected member of the family.

    Args:
        fpr_upper: Upper limit of the false positive rate.
        fnr_upper: Upper limit of the false negative rate.
        mechanism: The family: everything but its noise multiplier is kept.
        delta: For epsilon.

    Returns:
        A lower bound on epsilon and the noise multiplier it belongs to; (0, None) if even the
        quietest member allows such rates.
    """
    if fpr_upper + fnr_upper >= 1:
        return 0.0, None

    def rejected(log_noise: float) -> bool:
        return _curve(mechanism, log_noise, delta, 4e-3).rejects(fpr_upper, fnr_upper)

    centre = math.log(mechanism.noise_multiplier)
    loud, quiet = centre - math.log(_SPAN), centre + math.log(_SPAN)
    if not rejected(quiet):
        return 0.0, None
    loud, quiet = _narrow(rejected, centre, loud, quiet)
    while quiet - loud > 2e-4:
        middle = (loud + quiet) / 2
        loud, quiet = (loud, middle) if rejected(middle) else (middle, quiet)
    epsilon = _curve(mechanism, quiet, delta, _GAP / 4).epsilon(delta)
    return round_down(epsilon * (1 - _GAP)), math.exp(quiet)


def mechanism_fdp(box: Box, mechanism: PatchMechanism, delta: float) -> Bound:
    """Returns the bound of a measured box within the mechanism's family, rounded down."""
    epsilon, noise = family_bound(box.fpr_upper, box.fnr_upper, mechanism, delta)
    return Bound(
        estimator=NAME,
        epsilon=epsilon,
        delta=delta,
        confidence=1 - box.level,
        validity="model-based",
        assumes=ASSUMES,
        note=f"noise multiplier at most {noise:.4g}" if noise else "no member is rejected",
    )


def _curve(mechanism: PatchMechanism, log_noise: float, delta: float, agree: float) -> PrivacyCurve:
    pair = mechanism.with_noise(math.exp(log_noise)).pair()
    return pair_curve(pair, mechanism.compositions, delta, agree)


def _narrow(
    rejected: Callable[[float], bool], centre: float, loud: float, quiet: float
) -> tuple[float, float]:
    """Brackets the change by growing steps from the centre: curves far away cost more."""
    step = 0.1
    if rejected(centre):
        quiet = centre
        while quiet - step > loud:
            if not rejected(quiet - step):
                return quiet - step, quiet
            quiet, step = quiet - step, 2 * step
        return loud, quiet
    near = centre
    while near + step < quiet:
        if rejected(near + step):
            return near, near + step
        near, step = near + step, 2 * step
    return near, quiet

"""Estimator 8: the loudest member of the mechanism's own family that the measured box contradicts.

The game plays the mechanism's worst pair. The box of error rates is held against the composed
trade-off curve of that pair at other noise multipliers; the bound is the epsilon of the pair at the
smallest noise multiplier rejected. It assumes that the delivered mechanism is in the family: the
configured sampler, crop and steps at some noise multiplier. (Rejecting a *stated* curve assumes
nothing about the mechanism; the verdict does that.)

A wrong sampler or crop can give rates that no member of the family allows, however little noise it
adds. The family then has no epsilon to offer, and the Clopper-Pearson bound stands in.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.special import bdtr

from cropaudit.accounting.accountant import pair_curve
from cropaudit.accounting.curves import PrivacyCurve
from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.audit.estimators.clopper_pearson import box_epsilon
from cropaudit.audit.estimators.limits import Box, round_down
from cropaudit.audit.result import Bound

__all__ = ["NAME", "OUTSIDE", "family_bound", "mechanism_fdp", "noiseless_tpr"]

NAME = "mechanism-f-dp"
OUTSIDE = "every member is rejected: not this sampler and crop; Clopper-Pearson bound instead"
ASSUMES = (
    "independent trials, threshold fixed without these scores; and, for the value of epsilon, that "
    "the delivered mechanism is the configured one at some noise multiplier"
)
_LOUDER, _QUIETER = 20.0, 100.0  # noise searched: the mechanism's own over and times these
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
        quietest member allows such rates; the Clopper-Pearson bound and 0 if no member does.
    """
    if fpr_upper + fnr_upper >= 1:
        return 0.0, None
    if 1 - fnr_upper > noiseless_tpr(mechanism, fpr_upper):
        return round_down(box_epsilon(fpr_upper, fnr_upper, delta)), 0.0

    def rejected(log_noise: float) -> bool:
        return _curve(mechanism, log_noise, delta, 4e-3).rejects(fpr_upper, fnr_upper)

    centre = math.log(mechanism.noise_multiplier)
    loud, quiet = centre - math.log(_LOUDER), centre + math.log(_QUIETER)
    if not rejected(quiet):
        return 0.0, None
    loud, quiet = _narrow(rejected, centre, loud, quiet)
    while quiet - loud > 2e-4:
        middle = (loud + quiet) / 2
        loud, quiet = (loud, middle) if rejected(middle) else (middle, quiet)
    epsilon = _curve(mechanism, quiet, delta, _GAP / 4).epsilon(delta)
    return round_down(epsilon * (1 - _GAP)), math.exp(quiet)


def noiseless_tpr(mechanism: PatchMechanism, fpr: float) -> float:
    """Returns the largest true positive rate that the game's pair allows with no noise at all.

    Every member is a post-processing of that. One +1 in any step gives world A away; failing that
    a -1 speaks for world B by the factor P/Q of its weights, so the best test counts them, and the
    count is binomial in world B.
    """
    pair, steps = mechanism.pair(), mechanism.compositions
    counts = np.arange(steps + 1)
    false_alarms = bdtr(counts, steps, pair.q[0])
    masses = np.diff(false_alarms, prepend=0.0) * (pair.p[0] / pair.q[0]) ** counts
    caught = -math.expm1(steps * math.log1p(-pair.p[2])) if pair.p[2] < 1 else 1.0
    rates = caught + np.append(0.0, np.cumsum(masses))
    return float(np.interp(fpr, np.append(0.0, false_alarms), np.minimum(rates, 1.0)))


def mechanism_fdp(box: Box, mechanism: PatchMechanism, delta: float) -> Bound:
    """Returns the bound of a measured box within the mechanism's family, rounded down."""
    epsilon, noise = family_bound(box.fpr_upper, box.fnr_upper, mechanism, delta)
    if noise is None:
        note = "no member is rejected"
    elif noise == 0:
        note = OUTSIDE
    else:
        note = f"noise multiplier at most {noise:.4g}"
    return Bound(
        estimator=NAME,
        epsilon=epsilon,
        delta=delta,
        confidence=1 - box.level,
        validity="model-based",
        assumes=ASSUMES,
        note=note,
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

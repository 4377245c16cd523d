"""Estimator 1: (epsilon, delta) from the two error rates of one test, with exact limits.

Jagielski et al. 2020 (2006.07709), Nasr et al. 2021 (2101.04535). Under (epsilon, delta)-DP
TPR <= e^epsilon FPR + delta and TNR <= e^epsilon FNR + delta. Assumes independent trials in each
world and a threshold fixed without these scores; nothing else.
"""

import math

from cropaudit.audit.estimators.limits import Box, round_down, upper_limit
from cropaudit.audit.result import Bound

__all__ = ["NAME", "box_epsilon", "cap", "clopper_pearson"]

NAME = "clopper-pearson"
ASSUMES = "independent trials in each world, threshold fixed without these scores"


def box_epsilon(fpr_upper: float, fnr_upper: float, delta: float) -> float:
    """Returns the largest epsilon that the rates contradict at ``delta``, at least 0."""
    best = 0.0
    for error, power in ((fpr_upper, 1 - fnr_upper), (fnr_upper, 1 - fpr_upper)):
        if power > delta and error > 0:
            best = max(best, math.log((power - delta) / error))
    return best


def cap(members: int, nonmembers: int, level: float, delta: float) -> float:
    """Returns the largest bound that so many trials can give: no error in any of them."""
    fpr = upper_limit(0, nonmembers, level / 2)
    fnr = upper_limit(0, members, level / 2)
    return box_epsilon(fpr, fnr, delta)


def clopper_pearson(box: Box, delta: float) -> Bound:
    """Returns the bound of a measured box, rounded down."""
    return Bound(
        estimator=NAME,
        epsilon=round_down(box_epsilon(box.fpr_upper, box.fnr_upper, delta)),
        delta=delta,
        confidence=1 - box.level,
        validity="exact",
        assumes=ASSUMES,
        cap=cap(box.members, box.nonmembers, box.level, delta),
    )

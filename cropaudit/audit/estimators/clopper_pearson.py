"""Estimator 1: (epsilon, delta) from the two error rates of one test, with exact limits.

Jagielski et al. 2020 (2006.07709), Nasr et al. 2021 (2101.04535). Under (epsilon, delta)-DP
TPR <= e^epsilon FPR + delta and TNR <= e^epsilon FNR + delta. Assumes independent trials in each
world and a threshold (or its rank) fixed without these scores; nothing else.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from cropaudit.audit.estimators.evidence import Counts, Found
from cropaudit.audit.result import Validity

__all__ = ["ClopperPearson", "box_epsilon"]


@dataclass(frozen=True)
class ClopperPearson:
    """Separate limits of both error rates, at half the level each."""

    name: ClassVar[str] = "clopper-pearson"
    validity: ClassVar[Validity] = "exact"
    assumes: ClassVar[str] = (
        "independent trials in each world, a threshold or its rank fixed without these scores"
    )

    def epsilon(self, counts: Counts, delta: float, level: float) -> Found:
        """Returns the bound.

        >>> round(ClopperPearson().epsilon(Counts(100, 100, 90, 5), 1e-5, 0.05).epsilon, 4)
        1.988
        """
        fpr_upper, fnr_upper = counts.fpr_upper(level / 2), counts.fnr_upper(level / 2)
        return Found(box_epsilon(fpr_upper, fnr_upper, delta))


def box_epsilon(fpr_upper: float, fnr_upper: float, delta: float) -> float:
    """Returns the largest epsilon that the rates contradict at ``delta``, at least 0."""
    best = 0.0
    for error, power in ((fpr_upper, 1 - fnr_upper), (fnr_upper, 1 - fpr_upper)):
        if power > delta and error > 0:
            best = max(best, math.log((power - delta) / error))
    return best

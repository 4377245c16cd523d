"""Two-sided intervals that stand beside the printed estimates, valid at every sample size.

They describe one attack at one point and are for reading only: no bound on epsilon and no verdict
is computed from them, and none is corrected for the number of rows in a table. Both assume that
the games of one world are independent.
"""

import math

from cropaudit.audit.estimators.evidence import upper_limit
from cropaudit.errors import require

__all__ = ["auc_interval", "clopper_pearson"]


def clopper_pearson(count: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Returns the exact (Clopper and Pearson, 1934) interval of a proportion.

    >>> low, high = clopper_pearson(0, 100)
    >>> low, round(high, 4)
    (0.0, 0.0362)
    """
    require(0 <= count <= trials, "count", f"between 0 and {trials}", count)
    tail = (1 - confidence) / 2
    return 1 - upper_limit(trials - count, trials, tail), upper_limit(count, trials, tail)


def auc_interval(
    auc: float, members: int, nonmembers: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Returns Hoeffding's interval of an area under the curve (a U-statistic), within [0, 1].

    From Pr[|A - E A| >= t] <= 2 exp(-2 min(m, n) t^2) (Hoeffding 1963, section 5b). Wider than the
    usual normal approximation, which shrinks to a point at an area of one.

    >>> [round(limit, 3) for limit in auc_interval(0.9, 1000, 1000)]
    [0.857, 0.943]
    """
    smaller = min(members, nonmembers)
    if smaller == 0:
        return 0.0, 1.0
    half = math.sqrt(math.log(2 / (1 - confidence)) / (2 * smaller))
    return max(0.0, auc - half), min(1.0, auc + half)

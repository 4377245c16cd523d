"""Estimator 3: epsilon from Katz' interval of a ratio of two rates.

Lu et al. 2022 (2210.08643) audit with the log-ratio interval of Katz et al. (1978). Under
(epsilon, delta)-DP both (TPR - delta) / FPR and (TNR - delta) / FNR are at most e^epsilon. The log
of such a ratio of observed rates is taken for normal, with the variance of the delta method

    TPR (1 - TPR) / (n (TPR - delta)^2) + (1 - FPR) / (m FPR),

which at delta 0 is Katz' 1/TP - 1/n + 1/FP - 1/m. Each ratio has a one-sided limit at level / 2.

It is asymptotic and overclaims at small counts: a rate that was seen as exactly 1 has no deviation.
With 100 trials of world A, 1,000 of world B, delta 0 and level 5%, the bound exceeds the truth with
probability 47% where both rates are 0.994; with 100 trials of each world at most 3.2% at any rates
(both computed exactly from the binomial laws). Where nothing at all was counted as wrong there is
no interval; it then says so and claims nothing of that ratio.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from scipy.special import ndtri

from cropaudit.audit.estimators.evidence import Counts, Found
from cropaudit.audit.result import Validity
from cropaudit.errors import require

__all__ = ["KatzLogRatio"]


@dataclass(frozen=True)
class KatzLogRatio:
    """The asymptotic bound of one test.

    A ranked test's threshold is itself a score of world B. It is counted as an alarm of one more
    trial: the false positive rate then has mean (alarms + 1) / (nonmembers + 1), as its law
    Beta(alarms + 1, nonmembers - alarms) says, and nearly that law's deviation.
    """

    name: ClassVar[str] = "katz"
    validity: ClassVar[Validity] = "asymptotic"
    assumes: ClassVar[str] = (
        "independent trials in each world, threshold fixed without these scores, and enough errors "
        "of each kind that the log of a ratio of rates is normal; overclaims at small counts"
    )

    def epsilon(self, counts: Counts, delta: float, level: float) -> Found:
        """Returns the larger of both one-sided limits, each at level / 2.

        Args:
            counts: One test.
            delta: In [0, 1].
            level: In (0, 1).

        Raises:
            InputError: If delta or level is out of range.

        >>> round(KatzLogRatio().epsilon(Counts(1000, 1000, 800, 100), 0.0, 0.05).epsilon, 4)
        1.8909
        >>> KatzLogRatio().epsilon(Counts(1000, 1000, 1000, 0), 0.0, 0.05).note
        'no interval: false positives and false negatives were not seen'
        """
        require(0 < level < 1, "level", "in (0, 1)", level)
        require(0 <= delta <= 1, "delta", "in [0, 1]", delta)
        deviate = float(-ndtri(level / 2))
        n, m = counts.members, counts.nonmembers + counts.ranked
        hits, alarms = counts.hits, counts.alarms + counts.ranked
        ratios = {
            "false positives": _log_ratio(hits, n, alarms, m, delta, deviate),
            "false negatives": _log_ratio(m - alarms, m, n - hits, n, delta, deviate),
        }
        found = max((limit for limit in ratios.values() if limit is not None), default=0.0)
        return Found(max(0.0, found), _note([k for k, v in ratios.items() if v is None]))


def _log_ratio(
    right: int, right_of: int, wrong: int, wrong_of: int, delta: float, deviate: float
) -> float | None:
    """Returns the lower limit of ln((right rate - delta) / wrong rate); none if nothing is wrong.

    Where the right rate does not exceed delta the ratio is no evidence: minus infinity.
    """
    if wrong == 0:
        return None
    power, error = right / right_of, wrong / wrong_of
    if power <= delta:
        return -math.inf
    variance = power * (1 - power) / (right_of * (power - delta) ** 2)
    variance += (1 - error) / (wrong_of * error)
    return math.log((power - delta) / error) - deviate * math.sqrt(variance)


def _note(unseen: list[str]) -> str:
    if not unseen:
        return ""
    which = "no interval" if len(unseen) == 2 else "no interval of one ratio"
    return f"{which}: {' and '.join(unseen)} were not seen"

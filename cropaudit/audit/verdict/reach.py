"""What a test could have shown at best: whether scores without an error contradict the claim.

A test that no scores can move says nothing by staying silent. Both questions are answered from the
claim and the numbers of trials alone.
"""

import math

import numpy as np

from cropaudit.estimators.hypothesis import Hypothesis
from cropaudit.estimators.registry import plan
from cropaudit.estimators.scores import Scores

__all__ = ["could_contradict", "trials_needed"]

_MOST = 1 << 17  # trials, both worlds together
_FINE = 1.1  # how far above the fewest trials an answer may lie


def could_contradict(hypothesis: Hypothesis, sizes: tuple[int, int], level: float) -> bool | None:
    """Whether the deciding test could contradict the claim with so many trials.

    Args:
        hypothesis: What is held against scores.
        sizes: Numbers of members and of nonmembers.
        level: At which the claim must be rejected.

    Returns:
        None if nothing is claimed, or the deciding estimator has no p-value.
    """
    if hypothesis.game is None:
        return None
    members, nonmembers = sizes
    perfect = Scores(np.full(members, np.inf), np.full(nonmembers, -np.inf))
    deciding = plan(hypothesis, sizes).deciding
    best = deciding.p_value(perfect, hypothesis.game, level, hypothesis.seed)
    return None if best is None else best <= level


def trials_needed(hypothesis: Hypothesis, trials: int, level: float) -> int | None:
    """Returns about how many trials, half of them members, could contradict the claim.

    Args:
        hypothesis: What is held against scores.
        trials: So many, both worlds together, are too few.
        level: At which the claim must be rejected.

    Returns:
        At most a tenth more than the fewest, rounded up to two digits; none if even 131,072 are
        too few.
    """

    def enough(count: int) -> bool:
        return bool(could_contradict(hypothesis, (count // 2, count - count // 2), level))

    few, many = max(2, trials), max(4, 2 * trials)
    while not enough(many):
        if many >= _MOST:
            return None
        few, many = many, min(_MOST, 2 * many)
    while many > _FINE * few and many - few > 1:
        middle = round((few * many) ** 0.5)
        few, many = (few, middle) if enough(middle) else (middle, many)
    unit: int = 10 ** max(0, len(str(many)) - 2)
    return math.ceil(many / unit) * unit

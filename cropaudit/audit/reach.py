"""What a test could have shown at best: whether scores without an error contradict the claim.

A test that no scores can move says nothing by staying silent. Both questions are answered from the
claim and the numbers of trials alone.
"""

import math

import numpy as np

from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.method_choice import choose_methods
from cropaudit.audit.question import Question

__all__ = ["could_contradict", "trials_needed"]

_MOST = 1 << 17  # trials, both worlds together
_FINE = 1.1  # how far above the fewest trials an answer may lie


def could_contradict(question: Question, trials: tuple[int, int], level: float) -> bool | None:
    """Whether the deciding test could contradict the claim with so many trials.

    Args:
        question: What is asked.
        trials: Numbers of members and of nonmembers.
        level: At which the claim must be rejected.

    Returns:
        None if nothing is claimed, or the deciding estimator has no p-value.
    """
    if question.null is None:
        return None
    members, nonmembers = trials
    perfect = Scores(np.full(members, np.inf), np.full(nonmembers, -np.inf))
    primary = choose_methods(question, trials).primary
    best = primary.p_value(perfect, question.null, question.delta, level, question.seed)
    return None if best is None else best <= level


def trials_needed(question: Question, trials: int, level: float) -> int | None:
    """Returns about how many trials, half of them members, could contradict the claim.

    Args:
        question: What is asked.
        trials: So many, both worlds together, are too few.
        level: At which the claim must be rejected.

    Returns:
        At most a tenth more than the fewest, rounded up to two digits; none if even 131,072 are
        too few.
    """
    few, many = max(2, trials), max(4, 2 * trials)
    while not could_contradict(question, (many // 2, many // 2), level):
        if many >= _MOST:
            return None
        few, many = many, min(_MOST, 2 * many)
    while many > _FINE * few and many - few > 1:
        middle = round((few * many) ** 0.5)
        if could_contradict(question, (middle // 2, middle - middle // 2), level):
            many = middle
        else:
            few = middle
    unit: int = 10 ** max(0, len(str(many)) - 2)
    return math.ceil(many / unit) * unit

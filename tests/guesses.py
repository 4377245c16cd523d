"""Other ways to guess coins than the package's own, for scores without ties."""

import numpy as np

from cropaudit.estimators.evidence import Guesses
from cropaudit.estimators.null import Null
from cropaudit.estimators.scores import Scores
from cropaudit.estimators.trials.family import Family

__all__ = ["highest", "member_null", "surest"]


def highest(scores: Scores, share: float) -> Guesses:
    """World A for the highest scores."""
    return _right(scores, share, lambda values: values, lambda values: np.ones(len(values), bool))


def surest(scores: Scores, share: float) -> Guesses:
    """The sign of the scores farthest from zero."""
    return _right(scores, share, np.abs, lambda values: values > 0)


def _right(scores, share, rank, called) -> Guesses:
    values = np.concatenate([scores.member, scores.nonmember])
    bits = np.arange(len(values)) < len(scores.member)
    chosen = np.argsort(-rank(values), kind="stable")[: max(1, round(share * len(values)))]
    right = int((called(values)[chosen] == bits[chosen]).sum())
    return Guesses(len(values), len(chosen), right)


def member_null(family: Family, claim: float) -> Null:
    """The member of a family whose epsilon is the claim, or the quietest louder one."""
    index = family.index_of(claim)
    return Null(claim, family.delta, () if index is None else family.allowed(index))

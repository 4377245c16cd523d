"""Correction for several hypotheses at once: Holm's step-down procedure.

Holm 1979. The chance of any false rejection stays below the level whatever the dependence between
the tests: attacks on the same models, or positions in the same images.
"""

from collections.abc import Sequence

import numpy as np

from cropaudit.errors import require

__all__ = ["holm"]


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns adjusted p-values: a hypothesis is rejected where its own is at most the level.

    Args:
        p_values: One for each hypothesis, in [0, 1].

    Raises:
        InputError: If one is out of range.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=np.float64)
    legal = bool(np.all((values >= 0) & (values <= 1)))
    require(legal, "p-values", "in [0, 1]", list(p_values))
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in adjusted]

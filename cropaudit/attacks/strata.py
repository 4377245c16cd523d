"""A few windows that stand for all of one kind: one drawn from each of equally likely strata.

Windows are sorted by how much of the patch they show, for gradients of windows that graze a patch
differ from those of windows that cover it.
"""

import numpy as np
from numpy.typing import NDArray

from cropaudit.training.canaries.windows import Windows
from cropaudit.training.crops import Window

__all__ = ["StratifiedWindows"]


class StratifiedWindows:
    """Draws windows of one kind; each stands for the same share of the crop's law.

    Attributes:
        probability: That the crop's window is of this kind.
        strata: Windows in a draw; none if there is no window of this kind.
    """

    def __init__(self, law: Windows, chosen: NDArray[np.bool_], strata: int) -> None:
        """Sorts the chosen windows and splits them.

        Args:
            law: All windows of a record.
            chosen: Those of this kind, shape of ``law.shown``.
            strata: Windows wanted in a draw; fewer where there are fewer windows.
        """
        self.probability = law.probability(chosen)
        flips, tops, lefts = np.nonzero(chosen & (law.weights > 0)[:, None, None])
        order = np.argsort(law.shown[flips, tops, lefts], kind="stable")
        self._places = np.stack([flips, tops, lefts], axis=1)[order]
        mass = np.cumsum(law.weights[self._places[:, 0]])
        self._ends = mass / mass[-1] if len(mass) else mass
        self.strata = min(strata, len(self._places))

    def draw(self, generator: np.random.Generator) -> list[Window]:
        """Returns one window of each stratum, from the least of the patch to the most."""
        shares = np.arange(self.strata) + generator.random(self.strata)
        picks = np.searchsorted(self._ends, shares / max(self.strata, 1))
        places = self._places[np.minimum(picks, len(self._places) - 1)]
        return [
            Window(int(top), int(left), bool(flip & 1), bool(flip & 2))
            for flip, top, left in places
        ]

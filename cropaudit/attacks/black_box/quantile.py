"""Quantile regression: no reference model; how high is a score among nonmembers of its kind?

Threat model: the released model answers with losses; the adversary has contents that it was not
trained on (decoys), but trains no model of segmentation. For each target the quantiles of the loss
difference are regressed, over the decoys, on what the content itself shows; a slot's score is its
place among its own predicted quantiles, extended linearly beyond the outermost.
Source: Bertran, Tang, Roth, Kearns, Morgenstern and Wu, NeurIPS 2023 (arXiv 2307.03694).
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from sklearn.linear_model import QuantileRegressor

from cropaudit.attacks.black_box.base import Array, Coins
from cropaudit.attacks.black_box.signals import Signals
from cropaudit.errors import InputError, require

__all__ = ["QuantileRegression"]


@dataclass(frozen=True)
class QuantileRegression:
    """Place among predicted quantiles, as a normal deviate.

    Attributes:
        levels: Of the quantiles, rising.
        penalty: Of the absolute weights, in units of the loss difference's deviation.
    """

    levels: tuple[float, ...] = (0.2, 0.5, 0.8)
    penalty: float = 0.005

    def __post_init__(self) -> None:
        rising = all(low < high for low, high in zip(self.levels, self.levels[1:], strict=False))
        inside = all(0 < level < 1 for level in self.levels)
        legal = "at least two, rising, in (0, 1)"
        require(len(self.levels) >= 2 and rising and inside, "levels", legal, self.levels)
        require(self.penalty >= 0, "penalty", "at least 0", self.penalty)

    def score(
        self, target: Signals, references: Signals | None = None, coins: Coins | None = None
    ) -> Array:
        """Returns scores of shape (T, S); references are not looked at."""
        if target.decoys is None:
            raise InputError("decoys must be given for quantile, got None")
        legal = "at least 2 for quantile"
        require(target.slots >= 2 and target.decoys.slots >= 2, "slots", legal, target.slots)
        known, seen = target.decoys, target.gap().mean(axis=2)
        centre, scale = known.features.mean(axis=0), known.features.std(axis=0) + 1e-9
        rows, asked = ((one.features - centre) / scale for one in (known, target))
        # What no decoy varies in says nothing, and would be blown up by the division.
        varied = known.features.std(axis=0) > 0
        return np.stack(
            [
                self._places(rows[:, varied], gaps, asked[:, varied], mine)
                for gaps, mine in zip(known.gap().mean(axis=2), seen, strict=True)
            ]
        )

    def _places(self, rows: Array, gaps: Array, asked: Array, mine: Array) -> Array:
        """Returns one model's scores, shape (S,)."""
        unit = gaps.std() + np.finfo(np.float64).tiny
        found = []
        for level in self.levels:
            model = QuantileRegressor(quantile=level, alpha=self.penalty, solver="highs")
            found.append(model.fit(rows, gaps / unit).predict(asked))
        # Predicted quantiles may cross; sorted, they are a law again.
        quantiles = np.sort(np.stack(found), axis=0)
        deviates = norm.ppf(self.levels)
        places = [_extended(*one, deviates) for one in zip(mine / unit, quantiles.T, strict=True)]
        return np.array(places)


def _extended(value: float, quantiles: Array, deviates: Array) -> float:
    """Interpolates, and goes on beyond the ends with the slope of the whole."""
    width = max(float(quantiles[-1] - quantiles[0]), 1e-9)
    slope = float(deviates[-1] - deviates[0]) / width
    below, above = min(0.0, value - quantiles[0]), max(0.0, value - quantiles[-1])
    return float(np.interp(value, quantiles, deviates) + slope * (below + above))

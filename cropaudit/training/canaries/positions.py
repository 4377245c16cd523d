"""Where in an image canaries stand: the rule that chooses among the places that are free."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropaudit.errors import require

__all__ = ["POSITIONS", "Positions", "Random", "Stratified", "Worst", "choose", "free_places"]


@dataclass(frozen=True)
class Worst:
    """Uniformly among the places whose inclusion is at least this share of the worst one's."""

    share: float = 0.98

    def __post_init__(self) -> None:
        require(0 < self.share <= 1, "share", "in (0, 1]", self.share)


@dataclass(frozen=True)
class Random:
    """Uniformly among all places."""


@dataclass(frozen=True)
class Stratified:
    """Spread evenly over the range of inclusion probabilities, to measure epsilon(z).

    Slots take the levels in turn; within a level, whose probabilities are one part in ``levels`` of
    the range, every place is as likely. Where a level has no place the nearest probability stands
    in.
    """

    levels: int = 4

    def __post_init__(self) -> None:
        require(self.levels >= 1, "levels", "at least 1", self.levels)


Positions = Worst | Random | Stratified
POSITIONS: dict[str, Positions] = {
    "worst": Worst(),
    "random": Random(),
    "stratified": Stratified(),
}


def choose(
    positions: Positions,
    inclusion: NDArray[np.float64],
    free: NDArray[np.bool_],
    number: int,
    generator: np.random.Generator,
) -> tuple[int, int]:
    """Chooses the place of slot ``number``, given each place's inclusion and which are free."""
    require(bool(free.any()), "canaries per image", "few enough to fit beside each other", "more")
    match positions:
        case Worst(share):
            found = free & (inclusion >= share * inclusion[free].max())
        case Random():
            found = free
        case Stratified(levels):
            found = free & _level(inclusion, free, number % levels, levels)
    places = np.argwhere(found)
    row, column = places[generator.integers(len(places))]
    return int(row), int(column)


def free_places(
    shape: tuple[int, ...], size: tuple[int, int], taken: list[tuple[int, int]]
) -> NDArray[np.bool_]:
    """Returns where a patch of a ``size`` keeps clear of those at the places ``taken``."""
    free = np.ones(shape, dtype=np.bool_)
    for row, column in taken:
        rows = slice(max(0, row - size[0] + 1), row + size[0])
        free[rows, max(0, column - size[1] + 1) : column + size[1]] = False
    return free


def _level(
    inclusion: NDArray[np.float64], free: NDArray[np.bool_], level: int, levels: int
) -> NDArray[np.bool_]:
    """Returns the places of one level, or those whose probability is nearest to its middle."""
    low, high = inclusion.min(), inclusion.max()
    middle = low + (level + 0.5) / levels * (high - low)
    away = np.abs(inclusion - middle)
    inside = away <= (high - low) / (2 * levels)
    return np.asarray(inside if bool((inside & free).any()) else away <= away[free].min())

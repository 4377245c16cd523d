"""Where in an image canaries stand: the rule that chooses among the places that are free."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropaudit.errors import require

__all__ = ["At", "Positions", "Random", "Stratified", "Worst", "choose", "free_places"]


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


@dataclass(frozen=True)
class At:
    """At one place of every image: row and column of the patch's top left."""

    place: tuple[int, int]


Positions = Worst | Random | Stratified | At


def choose(
    positions: Positions,
    inclusion: NDArray[np.float64],
    free: NDArray[np.bool_],
    number: int,
    generator: np.random.Generator,
) -> tuple[int, int]:
    """Chooses a place.

    Args:
        positions: The rule.
        inclusion: Inclusion probability of every place, shape (rows, columns).
        free: Which places are free, same shape.
        number: Of the slot, from 0.
        generator: Of the choice.

    Raises:
        InputError: If no place is free, or the one asked for is not.
    """
    require(bool(free.any()), "canaries per image", "few enough to fit beside each other", "more")
    match positions:
        case Worst(share):
            found = free & (inclusion >= share * inclusion[free].max())
        case Random():
            found = free
        case Stratified(levels):
            found = free & _level(inclusion, free, number % levels, levels)
        case At(place):
            found = free & _only(place, inclusion.shape)
            require(bool(found.any()), "place", "within the image and free", place)
    places = np.argwhere(found)
    row, column = places[generator.integers(len(places))]
    return int(row), int(column)


def free_places(
    shape: tuple[int, ...],
    size: tuple[int, int],
    taken: list[tuple[int, int]],
    margin: int,
) -> NDArray[np.bool_]:
    """Returns the places where a patch keeps clear of those that are taken already.

    Args:
        shape: Number of places, rows and columns.
        size: Height and width of the patches.
        taken: Places of the patches there are.
        margin: Pixels between two patches, at least.
    """
    free = np.ones(shape, dtype=np.bool_)
    for row, column in taken:
        rows = slice(max(0, row - size[0] - margin + 1), row + size[0] + margin)
        free[rows, max(0, column - size[1] - margin + 1) : column + size[1] + margin] = False
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


def _only(place: tuple[int, int], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    found = np.zeros(shape, dtype=np.bool_)
    if 0 <= place[0] < shape[0] and 0 <= place[1] < shape[1]:
        found[place] = True
    return found

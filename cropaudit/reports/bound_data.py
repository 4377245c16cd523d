"""What the pictures of ``cropaudit bound`` show; nothing is drawn here.

Every epsilon is an upper bound under patch substitution, at the delta that stands beside it, and
may be infinite: then nothing is claimed, and the pictures say so instead of drawing it.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropaudit.errors import require

__all__ = [
    "BoundMap",
    "MapPanel",
    "ProfileCurve",
    "Series",
    "StepsPlot",
    "SweepPlot",
    "map_panels",
    "prefers_log",
    "use_log",
]

# Numbers of which the largest is this many times the smallest are read better on a log axis.
_LOG_RATIO = 20.0


@dataclass(frozen=True)
class Series:
    """One line of a sweep: epsilon by the parameter's value.

    Attributes:
        name: What tells it from the others, such as "noise multiplier 0.5".
        epsilon: One for each value of the sweep.
        epsilon_without_crop: The same where every window meets the patch, or none.
    """

    name: str
    epsilon: tuple[float, ...]
    epsilon_without_crop: tuple[float, ...] | None = None

    def all_epsilons(self) -> tuple[float, ...]:
        """Returns both lines' epsilons."""
        return self.epsilon + (self.epsilon_without_crop or ())


@dataclass(frozen=True)
class SweepPlot:
    """Epsilon over one parameter of a pipeline.

    Attributes:
        title: Stands above the panel.
        parameter: Label of the axis, with its unit.
        values: The parameter's values, in any order.
        series: The lines.
        delta: The delta of every epsilon.
    """

    title: str
    parameter: str
    values: tuple[float, ...]
    series: tuple[Series, ...]
    delta: float

    def __post_init__(self) -> None:
        require(bool(self.values), "values", "at least one", 0)
        require(all(map(math.isfinite, self.values)), "values", "finite", self.values)
        require(bool(self.series), "series", "at least one", 0)
        for line in self.series:
            for epsilons in (line.epsilon, line.epsilon_without_crop or line.epsilon):
                require(len(epsilons) == len(self.values), line.name, _count(self), len(epsilons))
                _require_epsilons(line.name, epsilons)


def _count(sweep: SweepPlot) -> str:
    return f"one epsilon for each of the {len(sweep.values)} values"


def _require_epsilons(name: str, epsilons: Iterable[float] | NDArray[np.float64]) -> None:
    values = np.asarray(epsilons, dtype=np.float64)
    require(bool(np.all(values >= 0)), f"epsilon of {name}", "at least 0", values.min())


@dataclass(frozen=True)
class ProfileCurve:
    """Delta by epsilon of one accounting.

    Attributes:
        name: As in the legend; that a curve is no bound is added there.
        epsilon: Shape (n,), rising.
        delta: Shape (n,).
        emphasised: Whether it is what the picture is about.
        valid: Whether it is a bound.
    """

    name: str
    epsilon: NDArray[np.float64]
    delta: NDArray[np.float64]
    emphasised: bool = False
    valid: bool = True

    def __post_init__(self) -> None:
        same = self.epsilon.ndim == 1 and self.epsilon.shape == self.delta.shape
        require(same, self.name, "as many deltas as epsilons", (self.epsilon.size, self.delta.size))
        legal = bool(np.all((self.delta >= 0) & (self.delta <= 1 + 1e-9)))
        require(legal, f"delta of {self.name}", "between 0 and 1", self.delta)


@dataclass(frozen=True)
class StepsPlot:
    """Epsilon over the steps of one training run."""

    steps: NDArray[np.float64]
    epsilon: NDArray[np.float64]
    delta: float

    def __post_init__(self) -> None:
        require(self.steps.ndim == 1 and self.steps.size > 0, "steps", "a list", self.steps.shape)
        same = self.epsilon.shape == self.steps.shape
        require(same, "epsilon", f"{self.steps.size} values, one a step", self.epsilon.size)
        require(bool(np.all(np.isfinite(self.steps))), "steps", "finite", self.steps)
        _require_epsilons("the steps", self.epsilon)


@dataclass(frozen=True)
class BoundMap:
    """Inclusion probability and epsilon by the place of the patch.

    Attributes:
        image: Height and width in pixels.
        patch: Height and width of the patch's bounding box.
        crop: Height and width of the window, or none to leave it out.
        rho: Inclusion probability by the patch's top left, shape (H - h + 1, W - w + 1).
        epsilon: Epsilon by the patch's top left, same shape.
        worst: Row and column of the patch's top left where both are largest.
        delta: The delta of every epsilon.
        example: An image to show beneath, shape (H, W, 3), or none.
    """

    image: tuple[int, int]
    patch: tuple[int, int]
    crop: tuple[int, int] | None
    rho: NDArray[np.float64]
    epsilon: NDArray[np.float64]
    worst: tuple[int, int]
    delta: float
    example: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        (height, width), (h, w) = self.image, self.patch
        fits = 1 <= h <= height and 1 <= w <= width
        require(fits, "patch", f"at least 1x1 and at most {height}x{width}", f"{h}x{w}")
        shape = (height - h + 1, width - w + 1)
        require(self.rho.shape == shape, "rho", f"of shape {shape}", self.rho.shape)
        require(self.epsilon.shape == shape, "epsilon", f"of shape {shape}", self.epsilon.shape)
        legal = bool(np.all((self.rho >= 0) & (self.rho <= 1 + 1e-9)))
        require(legal, "rho", "between 0 and 1", f"{self.rho.min()} to {self.rho.max()}")
        _require_epsilons("the map", self.epsilon)
        inside = 0 <= self.worst[0] < shape[0] and 0 <= self.worst[1] < shape[1]
        require(inside, "worst", f"on the map of {shape} places", self.worst)
        if self.example is not None:
            full = (height, width, 3)
            require(self.example.shape == full, "example", f"of {full}", self.example.shape)

    def centre(self, place: tuple[int, int]) -> tuple[float, float]:
        """Returns the row and column of the patch's centre, pixel 0 reaching from 0 to 1."""
        return place[0] + self.patch[0] / 2, place[1] + self.patch[1] / 2


@dataclass(frozen=True)
class MapPanel:
    """One quantity of a `BoundMap`, and its extremes.

    Attributes:
        symbol: Its Greek letter.
        title: Stands above the panel.
        values: Shape (H - h + 1, W - w + 1); may hold infinities.
        worst: The value at the worst place.
        best: The smallest value.
        best_place: The first place where it is attained.
        top: The largest finite value, for the scale.
    """

    symbol: str
    title: str
    values: NDArray[np.float64]
    worst: float
    best: float
    best_place: tuple[int, int]
    top: float


def map_panels(data: BoundMap, delta: str) -> tuple[MapPanel, MapPanel]:
    """Returns the two panels of a map; ``delta`` is the delta as text."""
    return (
        _panel(data, "ρ", "ρ(z): probability that the crop meets the patch", data.rho),
        _panel(data, "ε", f"ε(z) at δ = {delta}", data.epsilon),
    )


def _panel(data: BoundMap, symbol: str, title: str, values: NDArray[np.float64]) -> MapPanel:
    # Epsilon grows with rho: one place is the best of both panels.
    row, column = np.unravel_index(int(np.argmin(data.rho)), data.rho.shape)
    finite = values[np.isfinite(values)]
    return MapPanel(
        symbol=symbol,
        title=title,
        values=values,
        worst=float(values[data.worst]),
        best=float(values[row, column]),
        best_place=(int(row), int(column)),
        top=float(finite.max()) if finite.size else 0.0,
    )


def use_log(values: Iterable[float]) -> bool:
    """Whether an axis of these numbers should be logarithmic; infinities and zeros do not count.

    >>> use_log([1.0, 19.0]), use_log([0.0, 1.0, 21.0, math.inf]), use_log([])
    (False, True, False)
    """
    shown = [value for value in values if 0 < value < math.inf]
    return bool(shown) and max(shown) > _LOG_RATIO * min(shown)


def prefers_log(places: NDArray[np.float64]) -> bool:
    """Whether rising places of points are spread wide, and more evenly in logs.

    >>> prefers_log(np.array([1.0, 10.0, 100.0])), prefers_log(np.array([1.0, 50.0, 100.0]))
    (True, False)
    """
    if places.size < 3 or places[0] <= 0 or not use_log(places):
        return False
    plain, logs = np.diff(places), np.diff(np.log(places))
    return bool(logs.std() / logs.mean() < plain.std() / plain.mean())

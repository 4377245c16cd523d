"""Sweeps, profiles and maps for tests of their pictures."""

import math

import numpy as np

from cropaudit.accounting.bounds.answers import Curve, PlaceMap
from cropaudit.accounting.bounds.sweeps import Sweep, SweepSeries
from cropaudit.accounting.geometry.shapes import Crop, Rectangle, Size
from cropaudit.accounting.inclusion.probability import inclusion_map
from cropaudit.reports.pictures.bound_plots import SweepPanel

CROPPED = SweepSeries("noise multiplier 1", (1.0, 2.0, 3.0), (6.0, 6.0, 6.0))
WIDE = SweepSeries("noise multiplier 0.5", (1.0, 20.0, 90.0), (100.0, 100.0, 100.0))
BROKEN = SweepSeries("noise multiplier 0", (1.0, math.inf, 3.0), (math.inf, math.inf, 5.0))


def panel(*series: SweepSeries, values: tuple[float, ...] = (100, 200, 400)) -> SweepPanel:
    return SweepPanel("Crop size", Sweep("crop", values, series, 1e-5))


def place_map(
    image: tuple[int, int] = (60, 90),
    patch: tuple[int, int] = (6, 9),
    crop: tuple[int, int] = (24, 30),
) -> PlaceMap:
    rho = inclusion_map(Size(*image), Crop(Size(*crop)), Rectangle(Size(*patch)))
    row, column = np.unravel_index(rho.argmax(), rho.shape)
    worst = int(row), int(column)
    return PlaceMap(Size(*image), Size(*patch), rho, 7.5 * rho / rho.max(), worst)


def infinite_map() -> PlaceMap:
    rho = np.full((25, 25), 0.3)
    return PlaceMap(Size(32, 32), Size(8, 8), rho, np.full((25, 25), np.inf), (3, 20))


def curve(name: str, reach: float, valid: bool = True) -> Curve:
    epsilon = np.linspace(0.01, reach, 100)
    return Curve(name, epsilon, np.exp(-20 * epsilon / reach), valid)

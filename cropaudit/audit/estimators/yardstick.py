"""How far counts lie above a curve: an order of all counts, fixed before any are seen.

Rates are placed by the arcsines of their roots, where each count deviates by about one whatever its
rate (Anscombe 1948), and the distance is that from the nearest point of the curve. A distance
studentised by the curve's slope would be no order to rely on: at a kink the slope says nothing
about the rates on the other side.

A test of one curve may order counts by their distance from it. A search among louder and louder
curves may not: each curve would order counts differently, p-values would not rise with the curve,
and the loudest curve that is rejected could lie beyond one that is not. So a search orders counts
once, by the loudest curve from which they keep a fixed distance, and keeps that order (as Buehler
1957 orders them for a bound).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from cropaudit.audit.estimators.evidence import Counts

__all__ = ["TradeOff", "Yardstick", "alarm_blocks", "distance", "extreme_hits", "yardstick"]

Array = NDArray[np.float64]
TradeOff = Callable[[Array], Array]
"""Largest true positive rates at an array of false positive rates: increasing and concave."""

_FINENESS = 24  # blocks of alarms in one standard deviation
_SPACING = 1 / 12  # deviations between points of the curve
_FARTHEST = 12.0  # deviations from the curve beyond which all counts are alike
_LEAST = 0.5  # deviations that a search keeps from its curve


@dataclass(frozen=True)
class Yardstick:
    """As extreme as what was seen is what lies at least so far above a curve.

    Attributes:
        curve: The curve.
        radius: Distance in deviations; 0 if what was seen does not lie above it.
    """

    curve: TradeOff
    radius: float


def yardstick(
    counts: Counts,
    level: float,
    loudest: Callable[[Callable[[TradeOff], bool]], TradeOff],
    limit: TradeOff | None = None,
) -> Yardstick:
    """Returns the order in which a search at ``level`` looks at counts.

    Args:
        counts: What was seen.
        level: Of the search.
        loudest: Returns the loudest curve for which something holds, else the quietest of all.
        limit: What no curve of the search exceeds; counts far above it are ordered by how far.
    """
    wanted = max(float(ndtri(1 - level)), _LEAST)
    if limit is not None and distance(counts, limit) >= wanted:
        return Yardstick(limit, distance(counts, limit))
    curve = loudest(lambda tried: distance(counts, tried) >= wanted)
    return Yardstick(curve, min(wanted, distance(counts, curve)))


def distance(counts: Counts, curve: TradeOff) -> float:
    """Returns how far counts lie above a curve, in deviations; 0 if they do not, at most 12."""
    x, y = _placed(counts)
    curve_x, curve_y = _placed_curve(counts, curve)
    if y <= np.interp(x, curve_x, curve_y):
        return 0.0
    return float(min(np.hypot(curve_x - x, np.maximum(y - curve_y, 0.0)).min(), _FARTHEST))


def extreme_hits(counts: Counts, order: Yardstick, blocks: Array) -> Array:
    """Returns how many hits, for each block of alarms, are as extreme as what was seen.

    A circle rolls along the curve of the yardstick; its upper edge is where extreme counts begin,
    and rises with the alarms as the curve does.

    Args:
        counts: What was seen.
        order: What is extreme.
        blocks: First alarms of successive blocks, as `alarm_blocks` has them.
    """
    n, x = counts.members, _place(blocks, counts.nonmembers)
    if order.radius <= 0:
        return np.zeros(len(blocks))
    curve_x, curve_y = _placed_curve(counts, order.curve)
    start, stop = np.searchsorted(curve_x, [x[0] - order.radius, x[-1] + order.radius])
    near = slice(max(int(start) - 1, 0), int(stop) + 1)
    gap = order.radius**2 - (x[:, None] - curve_x[near]) ** 2
    edge = np.where(gap >= 0, curve_y[near] + np.sqrt(np.maximum(gap, 0.0)), 0.0).max(axis=1)
    angle = edge / (2 * math.sqrt(n))
    cuts = np.ceil(np.sin(np.minimum(angle, math.pi / 2)) ** 2 * (n + 1) - 0.5 - 1e-7)
    cuts = np.where(angle > math.pi / 2, n + 1, cuts)
    # Rounding must not leave out what was seen, nor let a cut fall.
    own = int(np.searchsorted(blocks, counts.alarms, side="right")) - 1
    cuts[own] = min(cuts[own], counts.hits)
    return np.asarray(np.minimum.accumulate(cuts[::-1])[::-1])


@lru_cache(maxsize=32)
def alarm_blocks(nonmembers: int) -> Array:
    """Returns the first counts of alarms of blocks that are treated alike, fixed beforehand."""
    roots = np.arange(2 * _FINENESS * math.sqrt(nonmembers) + 1) / (2 * _FINENESS)
    return np.unique(np.floor(roots**2))


def _placed(counts: Counts) -> tuple[float, float]:
    """Returns the place of counts, the alarms taken as those of their block."""
    blocks = alarm_blocks(counts.nonmembers)
    own = blocks[np.searchsorted(blocks, counts.alarms, side="right") - 1]
    return float(_place(own, counts.nonmembers)), float(_place(counts.hits, counts.members))


def _place(count: Array | float, trials: int) -> Array:
    rate = np.minimum((np.asarray(count) + 0.5) / (trials + 1), 1.0)
    return np.asarray(2 * math.sqrt(trials) * np.arcsin(np.sqrt(rate)))


def _placed_curve(counts: Counts, curve: TradeOff) -> tuple[Array, Array]:
    """Returns points of a curve, the same whatever was seen."""
    span = math.pi * math.sqrt(counts.nonmembers)
    x = np.linspace(0.0, span, math.ceil(span / _SPACING) + 1)
    tpr = np.clip(curve(np.sin(x / (2 * math.sqrt(counts.nonmembers))) ** 2), 0.0, 1.0)
    return x, np.asarray(2 * math.sqrt(counts.members) * np.arcsin(np.sqrt(tpr)))

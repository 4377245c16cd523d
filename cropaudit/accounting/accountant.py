"""Epsilon, delta and noise of a mechanism, through pessimistic PLDs of dp_accounting.

One-step divergences are exact (`StepPair.delta`); a connect-the-dots discretisation (Doroshenko
et al., 2207.04380) dominates them and composes by FFT. The grid is refined until what is left is a
tenth of a percent. Every epsilon and noise multiplier here is rounded up.
"""

import math
from collections.abc import Callable

import numpy as np
from dp_accounting.pld import pld_pmf
from numpy.typing import NDArray
from scipy.optimize import brentq

from cropaudit.accounting.curves import ComposedLoss, PrivacyCurve
from cropaudit.accounting.mechanisms import AddRemoveShortcut, Mechanism
from cropaudit.accounting.pairs import StepPair
from cropaudit.errors import InputError, require

__all__ = [
    "calibrate_noise",
    "compose",
    "delta_at",
    "epsilon_at",
    "pair_curve",
    "privacy_curve",
    "round_up",
]

_TAIL = 1e-15  # probability per composition that goes to an infinite loss
_FINEST = 2_000_000  # grid points of one step
_AGREE = 1e-3


def compose(pair: StepPair, steps: int, width: float, *, symmetric: bool) -> ComposedLoss:
    """Composes one step with itself.

    Args:
        pair: The one-step pair.
        steps: How often.
        width: Grid width of the losses.
        symmetric: Whether to dominate (Q, P) as well as (P, Q) in every step, as an adjacency that
            holds both ways needs; else the loss of exactly this pair, in this direction.

    Returns:
        A loss that dominates the composition.
    """
    low, high = pair.quantile_range(1e-22)
    if symmetric:
        other = pair.mirrored()
        high = max(high, other.quantile_range(1e-22)[1])
        low = -high
    first, last = math.floor(low / width), math.ceil(high / width)
    if symmetric:
        above = _grid(0, last, width)
        worst = np.maximum(pair.delta(above), other.delta(above))
        below = -above[:0:-1]
        deltas = np.concatenate([-np.expm1(below) + np.exp(below) * worst[:0:-1], worst])
        first = -last
    else:
        deltas = pair.delta(_grid(first, last, width))
    deltas = np.clip(np.minimum.accumulate(deltas), 0.0, 1.0)
    pmf = pld_pmf.create_pmf_pessimistic_connect_dots_fixed_gap(width, first, last, deltas)
    dense = pmf.to_dense_pmf()
    if steps > 1:
        dense = dense.self_compose(steps, tail_mass_truncation=_TAIL)
    # dp_accounting has no public access to the arrays; the names have been stable since 0.1.
    probs = np.maximum(np.asarray(dense._probs, dtype=np.float64), 0.0)
    return ComposedLoss(width, int(dense._lower_loss), probs, float(dense._infinity_mass))


def privacy_curve(mechanism: Mechanism, delta: float = 1e-5, agree: float = _AGREE) -> PrivacyCurve:
    """Composes a mechanism over its steps, refined at ``delta``.

    Args:
        mechanism: What runs.
        delta: Where the refinement is judged.
        agree: Largest relative change of epsilon that a halved grid may still bring.

    Returns:
        The curve, an upper bound.
    """
    pair, steps = mechanism.pair(), mechanism.compositions
    require(0 < delta < 1, "delta", "in (0, 1)", delta)
    if mechanism.record_rate == 0:
        # A window that never meets the patch gives equal worlds, and the grid has no scale.
        return PrivacyCurve([ComposedLoss(1.0, 0, np.ones(1), 0.0)])
    if isinstance(mechanism, AddRemoveShortcut):
        # What the short cut's users compute: either direction composed alone, then the larger.
        return pair_curve(pair, steps, delta, agree)
    return _refine(
        lambda h: PrivacyCurve([compose(pair, steps, h, symmetric=True)]),
        _first_width(pair),
        delta,
        agree,
    )


def pair_curve(pair: StepPair, steps: int, delta: float, agree: float = _AGREE) -> PrivacyCurve:
    """Composes exactly one pair, both directions apart: what a game on this pair can show."""
    directions = (pair, pair.mirrored())
    return _refine(
        lambda h: PrivacyCurve([compose(p, steps, h, symmetric=False) for p in directions]),
        _first_width(pair),
        delta,
        agree,
    )


def epsilon_at(mechanism: Mechanism, delta: float) -> float:
    """Returns an upper bound on epsilon at ``delta``, rounded up to six digits.

    Raises:
        InputError: If delta is not in (0, 1), or too small for the numerics to bound epsilon.
    """
    epsilon = privacy_curve(mechanism, delta).epsilon(delta)
    require(math.isfinite(epsilon), "delta", "above 1e-14 for this many steps", delta)
    return round_up(epsilon)


def delta_at(mechanism: Mechanism, epsilon: float, hint: float = 1e-5) -> float:
    """Returns an upper bound on delta at ``epsilon``, the grid being refined at delta ``hint``."""
    require(epsilon >= 0, "epsilon", "at least 0", epsilon)
    return min(1.0, round_up(privacy_curve(mechanism, hint).delta(epsilon)))


def calibrate_noise(mechanism: Mechanism, delta: float, epsilon: float) -> float:
    """Returns a noise multiplier, rounded up, whose epsilon at ``delta`` is at most ``epsilon``.

    Args:
        mechanism: Sampler, rates and steps; its own noise multiplier is ignored.
        delta: Target delta.
        epsilon: Target epsilon.

    Raises:
        InputError: If epsilon is not positive or no noise multiplier in [0.01, 10000] attains it.
    """
    require(0 < epsilon < math.inf, "target epsilon", "positive and finite", epsilon)

    def excess(log_noise: float, agree: float = _AGREE) -> float:
        curve = privacy_curve(mechanism.with_noise(math.exp(log_noise)), delta, agree)
        return math.log(max(min(curve.epsilon(delta), 1e9), 1e-12) / epsilon)

    low, high = _bracket(excess, epsilon)
    found = brentq(excess, low, high, xtol=1e-4)
    while excess(found) > 0:  # the root is met from either side: step to the honest one
        found += 1e-4
    return round_up(math.exp(found))


def round_up(value: float, digits: int = 6) -> float:
    """Rounds a positive number up to so many significant digits.

    >>> round_up(7.4500001), round_up(0.0)
    (7.45001, 0.0)
    """
    if value <= 0 or not math.isfinite(value):
        return value
    scale = 10.0 ** (digits - 1 - math.floor(math.log10(value)))
    rounded = math.ceil(value * scale) / scale
    return rounded if rounded >= value else math.nextafter(rounded, math.inf)


def _bracket(excess: Callable[[float], float], epsilon: float) -> tuple[float, float]:
    low = high = 0.0
    while excess(high) > 0:
        low, high = high, high + 0.7
        if high > math.log(1e4):
            raise InputError(
                f"target epsilon must be attainable with noise below 1e4, got {epsilon}"
            )
    while low == high or excess(low) < 0:
        high, low = low, low - 0.7
        if low < math.log(1e-2):
            raise InputError(
                f"target epsilon must be below what a noise multiplier of 0.01 gives, got {epsilon}"
            )
    return low, high


def _grid(first: int, last: int, width: float) -> NDArray[np.float64]:
    return np.arange(first, last + 1, dtype=np.float64) * width


def _first_width(pair: StepPair) -> float:
    """Returns half the deviation of one step's loss, within the finest grid allowed."""
    reach = 1 + 8 * pair.sigma
    x = np.linspace(-reach, reach, 2001)
    above = pair.masses_above(x)[0]
    mass = -np.diff(above)
    loss = pair.log_ratio((x[1:] + x[:-1]) / 2)
    mean = float(mass @ loss)
    deviation = math.sqrt(max(float(mass @ (loss - mean) ** 2), 1e-16))
    low, high = pair.quantile_range(1e-22)
    return max(min(deviation / 2, 0.05), (high - low) / _FINEST)


def _refine(
    build: Callable[[float], PrivacyCurve], width: float, delta: float, agree: float
) -> PrivacyCurve:
    """Halves the grid until epsilon moves by less than ``agree``; the finest curve is returned."""
    curve = build(width)
    epsilon = curve.epsilon(delta)
    for _ in range(8):
        width /= 2
        curve = build(width)
        before, epsilon = epsilon, curve.epsilon(delta)
        # The error falls as the square of the width: what is left is a third of the last change.
        if before - epsilon <= 3 * agree * epsilon or before - epsilon < 1e-6:
            break
    return curve

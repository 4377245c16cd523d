"""Epsilon, delta, noise and steps of a mechanism, or of several that run one after the other.

One-step divergences are exact or proved (`divergences`), discretised from above and from below
(`grids`) and composed by FFT (`composition`). The grid is refined until the upper bound is within a
tenth of a percent of the lower one. Every epsilon and noise multiplier here is rounded up.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol, Self

import numpy as np
from scipy.optimize import brentq

from cropaudit.accounting.composition import compose_losses, compose_powers
from cropaudit.accounting.curves import ComposedLoss, PrivacyCurve
from cropaudit.accounting.divergences import StepLoss
from cropaudit.accounting.grids import GridLoss, Lattice, from_above, from_below
from cropaudit.accounting.mechanisms import MOST_PHASES
from cropaudit.accounting.pairs import MixturePair, StepPair
from cropaudit.accounting.searching import last_allowed
from cropaudit.errors import InputError, require

__all__ = [
    "Bracket",
    "Composable",
    "Phases",
    "bracket",
    "calibrate_noise",
    "delta_at",
    "epsilon_at",
    "epsilon_over_steps",
    "finite_epsilon",
    "most_steps",
    "pair_bracket",
    "pair_curve",
    "privacy_curve",
    "round_up",
    "told_epsilon",
]


class Composable(Protocol):
    """What can be composed: a mechanism, or a group of them."""

    @property
    def adjacency(self) -> str:
        """The neighbouring relation."""

    @property
    def compositions(self) -> int:
        """How often the step is composed."""

    @property
    def record_rate(self) -> float:
        """Probability that one step shows what differs; at 0 nothing leaks."""

    def losses(self) -> tuple[StepLoss, ...]:
        """Returns the step, for each order of the worlds to compose apart."""

    def with_noise(self, noise_multiplier: float) -> Self:
        """Returns the same at another noise multiplier."""

    def with_steps(self, steps: int) -> Self:
        """Returns the same over another number of steps."""


Phases = Composable | Sequence[Composable]

_AGREE = 5e-4  # half of what is promised: then the upper bound itself is off by less
_GROWTH = 1 / 64  # relative distance of kinks far from zero, at first
_CELLS = 1 << 21  # of the largest transform: a second
_KINKS = 64  # cells of a transform that take as long as one evaluation of a step
_CHEAP = 1 << 16  # of a transform that takes no time
_TRIES = 10
_LEAST_NOISE, _MOST_NOISE = 1e-3, 1e4  # that noise is sought among
_MOST_EPSILON = 1e12
_MOST_STEPS = 100_000_000


@dataclass(frozen=True, eq=False)
class Bracket:
    """A composition between two bounds.

    Attributes:
        curve: Dominates the composition: its answers are upper bounds.
        upper: Epsilon of that curve at the delta that was asked for.
        lower: Epsilon of a composition that the true one dominates.
    """

    curve: PrivacyCurve
    upper: float
    lower: float

    @property
    def gap(self) -> float:
        """Largest relative error of the upper bound; infinite if only that is."""
        if not math.isfinite(self.upper):
            return math.inf if math.isfinite(self.lower) else 0.0
        return (self.upper - self.lower) / self.upper if self.upper > 0 else 0.0


def bracket(
    mechanism: Phases, delta: float, agree: float = _AGREE, decide: float | None = None
) -> Bracket:
    """Composes a mechanism, or phases one after the other, refined at ``delta``.

    Args:
        mechanism: What runs. Phases must be of one adjacency; each takes its own worst place of the
            patch, which is an upper bound if those differ.
        delta: Where the refinement is judged.
        agree: Largest gap between upper and lower bound, relative.
        decide: Refine no further once this epsilon lies outside of the two bounds.

    Raises:
        InputError: If delta is not in (0, 1) or the phases are of different adjacencies.
    """
    require(0 < delta < 1, "delta", "in (0, 1)", delta)
    phases = [phase for phase in _phases(mechanism) if phase.record_rate > 0]
    if not phases:
        # A window that never meets the patch gives equal worlds, and the grid has no scale.
        return Bracket(PrivacyCurve([ComposedLoss(1.0, 0, np.ones(1), 0.0)]), 0.0, 0.0)
    losses_of = [phase.losses() for phase in phases]
    alike = len({len(losses) for losses in losses_of}) == 1
    require(alike, "phases", "all of patches, or all of an add/remove accountant", len(phases))
    counts = [phase.compositions for phase in phases]
    orders = [_merged(losses, counts) for losses in zip(*losses_of, strict=True)]
    return _worst_of(orders, delta, agree, decide, hidden=True)


def privacy_curve(mechanism: Phases, delta: float = 1e-5, agree: float = _AGREE) -> PrivacyCurve:
    """Returns the curve that `bracket` finds: an upper bound."""
    return bracket(mechanism, delta, agree).curve


def pair_bracket(
    pair: StepPair | MixturePair, steps: int, delta: float, agree: float = _AGREE
) -> Bracket:
    """Composes exactly one pair, both directions apart: what a game on this pair can show."""
    require(0 < delta < 1, "delta", "in (0, 1)", delta)
    loss = StepLoss.played(pair)
    return _worst_of([[(loss, steps)], [(loss.swapped(), steps)]], delta, agree)


def pair_curve(
    pair: StepPair | MixturePair, steps: int, delta: float, agree: float = _AGREE
) -> PrivacyCurve:
    """Returns the curve that `pair_bracket` finds: an upper bound."""
    return pair_bracket(pair, steps, delta, agree).curve


def epsilon_at(mechanism: Phases, delta: float) -> float:
    """Returns an upper bound on epsilon at ``delta``, rounded up to six digits.

    Without noise it is infinite, unless the patch is seen with a probability of at most delta.

    Raises:
        InputError: If delta is not in (0, 1), or too small for the numerics to bound epsilon.
    """
    return told_epsilon(bracket(mechanism, delta), delta)


def delta_at(mechanism: Phases, epsilon: float, hint: float = 1e-5) -> float:
    """Returns an upper bound on delta at ``epsilon``, the grid being refined at delta ``hint``."""
    require(epsilon >= 0, "epsilon", "at least 0", epsilon)
    return min(1.0, round_up(privacy_curve(mechanism, hint).delta(epsilon)))


def epsilon_over_steps(mechanism: Composable, delta: float, steps: Sequence[int]) -> list[float]:
    """Returns epsilon after each number of steps, rounded up, with one transform for all.

    Args:
        mechanism: What runs; its own number of steps does not matter.
        delta: Target delta.
        steps: Increasing numbers of steps, each at least 1.

    Raises:
        InputError: If the steps do not increase from at least 1.
    """
    rising = all(a < b for a, b in pairwise(steps))
    require(bool(steps) and rising and steps[0] >= 1, "steps", "increasing from 1", list(steps))
    counts = [mechanism.with_steps(count).compositions for count in steps]
    if mechanism.record_rate == 0:
        return [0.0] * len(counts)
    # The relative error of the grid hardly depends on the steps; its tail falls with them.
    worst = [0.0] * len(counts)
    for loss in mechanism.losses():
        lattices = [_refined([(loss, n)], delta, _AGREE)[1] for n in {counts[0], counts[-1]}]
        finest = min(lattices, key=lambda item: item.width)
        part = from_above(loss, Lattice(finest.width, finest.growth, _tail(delta, counts[-1])))
        unique = sorted(set(counts))
        found = dict(zip(unique, compose_powers(part, unique), strict=True))
        worst = [max(w, found[n].epsilon(delta)) for w, n in zip(worst, counts, strict=True)]
    seen = any(loss.up.infinity() + loss.down.infinity() > 0 for loss in mechanism.losses())
    return [v if seen and math.isinf(v) else finite_epsilon(v, delta) for v in worst]


def calibrate_noise(mechanism: Phases, delta: float, epsilon: float) -> float:
    """Returns a noise multiplier, rounded up, whose epsilon at ``delta`` is at most ``epsilon``.

    Args:
        mechanism: Sampler, rates and steps; its own noise multiplier is ignored. Of phases all are
            given the same noise.
        delta: Target delta.
        epsilon: Target epsilon.

    Raises:
        InputError: If epsilon is not positive or no noise multiplier in [0.001, 10000] attains it.
    """
    require(0 < epsilon < math.inf, "target epsilon", "positive and finite", epsilon)
    phases = _phases(mechanism)

    def excess(log_noise: float, decide: float | None = None) -> float:
        noisy = [phase.with_noise(math.exp(log_noise)) for phase in phases]
        upper = bracket(noisy, delta, decide=decide).upper
        return math.log(max(min(upper, _MOST_EPSILON), 1e-12) / epsilon)

    low, high = _bracket_noise(lambda log_noise: excess(log_noise, epsilon), epsilon)
    found = brentq(excess, low, high, xtol=1e-5)
    while excess(found) > 0:  # the root is met from either side: step to the honest one
        found += 1e-5
    return round_up(math.exp(found))


def most_steps(mechanism: Composable, delta: float, epsilon: float) -> int:
    """Returns the largest number of steps whose epsilon at ``delta`` is at most ``epsilon``.

    Raises:
        InputError: If epsilon is not positive, or one step exceeds it already.
    """
    require(0 < epsilon < math.inf, "target epsilon", "positive and finite", epsilon)

    def allowed(steps: int) -> bool:
        return bracket(mechanism.with_steps(steps), delta, decide=epsilon).upper <= epsilon

    if not allowed(1):
        raise InputError(f"target epsilon must be at least that of one step, got {epsilon}")
    low, high = 1, 2
    while allowed(high):
        low, high = high, 2 * high
        require(high <= _MOST_STEPS, "target epsilon", "attained within 1e8 steps", epsilon)
    return last_allowed(allowed, low, high)


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


def finite_epsilon(epsilon: float, delta: float) -> float:
    """Returns an upper bound rounded up to six digits.

    Raises:
        InputError: If it is infinite, because delta is below what the numerics can tell.
    """
    require(math.isfinite(epsilon), "delta", "above 1e-11 or so for this many steps", delta)
    return round_up(epsilon)


def told_epsilon(found: Bracket, delta: float) -> float:
    """Returns the upper bound of a bracket as `finite_epsilon` does, or infinity if that is proved.

    Raises:
        InputError: If the numerics alone make it infinite.
    """
    return math.inf if math.isinf(found.lower) else finite_epsilon(found.upper, delta)


def _phases(mechanism: Phases) -> tuple[Composable, ...]:
    phases = tuple(mechanism) if isinstance(mechanism, Sequence) else (mechanism,)
    require(bool(phases), "phases", "at least one", 0)
    require(len(phases) <= MOST_PHASES, "phases", f"at most {MOST_PHASES}", len(phases))
    adjacencies = sorted({phase.adjacency for phase in phases})
    require(len(adjacencies) == 1, "phases", "of one adjacency", " and ".join(adjacencies))
    return phases


def _merged(losses: Sequence[StepLoss], counts: Sequence[int]) -> list[tuple[StepLoss, int]]:
    """Returns the steps of phases, those that are alike as one phase."""
    found: dict[StepLoss, int] = {}
    for loss, count in zip(losses, counts, strict=True):
        found[loss] = found.get(loss, 0) + count
    return list(found.items())


def _tail(delta: float, steps: int) -> float:
    """Returns how much of a step may lie beyond the grid: a millionth of delta over all steps."""
    return max(1e-22, delta * 1e-6 / steps)


def _worst_of(
    orders: Sequence[Sequence[tuple[StepLoss, int]]],
    delta: float,
    agree: float,
    decide: float | None = None,
    *,
    hidden: bool = False,
) -> Bracket:
    """Composes each order of the worlds apart and returns the worst of all."""
    found: list[Bracket] = []
    for steps in orders:
        # An order that is safer than one before need not be known closer than that.
        least = max((item.lower for item in found), default=0.0) if hidden else 0.0
        found.append(_refined(steps, delta, agree, decide, least)[0])
    worst = max(found, key=lambda item: item.upper)
    curve = PrivacyCurve([part for item in found for part in item.curve.parts])
    return Bracket(curve, worst.upper, worst.lower)


def _refined(
    steps: Sequence[tuple[StepLoss, int]],
    delta: float,
    agree: float,
    decide: float | None = None,
    least: float = 0.0,
) -> tuple[Bracket, Lattice]:
    """Refines the lattice until both bounds agree, decide, or would take too long.

    An upper bound below ``least`` needs no refinement.
    """
    tail = _tail(delta, sum(count for _, count in steps))
    lattice = Lattice(_first_width([loss for loss, _ in steps], tail), _GROWTH, tail)
    best: tuple[Bracket, Lattice] | None = None
    lower = 0.0  # every lattice gives a lower bound, not only the one of the best upper bound
    for _ in range(_TRIES):
        above = _composed(steps, lattice, from_above, above=True)
        below = _composed(steps, lattice, from_below, above=False)
        curve = PrivacyCurve([above])
        lower = max(lower, below.epsilon(delta))
        found = Bracket(curve, above.epsilon(delta), lower)
        if best is None or found.upper < best[0].upper:
            best = found, lattice
        if above.infinity > delta:  # no noise, or rounding; a finer grid has no less of it
            break
        decided = decide is not None and not found.lower <= decide < found.upper
        if decided or found.upper < least:
            break
        # Judged at delta and, for the curve's other end, at epsilon 0 while that is cheap: there
        # one step's profile may be all but a corner, which the lower bound meets slowly.
        wide = 0.0 if found.upper - found.lower < 1e-6 else found.gap
        shown = above.delta(0.0)
        if len(above.probs) < _CHEAP and shown > 0:
            wide = max(wide, 1 - below.delta(0.0) / shown)
        if wide <= agree:
            break
        wanted = math.sqrt(wide / agree) if math.isfinite(wide) else 4.0
        factor = min(max(1.15 * wanted, 1.4), 4.0)
        cost = max(len(above.probs), _KINKS / lattice.growth) * len(steps)
        if cost * factor > _CELLS:
            break
        lattice = lattice.finer(factor)
    assert best is not None
    return replace(best[0], lower=lower), best[1]


def _composed(
    steps: Sequence[tuple[StepLoss, int]],
    lattice: Lattice,
    discretise: Callable[[StepLoss, Lattice], GridLoss],
    *,
    above: bool,
) -> ComposedLoss:
    parts = [(discretise(loss, lattice), count) for loss, count in steps]
    return compose_losses(parts, above=above)


def _first_width(losses: Sequence[StepLoss], tail: float) -> float:
    """Returns a quarter of the smallest deviation of one step's loss.

    A first lattice is far finer than any loss near zero, and coarse in proportion beyond.
    """
    widths = []
    for loss in losses:
        reach = max(loss.up.reach(tail), loss.down.reach(tail))
        if loss.up.infinity() + loss.down.infinity() > 0:
            # Without noise: the one finite loss that is not zero, if there is one.
            widths.append(reach if reach > 0 else math.inf)
            continue
        reach = max(reach, 1e-12)
        part = from_above(loss, Lattice(reach * 1e-8, 1 / 16, tail))
        at = part.index * part.width
        mean = float(part.probs @ at)
        deviation = math.sqrt(max(float(part.probs @ (at - mean) ** 2), 1e-24))
        least = 2 * reach / _CELLS  # rare losses may be huge beside the deviation
        widths.append(min(max(deviation / 4, least), reach))
    width = min(widths)
    return width if math.isfinite(width) else 1.0


def _bracket_noise(excess: Callable[[float], float], epsilon: float) -> tuple[float, float]:
    low = high = 0.0
    while excess(high) > 0:
        low, high = high, high + 0.7
        if high > math.log(_MOST_NOISE):
            raise InputError(
                f"target epsilon must be attainable with noise below 1e4, got {epsilon}"
            )
    while low == high or excess(low) < 0:
        high, low = low, low - 0.7
        if low < math.log(_LEAST_NOISE):
            raise InputError(
                "target epsilon must be below what a noise multiplier of "
                f"{_LEAST_NOISE:g} gives, got {epsilon}"
            )
    return low, high

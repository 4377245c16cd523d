"""Answers a request: the bound, what was solved for, profile, map, the objects beside it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.accountant import Composable, bracket, round_up
from cropaudit.accounting.bound import PatchBound, Phase, bound_phases
from cropaudit.accounting.geometry import Rectangle, Size
from cropaudit.accounting.inclusion import inclusion_map
from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.accounting.objects import Coverage, coverage, read_objects
from cropaudit.accounting.pipelines import Pipeline
from cropaudit.accounting.risk import epsilon_map
from cropaudit.accounting.shortcuts import shortcuts
from cropaudit.accounting.solving import largest_batch, largest_crop, longest, needed_noise
from cropaudit.bounds.requests import BoundRequest
from cropaudit.errors import InputError, require

__all__ = [
    "Answer",
    "Curve",
    "ObjectsAnswer",
    "PlaceMap",
    "answer",
    "objects_answer",
    "own_profile",
    "place_map",
    "profiles",
]

Array = NDArray[np.float64]

_POINTS = 120  # of a profile
_DEPTH, _FLOOR = 1e-4, 1e-9  # the smallest delta of a profile, of the target's and at all


@dataclass(frozen=True)
class Answer:
    """The bound of a request.

    Attributes:
        phases: What runs, complete.
        mechanisms: What the phases amount to.
        bound: Its bound.
        solved: The setting that was solved for, in words; empty if none.
    """

    phases: tuple[Phase, ...]
    mechanisms: tuple[PatchMechanism, ...]
    bound: PatchBound
    solved: str


@dataclass(frozen=True, eq=False)
class Curve:
    """A privacy profile by name; ``is_bound`` is false for a short cut."""

    name: str
    epsilon: Array
    delta: Array
    is_bound: bool


@dataclass(frozen=True, eq=False)
class PlaceMap:
    """Inclusion probability and epsilon for a patch at every place of the worst image."""

    image: Size
    patch: Size
    rho: Array
    epsilon: Array
    worst: tuple[int, int]


@dataclass(frozen=True)
class ObjectsAnswer:
    """The objects of a data set beside the claimed patch.

    Attributes:
        coverage: Which of them the patch covers.
        uncovered: The share that it does not.
        squares: Triples of a share of objects, the side of the smallest square patch that covers
            it, and epsilon for that patch; none where it does not fit every image.
    """

    coverage: Coverage
    uncovered: float
    squares: tuple[tuple[float, int, float | None], ...]


def answer(request: BoundRequest) -> Answer:
    """Returns the bound of a request, solving for what it leaves open.

    Raises:
        InputError: If something is missing, contradictory or out of range.
    """
    delta = request.given_delta()
    phases, solved = _solved(request, delta)
    found = bound_phases(phases, delta, group=request.group, clip_norm=request.clip_norm)
    mechanisms = [phase.pipeline.mechanism(phase.noise_multiplier) for phase in phases]
    return Answer(tuple(phases), tuple(mechanisms), found, solved)


def _solved(request: BoundRequest, delta: float) -> tuple[list[Phase], str]:
    if request.phases:
        return _phases(request), ""
    missing, target = request.missing(), request.target_epsilon
    noise = request.noise_multiplier()
    if target is None:
        if missing:
            raise InputError(f"{missing[0]} must be given, or a target epsilon to solve for it")
        assert noise is not None
        return [Phase(request.pipeline(), noise)], ""
    if len(missing) != 1:
        left = ", ".join(missing) or "none"
        raise InputError(
            "target epsilon solves for one of noise, steps, batch and crop, which must be the "
            f"only one left out, got {left}"
        )
    return _one_solved(request.pipeline(solving=missing[0]), missing[0], noise, delta, target)


def _one_solved(
    pipeline: Pipeline, what: str, noise: float | None, delta: float, target: float
) -> tuple[list[Phase], str]:
    require(target > 0, "target epsilon", "positive and finite", target)
    if noise is None:
        found = needed_noise(pipeline, delta, target)
        return [Phase(pipeline, found)], f"noise multiplier {found:g}"
    match what:
        case "steps":
            pipeline = longest(pipeline, noise, delta, target)
            words = f"steps {pipeline.steps}"
        case "batch":
            pipeline = largest_batch(pipeline, noise, delta, target)
            words = f"batch {pipeline.batch}"
        case _:
            pipeline = largest_crop(pipeline, noise, delta, target)
            words = f"crop {getattr(pipeline.crop, 'size', '')}"
    return [Phase(pipeline, noise)], words


def _phases(request: BoundRequest) -> list[Phase]:
    if request.target_epsilon is not None:
        raise InputError("target epsilon must be left out where phases are given")
    found = []
    for changes in request.phases:
        one = request.with_changes({**changes, "phases": ()})
        noise = one.noise_multiplier()
        if noise is None:
            raise InputError("noise must be given in every phase or for all, got none")
        found.append(Phase(one.pipeline(), noise))
    return found


def own_profile(found: Answer) -> Curve:
    """Returns the privacy profile of the bound."""
    name = f"{found.bound.sampler}, with crops"
    return _curve(name, found.mechanisms, True, found.bound.delta)


def profiles(found: Answer, against: Sequence[str] = ()) -> tuple[Curve, ...]:
    """Returns privacy profiles: the bound, without crops, other samplers, and the short cuts.

    Args:
        found: The answer.
        against: Other samplers to set beside it.
    """
    delta, mechanisms = found.bound.delta, found.mechanisms
    ways: list[tuple[str, list[Composable], bool]] = [
        ("without crops", [item.without_crop() for item in mechanisms], True)
    ]
    for name in against:
        instead = [
            phase.pipeline.with_changes(sampler=name).mechanism(phase.noise_multiplier)
            for phase in found.phases
        ]
        ways.append((f"{name} instead", list(instead), True))
    each = [{item.name: item.mechanism for item in shortcuts(one)} for one in mechanisms]
    for name in ("add-remove", "replace-one"):
        ways.append((name, [items[name] for items in each], False))
    others = [_curve(name, way, valid, delta) for name, way, valid in ways]
    return own_profile(found), *others


def _curve(name: str, way: Sequence[Composable], valid: bool, delta: float) -> Curve:
    """Returns a profile from epsilon 0 down to where rounding would soon show."""
    curve = bracket(way, delta).curve
    most = curve.delta(0.0)
    least = max(delta * _DEPTH, _FLOOR)
    if most <= least:
        return Curve(name, np.zeros(1), np.array([most]), valid)
    levels = np.geomspace(most, least, _POINTS)
    epsilon = np.array([curve.epsilon(float(level)) for level in levels])
    epsilon[0] = 0.0
    return Curve(name, epsilon, levels, valid)


def place_map(found: Answer) -> PlaceMap:
    """Returns the map of the first phase's worst image and patch.

    Raises:
        InputError: If there are phases, alternative patches or several at free places: a map is of
            one mechanism and of one patch, which has one place.
    """
    require(len(found.phases) == 1, "map", "of one phase", f"{len(found.phases)} phases")
    phase, mechanism = found.phases[0], found.mechanisms[0]
    patches = phase.pipeline.patches
    require(len(patches) == 1, "map", "of one patch", f"{len(patches)} patches")
    worst = phase.pipeline.worst()
    rho = inclusion_map(worst.image, phase.pipeline.crop, patches[0])
    epsilon = epsilon_map(mechanism, phase.pipeline.shown(rho), found.bound.delta)
    height, width = worst.image.height - rho.shape[0] + 1, worst.image.width - rho.shape[1] + 1
    return PlaceMap(worst.image, Size(height, width), rho, epsilon, worst.position)


def objects_answer(request: BoundRequest, found: Answer) -> ObjectsAnswer:
    """Returns what share of real objects the claimed patch does not cover, and what would.

    Raises:
        InputError: If the objects cannot be read.
    """
    assert request.objects is not None
    covered = coverage(read_objects(request.objects), found.phases[0].pipeline.patches)
    squares = tuple((share, side, _square_epsilon(found, side)) for share, side in covered.squares)
    return ObjectsAnswer(covered, 1 - covered.share, squares)


def _square_epsilon(found: Answer, side: int) -> float | None:
    patch = Rectangle(Size(side, side))
    mechanisms = []
    for phase in found.phases:
        if any(min(size.height, size.width) < side for size in phase.pipeline.images):
            return None
        changed = phase.pipeline.with_changes(patch=patch)
        mechanisms.append(changed.mechanism(phase.noise_multiplier))
    return round_up(bracket(mechanisms, found.bound.delta).upper)

"""Epsilon as one setting varies, for several values of a second one."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from cropaudit.accounting.bounds.accountant import bracket, epsilon_over_steps, round_up
from cropaudit.accounting.bounds.requests import BoundRequest
from cropaudit.accounting.bounds.settings import settings
from cropaudit.accounting.mechanisms.descriptions import PatchMechanism
from cropaudit.accounting.mechanisms.registry import sampler
from cropaudit.errors import InputError, require
from cropaudit.stages import Stage, silent

__all__ = ["Sweep", "SweepSeries", "SweepSpec", "parse_sweep", "run_sweep"]

_MOST = 10_000


@dataclass(frozen=True)
class SweepSpec:
    """Which setting varies, and over which values."""

    parameter: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class SweepSeries:
    """One line of a sweep.

    Attributes:
        name: The second setting and its value; empty if there is none.
        epsilon: Upper bounds, one a value.
        epsilon_without_crop: The same where every window meets the patch.
    """

    name: str
    epsilon: tuple[float, ...]
    epsilon_without_crop: tuple[float, ...]


@dataclass(frozen=True)
class Sweep:
    """What a sweep found."""

    parameter: str
    values: tuple[float, ...]
    series: tuple[SweepSeries, ...]
    delta: float

    @property
    def axis(self) -> str:
        """The parameter in words, with its unit."""
        return settings()[self.parameter.replace("-", "_")][0].axis


def parse_sweep(text: str, name: str = "sweep") -> SweepSpec:
    """Reads ``crop=100:700:50``, with the end included, or ``noise=1,2,4``.

    Raises:
        InputError: If the setting is unknown or the values are no range.

    >>> parse_sweep("crop=100:700:200").values
    (100.0, 300.0, 500.0, 700.0)
    """
    parameter, _, rest = text.partition("=")
    known = {key.replace("_", "-"): item for key, (item, _) in settings().items() if item.axis}
    legal = f"one of {', '.join(known)}, then =FIRST:LAST:STEP or =A,B,C"
    require(parameter in known, name, legal, text)
    try:
        values = tuple(_values(rest))
    except ValueError:
        raise InputError(f"{name} must be {legal}, got {text}") from None
    require(1 <= len(values) <= _MOST, f"{name} values", f"1 to {_MOST}", len(values))
    whole = known[parameter].whole
    require(all(map(math.isfinite, values)), name, "of finite numbers", text)
    require(not whole or all(v == int(v) for v in values), name, "of whole numbers", text)
    return SweepSpec(parameter, values)


def run_sweep(
    request: BoundRequest,
    spec: SweepSpec,
    series: SweepSpec | None = None,
    stage: Stage = silent,
) -> Sweep:
    """Computes epsilon over a sweep.

    Args:
        request: Everything that does not vary; its noise must be given, not solved for.
        spec: What varies.
        series: What varies from line to line.
        stage: Told how many values are done.

    Raises:
        InputError: If a value is illegal where it stands.
    """
    delta = request.given_delta()
    require(not request.phases, "sweep", "of one phase", f"{len(request.phases)} phases")
    if series is not None:
        apart = series.parameter != spec.parameter
        require(apart, "series", "of another setting than the sweep", series.parameter)
    lines: list[SweepSeries] = []
    values = series.values if series is not None else (None,)
    advance = stage(f"Sweep over {spec.parameter}", len(values) * len(spec.values))
    for value in values:
        fixed, name = request, ""
        if series is not None and value is not None:
            fixed = _changed(request, series.parameter, value)
            name = f"{series.parameter.replace('-', ' ')} {value:g}"
        found, bare = [], []
        for epsilon, without in _epsilons(fixed, spec):
            found.append(epsilon)
            bare.append(without)
            advance(len(lines) * len(spec.values) + len(found))
        lines.append(SweepSeries(name, tuple(found), tuple(bare)))
    return Sweep(spec.parameter, spec.values, tuple(lines), delta)


def _epsilons(request: BoundRequest, spec: SweepSpec) -> Iterator[tuple[float, float]]:
    """Yields epsilon with and without crops at each value."""
    rising = all(a < b for a, b in pairwise(spec.values))
    delta = request.given_delta()
    if spec.parameter == "steps" and rising and not sampler(request.sampler).ordered:
        # One transform for all of them.
        mechanism = _mechanism(_changed(request, "steps", spec.values[-1]))
        counts = [int(value) for value in spec.values]
        each = [epsilon_over_steps(m, delta, counts) for m in (mechanism, mechanism.without_crop())]
        yield from zip(*each, strict=True)
        return
    known = dict[object, float]()
    for value in spec.values:
        mechanism = _mechanism(_changed(request, spec.parameter, value))
        without = mechanism.without_crop()
        found = round_up(bracket(mechanism, delta).upper)
        if without not in known:  # the crop varies, and this does not
            known[without] = round_up(bracket(without, delta).upper)
        yield found, known[without]


def _mechanism(request: BoundRequest) -> PatchMechanism:
    noise = request.noise_multiplier()
    if noise is None:
        raise InputError("noise must be given for a sweep, got none")
    return request.pipeline().mechanism(noise)


def _changed(request: BoundRequest, parameter: str, value: float) -> BoundRequest:
    key = parameter.replace("-", "_")
    return request.with_changes({key: int(value) if settings()[key][0].whole else value})


def _values(text: str) -> Iterator[float]:
    if ":" not in text:
        yield from (float(part) for part in text.split(","))
        return
    first, last, step = (float(part) for part in text.split(":"))
    count = math.floor((last - first) / step + 1e-9) if step > 0 else -1
    if not 0 <= count < _MOST or not math.isfinite(first):
        raise ValueError(text)
    yield from (first + number * step for number in range(count + 1))

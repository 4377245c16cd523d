"""Epsilon as one setting varies, for several values of a second one."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from cropaudit.accounting.accountant import bracket, epsilon_over_steps, round_up
from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.accounting.registry import ORDERED
from cropaudit.bounds.requests import BoundRequest
from cropaudit.errors import InputError, require

__all__ = ["Sweep", "SweepSeries", "SweepSpec", "parse_sweep", "run_sweep"]

_WHOLE = ("crop", "patch", "padding", "batch", "steps", "epochs", "records", "crops-per-image")
_REAL = ("noise", "noise-std", "augmentation-noise")
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


def parse_sweep(text: str, name: str = "sweep") -> SweepSpec:
    """Reads ``crop=100:700:50``, with the end included, or ``noise=1,2,4``.

    Raises:
        InputError: If the setting is unknown or the values are no range.

    >>> parse_sweep("crop=100:700:200").values
    (100.0, 300.0, 500.0, 700.0)
    """
    parameter, _, rest = text.partition("=")
    legal = f"one of {', '.join(_WHOLE + _REAL)}, then =FIRST:LAST:STEP or =A,B,C"
    require(parameter in _WHOLE + _REAL, name, legal, text)
    try:
        values = tuple(_values(rest))
    except ValueError:
        raise InputError(f"{name} must be {legal}, got {text}") from None
    require(1 <= len(values) <= _MOST, f"{name} values", f"1 to {_MOST}", len(values))
    whole = parameter in _WHOLE
    require(all(map(math.isfinite, values)), name, "of finite numbers", text)
    require(not whole or all(v == int(v) for v in values), name, "of whole numbers", text)
    return SweepSpec(parameter, values)


def run_sweep(
    request: BoundRequest,
    spec: SweepSpec,
    series: SweepSpec | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Sweep:
    """Computes epsilon over a sweep.

    Args:
        request: Everything that does not vary; its noise must be given, not solved for.
        spec: What varies.
        series: What varies from line to line.
        tick: Called after each value.

    Raises:
        InputError: If a value is illegal where it stands.
    """
    delta = request.given_delta()
    require(not request.phases, "sweep", "of one phase", f"{len(request.phases)} phases")
    if series is not None:
        apart = series.parameter != spec.parameter
        require(apart, "series", "of another setting than the sweep", series.parameter)
    lines = []
    for value in series.values if series is not None else (None,):
        fixed, name = request, ""
        if series is not None and value is not None:
            fixed = _changed(request, series.parameter, value)
            name = f"{series.parameter.replace('-', ' ')} {value:g}"
        lines.append(_line(fixed, spec, name, tick))
    return Sweep(spec.parameter, spec.values, tuple(lines), delta)


def _line(
    request: BoundRequest, spec: SweepSpec, name: str, tick: Callable[[], None]
) -> SweepSeries:
    rising = all(a < b for a, b in pairwise(spec.values))
    if spec.parameter == "steps" and rising and request.sampler not in ORDERED:
        return _steps_line(request, spec, name, tick)
    found, bare, known = [], [], dict[object, float]()
    for value in spec.values:
        one = _changed(request, spec.parameter, value)
        delta = one.given_delta()
        mechanism = _mechanism(one)
        found.append(round_up(bracket(mechanism, delta).upper))
        without = mechanism.without_crop()
        if (without, delta) not in known:  # the crop varies, and this does not
            known[without, delta] = round_up(bracket(without, delta).upper)
        bare.append(known[without, delta])
        tick()
    return SweepSeries(name, tuple(found), tuple(bare))


def _steps_line(
    request: BoundRequest, spec: SweepSpec, name: str, tick: Callable[[], None]
) -> SweepSeries:
    """Returns the line over steps, which takes one transform for all of them."""
    mechanism = _mechanism(_changed(request, "steps", spec.values[-1]))
    delta, counts = request.given_delta(), [int(value) for value in spec.values]
    found = epsilon_over_steps(mechanism, delta, counts)
    bare = epsilon_over_steps(mechanism.without_crop(), delta, counts)
    for _ in spec.values:
        tick()
    return SweepSeries(name, tuple(found), tuple(bare))


def _mechanism(request: BoundRequest) -> PatchMechanism:
    noise = request.noise_multiplier()
    if noise is None:
        raise InputError("noise must be given for a sweep, got none")
    return request.pipeline().mechanism(noise)


def _changed(request: BoundRequest, parameter: str, value: float) -> BoundRequest:
    key = parameter.replace("-", "_")
    new: object = value
    if parameter in ("crop", "padding"):
        new = str(int(value))
    elif parameter == "patch":
        new = (str(int(value)),)
    elif parameter in _WHOLE:
        new = int(value)
    return request.with_changes({key: new})


def _values(text: str) -> Iterator[float]:
    if ":" not in text:
        yield from (float(part) for part in text.split(","))
        return
    first, last, step = (float(part) for part in text.split(":"))
    count = math.floor((last - first) / step + 1e-9) if step > 0 else -1
    if not 0 <= count < _MOST or not math.isfinite(first):
        raise ValueError(text)
    yield from (first + number * step for number in range(count + 1))

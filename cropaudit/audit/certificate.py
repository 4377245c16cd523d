"""Estimator 10, the component certificate: what a run's own logs say about its parameters.

It certifies parameters, not the pipeline. Noise that was logged in directions without signal gives
exact chi-square limits of the noise multiplier; logged batches and crops give Clopper-Pearson
limits of the sampling rate and the inclusion probability. Epsilon grows as noise falls and as
either rate rises, so its values at the two corners of these limits enclose the delivered epsilon.
All limits share the level (Bonferroni): they hold together with the stated confidence.

The limits of noise hold for independent normal noise of one deviation, those of rates for draws of
one rate. A fifth of the level tests that. Noise that changes from step to step is accounted for
step by step, and at its least where the log is not of the claimed steps; of noise or rates that are
anything else no epsilon is stated.

Whether gradients are clipped, whether the logs are of what the optimiser used, whether the patch
stood in its worst place: of that a log says nothing. Publish the certificate apart from an audit.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.accountant import bracket, epsilon_at, round_up
from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.accounting.registry import ORDERED, parse_mechanism
from cropaudit.audit.estimators.rounding import round_down
from cropaudit.audit.noise_tests import CONSTANT, Judged, judge_noise
from cropaudit.audit.rate_tests import judge_rates
from cropaudit.audit.run_logs import InclusionLog, NoiseLog, Tally
from cropaudit.errors import require

__all__ = ["Certificate", "Limits", "certificate", "certify"]

_FIXED = ORDERED | {"full"}  # samplers whose participations no coin decides
_JUDGED = 0.2  # share of the level that tests what limits rest on: noise half, rates half
_RUNGS = 8  # deviations to which those of single steps are rounded, outwards


@dataclass(frozen=True)
class Limits:
    """A parameter's limits beside its claim.

    Attributes:
        name: The parameter.
        claimed: Its value in the claim.
        low: Lower limit.
        estimate: As measured.
        high: Upper limit.
    """

    name: str
    claimed: float
    low: float
    estimate: float
    high: float

    @property
    def outside(self) -> bool:
        """Whether the claimed value is outside the limits."""
        return not self.low <= self.claimed <= self.high

    @property
    def words(self) -> str:
        """The limits in words, rounded outwards."""
        low, high = round_down(self.low, 4), round_up(self.high, 4)
        refuted = "OUTSIDE, " if self.outside else ""
        return f"{self.name} {low:g} to {high:g} ({refuted}claimed {self.claimed:.4g})"


@dataclass(frozen=True)
class Certificate:
    """What the logs certify: parameters, not the pipeline.

    Attributes:
        claim: The mechanism that was claimed.
        delta: For every epsilon here.
        level: Probability that any limit here is wrong.
        limits: Of the logged parameters.
        assumed: Parameters that were not logged and are taken as claimed.
        claimed_epsilon: Of the claim, rounded up.
        epsilon_low: Delivered epsilon, at least; rounded down.
        epsilon_high: Delivered epsilon, at most; rounded up, maybe infinite.
        judged: What the limits of noise rest on, tested; empty without a noise log.
        rated: What the limits of rates rest on, likewise.
        stated: Whether an epsilon is: not of logs without limits. Its ends are 0 and infinity.
    """

    claim: PatchMechanism
    delta: float
    level: float
    limits: tuple[Limits, ...]
    assumed: tuple[str, ...]
    claimed_epsilon: float
    epsilon_low: float
    epsilon_high: float
    judged: tuple[Judged, ...] = ()
    rated: tuple[Judged, ...] = ()
    stated: bool = True

    @property
    def steps(self) -> int:
        """How often the claimed step is composed."""
        return self.claim.compositions

    @property
    def causes(self) -> tuple[str, ...]:
        """Parameters whose claimed values are outside their limits, and what noise is not."""
        found = tuple(item.fault for item in self.refuted)
        return (*(item.name for item in self.limits if item.outside), *found)

    @property
    def refuted(self) -> tuple[Judged, ...]:
        """What noise and rates are not; of noise the surest."""
        return (*_refuted(self.judged), *(item for item in self.rated if item.refuted))

    @property
    def exceeded(self) -> bool:
        """Whether the delivered epsilon is certainly above the claimed one."""
        return self.epsilon_low > self.claimed_epsilon

    @property
    def words(self) -> str:
        """The certificate in one sentence."""
        low, high = round_down(self.epsilon_low, 4), round_up(self.epsilon_high, 4)
        delivered = f"delivered epsilon {low:g} to {high:g}" if self.stated else "no epsilon"
        parts = [
            f"certifies parameters, not the pipeline: {delivered} at "
            f"delta {self.delta:g} with {1 - self.level:.4g} confidence "
            f"(claimed {round_up(self.claimed_epsilon, 4):g}; {self.claim.adjacency}; "
            f"{self.claim.kind}, {self.steps} compositions)",
            *(item.words for item in self.limits),
            *(f"{name} taken as claimed" for name in self.assumed),
            *(item.fault for item in self.refuted),
        ]
        return "; ".join(parts)


def certificate(
    claim: PatchMechanism,
    delta: float,
    level: float,
    *,
    noise: NoiseLog | None = None,
    inclusion: InclusionLog | None = None,
    judge: bool = True,
) -> Certificate:
    """Returns what logs certify about a claimed mechanism.

    Joint events bound only the product of sampling rate and inclusion probability. The sampling
    rate is then taken as claimed and the inclusion probability moves, which ``assumed`` says.
    Batches of a fixed order have no sampling rate: participations count, and a record that took
    part more often than the order allows refutes it.

    Args:
        claim: The mechanism that was claimed.
        delta: In (0, 1).
        level: In (0, 1); the share of each limit is what is left over twice the parameters.
        noise: Logged noise.
        inclusion: Logged inclusions.
        judge: Whether a fifth of the level tests the noise; not where other tests have done so.

    Raises:
        InputError: If nothing was logged, a number is out of range, or joint events are of steps
            that depend on one another (shuffled, cyclic or full batches).

    >>> log = InclusionLog(records=Tally(100, 1000), windows=Tally(3000, 10000))
    >>> claim = parse_mechanism("poisson:noise=1,q=0.1,rho=0.3,steps=100")
    >>> certificate(claim, 1e-5, 0.05, inclusion=log).words[:74]
    'certifies parameters, not the pipeline: delivered epsilon 2.223 to 3.85 at'
    """
    require(0 < level < 1, "level", "in (0, 1)", level)
    logged = _logged(claim, noise, inclusion)
    judged, rated = _judged(claim, noise, inclusion, level * _JUDGED / 2) if judge else ((), ())
    share = level * (1 - _JUDGED if judged or rated else 1) / (2 * len(logged))
    claimed = {**_claimed(claim), "record rate": claim.record_rate}
    deviations = None if noise is None else _deviations(claim, noise, _refuted(judged), share)
    stated = (noise is None or deviations is not None) and not any(item.refuted for item in rated)
    limits = [] if deviations is None else [deviations.limits]
    limits += [
        Limits(name, claimed[name], *log.limits(share))
        for name, log in logged.items()
        if isinstance(log, Tally)
    ]
    took_part = _participations(claim, inclusion)
    if took_part > claim.compositions:
        limits.append(Limits("participations", claim.compositions, *[took_part] * 3))
    low, high = _corners(claim, {item.name: item for item in limits})
    usual = (claim.noise_multiplier,)
    most, least = (deviations.quiet, deviations.loud) if deviations else (usual, usual)
    return Certificate(
        claim=claim,
        delta=delta,
        level=level,
        limits=tuple(limits),
        assumed=tuple(name for name in _claimed(claim) if name not in _known(claim, logged)),
        claimed_epsilon=epsilon_at(claim, delta),
        epsilon_low=round_down(_delivered(claim, low, most, delta)[0]) if stated else 0.0,
        epsilon_high=round_up(_delivered(claim, high, least, delta)[1])
        if high and stated
        else math.inf,
        judged=judged,
        rated=rated,
        stated=stated,
    )


def certify(
    mechanism: PatchMechanism | str,
    *,
    delta: float,
    confidence: float = 0.95,
    noise: Path | None = None,
    max_grad_norm: float = 1.0,
    inclusion: Path | None = None,
) -> Certificate:
    """Reads logs from files and certifies what they say; see `certificate`.

    Args:
        mechanism: What is claimed, or its text as `parse_mechanism` reads it.
        delta: In (0, 1).
        confidence: That all limits hold together.
        noise: A ``.npy`` file: see `NoiseLog`.
        max_grad_norm: The clipping norm, if the noise was not divided by it.
        inclusion: A CSV file: see `InclusionLog.read`.

    Raises:
        InputError: If a file is no such log, or is of more steps than are claimed.
    """
    require(0 < confidence < 1, "confidence", "in (0, 1)", confidence)
    claim = parse_mechanism(mechanism) if isinstance(mechanism, str) else mechanism
    samples = None if noise is None else NoiseLog.read(noise, max_grad_norm)
    log = None if inclusion is None else InclusionLog.read(inclusion, claim.crops)
    # What ran longer than claimed delivered more than the claimed steps compose to.
    legal = f"of at most the {claim.steps} claimed steps (steps= of --mechanism)"
    if samples is not None and samples.samples.ndim == 2:
        rows = len(samples.samples)
        require(rows <= claim.steps, f"noise {noise}", legal, f"{rows} rows, a step each")
    if log is not None:
        logged = max(len(record) for record in log.steps)
        require(logged <= claim.steps, f"inclusion log {inclusion}", legal, f"{logged} of a record")
    return certificate(claim, delta, 1 - confidence, noise=samples, inclusion=log)


_Corner = dict[str, float]


@dataclass(frozen=True)
class _Deviations:
    """Noise multipliers within their limits.

    Attributes:
        limits: Of the noise multiplier; of that of any step, where steps differ.
        quiet: At the most noise, the multiplier of all steps or that of each.
        loud: At the least noise, likewise.
    """

    limits: Limits
    quiet: tuple[float, ...]
    loud: tuple[float, ...]


def _judged(
    claim: PatchMechanism, noise: NoiseLog | None, log: InclusionLog | None, level: float
) -> tuple[tuple[Judged, ...], tuple[Judged, ...]]:
    """Judges noise and rates, each at ``level``."""
    sampled = claim.kind not in _FIXED
    return (
        () if noise is None else judge_noise(noise, level),
        () if log is None else judge_rates(log, level, sampled=sampled),
    )


def _refuted(judged: Sequence[Judged]) -> tuple[Judged, ...]:
    """Returns what noise is not.

    One fault breaks several properties: the surest is named. That steps have one deviation is
    tested given all others, so that it is refuted only where none of them is.
    """
    found = [item for item in judged if item.refuted]
    others = [item for item in found if item.name != CONSTANT]
    return tuple(sorted(others, key=lambda item: item.p_value)[:1] or found)


def _deviations(
    claim: PatchMechanism, noise: NoiseLog, refuted: Sequence[Judged], share: float
) -> _Deviations | None:
    """Returns the limits of noise; none if there are none."""
    claimed, changing = claim.noise_multiplier, bool(refuted)
    if not changing:
        low, estimate, high = noise.limits(share)
        limits = Limits("noise multiplier", claimed, low, estimate, high)
        return _Deviations(limits, (high,), (low,))
    if any(item.name != CONSTANT for item in refuted) or noise.samples.ndim == 1:
        return None
    lows, highs = noise.step_limits(share)
    estimates = np.sqrt(np.mean(noise.samples**2, axis=1))
    name = "noise multiplier of a step"
    limits = Limits(name, claimed, float(lows.min()), float(estimates.min()), float(highs.max()))
    if claim.kind in ORDERED or len(lows) != claim.steps:  # which steps took part is not known
        return _Deviations(limits, (float(highs.max()),), (float(lows.min()),))
    return _Deviations(limits, _rounded(highs, up=True), _rounded(lows, up=False))


def _rounded(values: NDArray[np.float64], *, up: bool) -> tuple[float, ...]:
    """Rounds deviations to few, so that few have to be composed; zeros stay zeros."""
    some = values[values > 0]
    if not some.size:
        return tuple(values.tolist())
    rungs = np.geomspace(some.min(), some.max(), _RUNGS)
    rungs[0], rungs[-1] = some.min(), some.max()  # whatever the rounding
    at = np.searchsorted(rungs, values, side="left" if up else "right") - (0 if up else 1)
    return tuple(np.where(values > 0, rungs[np.clip(at, 0, _RUNGS - 1)], 0.0).tolist())


def _claimed(claim: PatchMechanism) -> _Corner:
    found = {"noise multiplier": claim.noise_multiplier, "sampling rate": claim.sample_rate}
    return {**found, "inclusion probability": claim.inclusion}


def _logged(
    claim: PatchMechanism, noise: NoiseLog | None, log: InclusionLog | None
) -> dict[str, NoiseLog | Tally]:
    """Returns the logs that bear on a parameter of this sampler."""
    named: dict[str, NoiseLog | Tally | None] = {"noise multiplier": noise}
    if log is not None:
        named["sampling rate"] = None if claim.kind in _FIXED else log.records
        named["inclusion probability"] = log.windows
        named["record rate"] = log.joint
    if claim.kind in _FIXED:
        legal = f"of windows for {claim.kind} batches, whose steps depend on one another"
        require(named.get("record rate") is None, "inclusion log", legal, "joint events")
    found = {name: item for name, item in named.items() if item is not None}
    legal = "of noise or windows, or of records where their number is left to chance"
    require(bool(found), "logs", legal, "none")
    return found


def _known(claim: PatchMechanism, logged: dict[str, NoiseLog | Tally]) -> set[str]:
    """Returns the parameters that need no assumption."""
    moved = {"inclusion probability"} if "record rate" in logged else set()
    return {*logged, *moved, *({"sampling rate"} if claim.kind in _FIXED else ())}


def _participations(claim: PatchMechanism, log: InclusionLog | None) -> int:
    """Returns how often, at least, the record took part in one of the runs that were logged."""
    if log is None or log.records is None or claim.kind not in ORDERED:
        return 0
    runs = -(-log.records.trials // claim.steps)
    return -(-log.records.count // runs)


def _corners(claim: PatchMechanism, limits: dict[str, Limits]) -> tuple[_Corner, _Corner | None]:
    """Returns the lowest and the highest rates within the limits, where there are highest."""
    quiet, loud = _claimed(claim), _claimed(claim)
    for name, item in limits.items():
        quiet[name], loud[name] = item.low, item.high
    if "record rate" not in limits:
        return quiet, loud
    least, most = quiet.pop("record rate"), loud.pop("record rate")
    rate = claim.sample_rate
    if least > rate:  # a record that is hit more often than claimed to be sampled: no rate is known
        return {**quiet, "sampling rate": least, "inclusion probability": 1.0}, None
    quiet["inclusion probability"] = _inclusion(least / rate, claim.crops)
    loud["inclusion probability"] = _inclusion(most / rate, claim.crops)
    return quiet, loud


def _inclusion(any_met: float, crops: int) -> float:
    """Returns the rho of one crop from 1 - (1 - rho)^K, at most 1."""
    return 1.0 if any_met >= 1 else -math.expm1(math.log1p(-any_met) / crops)


def _delivered(
    claim: PatchMechanism, corner: _Corner, noise: tuple[float, ...], delta: float
) -> tuple[float, float]:
    """Returns epsilon at a corner from below and from above.

    Args:
        claim: The claim.
        corner: Rates.
        noise: Multiplier of all steps, or of each.
        delta: In (0, 1).
    """
    rate, inclusion = corner["sampling rate"], corner["inclusion probability"]
    if rate == 0 or inclusion == 0:
        return 0.0, 0.0
    changed: dict[str, Any] = {"inclusion": inclusion, "sample_rate": rate}
    if "participations" in corner:
        changed["epochs"] = round(corner["participations"])
    found: PatchMechanism = replace(claim, **changed)
    steps = Counter(noise) if len(noise) > 1 else {noise[0]: found.compositions}
    bare = steps.pop(0.0, 0)  # steps that show what they use
    phases = [found.with_noise(sigma) for sigma in steps]
    if len(noise) > 1:
        phases = [item.with_steps(steps[item.noise_multiplier]) for item in phases]
    shown = -math.expm1(bare * math.log1p(-min(found.record_rate, 1 - 1e-16)))
    if not phases:
        return (math.inf if shown > delta else 0.0), math.inf
    ends = bracket(phases, delta)
    return (math.inf if shown > delta else ends.lower), (math.inf if bare else ends.upper)

"""Estimator 10, the component certificate: what a run's own logs say about its parameters.

It certifies parameters, not the pipeline. Noise that was logged in directions without signal gives
exact chi-square limits of the noise multiplier; logged batches and crops give Clopper-Pearson
limits of the sampling rate and the inclusion probability. Epsilon grows as noise falls and as
either rate rises, so its values at the two corners of these limits enclose the delivered epsilon.
All limits share the level (Bonferroni): they hold together with the stated confidence.

Whether gradients are clipped, whether the logs are of what the optimiser used, whether the patch
stood in its worst place: of that a log says nothing. Publish the certificate apart from an audit.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cropaudit.accounting.accountant import bracket, epsilon_at, round_up
from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.accounting.registry import ORDERED, parse_mechanism
from cropaudit.audit.estimators.rounding import round_down
from cropaudit.audit.run_logs import InclusionLog, NoiseLog, Tally
from cropaudit.errors import require

__all__ = ["Certificate", "Limits", "certificate", "certify"]

_FIXED = ORDERED | {"full"}  # samplers whose participations no coin decides


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
        mean_p: p-value of noise of mean 0, reported and not acted on; none without a noise log.
        normal_p: p-value of normal noise, likewise.
        repeats: Steps whose noise repeats another's: above 0 its limits do not hold.
    """

    claim: PatchMechanism
    delta: float
    level: float
    limits: tuple[Limits, ...]
    assumed: tuple[str, ...]
    claimed_epsilon: float
    epsilon_low: float
    epsilon_high: float
    mean_p: float | None = None
    normal_p: float | None = None
    repeats: int = 0

    @property
    def steps(self) -> int:
        """How often the claimed step is composed."""
        return self.claim.compositions

    @property
    def causes(self) -> tuple[str, ...]:
        """Parameters whose claimed values are outside their limits; and repeated noise."""
        again = ("repeated noise",) if self.repeats else ()
        return (*(item.name for item in self.limits if item.outside), *again)

    @property
    def exceeded(self) -> bool:
        """Whether the delivered epsilon is certainly above the claimed one."""
        return self.epsilon_low > self.claimed_epsilon

    @property
    def words(self) -> str:
        """The certificate in one sentence."""
        low, high = round_down(self.epsilon_low, 4), round_up(self.epsilon_high, 4)
        parts = [
            f"certifies parameters, not the pipeline: delivered epsilon {low:g} to {high:g} at "
            f"delta {self.delta:g} with {1 - self.level:.4g} confidence "
            f"(claimed {round_up(self.claimed_epsilon, 4):g}; {self.claim.adjacency}; "
            f"{self.claim.kind}, {self.steps} compositions)",
            *(item.words for item in self.limits),
            *(f"{name} taken as claimed" for name in self.assumed),
        ]
        if self.repeats:
            parts.append(f"steps that repeat noise: {self.repeats}, its limits do not hold")
        return "; ".join(parts)


def certificate(
    claim: PatchMechanism,
    delta: float,
    level: float,
    *,
    noise: NoiseLog | None = None,
    inclusion: InclusionLog | None = None,
) -> Certificate:
    """Returns what logs certify about a claimed mechanism.

    Joint events bound only the product of sampling rate and inclusion probability. The sampling
    rate is then taken as claimed and the inclusion probability moves, which ``assumed`` says.
    Batches of a fixed order have no sampling rate: participations count, and a record that took
    part more often than the order allows refutes it.

    Args:
        claim: The mechanism that was claimed.
        delta: In (0, 1).
        level: In (0, 1); the share of each limit is level over twice the parameters.
        noise: Logged noise.
        inclusion: Logged inclusions.

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
    share = level / (2 * len(logged))
    claimed = {**_claimed(claim), "record rate": claim.record_rate}
    limits = [Limits(name, claimed[name], *log.limits(share)) for name, log in logged.items()]
    took_part = _participations(claim, inclusion)
    if took_part > claim.compositions:
        limits.append(Limits("participations", claim.compositions, *[took_part] * 3))
    low, high = _corners(claim, {item.name: item for item in limits})
    return Certificate(
        claim=claim,
        delta=delta,
        level=level,
        limits=tuple(limits),
        assumed=tuple(name for name in _claimed(claim) if name not in _known(claim, logged)),
        claimed_epsilon=epsilon_at(claim, delta),
        epsilon_low=round_down(_delivered(claim, low, delta)[0]),
        epsilon_high=round_up(_delivered(claim, high, delta)[1]) if high else math.inf,
        mean_p=None if noise is None else noise.mean_p_value(),
        normal_p=None if noise is None else noise.normal_p_value(),
        repeats=0 if noise is None else noise.repeats(),
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
    """
    require(0 < confidence < 1, "confidence", "in (0, 1)", confidence)
    claim = parse_mechanism(mechanism) if isinstance(mechanism, str) else mechanism
    samples = None if noise is None else NoiseLog.read(noise, max_grad_norm)
    log = None if inclusion is None else InclusionLog.read(inclusion, claim.crops)
    return certificate(claim, delta, 1 - confidence, noise=samples, inclusion=log)


_Corner = dict[str, float]


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
    """Returns the quietest and the loudest values within the limits, where there are loudest."""
    quiet, loud = _claimed(claim), _claimed(claim)
    for name, item in limits.items():
        upside_down = name == "noise multiplier"
        quiet[name] = item.high if upside_down else item.low
        loud[name] = item.low if upside_down else item.high
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


def _delivered(claim: PatchMechanism, corner: _Corner, delta: float) -> tuple[float, float]:
    """Returns epsilon at a corner from below and from above."""
    rate, inclusion = corner["sampling rate"], corner["inclusion probability"]
    if rate == 0 or inclusion == 0:
        return 0.0, 0.0
    changed: dict[str, Any] = {"inclusion": inclusion, "sample_rate": rate}
    if "participations" in corner:
        changed["epochs"] = round(corner["participations"])
    found: PatchMechanism = replace(claim, **changed)
    if corner["noise multiplier"] == 0:
        shown = -math.expm1(found.compositions * math.log1p(-min(found.record_rate, 1 - 1e-16)))
        return (math.inf if shown > delta else 0.0), math.inf
    ends = bracket(found.with_noise(corner["noise multiplier"]), delta)
    return ends.lower, ends.upper

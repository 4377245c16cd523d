"""The decision: violation, consistent or inconclusive, the ground it stands on, and the headline.

All attacks are corrected for together (Bonferroni, each bound at a share of the level), so the
chance of any false violation stays below 1 - confidence. A lower bound never certifies epsilon:
"consistent" only says that the claim survived an audit that would have seen a larger epsilon.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cropaudit.accounting.digits import format_lower, format_upper
from cropaudit.audit.claims import StatedClaim
from cropaudit.audit.curve_tests import CurveTest
from cropaudit.audit.estimators.mechanism_fdp import OUTSIDE
from cropaudit.audit.result import Bound, Check, Headline, Verdict

__all__ = ["Evidence", "decide", "headline"]


_NOT_PROBED = (
    "leaks in rare runs only: what shows everything in one run of a thousand is seen in none",
    "crops, batches or noise that react to what images show: the probe plays one content",
    "samplers, crops and clips that differ from the claim: for them each check has its own power",
    "ways past the clipped gradients: statistics, buffers, checkpoints, choices of settings",
)


@dataclass(frozen=True)
class Evidence:
    """One attack's corrected evidence.

    Attributes:
        attack: Its name.
        bounds: Lower bounds at the corrected level.
        tests: What it measured on independent trials, together at that level; none for attacks in
            one run.
        in_game: Whether the worlds are those of the claimed mechanism's pair, world A being P, so
            that the pair's own curve may be held against the tests. A real model's gradients may
            change sides from step to step; for them the claimed curve alone is.
    """

    attack: str
    bounds: tuple[Bound, ...]
    tests: tuple[CurveTest, ...]
    in_game: bool = True


def headline(evidence: Sequence[Evidence], confidence: float, delta: float) -> Headline:
    """Returns the largest corrected bound."""
    pairs = [(item.attack, bound) for item in evidence for bound in item.bounds]
    attack, best = max(pairs, key=lambda pair: pair[1].epsilon)
    return Headline(
        epsilon_lower=best.epsilon,
        delta=delta,
        confidence=confidence,
        attack=attack,
        estimator=best.estimator,
        validity=best.validity,
        correction=f"Bonferroni over {len(evidence)} attacks",
    )


def decide(
    claim: StatedClaim,
    evidence: Sequence[Evidence],
    checks: Sequence[Check],
    detectable: float | None,
    resolution: float,
) -> Verdict:
    """Holds the claim against the evidence.

    Args:
        claim: What is claimed.
        evidence: Corrected evidence of all attacks.
        checks: Self-checks and controls; a failed one takes the ground from under "consistent".
        detectable: Smallest true epsilon that the audit finds with 90% power.
        resolution: The multiple of the claim that it must be able to find.

    Returns:
        The verdict.
    """
    refuted, beyond = _refutations(claim, evidence), _beyond_family(claim, evidence)
    if refuted or beyond:
        detail = f"The claim of {_stated(claim)} is contradicted. " + _reading(
            claim, evidence, assumption_free=bool(refuted)
        )
        ground = "assumption-free" if refuted else "given the family"
        return _verdict("violation", ground, detail, refuted + beyond, detectable)
    doubts = _doubts(claim, evidence, checks, detectable, resolution)
    if doubts:
        detail = "The claim is not contradicted, but this audit cannot stand behind it either."
        return _verdict("inconclusive", "none", detail, doubts, detectable)
    detail = (
        f"No attack contradicts {_stated(claim)}; a true epsilon of {_upper(detectable)} or more "
        "would have been found with 90% power if only the noise is less. A lower bound never "
        "certifies epsilon."
    )
    return _verdict("consistent", "none", detail, [], detectable)


def _lower(epsilon: float) -> str:
    return format_lower(max(epsilon, 0.0))


def _upper(epsilon: float | None) -> str:
    return "none" if epsilon is None else format_upper(epsilon)


def _stated(claim: StatedClaim) -> str:
    return f"epsilon {format_upper(claim.epsilon)} at delta {claim.delta:g}"


def _verdict(
    status: str, ground: str, detail: str, reasons: Sequence[str], detectable: float | None
) -> Verdict:
    return Verdict.model_validate(
        {
            "status": status,
            "ground": ground,
            "detail": detail,
            "reasons": tuple(reasons),
            "detectable_epsilon": detectable,
            "not_probed": _NOT_PROBED,
        }
    )


def _refutations(claim: StatedClaim, evidence: Sequence[Evidence]) -> list[str]:
    """Returns what contradicts the claim whatever the mechanism is."""
    found = []
    for item in evidence:
        found += [
            f"{item.attack}: {test.words} cannot be under the claim; this assumes "
            "nothing about the mechanism"
            for test in item.tests
            if claim.refuted_by(test)
        ]
        found += [
            f"{item.attack}: the exact lower bound {_lower(bound.epsilon)} ({bound.estimator}) "
            "exceeds the claimed epsilon; this assumes nothing about the mechanism"
            for bound in item.bounds
            if bound.validity == "exact" and bound.epsilon > claim.epsilon
        ]
    return found


def _beyond_family(claim: StatedClaim, evidence: Sequence[Evidence]) -> list[str]:
    """Returns what the claimed mechanism cannot do in the game that was played."""
    return [
        f"{item.attack}: {test.words}, beyond the claimed mechanism in this game"
        for item in evidence
        for test in item.tests
        if item.in_game and claim.beyond_family(test)
    ]


def _reading(claim: StatedClaim, evidence: Sequence[Evidence], *, assumption_free: bool) -> str:
    """Says what follows without, and what only with, the assumption of the family."""
    exact = max(b.epsilon for item in evidence for b in item.bounds if b.validity == "exact")
    if exact > claim.epsilon:
        return f"Epsilon is at least {_lower(exact)}, whatever the mechanism is."
    if any(OUTSIDE in b.note for item in evidence for b in item.bounds):
        return (
            "No noise at all explains it: the sampler, the crop or the steps are not as configured."
        )
    largest = max(b.epsilon for item in evidence for b in item.bounds)
    family = f"given the configured family of mechanisms, epsilon is at least {_lower(largest)}."
    if assumption_free:
        return f"The claimed trade-off curve is impossible, whatever the mechanism is; {family}"
    return f"The pipeline is not the claimed mechanism; {family}"


def _doubts(
    claim: StatedClaim,
    evidence: Sequence[Evidence],
    checks: Sequence[Check],
    detectable: float | None,
    resolution: float,
) -> list[str]:
    doubts = [f"check '{c.name}' failed: {c.observed}" for c in checks if c.status == "fail"]
    doubts += [
        f"given the configured family, epsilon is at least {_lower(bound.epsilon)}, above the "
        "claim; without that assumption it is not shown"
        for item in evidence
        for bound in item.bounds
        if bound.validity != "exact" and bound.epsilon > claim.epsilon
    ]
    if detectable is None:
        doubts.append("no epsilon would have been found with 90% power: play more slots")
    elif detectable > resolution * claim.epsilon:
        doubts.append(
            f"only a true epsilon of {_upper(detectable)} or more would have been found with 90% "
            f"power, over {resolution:g} times the claim: play more slots"
        )
    return doubts

"""The decision: violation, consistent or inconclusive, the ground it stands on, and why.

All attacks are corrected for together (each at its share of the level), so the chance of any false
violation stays below 1 - confidence. A lower bound never certifies epsilon: "consistent" only says
that the claim survived an audit that would have seen a larger epsilon.
"""

from collections.abc import Sequence

from cropaudit.accounting.digits import format_lower, format_upper
from cropaudit.audit.results.estimate_result import AttackEstimate
from cropaudit.audit.results.result import Check, Verdict
from cropaudit.audit.verdict.claims import StatedClaim
from cropaudit.audit.verdict.estimate import contradicts, refutes

__all__ = ["decide"]


_NOT_PROBED = (
    "leaks in rare runs only: what shows everything in one run of a thousand is seen in none",
    "crops, batches or noise that react to what images show: the probe plays one content",
    "samplers, crops and clips that differ from the claim: for them each check has its own power",
    "ways past the clipped gradients: statistics, buffers, checkpoints, choices of settings",
)


def decide(
    claim: StatedClaim,
    attacks: Sequence[AttackEstimate],
    level: float,
    checks: Sequence[Check],
    detectable: float | None,
    resolution: float,
) -> Verdict:
    """Holds the claim against what the attacks showed.

    Args:
        claim: What is claimed.
        attacks: What they showed, each at its share of the level.
        level: Of all of them together.
        checks: Self-checks and controls; a failed one takes the ground from under "consistent".
        detectable: Smallest true epsilon that the audit finds with 90% power.
        resolution: The multiple of the claim that it must be able to find.

    Returns:
        The verdict.
    """
    refuted = [item for item in attacks if refutes(item, level)]
    beyond = [item for item in attacks if contradicts(item, level) and item not in refuted]
    if refuted or beyond:
        detail = (
            f"The claim of {_stated(claim)} is contradicted. {_reading(claim, attacks, refuted)}"
        )
        ground = "assumption-free" if refuted else "given the family"
        reasons = [f"{_measured(item, item.free_p_value)}; {_FREE}" for item in refuted]
        reasons += [f"{_measured(item, item.p_value)}; {_GAME}" for item in beyond]
        return _verdict("violation", ground, detail, reasons, detectable)
    doubts = _doubts(claim, attacks, checks, detectable, resolution)
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


_FREE = "this assumes nothing about the mechanism"
_GAME = "this is beyond the claimed mechanism in the game that was played"


def _measured(item: AttackEstimate, p_value: float | None) -> str:
    shown = "" if p_value is None else f" at most {format_upper(p_value, 2)} of the time"
    return f"{item.attack}: under the claim such scores come{shown} ({item.corrected.estimator})"


def _reading(
    claim: StatedClaim, attacks: Sequence[AttackEstimate], refuted: Sequence[AttackEstimate]
) -> str:
    """Says what follows without, and what only with, the assumption of the family."""
    free = max((item.free_epsilon or 0.0 for item in attacks), default=0.0)
    if free > claim.epsilon:
        return f"Epsilon is at least {_lower(free)}, whatever the mechanism is."
    if any(item.corrected.outside for item in attacks):
        return (
            "No noise at all explains it: the sampler, the crop or the steps are not as configured."
        )
    largest = max(item.corrected.epsilon for item in attacks)
    family = f"given the configured family of mechanisms, epsilon is at least {_lower(largest)}."
    if refuted:
        return f"The claimed trade-off curve is impossible, whatever the mechanism is; {family}"
    return f"The pipeline is not the claimed mechanism; {family}"


def _doubts(
    claim: StatedClaim,
    attacks: Sequence[AttackEstimate],
    checks: Sequence[Check],
    detectable: float | None,
    resolution: float,
) -> list[str]:
    doubts = [f"check '{c.name}' failed: {c.observed}" for c in checks if c.status == "fail"]
    doubts += [
        f"given the configured family, epsilon is at least {_lower(item.corrected.epsilon)}, above "
        "the claim; without that assumption it is not shown"
        for item in attacks
        if item.corrected.validity != "exact" and item.corrected.epsilon > claim.epsilon
    ]
    if detectable is None:
        doubts.append("no epsilon would have been found with 90% power: play more slots")
    elif detectable > resolution * claim.epsilon:
        doubts.append(
            f"only a true epsilon of {_upper(detectable)} or more would have been found with 90% "
            f"power, over {resolution:g} times the claim: play more slots"
        )
    return doubts

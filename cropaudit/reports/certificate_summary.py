"""The component certificate for a terminal, and as a mapping for JSON."""

import math
from typing import Any

from cropaudit.audit.certificate import Certificate
from cropaudit.reports.numbers import format_lower, format_upper, format_value

__all__ = ["certificate_document", "certificate_lines"]


def certificate_document(found: Certificate) -> dict[str, Any]:
    """Returns the certificate as JSON values; an epsilon that is infinite becomes null."""
    return {
        "claim": str(found.claim),
        "adjacency": found.claim.adjacency,
        "delta": found.delta,
        "confidence": 1 - found.level,
        "claimed_epsilon": found.claimed_epsilon,
        "epsilon_low": _finite(found.epsilon_low),
        "epsilon_high": _finite(found.epsilon_high),
        "limits": [
            {
                "name": item.name,
                "claimed": item.claimed,
                "low": _finite(item.low),
                "estimate": _finite(item.estimate),
                "high": _finite(item.high),
                "outside": item.outside,
            }
            for item in found.limits
        ],
        "assumed": list(found.assumed),
        "causes": list(found.causes),
        "exceeded": found.exceeded,
        "mean_p": found.mean_p,
        "normal_p": found.normal_p,
        "repeats": found.repeats,
    }


def certificate_lines(found: Certificate) -> list[str]:
    """Returns the certificate, one statement a line."""
    low, high = format_lower(found.epsilon_low), format_upper(found.epsilon_high)
    lines = [
        f"Delivered epsilon: {low} to {high} at delta {found.delta:g}, with "
        f"{1 - found.level:.4g} confidence; claimed {format_upper(found.claimed_epsilon)} "
        f"({found.claim.adjacency})",
        *(item.words[0].upper() + item.words[1:] for item in found.limits),
        *(f"{name[0].upper()}{name[1:]}: not logged, taken as claimed" for name in found.assumed),
    ]
    if found.mean_p is not None and found.normal_p is not None:
        mean, normal = format_value(found.mean_p, 3), format_value(found.normal_p, 3)
        lines.append(f"Noise: mean 0 has p = {mean}, normal has p = {normal} (not judged)")
    if found.repeats:
        lines.append(f"Noise: {found.repeats} steps repeat another's, so its limits do not hold")
    if found.causes:
        lines.append(f"NOT AS CLAIMED: {', '.join(found.causes)}")
    lines.append("This certifies parameters, not the pipeline: publish it apart from an audit.")
    return lines


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

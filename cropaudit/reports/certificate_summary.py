"""The component certificate for a terminal, and as a mapping for JSON."""

import math
from typing import Any

from cropaudit.audit.certificate import Certificate
from cropaudit.audit.noise_tests import Judged
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
        "stated": found.stated,
        "noise": [_judged(item) for item in found.judged],
        "rates": [_judged(item) for item in found.rated],
    }


def _judged(item: Judged) -> dict[str, Any]:
    return {
        "of": item.of,
        "name": item.name,
        "p_value": item.p_value,
        "share": item.share,
        "refuted": item.refuted,
        "detail": item.detail,
    }


def certificate_lines(found: Certificate) -> list[str]:
    """Returns the certificate, one statement a line."""
    low, high = found.epsilon_low, found.epsilon_high
    least = format_lower(low) if math.isfinite(low) else "infinity"
    most = format_upper(high) if math.isfinite(high) else "infinity"
    ends = f"{least} to {most} at" if found.stated else "none can be stated of these logs, at"
    lines = [
        f"Delivered epsilon: {ends} delta {found.delta:g}, with "
        f"{1 - found.level:.4g} confidence; claimed {format_upper(found.claimed_epsilon)} "
        f"({found.claim.adjacency})",
        *(item.words[0].upper() + item.words[1:] for item in found.limits),
        *(f"{name[0].upper()}{name[1:]}: not logged, taken as claimed" for name in found.assumed),
    ]
    lines += _tested(found)
    if found.causes:
        lines.append(f"NOT AS CLAIMED: {', '.join(found.causes)}")
    lines.append("This certifies parameters, not the pipeline: publish it apart from an audit.")
    return lines


def _tested(found: Certificate) -> list[str]:
    """Returns what was tested of noise and rates, and what they are not."""
    lines = []
    if found.judged:
        shown = ", ".join(f"{item.name} p = {_p(item)}" for item in found.judged)
        lines.append(f"Noise, tested at {found.judged[0].share:.2g} each: {shown}")
    if found.rated:
        shown = ", ".join(f"{item.of} {item.name} p = {_p(item)}" for item in found.rated)
        lines.append(f"Rates, tested at {found.rated[0].share:.2g} each: {shown}")
    for item in found.refuted:
        told = f": {item.detail}" if item.detail else ""
        lines.append(f"{item.fault[0].upper()}{item.fault[1:]}{told}")
    return lines


def _p(item: Judged) -> str:
    return format_value(item.p_value, 2)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

"""The component certificate for a terminal, and as a mapping for JSON."""

import math
from dataclasses import asdict
from typing import Any

from cropaudit.certificate.certificate import Certificate
from cropaudit.reports.text.numbers import finite, format_lower, format_upper, format_value

__all__ = ["certificate_document", "certificate_lines"]


def certificate_document(found: Certificate) -> dict[str, Any]:
    """Returns the certificate as JSON values; an epsilon that is infinite becomes null."""
    values: dict[str, Any] = finite(
        {
            "claim": str(found.claim),
            "adjacency": found.claim.adjacency,
            "delta": found.delta,
            "confidence": 1 - found.level,
            "claimed_epsilon": found.claimed_epsilon,
            "epsilon_low": found.epsilon_low,
            "epsilon_high": found.epsilon_high,
            "limits": [{**asdict(item), "outside": item.outside} for item in found.limits],
            "assumed": found.assumed,
            "causes": found.causes,
            "exceeded": found.exceeded,
            "stated": found.stated,
            "noise": [{**asdict(item), "refuted": item.refuted} for item in found.judged],
            "rates": [{**asdict(item), "refuted": item.refuted} for item in found.rated],
        }
    )
    return values


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
    for title, items in (("Noise", found.judged), ("Rates", found.rated)):
        shown = [f"{item.name} p = {format_value(item.p_value, 2)}" for item in items]
        if title == "Rates":
            shown = [f"{item.of} {words}" for item, words in zip(items, shown, strict=True)]
        if items:
            lines.append(f"{title}, tested at {items[0].share:.2g} each: {', '.join(shown)}")
    for item in found.refuted:
        told = f": {item.detail}" if item.detail else ""
        lines.append(f"{item.fault[0].upper()}{item.fault[1:]}{told}")
    return lines

"""What a signer must read beside the figures, in one wording for terminal, HTML and dry run."""

import math
from collections.abc import Iterator

import numpy as np

from cropaudit.accounting.digits import format_lower, format_upper
from cropaudit.audit.result import Attack, AuditReport, Claim, Utility
from cropaudit.reports.numbers import format_percent

__all__ = [
    "alone",
    "attacked",
    "beside_crops",
    "learning",
    "records",
    "worth",
]

_TARGETS = {
    "probe": "the pipeline (real sampler, crop, clipping and noise) with worst-case gradients in "
    "place of a model's",
    "white-box": "the real model {model}, every update seen",
    "two-world": "the real model {model}, trained many times, every update seen",
    "black-box": "the real model {model}, queried once trained",
    "reference": "the real model {model}, trained several times, queried once trained",
}
_RATES = (0.01, 0.001)
_NEARLY_ALL, _MOST = 0.9, 0.5


def records(total: int, added: int, canaries: int) -> str:
    """Returns what records are, told apart.

    >>> records(256, 96, 96), records(160, 0, 96), records(208, 48, 96)
    ('160 images + 96 canaries', '160 images, 96 canaries in them', \
'160 images + 48 records of 96 canaries')
    """
    images = f"{total - added:,} images"
    if added == 0:
        return images if canaries == 0 else f"{images}, {canaries:,} canaries in them"
    if added == canaries:
        return f"{images} + {canaries:,} canaries"
    return f"{images} + {added:,} records of {canaries:,} canaries"


def alone(images: int, epsilon: float | None, added: int) -> str | None:
    """Returns the epsilon of the images without canaries; none where canaries add no record.

    >>> alone(160, 7.7501, 96)
    'epsilon <= 7.76 for the 160 images without the canaries'
    """
    if added == 0 or epsilon is None:
        return None
    return f"epsilon <= {format_upper(epsilon)} for the {images:,} images without the canaries"


def beside_crops(amplified: float | None, without: float | None) -> str:
    """Returns the accounted epsilons of the configured noise.

    >>> beside_crops(4.4431, 12.2), beside_crops(None, None)
    ('4.45 accounted with crops, 12.2 without', 'too little noise is left to account for')
    """
    if amplified is None or without is None:
        return "too little noise is left to account for"
    return f"{format_upper(amplified)} accounted with crops, {format_upper(without)} without"


def attacked(report: AuditReport) -> Iterator[tuple[str, str]]:
    """Yields each attack's title, and what it attacked and showed and could have shown at most."""
    model = report.provenance.config.get("training")
    name = model.get("model", "") if isinstance(model, dict) else ""
    for attack in report.attacks:
        target = _TARGETS.get(attack.name, "the real model {model}").format(model=name)
        yield attack.title, f"{' '.join(target.split())}: {_shown(attack)}"


def _shown(attack: Attack) -> str:
    if not attack.bounds:
        return "no bound"
    best = max(attack.bounds, key=lambda bound: bound.epsilon)
    words = f"epsilon >= {format_lower(max(best.epsilon, 0.0))}"
    if best.cap is not None:
        return f"{words}, could have shown {format_upper(best.cap)} at most"
    caps = [bound.cap for bound in attack.bounds if bound.cap is not None]
    if not caps:
        return words
    return f"{words}; without assumptions it could have shown {format_upper(max(caps))} at most"


def worth(claim: Claim) -> str:
    """Returns what the claimed epsilon is worth against the strongest attacker."""
    found = [_allowed(claim, rate) for rate in _RATES]
    shares = " and ".join(
        f"{format_upper(100 * tpr)}% of patches at {format_percent(rate)}"
        for tpr, rate in zip(found, _RATES, strict=True)
    )
    words = (
        f"epsilon {format_upper(claim.epsilon)} lets evidence for one content of a patch be "
        f"{_ratio(claim.epsilon)} times as likely as under the other; the best attacker may tell "
        f"up to {shares} false alarms"
    )
    if found[0] >= _NEARLY_ALL:
        return f"{words}: practically no protection against such an attacker"
    return f"{words}: weak protection" if found[0] >= _MOST else words


def _ratio(epsilon: float) -> str:
    if epsilon < math.log(1e5):
        return format_upper(math.exp(epsilon))
    return f"10^{math.ceil(10 * epsilon / math.log(10)) / 10:g}"


def _allowed(claim: Claim, fpr: float) -> float:
    """Returns the largest true positive rate that the claim allows, or a little more."""
    if claim.tradeoff is not None:
        above = int(np.searchsorted(claim.tradeoff.fpr, fpr))
        return claim.tradeoff.tpr[min(above, len(claim.tradeoff.tpr) - 1)]
    low = claim.delta + math.exp(min(claim.epsilon, 700.0)) * fpr
    high = 1 - math.exp(-claim.epsilon) * (1 - claim.delta - fpr)
    return min(low, high, 1.0)


def learning(utility: Utility) -> str | None:
    """Returns a warning where a model is no better than one class everywhere."""
    if utility.miou > utility.miou_constant:
        return None
    words = (
        f"this model learned nothing: mIoU {utility.miou:.3f} is no better than "
        f"{utility.miou_constant:.3f} of the commonest class everywhere"
    )
    quiet = utility.miou_without_noise
    if quiet is None:
        return words
    if quiet > utility.miou_constant:
        return f"{words}; without noise it reaches {quiet:.3f}"
    return (
        f"{words}, and without noise it learns nothing either ({quiet:.3f}): its settings are at "
        "fault, and attacks on such a model say little about one that learns"
    )

"""What the pictures show, taken from the report; nothing is drawn here.

Each description holds plain numbers and labels. Axes that are logarithmic get their floors here,
so that a zero is shown at the edge instead of vanishing.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropaudit.audit.result import Attack, AuditReport, Claim, Curve
from cropaudit.errors import require
from cropaudit.reports.blocks import largest_blocks
from cropaudit.reports.intervals import clopper_pearson

__all__ = [
    "FLOOR",
    "Bar",
    "BarChart",
    "InclusionMap",
    "OperatingPoint",
    "Profile",
    "Reference",
    "Roc",
    "RocLine",
    "bar_chart",
    "inclusion_map",
    "profile",
    "roc",
]

FLOOR = 1e-4
"""Smallest rate on the axes of the ROC."""

# The largest number of cells on a side of the drawn map; more would only make the file heavy.
_CELLS = 256
# A chart whose largest number is this many times its smallest is read better on a log axis.
_LOG_RATIO = 40.0
# Trials of a world below which a curve is drawn with its band.
_FEW = 1000


@dataclass(frozen=True)
class InclusionMap:
    """Inclusion probability by the patch's top-left position, reduced to blocks of ``step``.

    A block shows its largest value, so that the drawn map never hides the worst place.
    """

    blocks: NDArray[np.float64]
    step: int
    shape: tuple[int, int]
    worst: tuple[int, int]
    largest: float
    smallest: float
    share_at_largest: float


@dataclass(frozen=True)
class OperatingPoint:
    """Rates at the pre-registered threshold with 95% Clopper-Pearson intervals."""

    fpr: float
    tpr: float
    fpr_interval: tuple[float, float]
    tpr_interval: tuple[float, float]


@dataclass(frozen=True)
class RocLine:
    """One attack's observed curve and, if it has one, its pre-registered point.

    ``band`` holds the lower and upper 95% limits of ``tpr``, point by point, where trials are few.
    """

    title: str
    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]
    point: OperatingPoint | None
    band: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None


@dataclass(frozen=True)
class Roc:
    """Every attack's curve beside the largest true positive rates that the claim allows."""

    lines: tuple[RocLine, ...]
    limit_fpr: NDArray[np.float64]
    limit_tpr: NDArray[np.float64]
    limit_title: str


@dataclass(frozen=True)
class Bar:
    """One lower bound on epsilon."""

    title: str
    epsilon: float
    validity: str
    cap: float | None
    headline: bool


@dataclass(frozen=True)
class Reference:
    """An epsilon that the bounds are compared with; ``title`` may join several that coincide."""

    title: str
    epsilon: float


@dataclass(frozen=True)
class BarChart:
    """Lower bounds, top to bottom, and the epsilons that they are compared with, rising."""

    bars: tuple[Bar, ...]
    references: tuple[Reference, ...]
    log: bool


@dataclass(frozen=True)
class Profile:
    """The claim's delta by epsilon, positive deltas only, and the point that is claimed."""

    epsilon: NDArray[np.float64]
    delta: NDArray[np.float64]
    claimed: tuple[float, float]


def inclusion_map(rho: NDArray[np.floating], worst: tuple[int, int]) -> InclusionMap:
    """Returns the map of ``rho``, shape (rows, columns) of top-left positions.

    Raises:
        InputError: If ``rho`` is no non-empty matrix of probabilities or ``worst`` is off it.
    """
    require(rho.ndim == 2 and rho.size > 0, "inclusion", "a non-empty matrix", rho.shape)
    values = np.asarray(rho, dtype=np.float64)
    legal = bool(np.all((values >= 0) & (values <= 1 + 1e-9)))
    require(legal, "inclusion", "between 0 and 1", f"{values.min()} to {values.max()}")
    inside = all(0 <= place < side for place, side in zip(worst, values.shape, strict=True))
    require(inside, "worst position", f"on the map of {values.shape} positions", worst)
    blocks, step = largest_blocks(values, _CELLS)
    largest = float(values.max())
    return InclusionMap(
        blocks=blocks,
        step=step,
        shape=(values.shape[0], values.shape[1]),
        worst=worst,
        largest=largest,
        smallest=float(values.min()),
        share_at_largest=float(np.mean(values >= largest - 1e-12)),
    )


def roc(report: AuditReport) -> Roc:
    """Returns the curves of all attacks and the claim's limit."""
    claim = report.claim
    grid = np.geomspace(FLOOR, 1.0, 257)
    if claim.tradeoff is not None:
        title = "limit of the claimed mechanism"
        limit = np.interp(grid, claim.tradeoff.fpr, claim.tradeoff.tpr)
    else:
        title = "limit of the claimed (ε, δ)"
        limit = _bare_limit(grid, claim)
    return Roc(tuple(_roc_line(attack) for attack in report.attacks), grid, limit, title)


def _bare_limit(fpr: NDArray[np.float64], claim: Claim) -> NDArray[np.float64]:
    """Returns the largest true positive rate under (epsilon, delta) (Kairouz et al. 2015)."""
    low = claim.delta + np.exp(claim.epsilon) * fpr
    high = 1 - np.exp(-claim.epsilon) * (1 - claim.delta - fpr)
    limit: NDArray[np.float64] = np.clip(np.minimum(low, high), 0.0, 1.0)
    return limit


def _roc_line(attack: Attack) -> RocLine:
    """Returns one attack's curve from one false positive on: its games resolve no lower rate.

    Zeros are lifted to the floor of the axes.
    """
    fpr, tpr = _lifted(attack.roc, "fpr"), _lifted(attack.roc, "tpr")
    seen = np.asarray(attack.roc.fpr) >= (1 - 1e-9) / max(attack.nonmembers, 1)
    band = None
    if 0 < min(attack.members, attack.nonmembers) < _FEW:
        hits = np.rint(np.asarray(attack.roc.tpr)[seen] * attack.members).astype(int)
        limits = np.array([clopper_pearson(int(count), attack.members) for count in hits])
        low, high = np.maximum(limits.reshape(-1, 2), FLOOR).T
        band = low, high
    return RocLine(attack.title, fpr[seen], tpr[seen], _operating_point(attack), band)


def _lifted(curve: Curve, axis: str) -> NDArray[np.float64]:
    """Returns one coordinate of a curve, at least the floor."""
    return np.maximum(np.asarray(getattr(curve, axis), dtype=np.float64), FLOOR)


def _operating_point(attack: Attack) -> OperatingPoint | None:
    """Returns the pre-registered point, or none where an attack has no threshold."""
    false, true = attack.false_positives, attack.true_positives
    if attack.threshold is None or false is None or true is None:
        return None
    if attack.members == 0 or attack.nonmembers == 0:
        return None
    return OperatingPoint(
        fpr=false / attack.nonmembers,
        tpr=true / attack.members,
        fpr_interval=clopper_pearson(false, attack.nonmembers),
        tpr_interval=clopper_pearson(true, attack.members),
    )


def bar_chart(report: AuditReport) -> BarChart:
    """Returns the headline's bar, every single bound's bar, and the reference epsilons."""
    headline = report.headline
    bars = [Bar("Headline, corrected", headline.epsilon_lower, headline.validity, None, True)]
    bars += [
        Bar(f"{attack.title}: {bound.estimator}", bound.epsilon, bound.validity, bound.cap, False)
        for attack in report.attacks
        for bound in attack.bounds
    ]
    references = _references(report.claim)
    values = [bar.epsilon for bar in bars] + [line.epsilon for line in references]
    positive = [value for value in values if value > 0]
    log = bool(positive) and max(positive) / min(positive) > _LOG_RATIO
    return BarChart(tuple(bars), references, log)


def _references(claim: Claim) -> tuple[Reference, ...]:
    """Returns the epsilons in rising order, those that coincide joined into one."""
    named = sorted(
        [
            Reference(title, epsilon)
            for title, epsilon in (
                ("claimed", claim.epsilon),
                ("accounted with crops", claim.epsilon_amplified),
                ("accounted without crops", claim.epsilon_without_crop),
            )
            if epsilon is not None
        ],
        key=lambda line: line.epsilon,
    )
    joined = [named[0]]
    for line in named[1:]:
        last = joined[-1]
        if math.isclose(line.epsilon, last.epsilon, rel_tol=1e-3):
            joined[-1] = Reference(f"{last.title} = {line.title}", last.epsilon)
        else:
            joined.append(line)
    return tuple(joined)


def profile(claim: Claim) -> Profile | None:
    """Returns the privacy profile, or none where the claim gives fewer than two points."""
    points = sorted((epsilon, delta) for epsilon, delta in claim.profile if delta > 0)
    if len(points) < 2:
        return None
    epsilon, delta = np.array(points, dtype=np.float64).T
    return Profile(epsilon, delta, (claim.epsilon, claim.delta))

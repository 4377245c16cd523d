"""What every game leaves behind: its entry in the report, its evidence and its raw scores."""

import csv
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.result import Attack, Bound, Curve
from cropaudit.audit.verdict import Evidence

__all__ = ["Played", "Words", "attack_entry", "score_csv"]

_FPRS = (0.001, 0.01, 0.1)
_ROC_POINTS = 300


@dataclass(frozen=True, eq=False)
class Played:
    """A finished game: its report entry, its corrected evidence and its raw scores."""

    attack: Attack
    evidence: Evidence
    scores: bytes


@dataclass(frozen=True)
class Words:
    """How a report names a game."""

    title: str
    adversary: str
    game: str


def attack_entry(
    name: str,
    words: Words,
    scores: Scores,
    bounds: tuple[Bound, ...],
    seconds: float,
    threshold: float | None,
) -> Attack:
    """Returns the entry of a report.

    Args:
        name: Of the attack.
        words: About it.
        scores: Of all trials.
        bounds: At the full confidence.
        seconds: Taken.
        threshold: Fixed beforehand; none where ranks are used.
    """
    hits, alarms = scores.counts(threshold) if threshold is not None else (None, None)
    return Attack(
        name=name,
        title=words.title,
        adversary=words.adversary,
        game=words.game,
        members=len(scores.member),
        nonmembers=len(scores.nonmember),
        auc=scores.auc(),
        tpr_at_fpr={f"{fpr:g}": scores.tpr_at(fpr) for fpr in _FPRS},
        threshold=threshold,
        false_positives=alarms,
        true_positives=hits,
        roc=_thin_roc(scores),
        bounds=bounds,
        seconds=seconds,
    )


def score_csv(values: NDArray[np.float64], member: NDArray[np.bool_]) -> bytes:
    """Returns scores as a CSV that ``cropaudit estimate`` reads."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["score", "member"])
    writer.writerows((repr(float(v)), int(m)) for v, m in zip(values, member, strict=True))
    return text.getvalue().encode()


def _thin_roc(scores: Scores) -> Curve:
    """Keeps points evenly spread in ln FPR and in FPR: what a plot can show."""
    fpr, tpr = scores.roc()
    if len(fpr) > _ROC_POINTS:
        wanted = np.concatenate([np.geomspace(1e-5, 1, 200), np.linspace(0, 1, 100)])
        keep = np.unique(np.concatenate([[0, len(fpr) - 1], np.searchsorted(fpr, wanted) - 1]))
        keep = keep[keep >= 0]
        fpr, tpr = fpr[keep], tpr[keep]
    return Curve(fpr=tuple(fpr.tolist()), tpr=tuple(tpr.tolist()))

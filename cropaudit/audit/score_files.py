"""Scores that a user brings, as a CSV or as two arrays, and the bounds they give.

Nothing is unpickled: arrays are read with ``allow_pickle=False``.
"""

import csv
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from cropaudit.accounting.registry import parse_mechanism
from cropaudit.audit.estimators.clopper_pearson import box_epsilon, clopper_pearson
from cropaudit.audit.estimators.limits import Box, measured_box
from cropaudit.audit.estimators.mechanism_fdp import mechanism_fdp
from cropaudit.audit.estimators.one_run import coin_p_value, one_run
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.result import Bound
from cropaudit.errors import InputError, require

__all__ = ["Estimate", "estimate_file"]

_MEMBER = {"1": True, "0": False, "true": True, "false": False, "1.0": True, "0.0": False}
_UNFAIR = 1e-6  # a split of the worlds less likely than this was no fair coin


class Estimate(BaseModel):
    """What scores show."""

    model_config = ConfigDict(frozen=True)

    members: int
    nonmembers: int
    auc: float
    threshold: float
    threshold_policy: str
    bounds: tuple[Bound, ...]
    skipped: tuple[str, ...]


def estimate_file(
    scores: Path | None,
    member: Path | None,
    nonmember: Path | None,
    *,
    delta: float,
    confidence: float,
    threshold: float | None,
    mechanism: str | None,
    seed: int,
) -> Estimate:
    """Reads scores and applies every estimator that they allow.

    Raises:
        InputError: If not exactly one form of input is given, a file cannot be used, or a value is
            out of range.
    """
    require(0 <= delta < 1, "delta", "in [0, 1)", delta)
    require(0 < confidence < 1, "confidence", "in (0, 1)", confidence)
    family = parse_mechanism(mechanism) if mechanism is not None else None
    if family is not None:
        require(delta > 0, "delta", "in (0, 1) with --mechanism", delta)
    found = _read(scores, member, nonmember)
    level = 1 - confidence
    if threshold is not None:
        require(math.isfinite(threshold), "threshold", "finite", threshold)
        box, cut, policy = measured_box(found, threshold, level), threshold, "given"
    else:
        cut, rest = _split_threshold(found, level, delta, seed)
        box, policy = measured_box(rest, cut, level), "chosen on a random half, used on the other"
    bounds, skipped = [clopper_pearson(box, delta)], []
    if family is not None:
        bounds.append(mechanism_fdp(box, family, delta))
    else:
        skipped.append("mechanism-f-dp: needs --mechanism")
    fair = coin_p_value(len(found.member), len(found.nonmember))
    if fair >= _UNFAIR:
        bounds.append(one_run(found, delta, level, seed))
    else:
        skipped.append(f"one-run: the worlds were not drawn by fair coins (p = {fair:.1g})")
    return Estimate(
        members=len(found.member),
        nonmembers=len(found.nonmember),
        auc=found.auc(),
        threshold=cut,
        threshold_policy=policy,
        bounds=tuple(bounds),
        skipped=tuple(skipped),
    )


def _split_threshold(scores: Scores, level: float, delta: float, seed: int) -> tuple[float, Scores]:
    """Chooses on a random half of each world the threshold of the best bound; returns the rest."""
    generator = np.random.default_rng(seed)
    halves = []
    for values in (scores.member, scores.nonmember):
        if len(values) < 2:
            raise InputError(
                "scores must hold at least 2 of each world to choose a threshold, "
                f"got {len(values)}"
            )
        order = generator.permutation(len(values))
        middle = len(values) // 2
        halves.append((values[order[:middle]], values[order[middle:]]))
    tuning = Scores(halves[0][0], halves[1][0])
    rest = Scores(halves[0][1], halves[1][1])
    candidates = np.unique(np.concatenate([tuning.member, tuning.nonmember]))
    if len(candidates) > 400:
        candidates = candidates[np.linspace(0, len(candidates) - 1, 400).astype(int)]
    boxes = [measured_box(tuning, float(cut), level) for cut in candidates]
    best = max(range(len(boxes)), key=lambda i: _merit(boxes[i], delta))
    return float(candidates[best]), rest


def _merit(box: Box, delta: float) -> tuple[float, float]:
    """Orders boxes by their bound; among those without one, by how near they come."""
    return box_epsilon(box.fpr_upper, box.fnr_upper, delta), -(box.fpr_upper + box.fnr_upper)


def _read(scores: Path | None, member: Path | None, nonmember: Path | None) -> Scores:
    if scores is not None and member is None and nonmember is None:
        return _read_csv(scores)
    if scores is None and member is not None and nonmember is not None:
        return Scores.of(_read_array(member), _read_array(nonmember))
    raise InputError("scores must be given as one CSV, or as --member and --nonmember together")


def _read_array(path: Path) -> NDArray[np.float64]:
    try:
        values = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"scores {path} must be an existing .npy file") from None
    except (OSError, ValueError, EOFError) as error:
        words = " ".join(str(error).split())
        raise InputError(f"scores {path} must be a .npy file of numbers: {words}") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
        raise InputError(f"scores {path} must be a .npy file of numbers")
    return values.astype(np.float64)


def _read_csv(path: Path) -> Scores:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise InputError(f"scores {path} must be an existing CSV file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"scores {path} must be a readable CSV file: {error}") from None
    if not rows or not {"score", "member"} <= set(rows[0]):
        raise InputError(f"scores {path} must have the columns score and member, and rows")
    values, bits = [], []
    for line, row in enumerate(rows, start=2):
        try:
            values.append(float(row["score"]))
            bits.append(_MEMBER[str(row["member"]).strip().lower()])
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"scores {path} line {line} must be a number and 0 or 1, "
                f"got {row['score']} and {row['member']}"
            ) from None
        if math.isnan(values[-1]):
            raise InputError(f"scores {path} line {line} must be free of NaN, got {row['score']}")
    return Scores.labelled(values, bits)

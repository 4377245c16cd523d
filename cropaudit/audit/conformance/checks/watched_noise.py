"""The noise of a whole training, measured on its real steps.

What Opacus' optimiser adds to its sum of clipped gradients is known at every coordinate and step.
Under the null it is independent normal noise of one deviation, the multiplier times C, where C is
the norm that the same optimiser clips to: sums of squares are of the chi-square law, exactly.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtr, chdtrc, fdtr, fdtrc, stdtr

from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.training import Training
from cropaudit.audit.conformance.outcome import Outcome, Tested
from cropaudit.audit.conformance.seen import Seen
from cropaudit.audit.run_logs import NoiseLog

__all__ = ["check", "fresh", "noise_in_units", "same", "size"]

Array = NDArray[np.float64]

NAME = "noise"
_SLACK = 1e-3  # relative, of the deviation: what float32 does to noise beside large sums
_NOTHING = 1e-5  # of C: below it a difference of floats is no noise
_NORMAL_SAMPLES = 20_000
_PLAINLY = 1e-6  # p-value at which more noise than claimed is worth a word
_RELATED = 0.5  # correlation of two steps' noise that is worth counting
_REACH = 6.1  # deviations that a fault must have to be refuted after correction, 99 in 100


def check(seen: Seen, claimed: Claimed) -> Outcome:
    """Tests size, sameness, normality and freshness of the noise."""
    training = seen.training
    if training is None:
        return Outcome(NAME, skipped="no pipeline was given")
    found = noise_in_units(training)
    if found is None:
        return _unseen(training, claimed)
    sigma = claimed.noise_multiplier
    delivered = math.sqrt(float(np.mean(found**2)))
    if sigma is None and delivered <= _NOTHING:
        words = "no step adds any noise, and no noise multiplier is claimed to compare with"
        return Outcome(NAME, undecided=words, where=training.where)
    tests = [_bare(training)]
    tests += [] if sigma is None else [size(found, sigma), _settings(training, sigma)]
    if delivered > _NOTHING:
        tests += [
            same(found, training.tensor, training.names.tolist()),
            fresh(found),
            _normal(found),
        ]
    return Outcome(
        NAME,
        tests=tuple(tests),
        evidence=_evidence(training, found, delivered, sigma),
        power=_power(found),
        undecided=_partly(training),
        differs=_more(found, delivered, sigma),
        where=training.where,
        figures={"delivered noise multiplier": delivered, "noisy steps": float(len(found))},
    )


def noise_in_units(training: Training) -> Array | None:
    """Returns the noise of the first steps in units of C, (R, P); none if it was not seen."""
    rows = training.noise
    norms = training.max_grad_norm[: len(rows)]
    if not rows.size or len(norms) < len(rows) or not (norms > 0).all():
        return None
    found: Array = rows / norms[:, None]
    return found if bool(np.isfinite(found).all()) else None


def size(found: Array, sigma: float) -> Tested:
    """Tests that there is no less noise than claimed."""
    delivered = math.sqrt(float(np.mean(found**2)))
    p_value = 1.0
    if sigma > 0:
        total = float(np.sum((found / (sigma * (1 - _SLACK))) ** 2))
        p_value = 0.0 if delivered <= _NOTHING else float(chdtr(found.size, total))
    return Tested(
        "the noise of the steps is no smaller than claimed",
        p_value,
        f"delivered noise multiplier {delivered:.4g}, where {sigma:g} is claimed: measured on "
        f"{len(found)} real steps, as the noisy gradient less the sum of clipped ones, over the "
        "norm C that is clipped to",
    )


def same(found: Array, tensor: NDArray[np.int64], names: Sequence[str]) -> Tested:
    """Tests that each step, and each parameter, gets the noise of all others."""
    steps = np.mean(found**2, axis=1)
    parts = np.array([np.mean(found[:, tensor == k] ** 2) for k in range(len(names))])
    sizes = np.array([len(found) * int((tensor == k).sum()) for k in range(len(names))])
    least_step, of_steps = _oddest(steps, np.full(len(steps), found.shape[1]))
    least_part, of_parts = _oddest(parts, sizes)
    whole = float(np.mean(found**2))
    words = (
        f"step {of_steps} gets {math.sqrt(steps[of_steps] / whole):.3g} times the noise of the "
        "others"
    )
    if least_part < least_step:
        ratio = math.sqrt(parts[of_parts] / whole)
        words = f"the parameter {names[of_parts]} gets {ratio:.3g} times the noise of the others"
    return Tested(
        "every step and every parameter gets the same noise",
        min(1.0, 2 * least_step, 2 * least_part),
        f"{words}: each needs the noise of one batch, once",
    )


def fresh(found: Array) -> Tested:
    """Tests that no two steps' noise is related: Student's law of their correlation about 0."""
    null = "the noise is fresh in each step"
    lengths = np.linalg.norm(found, axis=1)
    rows = found[lengths > 0] / lengths[lengths > 0][:, None]
    close = np.abs((rows @ rows.T)[np.triu_indices(len(rows), 1)])
    if not close.size:
        return Tested(null, 1.0, "there is one step")
    most, freedom = min(float(close.max()), 1.0), found.shape[1] - 1
    tail = 0.0
    if most < 1:
        tail = 2 * float(stdtr(freedom, -most * math.sqrt(freedom / (1 - most**2))))
    count = int((close > _RELATED).sum())
    return Tested(
        null,
        min(1.0, close.size * tail),
        f"{count} pairs of steps add the same or nearly the same noise: seed the generator once, "
        "before training",
    )


def _unseen(training: Training, claimed: Claimed) -> Outcome:
    """Says what is known where there is no Opacus optimiser to take the noise from."""
    handed = training.handed
    if claimed.noise_multiplier and handed.size and not np.abs(handed).max():
        words = (
            "weights that no image pulls at are handed a gradient of exactly 0 in all "
            f"{len(handed)} steps: no noise is added, where a multiplier of "
            f"{claimed.noise_multiplier:g} is claimed"
        )
        test = Tested("weights that no image pulls at get noise", 0.0, words)
        return Outcome(NAME, tests=(test,), where=training.where)
    why = "no optimiser of Opacus steps the weights"
    if training.private:
        why = f"{training.private} keeps no sum of clipped gradients of all weights"
        why = why if training.finite else "gradients or weights are not finite"
    words = f"{why}, so that the noise cannot be told from gradients; give the update as --trainer"
    return Outcome(NAME, unmeasured=words, where=training.where)


def _others(training: Training) -> NDArray[np.bool_]:
    """Returns which steps no optimiser of Opacus made."""
    others: NDArray[np.bool_] = ~np.isfinite(training.noise_multiplier)
    return others


def _bare(training: Training) -> Tested:
    others = _others(training)[: len(training.handed)]
    silent = others & ~training.handed.any(axis=1) if training.handed.size else others & False
    return Tested(
        "no step is made without noise beside those of Opacus",
        0.0 if silent.any() else 1.0,
        f"{int(silent.sum())} of {len(training)} steps are made by an optimiser that is none of "
        "Opacus', with a gradient of exactly 0 where no image pulls: without noise",
    )


def _partly(training: Training) -> str:
    others = int(_others(training).sum())
    if not others:
        return ""
    return f"{others} of {len(training)} steps are made by an optimiser that is none of Opacus'"


def _settings(training: Training, sigma: float) -> Tested:
    read = training.noise_multiplier
    low = float(np.nanmin(read)) if np.isfinite(read).any() else math.nan
    below = int((read < sigma * (1 - 1e-9)).sum())
    return Tested(
        "the optimiser's own noise multiplier is never below the claimed one",
        0.0 if below else 1.0,
        f"the optimiser's noise multiplier is {low:g} in {below} of {len(read)} steps, where "
        f"{sigma:g} is claimed",
    )


def _normal(found: Array) -> Tested:
    samples = found.ravel()[:_NORMAL_SAMPLES]
    return Tested(
        "the noise is normal",
        NoiseLog.of(samples).normal_p_value(),
        f"the noise is not normal (test of Kolmogorov and Smirnov on {samples.size} draws): the "
        "guarantee is that of Gaussian noise",
    )


def _oddest(means: Array, sizes: NDArray[np.int64]) -> tuple[float, int]:
    """Returns the corrected two-sided p-value of the mean square furthest from that of the rest.

    The ratio of the two is of Fisher's law, exactly.
    """
    totals = means * sizes
    rest = (totals.sum() - totals) / np.maximum(sizes.sum() - sizes, 1)
    if len(means) < 2 or not (rest > 0).all():
        return float(len(means) < 2), 0
    freedom = sizes, sizes.sum() - sizes
    tails = 2 * np.minimum(fdtr(*freedom, means / rest), fdtrc(*freedom, means / rest))
    odd = int(np.argmin(tails))
    return min(1.0, len(means) * float(tails[odd])), odd


def _more(found: Array, delivered: float, sigma: float | None) -> str:
    if not sigma or delivered <= sigma:
        return ""
    total = float(np.sum((found / (sigma * (1 + _SLACK))) ** 2))
    if float(chdtrc(found.size, total)) > _PLAINLY:
        return ""
    return (
        f"more noise than claimed, no privacy is lost: a multiplier of {delivered:.4g}, where "
        f"{sigma:g} is claimed"
    )


def _evidence(training: Training, found: Array, delivered: float, sigma: float | None) -> str:
    claim = "none is claimed" if sigma is None else f"{sigma:g} is claimed"
    read = training.noise_multiplier
    return (
        f"delivered noise multiplier {delivered:.4g} ({claim}), measured on {len(found)} real "
        f"steps at {found.shape[1]} weights; {training.private} says {np.nanmin(read):g}"
        + ("" if np.nanmin(read) == np.nanmax(read) else f" to {np.nanmax(read):g}")
    )


def _power(found: Array) -> str:
    whole, one = math.sqrt(2 * found.size), math.sqrt(2 * found.shape[1])
    return (
        f"a multiplier {100 * (_SLACK + _REACH / whole):.2g} % too small, and one step with "
        f"noise that differs by {100 * (_REACH + 2) / one:.2g} %, are found in 99 of 100 runs"
    )

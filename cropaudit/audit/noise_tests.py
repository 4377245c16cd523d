"""Is logged noise what its limits take for granted: one deviation, normal, fresh in every sample?

Chi-square limits of a noise multiplier, and the epsilon that follows, hold for independent normal
noise of one deviation. Noise that is small in half of the steps and large in the others, that lives
in one direction, or that was copied, passes for something else. All tests are exact; but for that
of constancy they hold whatever the deviation of each step, so that a change of it is named alone.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, chdtrc, fdtr, fdtrc, kolmogorov, ndtr, ndtri, stdtr

from cropaudit.audit.run_logs import NoiseLog

__all__ = ["CONSTANT", "Judged", "judge_noise"]

Array = NDArray[np.float64]

CONSTANT = "constant over steps"
_NAMES = (CONSTANT, "fresh", "isotropic", "independent", "mean 0", "normal")
_CHUNK = 2048  # vectors that are compared with one another, each with each
_REGRESSORS = 128
_FINEST = 2.0**-23  # relative spacing of float32, in which noise is drawn
_GRIDS = 16.0  # by how much the spacings of one log may differ
_COPIED = 4  # numbers that a row or column must have for its twin to be no chance
_TINY = 1e-300


@dataclass(frozen=True)
class Judged:
    """One property of noise, or of a rate, that its limits rest on.

    Attributes:
        name: The property.
        p_value: Of what has it.
        share: Of the level; at or below it the property is refuted.
        detail: What was found, for a reader.
        of: What should have it.
    """

    name: str
    p_value: float
    share: float
    detail: str = ""
    of: str = "noise"

    @property
    def fault(self) -> str:
        """What is wrong where it is refuted."""
        return f"{self.of} is not {self.name}"

    @property
    def refuted(self) -> bool:
        """Whether it is not there."""
        return self.p_value <= self.share


def judge_noise(noise: NoiseLog, level: float) -> tuple[Judged, ...]:
    """Tests all properties; the chance that any is refuted of sound noise is at most ``level``.

    Copies are looked for first: of noise that repeats itself nothing else can be said. A flat log
    has neither steps nor directions: its samples are taken in their order.

    Args:
        noise: The log. Without any noise nothing is judged.
        level: In (0, 1), shared equally.
    """
    samples = noise.samples
    if not samples.any():
        return ()
    share, table = level / len(_NAMES), samples.ndim == 2 and min(samples.shape) > 1
    copies, words = _copies(samples)
    found = {"fresh": (copies, words)}
    if copies > share:
        if table:
            found |= _table(samples)
        else:
            found[CONSTANT] = _constant(samples.reshape(-1, 1), "sample")
            found["mean 0"] = noise.mean_p_value(), ""
            found["normal"] = noise.normal_p_value(), ""
    return tuple(
        Judged(name, found[name][0], share, found[name][1]) for name in _NAMES if name in found
    )


_Found = tuple[float, str]


def _table(samples: Array) -> dict[str, _Found]:
    """Judges (steps, directions); in three orders, as the first direction is a yardstick only.

    Any two directions are seen together in one of them.
    """
    found = {CONSTANT: _constant(samples, "step")}
    first = sorted({0, samples.shape[1] // 3, 2 * samples.shape[1] // 3})
    orders = [_scores(np.roll(samples, -shift, axis=1)) for shift in first]
    for name, test in (
        ("isotropic", lambda scores: (_constant(np.ascontiguousarray(scores.T), "")[0], "")),
        ("independent", _independent),
        ("mean 0", lambda scores: (_no_mean(scores), "")),
        ("normal", lambda scores: (_kolmogorov(np.sort(ndtr(scores.ravel()))), "")),
    ):
        p, words = min(test(scores) for scores in orders)
        found[name] = min(1.0, len(orders) * p), words
    return found


def _scores(samples: Array) -> Array:
    """Returns independent standard normal numbers, shape (steps, directions - 1), if all is sound.

    Each sample is held against the deviation of those before it in its own step. Such ratios are
    independent and of Student's law (Durbin 1961), whatever the deviation of the step.
    """
    freedom = np.arange(1, samples.shape[1], dtype=np.float64)
    before = np.sqrt(np.cumsum(samples**2, axis=1)[:, :-1] / freedom)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.abs(samples[:, 1:] / before)
    ratios = np.nan_to_num(ratios, nan=0.0, posinf=np.inf)
    upper = np.maximum(stdtr(freedom, -ratios), _TINY)
    return np.asarray(-ndtri(upper) * np.sign(samples[:, 1:]))


def _constant(rows: Array, name: str) -> _Found:
    """Tests that all rows have one deviation: each against those before it, blocks against all."""
    squares = np.sum(rows**2, axis=1)
    size, total = rows.shape[1], float(squares.sum())
    counts = np.arange(1, len(squares), dtype=np.float64)
    before = np.cumsum(squares)[:-1]
    one_by_one = _combined(_ratio_p(squares[1:], size, before, counts * size))
    if len(rows) < 2:
        return 1.0, ""
    if total == 0:
        return 0.0, f"no {name} but the first has any"
    worst, where, tests, width = 1.0, "", 0, 1
    while 2 * width <= len(squares):
        blocks = squares[: len(squares) // width * width].reshape(-1, width).sum(axis=1)
        freedom = float(width * size)
        p = _ratio_p(blocks, freedom, total - blocks, len(squares) * size - freedom)
        tests, at = tests + p.size, int(np.argmin(p))
        if p[at] <= worst:
            worst, share = float(p[at]), math.sqrt(blocks[at] / freedom / (total / rows.size))
            last = (at + 1) * width - 1
            place = f"{name} {at * width}" if width == 1 else f"{name}s {at * width} to {last}"
            where = f"{place}: {share:.3g} times the deviation of all"
        width *= 2
    return min(1.0, 2 * min(one_by_one, tests * worst)), where


def _ratio_p(one: Array, n: float, other: Array, m: Array | float) -> Array:
    """Returns two-sided p-values of Fisher's test that two sums of squares have one variance."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.nan_to_num((one / n) / (np.maximum(other, 0) / m), nan=1.0, posinf=np.inf)
    p = 2 * np.minimum(fdtr(n, m, ratio), np.where(np.isinf(ratio), 0.0, fdtrc(n, m, ratio)))
    return np.asarray(np.clip(p, 0, 1))


def _independent(scores: Array) -> _Found:
    """Tests that no step and no direction tells of another."""
    found = [
        (_pairs(vectors), f"two {name} go together")
        for vectors, name in ((scores, "steps"), (scores.T, "directions"))
    ] + [
        (_regressed(vectors), f"few {name} tell the others")
        for vectors, name in ((scores, "steps"), (scores.T, "directions"))
    ]
    p, words = min(found)
    return min(1.0, len(found) * p), words


def _pairs(vectors: Array) -> float:
    """Tests the angles of all pairs of vectors, by Bonferroni; of very many those close by."""
    size, pairs, highest = vectors.shape[1], 0, 0.0
    if min(vectors.shape) < 2:
        return 1.0
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = vectors / np.where(norms > 0, norms, 1.0)
    for start in range(0, len(units), _CHUNK):
        part = units[start : start + _CHUNK]
        cosines = np.abs(part @ part.T)
        np.fill_diagonal(cosines, 0.0)
        highest = max(highest, float(cosines.max()))
        pairs += len(part) * (len(part) - 1) // 2
    # The square of a cosine is of the law Beta(1/2, (n - 1) / 2).
    return min(1.0, pairs * float(betainc((size - 1) / 2, 0.5, max(0.0, 1 - highest**2))))


def _regressed(vectors: Array) -> float:
    """Tests what vectors lie in the span of earlier ones: by chance, Beta(k / 2, (n - k) / 2).

    Given the earlier vectors the share in their span does not depend on them, so that all shares
    are independent.
    """
    size = vectors.shape[1]
    first = min(len(vectors) - 1, size // 2, _REGRESSORS)
    if first < 1:
        return 1.0
    basis, upper = np.linalg.qr(vectors[:first].T)
    inside = np.concatenate(
        [
            np.cumsum(upper**2, axis=0)[np.arange(first - 1), np.arange(1, first)],
            np.sum((vectors[first:] @ basis) ** 2, axis=1),
        ]
    )
    spans = np.minimum(np.arange(1, len(vectors)), first).astype(np.float64)
    length = np.sum(vectors[1:] ** 2, axis=1)
    share = np.where(length > 0, inside / np.where(length > 0, length, 1.0), 0.0)
    return _combined(betainc((size - spans) / 2, spans / 2, np.clip(1 - share, 0, 1)))


def _no_mean(scores: Array) -> float:
    """Tests mean 0 of every direction and of all."""
    steps = len(scores)
    columns = np.sqrt(steps) * np.abs(scores.mean(axis=0))
    whole = math.sqrt(scores.size) * abs(float(scores.mean()))
    return min(1.0, 2 * min(2 * float(ndtr(-whole)), _combined(2 * ndtr(-columns))))


def _combined(p_values: Array) -> float:
    """Joins independent p-values: by Fisher's product, which many moderate ones move, or by one."""
    if not p_values.size:
        return 1.0
    n, held = p_values.size, np.maximum(p_values, _TINY)
    product = float(chdtrc(2 * n, -2 * float(np.log(held).sum())))
    return min(1.0, 2 * min(product, n * float(p_values.min())))


def _kolmogorov(uniform: Array) -> float:
    """Returns the p-value of sorted numbers that should be uniform (Stephens 1970)."""
    n, ranks = uniform.size, np.arange(1, uniform.size + 1)
    distance = float(np.maximum(ranks / n - uniform, uniform - (ranks - 1) / n).max())
    return float(kolmogorov((math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n)) * distance))


def _copies(samples: Array) -> _Found:
    """Tests that nothing is there twice: steps, directions, and single samples.

    Zeros are left out: noise that is missing is none that repeats.
    """
    if samples.ndim == 2:
        for table, name in ((samples, "steps"), (samples.T, "directions")):
            rows = table[table.any(axis=1)]
            again = len(rows) - len(np.unique(rows, axis=0)) if table.shape[1] >= _COPIED else 0
            if again:
                return 0.0, f"{again} {name} repeat others"
    values, counts = np.unique(samples[samples != 0], return_counts=True)
    n, again = int(counts.sum()), int((counts - 1).sum())
    if not again:
        return 1.0, ""
    pairs = float(np.sum(counts * (counts - 1.0))) / 2
    return _tie_p(values, n, pairs, float(samples.std())), f"{again} samples repeat others"


def _tie_p(values: Array, n: int, pairs: float, deviation: float) -> float:
    """Bounds the chance of as many equal pairs among normal numbers on the grid of the file.

    By Chebyshev's inequality; the grid is taken for coarser than the smallest gap between values,
    in absolute terms or, as of floating point, in relative ones.
    """
    gaps = np.diff(values)
    largest = np.maximum(np.abs(values[1:]), np.abs(values[:-1]))
    gap = max(float((gaps / side).min(initial=math.inf)) for side in (deviation, largest))
    spacing = min(1.0, _GRIDS * max(gap, _FINEST)) / (2 * math.sqrt(math.pi))  # integral of phi^2
    mean = n * n / 2 * spacing
    variance = mean + n**3 * spacing**2
    return 1.0 if pairs <= mean else min(1.0, variance / (pairs - mean) ** 2)

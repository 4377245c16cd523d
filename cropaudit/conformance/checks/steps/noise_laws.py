"""Noise that is the same everywhere, normal, and fresh: of a trainer's steps and of a training's.

Under the null all noise is independent normal of one deviation. Ratios of mean squares are then of
Fisher's law; the correlation, about 0, of two independent vectors is of Student's law, exactly,
whatever their scales; that of neighbours is normal up to 1 / (number of draws).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtr, fdtrc, ndtr, stdtr

from cropaudit.certificate.run_logs import NoiseLog
from cropaudit.conformance.check import Tested, Words

__all__ = ["PLAINLY", "REACH", "Share", "law_tests", "same_test", "shares_of"]

Array = NDArray[np.float64]

PLAINLY = 1e-3
REACH = 6.1  # deviations that a fault must have to be refuted after correction, 99 times in 100
# Enough to tell uniform or Laplace noise from normal noise for sure.
_NORMAL_SAMPLES = 20_000
_RELATED = 0.3  # correlation of two steps' noise that is worth counting, if chance gives less
_NAMED = 6

say = Words("""
quiet?: batches of every kind, every step and every parameter get the same noise, empty batches too
quiet: {named}{others} {get} {ratio:.3g} times the noise of the others; every step needs the noise
  of one batch, once, in every parameter, whatever its images are
pulled?: coordinates that images pull at get the noise of the others
pulled: {named}{others} {get} {ratio:.3g} times the noise of the others; coordinates that images
  pull at need the same noise as all others: chosen by the images, they show them
others:  and {count} others like it
fresh?: the noise is fresh in each step, layer and coordinate
steps: {close} pairs of steps add the same or nearly the same noise: seed the generator once, before
  training
layers: the layers get related noise: draw each from one running generator
neighbours: neighbouring coordinates get related noise: draw each by itself
normal?: the noise is normal
normal: the noise is not normal (test of Kolmogorov and Smirnov on {samples} draws): the guarantee
  is that of Gaussian noise
""")


@dataclass(frozen=True)
class Share:
    """A part of the noise.

    Attributes:
        family: parameter, batch, cell or step.
        name: In words.
        p_value: By Fisher's law, about mean squares.
        ratio: Of its deviation to that of the others.
        size: Of the part, in degrees of freedom.
    """

    family: str
    name: str
    p_value: float
    ratio: float
    size: int

    @property
    def oddity(self) -> float:
        """How far the ratio is from 1, as a factor; the finest division last."""
        return abs(math.log(self.ratio)) if self.ratio > 0 else math.inf


def shares_of(
    rows: Array,
    layer: NDArray[np.int64],
    names: Sequence[str],
    batches: Mapping[str, NDArray[np.bool_]],
    steps: Sequence[str],
) -> list[Share]:
    """Returns the shares of noise that is known, coarse divisions first.

    Args:
        rows: The noise, shape (steps, coordinates).
        layer: Parameter of each coordinate.
        names: Of the parameters.
        batches: Kinds of batches, in words, and which steps are of each.
        steps: In words; empty to compare no single steps.
    """
    sums = np.stack([(rows[:, layer == k] ** 2).sum(axis=1) for k in range(len(names))], axis=1)
    sizes = np.broadcast_to(np.bincount(layer, minlength=len(names)), sums.shape)
    whole, count = float(sums.sum()), int(sizes.sum())

    def share(family: str, name: str, part: Any) -> Share:
        square, size = float(sums[part].sum()), int(sizes[part].sum())
        rest = (whole - square) / (count - size) if count > size else 0.0
        if rest <= 0:
            return Share(family, name, 0.0 if square else 1.0, math.inf if square else 1.0, size)
        ratio = square / size / rest
        two = 2 * min(fdtr(size, count - size, ratio), fdtrc(size, count - size, ratio))
        return Share(family, name, float(min(1.0, two)), math.sqrt(ratio), size)

    found = [share("parameter", name, np.s_[:, k]) for k, name in enumerate(names)]
    for batch, chosen in batches.items():
        found.append(share("batch", batch, chosen))
        found += [share("cell", f"{batch} in {n}", (chosen, k)) for k, n in enumerate(names)]
    return found + [share("step", name, t) for t, name in enumerate(steps)]


def same_test(code: str, shares: Sequence[Share]) -> Tested:
    """Tests that no share is more or less than the others, by Bonferroni.

    Args:
        code: ``quiet`` or ``pulled``: of coordinates that no image pulls at, or of the others.
        shares: Of the noise.
    """
    worst = min(shares, key=lambda share: (share.p_value, -share.oddity))

    def like(share: Share) -> bool:
        near = share.ratio == worst.ratio or abs(share.ratio - worst.ratio) < 0.1 * worst.ratio
        return share.family == worst.family and near and share.p_value < PLAINLY

    alike = [share.name for share in shares if like(share)]
    single = len(alike) <= 1 and worst.family in ("parameter", "step")
    return say.test(
        code,
        min(1.0, len(shares) * worst.p_value),
        named=", ".join(alike) if 1 < len(alike) <= _NAMED else worst.name,
        others=f" {say('others', count=len(alike) - 1)}" if len(alike) > _NAMED else "",
        get="gets" if single else "get",
        ratio=worst.ratio,
    )


def law_tests(
    rows: Array, layer: NDArray[np.int64], samples: Array, shares: Sequence[Share]
) -> tuple[Tested, ...]:
    """Tests that noise is normal, fresh, and, if it is fresh, the same everywhere.

    Args:
        rows: The noise, shape (steps, coordinates).
        layer: Parameter of each coordinate.
        samples: Noise of one deviation, for its law.
        shares: Of the noise, from `shares_of`.
    """
    samples = samples.ravel()[:_NORMAL_SAMPLES]
    p_value = NoiseLog.of(samples).normal_p_value() if samples.any() else 1.0
    fresh = _fresh_test(rows[np.any(rows != 0, axis=1)], layer)
    tests = (say.test("normal", p_value, samples=samples.size), fresh)
    # Laws of mean squares are those of fresh noise.
    return (*tests, same_test("quiet", shares)) if fresh.p_value > PLAINLY else tests


def _fresh_test(rows: Array, layer: NDArray[np.int64]) -> Tested:
    """Tests steps against each other, layers against each other, and neighbours in a layer."""
    pairs, close = _step_pairs(rows)
    largest = np.sort(np.argsort(np.bincount(layer), kind="stable")[-2:])
    parts = [rows[:, layer == k] for k in largest]
    shared = min(part.shape[1] for part in parts)
    found = {
        "steps": pairs,
        "layers": _correlation(*(part[:, :shared].ravel() for part in (parts[0], parts[-1]))),
        "neighbours": min(1.0, 2 * min(_neighbours(part) for part in parts)),
    }
    if len(parts) < 2:
        found.pop("layers")
    worst = min(found, key=lambda name: found[name])
    return say.test("fresh", min(1.0, len(found) * found[worst]), worst, close=close)


def _step_pairs(rows: Array) -> tuple[float, int]:
    """Returns the corrected p-value of the closest two steps, and how many are close."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    close = np.abs((unit @ unit.T)[np.triu_indices(len(rows), 1)])
    if not close.size:
        return 1.0, 0
    width = rows.shape[1]
    p_value = _two_sided(float(close.max()), width)
    related = max(_RELATED, min(REACH / math.sqrt(width), 0.9))
    return min(1.0, close.size * p_value), int(np.sum(close > related))


def _correlation(one: Array, other: Array) -> float:
    scale = float(np.linalg.norm(one) * np.linalg.norm(other))
    return _two_sided(float(one @ other) / scale, one.size) if scale else 1.0


def _neighbours(rows: Array) -> float:
    # Products of neighbours are uncorrelated, each of variance noise^4.
    products = rows[:, 1:] * rows[:, :-1]
    scale = float(np.mean(rows**2)) * math.sqrt(products.size) if products.size else 0.0
    return 2 * float(ndtr(-abs(float(products.sum()) / scale))) if scale else 1.0


def _two_sided(r: float, size: int) -> float:
    """Returns the p-value of a correlation about 0 of ``size`` pairs, by Student's law."""
    if abs(r) >= 1 or size < 2:
        return float(size < 2)
    return 2 * float(stdtr(size - 1, -abs(r) * math.sqrt((size - 1) / (1 - r * r))))

"""Is a step's whole update, noise and images alike, multiplied by a factor of its own?

Such a factor is post-processing and costs nothing as long as it follows from what is public, or
from noisy values alone: a schedule, or a limit on the norm of the noisy gradient. A factor that
follows from the number of images that came tells that number, see `noise`. Either way it is taken
out before anything else is read, so that one cause is one finding; a factor that noise and images
do not share is left where it is, for the checks to find.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from cropaudit.audit.conformance.observe.updates import SIZES, Updates

__all__ = ["Scale", "rms", "saturated", "scale_of"]

Array = NDArray[np.float64]

# Far below the level of any battery, so that sound steps are read as they stand.
_PLAINLY = 1e-7
_SAME_NORM = 1e-5
_EQUAL_NORMS = 3
# Of all values of the noise, that are the largest value of all: noise of any law has next to none.
_SATURATED = 2e-3
_LIMIT = 1e-6


@dataclass(frozen=True, eq=False)
class Scale:
    """Factors of the steps.

    Attributes:
        kind: none; count, if it follows from the number of images; norm, if the update is cut to
            a largest norm; time, if it changes slowly.
        factor: Shape (T,).
        error: Relative deviation of each.
        p_value: That the factors of batches of different sizes are the same.
        words: What they follow.
    """

    kind: Literal["none", "count", "norm", "time"]
    factor: Array
    error: float = 0.0
    p_value: float = 1.0
    words: str = ""

    @classmethod
    def none(cls, steps: int) -> "Scale":
        """Returns factors of 1."""
        return cls("none", np.ones(steps))


def rms(values: Array) -> float:
    """Returns the root of the mean square."""
    return float(np.sqrt(np.mean(values**2))) if values.size else 0.0


def saturated(mean: Array, quiet: NDArray[np.bool_]) -> bool:
    """Returns whether values are cut to a largest one, as by a sign or clip_grad_value_."""
    size = np.abs(mean)
    top = float(size.max(initial=0.0))
    return top > 0 and float(np.mean(size[:, quiet] >= top * (1 - _LIMIT))) > _SATURATED


def scale_of(seen: Updates, mean: Array, batch: int | None) -> Scale:
    """Returns the factors of noisy means, (T, P).

    Args:
        seen: Where each step's noise stands, and which images it had.
        mean: The noisy means.
        batch: The claimed batch size, whose factor is 1.
    """
    none = Scale.none(len(mean))
    if len(mean) < 2:
        return none
    quiet = mean[:, seen.quiet]
    sizes = np.sqrt(np.mean(quiet**2, axis=1))
    if not np.all(sizes > 0):
        return none
    logs = np.log(sizes)
    variance = 1 / (2 * quiet.shape[1])
    error = float(np.sqrt(variance))
    # Noise alone has no two norms alike: such a limit shows even where it hardly varies.
    norms = np.linalg.norm(mean, axis=1)
    if np.sum(norms >= norms.max() * (1 - _SAME_NORM)) >= _EQUAL_NORMS:
        words = f"cut to a norm of {norms.max():.3g} after the noise"
        return Scale("norm", sizes / sizes[0], error, words=words)
    if _same(logs, np.zeros(len(logs)), variance) > _PLAINLY:
        return none
    counts = seen.count.astype(np.float64)
    if _same(logs, counts, variance) > _PLAINLY:
        found = {c: float(np.exp(np.mean(logs[counts == c]))) for c in np.unique(counts)}
        usual = found.get(float(batch or 0), found[max(found, key=lambda c: np.sum(counts == c))])
        factor = np.array([found[c] for c in counts]) / usual
        p_value = _same(logs, np.zeros(len(logs)), variance)
        scale = Scale("count", factor, 0.0, p_value, _count_words(found))
        return _shared(seen, mean, scale) or none
    bends = logs[1:-1] - (logs[:-2] + logs[2:]) / 2
    if len(bends) and chdtrc(len(bends), float(np.sum(bends**2)) / (3 * variance)) > _PLAINLY:
        words = f"changing slowly, {sizes.max() / sizes.min():.3g}-fold in all"
        return _shared(seen, mean, Scale("time", sizes / sizes[0], error, words=words)) or none
    return none


def _count_words(found: dict[float, float]) -> str:
    counts = np.array(sorted(found))
    sizes = np.array([found[c] for c in counts])
    per_image = sizes * np.maximum(counts, 1)
    if np.ptp(np.log(per_image)) < 0.1:
        return "divided by the number of images that came"
    low, high = counts[np.argmin(sizes)], counts[np.argmax(sizes)]
    ratio = sizes.max() / sizes.min()
    words = f"{ratio:.3g} times as large for batches of {high:g} as for batches of {low:g}"
    few = sizes[counts <= 1]
    if few.size and np.allclose(sizes[counts > 1], few.mean() / 2, rtol=0.1):
        words += (
            ", as Opacus divides by the number of backward passes since the last step: call "
            "signal_skip_step() and step() after each, as BatchMemoryManager does"
        )
    return words


def _same(logs: Array, groups: Array, variance: float) -> float:
    """Returns the p-value that ``logs`` are the same within groups: chi-square, up to 1 / size."""
    total, freedom = 0.0, 0
    for group in np.unique(groups):
        part = logs[groups == group]
        total += float(np.sum((part - part.mean()) ** 2))
        freedom += len(part) - 1
    return float(chdtrc(freedom, total / variance)) if freedom else 1.0


def _shared(seen: Updates, mean: Array, scale: Scale) -> Scale | None:
    """Returns the scale if what images add is multiplied by it as well."""
    chosen = np.flatnonzero((seen.pull_images != 0) & (seen.pull_size >= SIZES[0]))
    step, images = seen.pull_step[chosen], seen.pull_images[chosen]
    factor = scale.factor[step]
    if not chosen.size or np.ptp(np.log(factor)) == 0:
        return scale
    along = np.zeros(len(chosen))
    for column in seen.pull_at[chosen].T:
        along += np.where(column >= 0, mean[step, column], 0.0)
    along /= np.sqrt(seen.degree[chosen]) * images
    plain, scaled = _scatter(along, images), _scatter(along / factor, images)
    return scale if scaled < plain else None


def _scatter(along: Array, images: NDArray[np.int64]) -> float:
    """Returns the weighted relative scatter of contributions."""
    weight = images.astype(np.float64) ** 2
    centre = float(np.sum(weight * along) / np.sum(weight))
    return float(np.sum(weight * (along - centre) ** 2)) / (centre**2 or 1.0)

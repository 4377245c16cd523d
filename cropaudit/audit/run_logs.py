"""What a run logged about itself: noise where there is no signal, batches, and windows.

Limits are exact: chi-square for the deviation of noise, Clopper-Pearson for rates. Nothing is
unpickled: arrays are read with ``allow_pickle=False``.
"""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammainccinv, gammaincinv, kolmogorov, stdtr

from cropaudit.audit.estimators.evidence import upper_limit
from cropaudit.audit.number_files import read_numbers
from cropaudit.errors import InputError, require

__all__ = ["InclusionLog", "NoiseLog", "Tally"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NoiseLog:
    """Noise in directions without signal, in units of the clipping norm.

    Attributes:
        samples: Draws of N(0, noise multiplier^2), independent, at least 3; shape (n,) or
            (steps, directions). A direction that carries signal reads as more noise than there is.
    """

    samples: Array

    @classmethod
    def of(cls, values: ArrayLike, max_grad_norm: float = 1.0) -> "NoiseLog":
        """Checks noise as it was added to a sum of gradients clipped at ``max_grad_norm``.

        Raises:
            InputError: If there are fewer than 3 samples, or one is not finite.
        """
        legal = 0 < max_grad_norm < math.inf
        require(legal, "max_grad_norm", "positive and finite", max_grad_norm)
        samples = np.asarray(values, dtype=np.float64) / max_grad_norm
        many = samples.ndim in (1, 2) and samples.size >= 3
        require(many, "noise", "at least 3 samples, flat or (steps, directions)", samples.shape)
        require(bool(np.isfinite(samples).all()), "noise", "finite", "NaN or infinity")
        return cls(samples)

    @classmethod
    def read(cls, path: Path, max_grad_norm: float = 1.0) -> "NoiseLog":
        """Reads a ``.npy`` file; nothing is unpickled.

        Raises:
            InputError: If it is no such file, or not noise.
        """
        return cls.of(read_numbers(path, "noise", "fiu"), max_grad_norm)

    def limits(self, level: float) -> tuple[float, float, float]:
        """Returns lower limit, estimate and upper limit of the noise multiplier.

        The squares about the mean sum to sigma^2 chi^2 with n - 1 degrees of freedom, exactly.

        Args:
            level: Probability of each limit to be wrong.
        """
        total, half = float(np.sum(self._residuals() ** 2)), (self.samples.size - 1) / 2
        most, least = 2 * gammainccinv(half, level), 2 * gammaincinv(half, level)
        low, high = math.sqrt(total / most), math.sqrt(total / least)
        return low, math.sqrt(total / (2 * half)), high

    def mean_p_value(self) -> float:
        """Returns the two-sided p-value of mean 0 (Student's t); 1 without noise at 0."""
        flat, freedom = self.samples.ravel(), self.samples.size - 1
        mean, scale = float(flat.mean()), float(flat.std(ddof=1)) / math.sqrt(flat.size)
        if scale == 0:
            return 1.0 if mean == 0 else 0.0
        return 2 * float(stdtr(freedom, -abs(mean / scale)))

    def normal_p_value(self) -> float:
        """Returns the p-value of normal noise of any mean and scale; 0 without noise.

        Each residual is held against the scale of those before it. Such ratios of normal noise are
        independent and of Student's law (Durbin 1961): the test of Kolmogorov and Smirnov has no
        fitted parameter. Its law is Kolmogorov's with the correction of Stephens (1970).
        """
        residuals = self._residuals()
        before = np.cumsum(residuals**2)[:-1]
        freedom = np.arange(1, len(residuals), dtype=np.float64)
        known = before > 0
        if not known.any():
            return 0.0
        ratios = residuals[1:][known] / np.sqrt(before[known] / freedom[known])
        uniform = np.sort(stdtr(freedom[known], ratios))
        n, ranks = uniform.size, np.arange(1, uniform.size + 1)
        distance = float(np.maximum(ranks / n - uniform, uniform - (ranks - 1) / n).max())
        return float(kolmogorov((math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n)) * distance))

    def step_limits(self, level: float) -> tuple[Array, Array]:
        """Returns lower and upper limits of the noise multiplier of every step, shape (steps,).

        The squares of a step sum to its sigma^2 chi^2, with a degree of freedom for each direction.

        Args:
            level: Probability that any of the lower limits is wrong, and likewise of the upper.
        """
        totals, half = np.sum(self.samples**2, axis=1), self.samples.shape[1] / 2
        share = level / len(totals)
        most, least = 2 * gammainccinv(half, share), 2 * gammaincinv(half, share)
        return np.sqrt(totals / most), np.sqrt(totals / least)

    def _residuals(self) -> Array:
        """Helmert's residuals, shape (n - 1,): independent N(0, sigma^2) whatever the mean."""
        flat = self.samples.ravel()
        seen = np.arange(1, flat.size, dtype=np.float64)
        means = np.cumsum(flat)[:-1] / seen
        return np.asarray((flat[1:] - means) * np.sqrt(seen / (seen + 1)))


@dataclass(frozen=True)
class Tally:
    """Events among independent trials.

    Attributes:
        count: Events.
        trials: Trials, at least 1.
    """

    count: int
    trials: int

    def __post_init__(self) -> None:
        require(self.trials >= 1, "trials", "at least 1", self.trials)
        require(0 <= self.count <= self.trials, "count", f"0 to {self.trials}", self.count)

    def limits(self, level: float) -> tuple[float, float, float]:
        """Returns lower limit, estimate and upper limit of the rate (Clopper and Pearson 1934)."""
        low = 1 - upper_limit(self.trials - self.count, self.trials, level)
        return low, self.count / self.trials, upper_limit(self.count, self.trials, level)


@dataclass(frozen=True)
class InclusionLog:
    """How often records joined batches and windows met the patch.

    Trials must be independent of one another: steps of Poisson or fixed-size batches for a record
    chosen beforehand; windows drawn afresh. The patch stands in its worst place.

    Attributes:
        records: Inclusions of the record, of steps; none if not logged.
        windows: Windows that met the patch, of windows drawn; none if not logged.
        joint: Steps that used a window that met the patch, of steps, where nothing else was logged.

    Raises:
        InputError: If nothing is logged, or the joint events beside their parts.
    """

    records: Tally | None = None
    windows: Tally | None = None
    joint: Tally | None = None

    def __post_init__(self) -> None:
        apart = self.records is not None or self.windows is not None
        legal = "records and windows, or joint events alone"
        require(apart != (self.joint is not None), "inclusion log", legal, "both or neither")

    @classmethod
    def read(cls, path: Path, crops: int = 1) -> "InclusionLog":
        """Reads a CSV with the columns step, included and met, a line for each trial of a record.

        Args:
            path: The file. ``included`` is 0 or 1; ``met`` counts windows that met the patch and
                may be left blank where the record was not included.
            crops: Windows drawn for each inclusion.

        Raises:
            InputError: If it is no such file.
        """
        rows = _read_rows(path, crops)
        included, met = sum(row[0] for row in rows), sum(row[1] for row in rows)
        windows = Tally(met, included * crops) if included else None
        return cls(Tally(included, len(rows)), windows)


def _read_rows(path: Path, crops: int) -> list[tuple[int, int]]:
    """Returns (included, met) of every trial."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise InputError(f"inclusion log {path} must be an existing CSV file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"inclusion log {path} must be a readable CSV file: {error}") from None
    if not rows or not {"step", "included", "met"} <= set(rows[0]):
        raise InputError(
            f"inclusion log {path} must have the columns step, included and met, and rows"
        )
    return [_row(path, line, row, crops) for line, row in enumerate(rows, start=2)]


def _row(path: Path, line: int, row: dict[str, str], crops: int) -> tuple[int, int]:
    words = [(row[name] or "").strip() for name in ("included", "met")]
    most = crops if words[0] == "1" else 0
    legal = words[0] in ("0", "1") and words[1] in {str(n) for n in range(most + 1)}
    if words == ["0", ""]:
        return 0, 0
    if not legal:
        raise InputError(
            f"inclusion log {path} line {line} must be included 0 or 1 and met at most "
            f"{crops} if included and 0 if not, got {words[0]} and {words[1]}"
        )
    return int(words[0]), int(words[1])

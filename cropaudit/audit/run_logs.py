"""What a run logged about itself: noise where there is no signal, batches, and windows.

Limits are exact: chi-square for the deviation of noise, Clopper-Pearson for rates. Nothing is
unpickled: arrays are read with ``allow_pickle=False``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammainccinv, gammaincinv, kolmogorov, stdtr

from cropaudit.audit.estimators.evidence import upper_limit
from cropaudit.audit.number_files import read_numbers
from cropaudit.audit.text_tables import Bits, listed, read_text_table
from cropaudit.errors import InputError, require

__all__ = ["InclusionLog", "NoiseLog", "Tally"]

Array = NDArray[np.float64]

_CHANCE = -25  # log of the chance that two records are drawn in the same steps


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
        steps: What each step of each record did, where that is known: whether it drew the record,
            and windows that met the patch.
        crops: Windows drawn for each inclusion.

    Raises:
        InputError: If nothing is logged, or the joint events beside their parts.
    """

    records: Tally | None = None
    windows: Tally | None = None
    joint: Tally | None = None
    steps: tuple[tuple[tuple[int, int], ...], ...] = field(default=(), compare=False, repr=False)
    crops: int = field(default=1, compare=False)

    def __post_init__(self) -> None:
        apart = self.records is not None or self.windows is not None
        legal = "records and windows, or joint events alone"
        require(apart != (self.joint is not None), "inclusion log", legal, "both or neither")

    @classmethod
    def read(cls, path: Path, crops: int = 1) -> "InclusionLog":
        """Reads a CSV with the columns step, included and met, a line for each step of a record.

        A rate is one of steps: a log that has a step twice, or only those in which the record was
        drawn, tells of another rate. So every record must have each step between its first and its
        last, once and in order. Of several records a column ``record`` says which is which.

        Args:
            path: The file; separators and booleans as in score files. ``met`` counts windows that
                met the patch and may be left blank where the record was not included.
            crops: Windows drawn for each inclusion.

        Raises:
            InputError: If it is no such file, or steps are missing or repeated.
        """
        table = read_text_table(path, f"inclusion log {path}")
        needed = {"step", "included", "met"} <= set(table.columns)
        if not needed or not table.rows:
            raise InputError(
                f"inclusion log {path} must have the columns step, included and met, and rows; "
                f"got {listed(table.columns)}"
            )
        table.require_once(("step", "included", "met", "record"))
        reader = Bits()
        rows = [_row(path, line, row, crops, reader) for line, row in table.rows]
        _check_steps(path, rows)
        included, met = sum(row.included for row in rows), sum(row.met for row in rows)
        windows = Tally(met, included * crops) if included else None
        records: dict[str, list[tuple[int, int]]] = {}
        for row in rows:
            records.setdefault(row.record, []).append((int(row.included), row.met))
        steps = tuple(tuple(own) for own in records.values())
        return cls(Tally(included, len(rows)), windows, steps=steps, crops=crops)


@dataclass(frozen=True)
class _LogRow:
    """A line of an inclusion log."""

    line: int
    record: str
    step: int
    included: bool
    met: int


def _row(path: Path, line: int, row: dict[str, str], crops: int, reader: Bits) -> _LogRow:
    cells = {name: (row.get(name) or "").strip() for name in ("step", "included", "met", "record")}
    where = f"inclusion log {path} line {line}"
    try:
        step = int(cells["step"])
    except ValueError:
        raise InputError(
            f"{where} must have a whole step, got {cells['step'][:40] or 'none'}"
        ) from None
    try:
        included = reader.read(cells["included"])
        met = _met(cells["met"], included)
        if not 0 <= met <= (crops if included else 0):
            raise ValueError("too many windows")
    except ValueError:
        raise InputError(
            f"{where} must be included 0 or 1 and met at most {crops} if included and 0 if not, "
            f"got {cells['included'][:40] or 'nothing'} and {cells['met'][:40] or 'nothing'}"
        ) from None
    return _LogRow(line, cells["record"], step, included, met)


def _met(text: str, included: bool) -> int:
    if text == "" and not included:
        return 0
    try:
        return int(text)
    except ValueError:
        return int(Bits().read(text))


def _check_steps(path: Path, rows: Sequence[_LogRow]) -> None:
    """Raises unless every record has each of its steps once, in order."""
    records: dict[str, list[_LogRow]] = {}
    for row in rows:
        records.setdefault(row.record, []).append(row)
    for record, own in records.items():
        of = f" of record {record[:40]}" if record else ""
        name = f"inclusion log {path}"
        seen: dict[int, _LogRow] = {}
        for row in own:
            twin = seen.setdefault(row.step, row)
            if twin is not row:
                raise InputError(
                    f"{name} must have each step once{of}, got step {row.step} in lines "
                    f"{twin.line} and {row.line}: was it appended to, or is it of several records "
                    "(name them in a column record)?"
                )
        for last, row in pairwise(own):
            if row.step < last.step:
                raise InputError(
                    f"{name} must have its steps in order{of}, got step {row.step} in line "
                    f"{row.line} after step {last.step}"
                )
            if row.step > last.step + 1:
                raise InputError(
                    f"{name} must have every step{of}, got step {row.step} in line {row.line} "
                    f"after step {last.step}: steps that did not draw the record belong to its "
                    "rate (included 0)"
                )
    _check_copies(path, records)


def _check_copies(path: Path, records: Mapping[str, Sequence[_LogRow]]) -> None:
    """Raises if two records were drawn in the very same steps: copies, or one batch for all."""
    found: dict[tuple[tuple[int, int], ...], str] = {}
    for record, own in records.items():
        drawn = tuple((row.step, row.met) for row in own if row.included)
        rate = len(drawn) / len(own)
        if len(own) * math.log(rate**2 + (1 - rate) ** 2) < _CHANCE:
            twin = found.setdefault(drawn, record)
            legal = "of records that are drawn apart"
            got = f"{twin[:40]} and {record[:40]} in the very same {len(drawn)} steps"
            require(twin == record, f"inclusion log {path}", legal, got)

"""Shares of the noise: its mean square in some steps, parameters or coordinates beside the rest."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtr, fdtrc

from cropaudit.audit.conformance.checks.contributions import Array, Steps
from cropaudit.audit.conformance.observe.updates import SCENARIOS

__all__ = ["Share", "idle_words", "pulled_shares", "quiet_shares"]

_BATCHES = {
    "empty": "empty batches",
    "single": "batches of one image",
    "distinct": "batches of usual size",
    "stack": "stacks of equal images",
    "stack in one layer": "stacks that pull at one layer",
    "mixed": "small batches",
    "large": "batches of four times the size",
    "hard": "batches whose loss is high",
    "easy": "batches whose loss is next to nothing",
    "parameter": "batches that pull at one small parameter",
    "everywhere": "batches that pull at every parameter",
    "ladder": "batches with gradients about C",
}
# Where each step has a factor of its own, its error may be this much of the noise.
_NEAR = 0.1
_EXACT = 1e-6


@dataclass(frozen=True)
class Share:
    """A part of the noise.

    Attributes:
        family: batch, parameter, cell or step.
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


def quiet_shares(steps: Steps) -> list[Share]:
    """Returns the shares of coordinates that no image pulls at, coarse divisions first.

    Factors of single steps are taken out beforehand, so that there only parameters are compared.
    """
    seen, live = steps.seen, steps.live
    squares = steps.quiet[live] ** 2
    kinds, counts = seen.scenario[live], seen.count[live]
    layers = seen.layer[seen.quiet]
    by_cell = np.stack(
        [squares[:, layers == k].sum(axis=1) for k in range(len(seen.names))], axis=1
    )
    sizes = np.broadcast_to(np.bincount(layers, minlength=len(seen.names)), by_cell.shape)
    names = [str(name) for name in seen.names]
    found = [
        _share("parameter", name, by_cell[:, k], sizes[:, k], by_cell, sizes)
        for k, name in enumerate(names)
    ]
    if steps.scale.kind in ("norm", "time"):
        return found
    for index in np.unique(kinds):
        rows = kinds == index
        batches = _BATCHES[SCENARIOS[index]]
        found.append(_share("batch", batches, by_cell[rows], sizes[rows], by_cell, sizes))
        found += [
            _share("cell", f"{batches} in {n}", by_cell[rows, k], sizes[rows, k], by_cell, sizes)
            for k, n in enumerate(names)
        ]
    words = "a step on {} ({} images)".format
    return found + [
        _share(
            "step",
            words(_BATCHES[SCENARIOS[kinds[t]]], int(counts[t])),
            by_cell[t],
            sizes[t],
            by_cell,
            sizes,
        )
        for t in range(len(kinds))
    ]


def idle_words(steps: Steps) -> str:
    """Returns which steps did nothing at all while others bore noise; empty if none."""
    seen = steps.seen
    idle = ~steps.live
    if not idle.any():
        return ""
    kinds, counts = np.unique(seen.scenario[idle], return_counts=True)
    named = ", ".join(
        f"{_BATCHES[SCENARIOS[k]]} ({n} of {int(np.sum(seen.scenario == k))})"
        for k, n in zip(kinds, counts, strict=True)
    )
    return (
        f"{int(idle.sum())} of {len(seen)} steps add no noise: those on {named}; whether a step is "
        "done and noised must not follow from what came, be it the number of images, their loss or "
        "the size of their gradients: that shows for sure"
    )


def pulled_shares(steps: Steps) -> list[Share]:
    """Returns the shares of coordinates that images pull at, after their contribution is taken off.

    Contributions are fitted for each kind of batch, parameter and size apart, which takes a degree
    of freedom each. More noise than elsewhere is not odd here: contributions may differ, which is
    the affair of `clipping`.
    """
    seen = steps.seen
    scenario = seen.scenario[seen.pull_step]
    exact = SCENARIOS.index("ladder")
    groups: dict[tuple[int, int, int, float], list[tuple[int, int]]] = {}
    known = (seen.pull_at >= 0) & np.isin(seen.layer[seen.pull_at], steps.noised)
    known &= steps.live[seen.pull_step][:, None]
    for i, j in zip(*np.nonzero(known), strict=True):
        size = float(seen.pull_size[i]) if scenario[i] == exact else 0.0
        key = (int(scenario[i]), int(seen.layer[seen.pull_at[i, j]]), int(seen.degree[i]), size)
        groups.setdefault(key, []).append((i, j))
    rest, freedom = steps.noise**2 * steps.freedom, steps.freedom
    totals: dict[tuple[str, str], list[float]] = {}
    for (kind, layer, degree, _), members in groups.items():
        left, free = _left(steps, np.array(members), degree)
        owners = (
            ("batch", f"what images pull at in {_BATCHES[SCENARIOS[kind]]}"),
            ("parameter", f"what images pull at in {seen.names[layer]}"),
        )
        for owner in owners:
            total = totals.setdefault(owner, [0.0, 0.0])
            total[0] += left
            total[1] += free
    found = []
    for (family, name), (left, free) in totals.items():
        if free > 0:
            ratio = left / free / (rest / freedom)
            p_value = float(fdtr(free, freedom, ratio))
            found.append(Share(family, name, p_value, math.sqrt(ratio), int(free)))
    return found or [Share("batch", "nothing", 1.0, 1.0, 1)]


def _left(steps: Steps, members: NDArray[np.int64], degree: int) -> tuple[float, float]:
    """Returns the sum of squares that a group's common contribution leaves, and its freedom."""
    seen = steps.seen
    pull, column = members.T
    values = steps.mean[seen.pull_step[pull], seen.pull_at[pull, column]]
    images = seen.pull_images[pull].astype(np.float64)
    weight = float(np.sum(images**2))
    if len(values) < 2 or weight == 0:
        return 0.0, 0.0
    each = images * float(np.sum(images * values)) / weight
    if steps.scale.error * float(np.abs(each).max()) > _NEAR * steps.noise:
        return 0.0, 0.0
    left = values - each
    # What rounding in float32 leaves of a contribution is no noise.
    left[np.abs(left) < _EXACT * np.abs(values)] = 0.0
    return float(np.sum(left**2)), len(values) - 1.0


def _share(
    family: str,
    name: str,
    part: Array,
    sizes: NDArray[np.int64],
    total: Array,
    count: NDArray[np.int64],
) -> Share:
    """Returns one part beside the rest."""
    size, whole = int(sizes.sum()), int(count.sum())
    square = float(part.sum())
    rest = (float(total.sum()) - square) / (whole - size) if whole > size else 0.0
    if rest <= 0:
        return Share(family, name, 0.0 if square else 1.0, math.inf if square else 1.0, size)
    ratio = square / size / rest
    two = 2 * min(fdtr(size, whole - size, ratio), fdtrc(size, whole - size, ratio))
    return Share(family, name, float(min(1.0, two)), math.sqrt(ratio), size)

"""Smooth surfaces over holes of a picture: the harmonic ones, which soap films are."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

__all__ = ["harmonic"]

_STEPS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def harmonic(
    values: NDArray[np.float64], hole: NDArray[np.bool_], usable: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Returns values that are harmonic in a hole, and as given beside it.

    Each pixel of the hole is the mean of its neighbours in the hole and of those that are usable;
    over other neighbours and the picture's edge no condition holds, as if the surface ended there.

    Args:
        values: Shape (channels, H, W).
        hole: The pixels to fill, shape (H, W); values there are not read.
        usable: Pixels outside the hole whose values bind the surface, shape (H, W).

    Returns:
        Shape (channels, H, W); parts of the hole that touch no usable pixel are 0.
    """
    places = np.argwhere(hole)
    number = np.full(hole.shape, -1)
    number[hole] = np.arange(len(places))
    # A trace of stiffness keeps parts that nothing binds at 0, and the matrix regular.
    degree = np.full(len(places), 1e-9)
    flow = np.zeros((len(places), len(values)))
    links = []
    for step in _STEPS:
        beside = places + step
        inside = ((beside >= 0) & (beside < hole.shape)).all(axis=1)
        at = np.flatnonzero(inside)
        rows, columns = beside[inside].T
        free, bound = hole[rows, columns], usable[rows, columns] & ~hole[rows, columns]
        links.append((at[free], number[rows[free], columns[free]]))
        degree[at[free | bound]] += 1
        flow[at[bound]] += values[:, rows[bound], columns[bound]].T
    start, end = (np.concatenate(part) for part in zip(*links, strict=True))
    ones = np.full(len(start), -1.0)
    matrix = sparse.coo_array((ones, (start, end)), shape=(len(places),) * 2)
    filled = values.copy()
    laplace = (matrix + sparse.diags_array(degree)).tocsc()
    filled[:, hole] = splu(laplace, permc_spec="MMD_AT_PLUS_A").solve(flow).T
    return filled

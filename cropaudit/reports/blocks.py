"""A large map reduced to few cells, each the largest value of its block: no peak is ever hidden."""

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["largest_blocks"]


def largest_blocks(values: NDArray[np.float64], cells: int) -> tuple[NDArray[np.float64], int]:
    """Returns the largest value of every block, and the blocks' side.

    Args:
        values: A non-empty matrix.
        cells: Most cells on a side of the result.

    Returns:
        The blocks and their side in entries; the last row and column may cover fewer.

    >>> largest_blocks(np.arange(12.0).reshape(3, 4), 2)
    (array([[ 5.,  7.],
           [ 9., 11.]]), 2)
    """
    step = math.ceil(max(values.shape) / cells)
    rows, columns = (np.arange(0, side, step) for side in values.shape)
    return np.maximum.reduceat(np.maximum.reduceat(values, rows, axis=0), columns, axis=1), step

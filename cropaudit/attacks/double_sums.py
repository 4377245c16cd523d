"""Inner products of float32 gradients in float64, and what is asked of them: enough digits.

Scores subtract sums that nearly agree: what a slot adds from what all the others add, over the
variance of a little noise. A sum in float32 keeps seven digits, and on some processors fewer, so a
run with little noise would be scored by its rounding. Tables of gradients stay in float32; they
are widened a few columns at a time, which costs about twice the float32 product and no memory.
"""

import math

import torch
from torch import Tensor

from cropaudit.errors import InputError

__all__ = ["FLOAT32", "inner", "require_digits", "rounding_beside_noise", "solve_error", "squares"]

_ENTRIES = 2**21  # widened at once: 16 MiB
_TOLERANCE = 1e-3  # of a score; more is no score but rounding
_NOISE = 0.1  # of the noise's deviation: rounding adds a hundredth to its variance

# Relative rounding of one operation, the unit roundoff.
FLOAT32, _FLOAT64 = 2.0**-24, 2.0**-53


def inner(one: Tensor, other: Tensor) -> Tensor:
    """Returns the inner products of all rows of one table with all of another, in float64.

    Args:
        one: Shape (..., n, P), of any floating type.
        other: Shape (..., m, P); may be the very same tensor.

    Returns:
        Shape (..., n, m), float64.

    >>> inner(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([[11.,  2.]], dtype=torch.float64)
    """
    rows = max(1, (one.numel() + other.numel()) // max(1, one.shape[-1]))
    step = max(1, _ENTRIES // rows)
    total = one.new_zeros((*one.shape[:-1], other.shape[-2]), dtype=torch.float64)
    for start in range(0, one.shape[-1], step):
        piece = slice(start, start + step)
        left = one[..., piece].double()
        right = left if other is one else other[..., piece].double()
        total += left @ right.mT
    return total


def squares(rows: Tensor) -> Tensor:
    """Returns the squared norms of a table's rows, shape (..., n), float64.

    >>> squares(torch.tensor([[3.0, 4.0]]))
    tensor([25.], dtype=torch.float64)
    """
    step = max(1, _ENTRIES // max(1, rows.numel() // max(1, rows.shape[-1])))
    total = rows.new_zeros(rows.shape[:-1], dtype=torch.float64)
    for piece in torch.split(rows, step, dim=-1):
        total += piece.double().square().sum(dim=-1)
    return total


def solve_error(gram: Tensor, variance: float, size: int) -> float:
    """Returns how far solving with ``gram + variance I`` may be off, relative, to first order.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., theorem 10.4, for the
    Cholesky factor; the sums over P grow by the root of P (Higham and Mary, SIAM J. Sci. Comput.
    2019). The norm of the Gram matrix is bounded by its trace.

    Args:
        gram: Positive semidefinite, float64, shape (..., n, n).
        variance: What is added to its diagonal; infinitely far off where it is nothing.
        size: P, the length of the sums in it.
    """
    if not variance > 0:
        return math.inf
    trace = float(gram.diagonal(dim1=-2, dim2=-1).sum(dim=-1).max())
    return (len(gram[0]) + math.sqrt(size)) * _FLOAT64 * (trace + variance) / variance


def require_digits(error: float, score: str, cure: str) -> None:
    """Raises if rounding may make up more than a thousandth of a score.

    Args:
        error: Bound on the share.
        score: Whose it is, as the user knows it.
        cure: What would give it its digits back.

    Raises:
        InputError: Such a score would be made of rounding errors.
    """
    _require(error, _TOLERANCE, score, "of it", cure)


def rounding_beside_noise(rounding: float, deviation: float, score: str, cure: str) -> None:
    """Raises if rounding is no longer small beside the noise that a score allows for.

    Args:
        rounding: Its deviation along a direction.
        deviation: That of the noise.
        score: Whose it is, as the user knows it.
        cure: What would give it its digits back.

    Raises:
        InputError: Such a score would be made of rounding errors.
    """
    _require(rounding / deviation, _NOISE, score, "of the noise that it allows for", cure)


def _require(share: float, most: float, score: str, whole: str, cure: str) -> None:
    if not share <= most:
        words = f"rounding may be {share:.1g} {whole}, at most {most:g} is legal"
        raise InputError(f"{score} has lost its digits: {words}; {cure}")

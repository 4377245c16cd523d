"""Windows in mirrored padding, of which a picture does not tell whether they were flipped.

The window of rows s to s + L that leaves an image of n rows by a mirrored border shows the same
pixels as another one that is flipped: that of rows n - 1 - (s + L - n) and on, if the outermost
pixel is not repeated. Where windows within the image are never flipped these are not either. Where
some are, the one of the two is taken that leaves the image by less: the true one, unless padding is
wider than half the window.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cropaudit.audit.conformance.observe.draws import PADDING_MODES, Draws

__all__ = ["settled"]

Integers = NDArray[np.int64]
_REFLECT, _SYMMETRIC = PADDING_MODES.index("reflect"), PADDING_MODES.index("symmetric")


def settled(draws: Draws) -> Draws:
    """Returns the windows with each side read the likelier way round."""
    top, upside = _side(draws, draws.top, draws.height, draws.image_height, draws.flipped_rows)
    left, mirrored = _side(draws, draws.left, draws.width, draws.image_width, draws.flipped_columns)
    return replace(draws, top=top, flipped_rows=upside, left=left, flipped_columns=mirrored)


def _side(
    draws: Draws, start: Integers, length: Integers, side: int, flipped: NDArray[np.bool_]
) -> tuple[Integers, NDArray[np.bool_]]:
    before, after = -start, start + length - side
    exact = draws.decoded & ~draws.skewed & (draws.slack == 0)
    inside = exact & (before <= 0) & (after <= 0)
    if not flipped[inside].any():
        return start, flipped
    repeated = np.where(draws.padding == _SYMMETRIC, 1, 0)
    low = 1 - repeated - start - length
    high = 2 * (side - 1) + repeated - (start + length - 1)
    twin = np.where(before > 0, low, high)
    reach = np.maximum(-twin, twin + length - side)
    mirrored = exact & np.isin(draws.padding, (_REFLECT, _SYMMETRIC))
    mirrored &= (before > 0) != (after > 0)
    chosen = mirrored & (reach < np.maximum(before, after))
    return np.where(chosen, twin, start), np.where(chosen, ~flipped, flipped)

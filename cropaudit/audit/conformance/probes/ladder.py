"""Which sizes of images make gradients from half of C to a hundred times C, whatever the loss.

The loss's slope is unknown, so a coarse ladder is walked first; where contributions still grow with
the size, the slope is theirs. The fine ladder then stands about C.
"""

import math

__all__ = ["COARSE", "NORMS", "images_of"]

# Raw norms in units of C: 12 % apart up to 4 C, half as much again up to 100 C, then decades.
NORMS = (
    *(0.5 * 1.12**k for k in range(19)),
    *(4 * 1.5**k for k in range(9)),
    *(10.0**k for k in (3, 4, 6)),
)
# Sizes in units of C.
COARSE = tuple(4.0**k for k in range(-6, 9))
_IMAGES = 16
_LEAST, _MOST = 12, 64


def images_of(sigma: float) -> int:
    """Returns how many equal images tell a contribution to about 6 % of C."""
    return min(max(math.ceil(_IMAGES * sigma), _LEAST), _MOST)

"""Do codes in images survive a transform?

Equalisation turns codes into other codes; interpolation turns the codes of two rows into that of a
row in between, if no byte overflows, so that some windows could be read and others not. Neither
goes unseen in codes that are scrambled, of which neighbours have nothing in common.
"""

from typing import Any

import numpy as np

from cropaudit.accounting.geometry import Size
from cropaudit.audit.conformance.probes.codes import WIDE, Labels, image_code, read_image
from cropaudit.audit.conformance.probes.reading import Window, credible
from cropaudit.audit.conformance.probes.replay import forked
from cropaudit.audit.conformance.probes.styles import Style
from cropaudit.audit.conformance.worker.guard import Guard

__all__ = ["colours_kept"]

_STATES = 12
_FACTOR = 101  # odd, and so with an inverse modulo 256


def colours_kept(
    transform: Any, style: Style, guard: Guard, size: Size, labels: Labels = WIDE
) -> bool:
    """Returns whether a code and its scrambled copy tell the same window, state by state."""
    code, mask = image_code(size), labels.masks(size)[0]

    def read(factor: int) -> Window | None:
        def run() -> dict[str, Any]:
            shown = (code.astype(np.int64) * factor % 256).astype(np.uint8)
            return {"image": style.call(transform, shown, mask, guard)[0]}

        image = forked(run, guard)["image"]
        return credible(read_image(image, size, factor=factor), size)

    for _ in range(_STATES):
        if read(1) != read(_FACTOR):
            return False
        style.call(transform, code, mask, guard)  # on to the next state
    return True

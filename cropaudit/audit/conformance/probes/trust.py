"""Do codes in images survive a transform? Equalisation, say, turns codes into other codes."""

from typing import Any

import numpy as np

from cropaudit.accounting.geometry import Size
from cropaudit.audit.conformance.probes.codes import image_code, mask_code, read_image
from cropaudit.audit.conformance.probes.reading import Window, credible
from cropaudit.audit.conformance.probes.replay import forked
from cropaudit.audit.conformance.probes.styles import Style
from cropaudit.audit.conformance.worker.guard import Guard

__all__ = ["colours_kept"]

_STATES = 12


def colours_kept(transform: Any, style: Style, guard: Guard, size: Size) -> bool:
    """Returns whether a code and its negative tell the same window, state by state."""
    code, mask = image_code(size), mask_code(size)

    def read(negative: bool) -> Window | None:
        def run() -> dict[str, Any]:
            shown = 255 - code if negative else code
            return {"image": style.call(transform, shown.astype(np.uint8), mask, guard)[0]}

        image = forked(run, guard)["image"]
        return credible(read_image(image, size, negative=negative), size)

    for _ in range(_STATES):
        if read(False) != read(True):
            return False
        style.call(transform, code, mask, guard)  # on to the next state
    return True

"""A configuration without its data: what it says of them, and the claim that follows.

Sizes and numbers are taken as the configuration states them. Procedural scenes are exactly so;
photographs are what a folder turns out to hold, and the audit itself recomputes the claim from it.
"""

from dataclasses import dataclass

from cropaudit.accounting.geometry.shapes import Size
from cropaudit.audit.config.audit_config import AuditConfig
from cropaudit.audit.experiment.accounted import Accounted, account
from cropaudit.errors import require
from cropaudit.training.datasets.registry import kinds
from cropaudit.training.scenes.streets import CLASSES

__all__ = ["Planned", "plan_experiment"]

_UNKNOWN = 20  # classes of photographs; only the measured cost depends on it, and hardly


@dataclass(frozen=True, eq=False)
class Planned(Accounted):
    """What a configuration says about its run before any image is read.

    Attributes:
        exact: Whether the data are procedural, so that nothing is left open.
        image: Size of the images as trained on.
        classes: Number of classes, assumed unless exact.
    """

    exact: bool
    image: Size
    classes: int


def plan_experiment(config: AuditConfig) -> Planned:
    """Computes the claim of a configuration from the sizes that it states.

    Raises:
        InputError: If the configuration does not fit itself: the crop or the patch the image, the
            batch the records.
    """
    data = config.data
    require(data.kind in kinds(), "data.kind", f"one of {', '.join(kinds())}", data.kind)
    exact = data.folder is None and data.kind in ("auto", "scenes")
    image = _resized(config, exact)
    slots, each = config.game.canary_slots, config.canary.per_image
    added = -(-slots // each) if config.canary.added else 0
    classes = len(CLASSES) if exact else _UNKNOWN
    found = account(config, (image,), data.images, added)
    return Planned(
        **found.fields(), exact=exact, image=image, classes=2 if data.foreground else classes
    )


def _resized(config: AuditConfig, exact: bool) -> Size:
    """Returns the size after resizing; that of scenes is what they are drawn at."""
    size, short = Size.parse(config.data.size, "data.size"), config.data.short_side
    least = min(size.height, size.width)
    if exact or short is None or least <= short:
        return size
    return Size(*(max(1, round(side * short / least)) for side in (size.height, size.width)))

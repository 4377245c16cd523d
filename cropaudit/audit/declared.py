"""A configuration without its data: what it declares of them, and the claim that follows.

Sizes and numbers are taken as the configuration states them. Procedural scenes are exactly so;
photographs are what a folder turns out to hold, and the audit itself recomputes the claim from it.
"""

from dataclasses import dataclass

from cropaudit.accounting.bound import PatchBound
from cropaudit.accounting.geometry import Size
from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.audit.accounted import account
from cropaudit.audit.claims import StatedClaim, state_claim
from cropaudit.audit.config import AuditConfig
from cropaudit.errors import InputError, require
from cropaudit.training.datasets.registry import KINDS, LAYOUTS
from cropaudit.training.scene_layout import CLASSES

__all__ = ["Declared", "check_folder", "declare"]

_FOREGROUND = 2
_UNKNOWN = 20  # classes of photographs; only the measured cost depends on it, and hardly


@dataclass(frozen=True, eq=False)
class Declared:
    """What a configuration says about its run before any image is read.

    Attributes:
        config: The configuration.
        exact: Whether the data are procedural, so that nothing is left open.
        image: Size of the images as trained on.
        canaries: Slots, at most.
        records: Images in the data set, canary records included.
        canary_records: Records that canaries add.
        epsilon_without_canaries: Bound of the same run over the images alone, if there is one.
        classes: Number of classes, assumed unless exact.
        bound: Bounds of the configured mechanism.
        mechanism: What games are planned and scored by; see `Accounted`.
        claim: What is claimed.
    """

    config: AuditConfig
    exact: bool
    image: Size
    canaries: int
    records: int
    canary_records: int
    epsilon_without_canaries: float | None
    classes: int
    bound: PatchBound
    mechanism: PatchMechanism
    claim: StatedClaim


def check_folder(config: AuditConfig) -> None:
    """Refuses data that need a folder and have none; the message says what it is to hold.

    Raises:
        InputError: If the folder is missing, or the kind of data is unknown.
    """
    data = config.data
    require(data.kind in KINDS, "data.kind", f"one of {', '.join(KINDS)}", data.kind)
    structures = {layout.kind: layout.structure for layout in LAYOUTS}
    if data.folder is None and data.kind in structures:
        kind = "a folder" if data.kind == "folder" else f"a {data.kind} folder"
        raise InputError(
            f"data.folder (--data DIR) must be given for {config.name}: {kind} with "
            f"{structures[data.kind]}, got none"
        )


def declare(config: AuditConfig) -> Declared:
    """Computes the claim of a configuration from the sizes that it declares.

    Raises:
        InputError: If the configuration does not fit itself: the crop or the patch the image, the
            batch the records.
    """
    data = config.data
    require(data.kind in KINDS, "data.kind", f"one of {', '.join(KINDS)}", data.kind)
    exact = data.folder is None and data.kind in ("auto", "scenes")
    image = _declared_size(config, exact)
    patch = config.patch_shape()
    fits = patch.size.height <= image.height and patch.size.width <= image.width
    require(fits, "patch", f"at most the image {image}", patch)
    added = _canary_records(config)
    found = account(config, (image,), data.images, data.images + added)
    return Declared(
        config=config,
        exact=exact,
        image=image,
        canaries=config.game.canary_slots,
        records=data.images + added,
        canary_records=added,
        epsilon_without_canaries=found.epsilon_without_canaries,
        classes=_classes(config, exact),
        bound=found.bound,
        mechanism=found.mechanism,
        claim=state_claim(config.claim, found.mechanism, config.game.delta),
    )


def _declared_size(config: AuditConfig, exact: bool) -> Size:
    """Returns the size after resizing; that of scenes is what they are drawn at."""
    size, short = Size.parse(config.data.size, "data.size"), config.data.short_side
    least = min(size.height, size.width)
    if exact or short is None or least <= short:
        return size
    height, width = (max(1, round(side * short / least)) for side in (size.height, size.width))
    return Size(height, width)


def _canary_records(config: AuditConfig) -> int:
    """Returns how many records canaries add."""
    if not config.canary.added:
        return 0
    return -(-config.game.canary_slots // config.canary.per_image)


def _classes(config: AuditConfig, exact: bool) -> int:
    if config.data.foreground:
        return _FOREGROUND
    return len(CLASSES) if exact else _UNKNOWN

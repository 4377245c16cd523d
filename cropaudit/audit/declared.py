"""A configuration without its data: what it declares of them, and the claim that follows.

Sizes and numbers are taken as the configuration states them. Procedural scenes are exactly so;
photographs are what a folder turns out to hold, and the audit itself recomputes the claim from it.
"""

from dataclasses import dataclass

from cropaudit.accounting.bound import PatchBound, Pipeline, bound
from cropaudit.accounting.geometry import Size
from cropaudit.accounting.mechanisms import PatchMechanism
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
        classes: Number of classes, assumed unless exact.
        bound: Bounds of the configured mechanism.
        mechanism: The configured mechanism.
        claim: What is claimed.
    """

    config: AuditConfig
    exact: bool
    image: Size
    canaries: int
    records: int
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
    data, training = config.data, config.training
    require(data.kind in KINDS, "data.kind", f"one of {', '.join(KINDS)}", data.kind)
    exact = data.folder is None and data.kind in ("auto", "scenes")
    image = _declared_size(config, exact)
    patch = config.patch_shape()
    fits = patch.size.height <= image.height and patch.size.width <= image.width
    require(fits, "patch", f"at most the image {image}", patch)
    records = data.images + _canary_records(config)
    pipeline = Pipeline(
        images=(image,),
        crop=config.crop_law(),
        patch=patch,
        sampler=training.sampler,
        batch=training.batch,
        records=records,
        steps=training.steps,
        epochs=training.epochs,
    )
    found = bound(pipeline, config.game.delta, noise_multiplier=training.noise_multiplier)
    mechanism = pipeline.mechanism(training.noise_multiplier, found.inclusion_probability)
    claim = state_claim(config.claim, mechanism, config.game.delta)
    slots = config.game.canary_slots
    return Declared(
        config, exact, image, slots, records, _classes(config, exact), found, mechanism, claim
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
    """Returns how many records canaries add: real objects stand in the photographs themselves."""
    if config.canary.design == "real-object":
        return 0
    return -(-config.game.canary_slots // config.canary.per_image)


def _classes(config: AuditConfig, exact: bool) -> int:
    if config.data.foreground:
        return _FOREGROUND
    return len(CLASSES) if exact else _UNKNOWN

"""From the configuration of canaries to what is planted."""

from cropaudit.accounting.geometry.shapes import Rectangle
from cropaudit.audit.config.audit_config import AuditConfig
from cropaudit.audit.config.kinds import ObjectCanary, PlantedCanary
from cropaudit.audit.experiment.initial_model import initial_model
from cropaudit.training.canaries import CanarySlot, plant
from cropaudit.training.canaries.backgrounds import BACKGROUNDS
from cropaudit.training.canaries.crafting import craft
from cropaudit.training.canaries.designs import Design, RealObject
from cropaudit.training.canaries.positions import POSITIONS
from cropaudit.training.canaries.registry import DESIGNS
from cropaudit.training.canaries.textures import TEXTURES
from cropaudit.training.data.images import SegmentationData
from cropaudit.training.objects.finding import find_objects
from cropaudit.training.objects.removal import without

__all__ = ["plant_canaries"]

_CRAFTING_WINDOWS = 8
_LEAST_OBJECT = 16  # pixels; fewer are specks of annotation


def plant_canaries(
    data: SegmentationData, config: AuditConfig, seed: int, weights: int
) -> tuple[SegmentationData, tuple[CanarySlot, ...]]:
    """Plants what a configuration asks for.

    Args:
        data: The photographs.
        config: The audit.
        seed: Of places, textures and labels.
        weights: Seed of the initial weights, to which crafted canaries are fitted.

    Returns:
        The data set with its slots empty, and the slots.

    Raises:
        InputError: If the configuration does not fit the data.
    """
    chosen, training = config.canary, config.training
    crop, patch = config.crop_law(), config.patch_shape()
    empty, slots = plant(
        data,
        _design(chosen, data, patch),
        config.game.canary_slots,
        crop,
        patch,
        seed,
        positions=POSITIONS[chosen.positions],
        per_image=chosen.per_image,
        added=chosen.added,
    )
    if not chosen.craft_steps:
        return empty, slots
    crafted = craft(
        slots,
        initial_model(training, len(data.classes), weights),
        crop,
        empty,
        steps=chosen.craft_steps,
        windows=_CRAFTING_WINDOWS,
        max_grad_norm=training.max_grad_norm,
        seed=seed,
    )
    return empty, crafted


def _design(
    chosen: PlantedCanary | ObjectCanary, data: SegmentationData, patch: Rectangle
) -> Design | RealObject:
    if isinstance(chosen, ObjectCanary):
        found = find_objects(
            data,
            classes=chosen.objects,
            least=_LEAST_OBJECT,
            most=patch.size,
            objects_file=chosen.objects_file,
        )
        return RealObject(found, without)
    # In the user's own images the labels around the patch stay unless they are told to go.
    usual = "ignore" if chosen.added else "natural"
    make = DESIGNS[chosen.design].make
    assert make is not None  # as the configuration has made sure
    return make(BACKGROUNDS[chosen.background or usual], TEXTURES[chosen.texture or "blocks"])

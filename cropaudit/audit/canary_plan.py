"""From the configuration of canaries to what is planted."""

from pathlib import Path

from cropaudit.accounting.geometry import Crop, Rectangle
from cropaudit.audit.config import AuditConfig
from cropaudit.audit.config_sections import CanaryConfig
from cropaudit.audit.initial_model import initial_model
from cropaudit.training.canaries import CanarySlot, plant
from cropaudit.training.canaries.backgrounds import Background, Ignore, Natural, Sparse
from cropaudit.training.canaries.crafting import craft
from cropaudit.training.canaries.designs import (
    BrightTexture,
    Design,
    LabelOnly,
    ObjectPaste,
    Opposed,
    RealObject,
)
from cropaudit.training.canaries.positions import Positions, Random, Stratified, Worst
from cropaudit.training.canaries.textures import Blocks, Flat, NaturalTexture, Periodic, Texture
from cropaudit.training.data import SegmentationData
from cropaudit.training.objects.finding import find_objects
from cropaudit.training.objects.patches import ObjectPatch
from cropaudit.training.objects.removal import without

__all__ = ["plant_canaries"]

_BACKGROUNDS: dict[str, Background] = {
    "ignore": Ignore(),
    "sparse": Sparse(),
    "natural": Natural(),
}
_TEXTURES: dict[str | None, Texture] = {
    None: Blocks(),
    "blocks": Blocks(),
    "flat": Flat(),
    "natural": NaturalTexture(),
    "periodic": Periodic(),
}
_POSITIONS: dict[str, Positions] = {
    "worst": Worst(),
    "random": Random(),
    "stratified": Stratified(),
}
_CRAFTING_WINDOWS = 8
_LEAST_OBJECT = 16  # pixels; fewer are specks of annotation


def plant_canaries(
    data: SegmentationData,
    config: AuditConfig,
    crop: Crop,
    patch: Rectangle,
    seed: int,
    weights: int,
) -> tuple[SegmentationData, tuple[CanarySlot, ...]]:
    """Plants what a configuration asks for.

    Args:
        data: The photographs.
        config: The audit.
        crop: Its crop.
        patch: Its patch.
        seed: Of places, textures and labels.
        weights: Seed of the initial weights, to which crafted canaries are fitted.

    Returns:
        The data set with its slots empty, and the slots.

    Raises:
        InputError: If the configuration does not fit the data.
    """
    chosen, training = config.canary, config.training
    empty, slots = plant(
        data,
        _design(chosen, data, patch),
        config.game.canary_slots,
        crop,
        patch,
        seed,
        positions=_POSITIONS[chosen.positions],
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


def _design(chosen: CanaryConfig, data: SegmentationData, patch: Rectangle) -> Design:
    # In the user's own images the labels around the patch stay unless they are told to go.
    usual = "ignore" if chosen.added else "natural"
    background, texture = _BACKGROUNDS[chosen.background or usual], _TEXTURES[chosen.texture]
    match chosen.design:
        case "opposed":
            return Opposed(background, texture)
        case "label-only":
            return LabelOnly(None, background, texture)
        case "bright":
            return BrightTexture(None, texture)
        case "face" | "plate":
            return ObjectPaste(chosen.design)
        case "real-object":
            return RealObject(_objects(chosen, data, patch), without)


def _objects(
    chosen: CanaryConfig, data: SegmentationData, patch: Rectangle
) -> tuple[ObjectPatch, ...]:
    file = None if chosen.objects_file is None else Path(chosen.objects_file)
    return find_objects(
        data, classes=chosen.objects, least=_LEAST_OBJECT, most=patch.size, objects_file=file
    )

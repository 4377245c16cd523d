"""What a configuration is accounted as: its bounds, and the mechanism that games are planned by.

Canaries that stand in records of their own make the data set larger, and its epsilon smaller than
that of the user's images: both are computed.

Where the noise is (nearly) gone, as in the pipeline that an audit is for, no accounting says
anything; with a claimed epsilon none is needed. Games are then planned and scored by the claimed
mechanism, whose quietest score hears lost noise best.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from cropaudit.accounting.bounds.accountant import calibrate_noise, epsilon_at
from cropaudit.accounting.bounds.bound import PatchBound, Phase, Pipeline, bound_phases
from cropaudit.accounting.geometry.crop_laws import ResizedCrop
from cropaudit.accounting.geometry.shapes import Crop, Rectangle, Size
from cropaudit.accounting.mechanisms.descriptions import PatchMechanism
from cropaudit.audit.config.audit_config import AuditConfig
from cropaudit.audit.verdict.claims import StatedClaim, state_claim
from cropaudit.errors import require
from cropaudit.training.sampling.samplers import Sampling, sampling_of

__all__ = ["Accounted", "account", "check_sizes", "finite"]

_LITTLE = 0.3  # noise multiplier below which a curve of its own is slow, and seldom asked for
_LEAST = 1 / 3  # of the claimed noise, for a mechanism to be its own count ordering


@dataclass(frozen=True, eq=False)
class Accounted:
    """A configuration with its bounds.

    Attributes:
        config: The configuration.
        pipeline: The pipeline as far as privacy goes.
        bound: Its bounds; their epsilons are infinite where so little noise is left that none is
            computed.
        mechanism: What games are planned and scored by: the configured mechanism, or where hardly
            any of the claimed noise is left, the claimed one.
        canary_records: Records that canaries add to the user's images.
        epsilon_without_canaries: Of the configured run over the images alone; None where none is
            computed.
    """

    config: AuditConfig
    pipeline: Pipeline
    bound: PatchBound
    mechanism: PatchMechanism
    canary_records: int
    epsilon_without_canaries: float | None

    @property
    def records(self) -> int:
        """Images in the data set, records that canaries add included."""
        return self.pipeline.records

    @property
    def canaries(self) -> int:
        """Canaries, at most."""
        return self.config.game.canary_slots

    @property
    def worst_image(self) -> Size:
        """The image size that the claim rests on."""
        return Size.parse(self.bound.image)

    @property
    def crop(self) -> Crop | ResizedCrop:
        """The law of the windows."""
        return self.config.crop_law()

    @property
    def patch(self) -> Rectangle:
        """The patch."""
        return self.config.patch_shape()

    @property
    def sampling(self) -> Sampling:
        """The sampler, as training takes it."""
        training = self.config.training
        return sampling_of(training.sampler, training.batch, self.records)

    @cached_property
    def claim(self) -> StatedClaim:
        """What is claimed."""
        return state_claim(self.config.claim, self.mechanism, self.config.game.delta)

    def fields(self) -> dict[str, Any]:
        """Returns what it is made of, for an experiment that knows more."""
        return {item.name: getattr(self, item.name) for item in fields(Accounted)}


def account(config: AuditConfig, sizes: tuple[Size, ...], images: int, added: int) -> Accounted:
    """Computes the bounds of a configuration.

    Args:
        config: The audit.
        sizes: Of the images.
        images: Without the records that canaries add.
        added: Those records.

    Raises:
        InputError: If a value is out of range, or no noise bears a claim that is not stated.
    """
    training, delta = config.training, config.game.delta
    check_sizes(config, sizes)
    pipeline = Pipeline(
        images=sizes,
        crop=config.crop_law(),
        patch=config.patch_shape(),
        sampler=training.sampler,
        batch=training.batch,
        records=images + added,
        steps=training.steps,
        epochs=training.epochs,
        crops_per_image=config.crop.per_image,
        clipped=config.crop.clipped,
    )
    noise, rho = training.noise_multiplier, pipeline.worst().probability
    planned = _planned_noise(config, pipeline.mechanism(1.0, rho))
    found = bound_phases([Phase(pipeline, planned)], delta)
    alone: float | None = found.epsilon
    if planned != noise:
        found, alone = _unaccounted(found, noise), None
    elif added:
        user = replace(pipeline, records=images, batch=min(training.batch, images))
        alone = epsilon_at(user.mechanism(noise, rho), delta)
    return Accounted(config, pipeline, found, pipeline.mechanism(planned, rho), added, alone)


def _unaccounted(found: PatchBound, noise: float) -> PatchBound:
    """Returns a bound that says nothing of a mechanism with hardly any noise."""
    return replace(
        found,
        noise_multiplier=noise,
        epsilon=math.inf,
        epsilon_without_crop=math.inf,
        epsilon_add_remove=None,
        shortcuts=(),
    )


def check_sizes(config: AuditConfig, sizes: Iterable[Size]) -> None:
    """Raises unless the patch and the crop fit images of these sizes.

    Raises:
        InputError: If one of them does not.
    """
    crop, patch = config.crop_law(), config.patch_shape()
    for size in sizes:
        fits = patch.size.height <= size.height and patch.size.width <= size.width
        require(fits, "patch", f"at most the image {size}", patch)
        if isinstance(crop, Crop):
            crop.origins(size)  # raises where the crop does not fit


def finite(value: float) -> float | None:
    """Returns a number that a document can hold; none for what is not finite."""
    return value if math.isfinite(value) else None


def _planned_noise(config: AuditConfig, mechanism: PatchMechanism) -> float:
    """Returns the noise multiplier of the mechanism that games are planned by."""
    noise, claim = config.training.noise_multiplier, config.claim
    if claim.epsilon is None:
        legal = "above 0, or claim.epsilon (--claim-epsilon) given: no noise bears no finite claim"
        require(noise > 0, "training.noise_multiplier", legal, noise)
        return noise
    if noise >= _LITTLE:
        return noise
    claimed = calibrate_noise(mechanism, config.game.delta, claim.epsilon)
    return noise if noise >= _LEAST * claimed else claimed

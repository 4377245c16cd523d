"""What a configuration is accounted as: its bounds, and the mechanism that games are planned by.

Canaries that stand in records of their own make the data set larger, and its epsilon smaller than
that of the user's images: both are computed.

Where the noise is (nearly) gone, as in the pipeline that an audit is for, no accounting says
anything; with a claimed epsilon none is needed. Games are then planned and scored by the claimed
mechanism, whose quietest score hears lost noise best.
"""

import math
from dataclasses import dataclass, replace

from cropaudit.accounting.accountant import calibrate_noise, epsilon_at
from cropaudit.accounting.bound import PatchBound, Pipeline, bound
from cropaudit.accounting.geometry import Size
from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.audit.config import AuditConfig
from cropaudit.errors import require

__all__ = ["Accounted", "account", "finite"]

_LITTLE = 0.3  # noise multiplier below which a curve of its own is slow, and seldom asked for
_LEAST = 1 / 3  # of the claimed noise, for a mechanism to be its own yardstick


@dataclass(frozen=True)
class Accounted:
    """A configuration's pipeline with its bounds.

    Attributes:
        pipeline: The pipeline as far as privacy goes.
        bound: Its bounds; their epsilons are infinite where so little noise is left that none is
            computed.
        mechanism: What games are planned and scored by: the configured mechanism, or where hardly
            any of the claimed noise is left, the claimed one.
        images: Records without those that canaries add.
        epsilon_without_canaries: Of the configured run over the images alone; None where none is
            computed.
    """

    pipeline: Pipeline
    bound: PatchBound
    mechanism: PatchMechanism
    images: int
    epsilon_without_canaries: float | None


def account(config: AuditConfig, sizes: tuple[Size, ...], images: int, records: int) -> Accounted:
    """Computes the bounds of a configuration.

    Args:
        config: The audit.
        sizes: Of the images.
        images: Without the records that canaries add.
        records: With them.

    Raises:
        InputError: If a value is out of range, or no noise bears a claim that is not stated.
    """
    training, delta = config.training, config.game.delta
    pipeline = Pipeline(
        images=sizes,
        crop=config.crop_law(),
        patch=config.patch_shape(),
        sampler=training.sampler,
        batch=training.batch,
        records=records,
        steps=training.steps,
        epochs=training.epochs,
    )
    noise, rho = training.noise_multiplier, pipeline.worst().probability
    planned = _planned_noise(config, pipeline.mechanism(1.0, rho))
    mechanism = pipeline.mechanism(planned, rho)
    found = bound(pipeline, delta, noise_multiplier=planned)
    if planned != noise:
        found = replace(
            found,
            noise_multiplier=noise,
            epsilon=math.inf,
            epsilon_without_crop=math.inf,
            epsilon_add_remove=None,
            shortcuts=(),
        )
        return Accounted(pipeline, found, mechanism, images, None)
    if images == records:
        return Accounted(pipeline, found, mechanism, images, found.epsilon)
    alone = replace(pipeline, records=images, batch=min(training.batch, images))
    epsilon = epsilon_at(alone.mechanism(noise, rho), delta)
    return Accounted(pipeline, found, mechanism, images, epsilon)


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
